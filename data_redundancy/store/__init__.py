"""The workdir: artifacts, metrics files and file systems."""
