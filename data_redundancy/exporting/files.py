"""Files that have their name only when they are whole."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def renamed(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the name of a file to write, which becomes `path` when the block ends without an error.

    The name is always the same, so that what a killed run left is replaced when it is written again. Nothing is synced:
    whoever writes many files does that for all of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text, line ends as they are."""
    with renamed(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file that people can read."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
