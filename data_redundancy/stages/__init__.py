"""One thin module per stage: read artifacts, call the library, write artifacts.

A stage module's docstring is its help: what it reads, writes and takes, with an example.
"""

ORDER = ("prepare", "train", "embed", "cluster", "score", "select", "sweep", "report")
"""What `run` does, one after the other."""
OTHERS = ("answer", "export", "diff")
"""What there is besides."""
