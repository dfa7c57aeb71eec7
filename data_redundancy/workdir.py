"""Where artifacts are, how they are written whole or not at all, and what they were made from."""

import contextlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from data_redundancy import parallel
from data_redundancy.errors import InputError


class Workdir:
    """The paths of one working directory; creates the directory.

    Raises:
        InputError: if it cannot be created or written.
    """

    def __init__(self, root: str | os.PathLike):
        # Orbax takes absolute paths only.
        self.root = pathlib.Path(root).expanduser().absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink(missing_ok=True)  # hosts that share the directory may have the same process ids
        except OSError as error:
            raise InputError(f"--workdir={root}: must be a directory that can be written ({error.strerror})") from None

    @property
    def config(self) -> pathlib.Path:
        """The resolved config of the last stage that ran, JSON."""
        return self.root / "config.json"

    @property
    def embeddings(self) -> pathlib.Path:
        """The embedding store."""
        return self.root / "embeddings"

    @property
    def dendrograms(self) -> pathlib.Path:
        """One file per class."""
        return self.root / "dendrograms"

    @property
    def report(self) -> pathlib.Path:
        """Table and plot."""
        return self.root / "report"

    def selection(self, name: str) -> pathlib.Path:
        """The selection of this name, see `selection_name`."""
        return self.root / "selections" / name

    def trial(self, selection: str, seed: int) -> pathlib.Path:
        """The training run on a selection with a seed."""
        return self.root / "trials" / selection / f"seed{seed}"

    def show(self, path: pathlib.Path) -> str:
        """`path` as a user would write it: relative to the current directory where it lies below it."""
        return os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else str(path)


def selection_name(method: str, prune_fraction: float, seed: int | None = None) -> str:
    """METHOD-FRACTION, with -seedK for methods that draw at random; "full" where nothing is pruned."""
    if prune_fraction == 0:
        return "full"
    return f"{method}-{prune_fraction:g}" + ("" if seed is None else f"-seed{seed}")


@contextlib.contextmanager
def atomic_directory(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary directory that becomes `path`, replacing it, when the block ends without an error.

    Every file is synced first. On several processes all get the same directory; the main one creates and renames it.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            if parallel.is_main_process():
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            parallel.barrier(f"created {partial}")
            yield partial
            parallel.barrier(f"wrote {partial}")
            if parallel.is_main_process():
                for file in sorted(partial.rglob("*")):
                    _sync(file)
                _sync(partial)
                _replace_directory(partial, path)
    except BaseException:
        if parallel.is_main_process():
            shutil.rmtree(partial, ignore_errors=True)
        raise
    parallel.barrier(f"renamed {partial}")


@contextlib.contextmanager
def atomic_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary file name whose file becomes `path` when the block ends without an error."""
    # The ending is kept: some writers go by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns what the system says when `path` cannot be written, or not in full, into an InputError.

    Raises:
        InputError: naming the path and the reason.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        # TensorStore, and Orbax which writes through it, raise the system's errors as other types.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None and not isinstance(error, OSError):
            raise
        reason = os.strerror(int(code[1])) if code else getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be written ({reason}); what was there before is unchanged") from error


def write_if_changed(path: pathlib.Path, content: bytes) -> bool:
    """Writes a file atomically unless that is what it holds; returns whether it did."""
    if path.is_file() and path.read_bytes() == content:
        return False
    with atomic_file(path) as partial:
        partial.write_bytes(content)
    return True


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=True) + "\n")


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file; None where there is none.

    Raises:
        InputError: if it is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not a JSON file ({error}); remove it and run the stage again") from None


def check_fingerprint(artifact: pathlib.Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses an artifact that was made from something else.

    Args:
        artifact: named in the error.
        found: the fingerprint the artifact carries, a flat mapping of field names to plain values.
        expected: that of this run.

    Raises:
        InputError: naming the fields that differ, with both values.
    """
    found, expected = _plain(found), _plain(expected)
    differing = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    if differing:
        shown = "; ".join(f"{n}: {found.get(n)!r} there, {expected.get(n)!r} now" for n in differing[:3])
        more = f" (and {len(differing) - 3} more fields)" if len(differing) > 3 else ""
        raise InputError(
            f"{artifact} was made from something else: {shown}{more}. Give the config and overrides it was made with, "
            "take another --workdir, or remove it"
        )


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As the mapping reads after JSON, where tuples are lists."""
    return json.loads(json.dumps(dict(value)))


def _replace_directory(partial: pathlib.Path, path: pathlib.Path) -> None:
    """Renames `partial` to `path`; an older `path` is only removed once the new one is in place."""
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
