"""Files of an export, which get their name when they are complete.

Unlike files from `store.files`, they are not synced one by one: the driver syncs all files of a shard together.
"""

import contextlib
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def renamed(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the name of a file to write, which becomes `path` when the block ends without an error.

    The name is always the same, so that a file left by a killed run is replaced when the shard is rewritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text, without changing its line ends."""
    with renamed(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")
