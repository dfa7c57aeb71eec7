"""The shipped configs; `--config=NAME` finds them by name."""
