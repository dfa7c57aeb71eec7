"""Files, directories and artifacts, local or in a bucket, and metrics."""
