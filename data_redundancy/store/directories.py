"""Directories of artifacts, written whole or not at all, by one process or several, locally or in a bucket."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from etils import epath

from data_redundancy.runtime import devices
from data_redundancy.store import files, filesystems, manifests
from data_redundancy.store.manifests import MANIFEST

_STALE_S = 24 * 3600


@contextlib.contextmanager
def atomic_directory(path: epath.Path) -> Iterator[epath.Path]:
    """Yields a directory to fill, which becomes `path` when the block ends without an error.

    All processes of a job get the same directory; the main process creates it.

    On a local disk the directory has a temporary name. When the block ends, every file is synced and the directory is
    renamed, so that an older `path` stays until the new one is complete. A bucket cannot rename, and copying all
    embeddings once more would cost more than it saves, because a complete artifact is never replaced. There, the
    directory is `path` itself, an older one is removed first, and an artifact is complete once it has a manifest:
    the block writes the manifest last, when all processes are done, and writes other files through `file_within`.

    Raises:
        InputError: if `path` cannot be written.
        BucketUnavailableError: if `path` is in a bucket that cannot be reached at the moment.
    """
    make = _directory_in_place if filesystems.is_remote(path) else _renamed_directory
    with files.writing(path), make(path) as directory:
        yield directory


@contextlib.contextmanager
def shared_directory(path: epath.Path, fingerprint: Mapping[str, Any]) -> Iterator[epath.Path]:
    """Yields a local directory to fill, for an artifact of few small files that several jobs may make at the same time.

    The job that finishes first wins: an artifact with this fingerprint is neither removed nor rewritten, so that
    readers always find it from then on. Only the main process may fill the directory.

    Args:
        path: what the directory becomes when the block ends without an error.
        fingerprint: the inputs that the artifact is made with.

    Raises:
        InputError: if `path` cannot be written, or another job has meanwhile written an artifact there that was made
            with other inputs.
        BucketUnavailableError: if `path` is in a bucket that cannot be reached at the moment.
    """
    make = _uploaded_directory if filesystems.is_remote(path) else _renamed_directory
    with files.writing(path), make(path, fingerprint) as directory:
        yield directory


def replace_directory(
    new: epath.Path, path: epath.Path, *, aside: epath.Path, existing_wins: Callable[[], bool] = lambda: False
) -> None:
    """Renames the local directory `new` to `path`, and removes an older `path` only after that.

    Args:
        new: a directory on the same file system as `path`.
        path: the new name; an empty directory there is replaced in one step.
        aside: the name that an older `path` has between the two steps; anything that has this name is removed.
        existing_wins: called whenever something is found at `path`. If it returns True, that stays and `new` is
            removed instead. It may raise an error.
    """
    while not _renamed(new, path):
        # Called after renaming has failed, because another job may have been first by a moment.
        if existing_wins():
            shutil.rmtree(new, ignore_errors=True)
            return
        if aside.exists():  # a killed job has left it
            shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # another job has moved it away
            os.rename(path, aside)
    files.sync(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _renamed_directory(path: epath.Path, fingerprint: Mapping[str, Any] | None = None) -> Iterator[epath.Path]:
    # Several jobs may share a workdir.
    partial = path.with_name(f"{path.name}.{devices.job_name()}.partial")
    try:
        if devices.is_main_process():
            _remove_stale_partials(path)
            partial.mkdir(parents=True)
        devices.barrier(f"created {partial}")
        yield partial
        devices.barrier(f"wrote {partial}")
        if devices.is_main_process():
            _sync_all(partial)
            replace_directory(
                partial,
                path,
                aside=partial.with_suffix(".old"),
                existing_wins=lambda: fingerprint is not None and manifests.is_complete(path, fingerprint),
            )
    except BaseException:
        if devices.is_main_process():
            shutil.rmtree(partial, ignore_errors=True)
        raise
    devices.barrier(f"renamed {partial}")


@contextlib.contextmanager
def _directory_in_place(path: epath.Path) -> Iterator[epath.Path]:
    if devices.is_main_process():
        _remove_artifact(path)
    devices.barrier(f"emptied {path}")
    try:
        yield path
    except BaseException:
        # An artifact without a manifest is ignored, so it may stay if the bucket itself failed.
        with contextlib.suppress(Exception):
            if devices.is_main_process():
                _remove_artifact(path)
        raise
    devices.barrier(f"wrote {path}")


@contextlib.contextmanager
def _uploaded_directory(path: epath.Path, fingerprint: Mapping[str, Any]) -> Iterator[epath.Path]:
    with tempfile.TemporaryDirectory() as directory:
        partial = epath.Path(directory)
        yield partial
        if devices.is_main_process() and not manifests.is_complete(path, fingerprint):
            # Nothing is removed: two jobs that arrive at the same time write the same content, file by file.
            for file in sorted(partial.iterdir(), key=lambda file: file.name == MANIFEST):
                (path / file.name).write_bytes(file.read_bytes())
    devices.barrier(f"wrote {path}")


def _sync_all(directory: epath.Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in (*names, ""):
            files.sync(os.path.join(folder, name))


def _renamed(new: epath.Path, path: epath.Path) -> bool:
    """Renames a directory unless `path` is occupied; it is one step, so that no other job can come in between."""
    try:
        os.rename(new, path)
    except OSError as error:
        # What was in the way may already be gone. A file in place of the directory above `path` raises ENOTDIR too.
        occupied = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not occupied and not (error.errno == errno.ENOTDIR and path.is_file()):
            raise
        return False
    return True


def _remove_stale_partials(path: epath.Path) -> None:
    """Removes what killed jobs left beside `path`; what jobs on other hosts left, only if it is old."""
    name = re.compile(re.escape(path.name) + r"\.(?P<job>.+)\.(partial|old)")
    for partial in path.parent.iterdir() if path.parent.is_dir() else ():
        match = name.fullmatch(partial.name)
        if match is None or not devices.is_job_name(match["job"]):
            continue
        with contextlib.suppress(FileNotFoundError):
            if not devices.may_be_running(match["job"]) or time.time() - os.path.getmtime(partial) > _STALE_S:
                shutil.rmtree(partial, ignore_errors=True)


def _remove_artifact(path: epath.Path) -> None:
    """Removes a directory in a bucket; its manifest first, so that an interrupted removal leaves nothing complete."""
    (path / MANIFEST).unlink(missing_ok=True)
    path.rmtree(missing_ok=True)
