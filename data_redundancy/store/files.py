"""Single files, written whole or not at all, locally or in a bucket."""

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from typing import Any

from etils import epath

from data_redundancy.errors import BucketUnavailableError, InputError
from data_redundancy.store import filesystems


@contextlib.contextmanager
def writing(path: os.PathLike[str]) -> Iterator[None]:
    """Turns an error of the system or the bucket in the block into an error of one line that names `path`.

    Raises:
        InputError: if `path` cannot be written, or not completely.
        BucketUnavailableError: the same, if `path` is in a bucket and the failure is temporary.
    """
    try:
        yield
    except (InputError, BucketUnavailableError):
        raise
    except Exception as error:
        reason = filesystems.failure(error)
        if reason is None:
            raise
        remote = filesystems.is_remote(path)
        if remote and filesystems.passes(error):
            raise BucketUnavailableError(f"{path}: cannot be written at the moment ({reason})") from error
        unchanged = "" if remote else "; an earlier version is unchanged"
        raise InputError(path, None, f"cannot be written ({reason}){unchanged}") from error


@contextlib.contextmanager
def atomic_file(path: epath.Path) -> Iterator[epath.Path]:
    """Yields the name of a local file, which becomes `path` when the block ends without an error.

    Raises:
        InputError: if `path` cannot be written.
        BucketUnavailableError: if `path` is in a bucket that cannot be reached at the moment.
    """
    make = _uploaded_file if filesystems.is_remote(path) else _renamed_file
    with writing(path), make(path) as partial:
        yield partial


def file_within(path: epath.Path) -> contextlib.AbstractContextManager[epath.Path]:
    """Yields the name of a local file, which becomes `path`, a file of an `atomic_directory`, when the block ends.

    NumPy and Arrow write files by name, and a name in a bucket is none that they can open.
    """
    return _uploaded_file(path) if filesystems.is_remote(path) else contextlib.nullcontext(path)


def write_if_changed(path: epath.Path, content: bytes) -> bool:
    """Writes a file atomically unless it already has this content; returns whether it was written."""
    if path.is_file() and path.read_bytes() == content:
        return False
    with atomic_file(path) as partial:
        partial.write_bytes(content)
    return True


def write_json(path: epath.Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=True) + "\n")


def read_json(path: epath.Path) -> Any:
    """Returns the content of a JSON file, or None if there is no such file.

    Raises:
        InputError: if the file is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:  # of the encoding, the syntax, or a number of many digits
        reason = "too deeply nested" if isinstance(error, RecursionError) else error
        raise InputError(path, None, f"must be a JSON file ({reason})", "Remove it and run again") from None


def sync(path: str | os.PathLike[str]) -> None:
    """Waits until a local file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _renamed_file(path: epath.Path) -> Iterator[epath.Path]:
    # Some writers choose a format by the suffix, so it stays. The random part differs between hosts, which may have
    # processes with the same id.
    partial = path.with_name(f".partial-{os.getpid()}{secrets.token_hex(4)}-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _uploaded_file(path: epath.Path) -> Iterator[epath.Path]:
    # Writing to the bucket directly would store half a file if the block failed: closing completes an object.
    with tempfile.TemporaryDirectory() as directory:
        partial = epath.Path(directory) / path.name
        yield partial
        path.write_bytes(partial.read_bytes())  # an object is replaced when the last of its bytes has arrived
