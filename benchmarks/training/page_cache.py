"""Takes files out of memory, as if they had not been read for long."""

import os
import pathlib


def drop(directory: pathlib.Path) -> None:
    """Drops all files below a directory from the page cache."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # only what is on the disk can be dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
