"""Where artifacts are, how they are written whole or not at all, and what they were made from."""

import contextlib
import errno
import json
import os
import pathlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from etils import epath

from data_redundancy.errors import BucketUnavailableError, InputError
from data_redundancy.runtime import devices
from data_redundancy.store import filesystems

MANIFEST = "manifest.json"
"""Says what an artifact was made from; in a bucket it is written last, and an artifact without it is not whole."""

_STALE_S = 24 * 3600


class Workdir:
    """The paths of one working directory, local or in a bucket (gs://BUCKET/DIRECTORY); creates the directory.

    Raises:
        InputError: if it cannot be created or written.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = filesystems.locate(root, "--workdir")  # absolute: Orbax takes no other
        if filesystems.is_remote(self.root):
            filesystems.check_bucket(self.root, "--workdir")
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink(missing_ok=True)  # hosts that share the directory may have the same process ids
        except OSError as error:
            raise InputError(f"--workdir={root}: must be a directory that can be written ({error.strerror})") from None

    @property
    def config(self) -> epath.Path:
        """The resolved config of the last stage that ran, JSON."""
        return self.root / "config.json"

    @property
    def embeddings(self) -> epath.Path:
        """The embedding store of the training split."""
        return self.root / "embeddings"

    @property
    def embeddings_test(self) -> epath.Path:
        """The embedding store of the test split."""
        return self.root / "embeddings_test"

    @property
    def dendrograms(self) -> epath.Path:
        """One file per class."""
        return self.root / "dendrograms"

    @property
    def scores(self) -> epath.Path:
        """Scores of training images, by name and seed."""
        return self.root / "scores"

    @property
    def report(self) -> epath.Path:
        """Table, plot and gallery."""
        return self.root / "report"

    def answer(self, name: str) -> epath.Path:
        """The question of this name, its plan and what was found, JSON."""
        return self.root / "answers" / f"{name}.json"

    def selection(self, name: str) -> epath.Path:
        """The selection of this name, see `selection_name`."""
        return self.root / "selections" / name

    @property
    def trials(self) -> epath.Path:
        """All training runs."""
        return self.root / "trials"

    def trial(self, selection: str, seed: int) -> epath.Path:
        """The training run on a selection with a seed."""
        return self.trials / selection / f"seed{seed}"

    def score(self, name: str, seed: int) -> epath.Path:
        """The score of this name that a run with this seed gave."""
        return self.scores / name / f"seed{seed}"

    def score_run(self, seed: int) -> epath.Path:
        """A run that is giving scores."""
        return self.scores / f"run-seed{seed}"

    def show(self, path: epath.Path) -> str:
        """`path` as a user would write it: relative to the current directory where it lies below it."""
        return os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else str(path)


def selection_name(method: str, prune_fraction: float, seed: int | None = None) -> str:
    """METHOD-FRACTION, with -seedK for methods that draw at random; "full" where nothing is pruned."""
    if prune_fraction == 0:
        return "full"
    return f"{method}-{prune_fraction:g}" + ("" if seed is None else f"-seed{seed}")


@contextlib.contextmanager
def atomic_directory(path: epath.Path) -> Iterator[epath.Path]:
    """Gives a directory to fill, which is `path`, whole, when the block ends without an error.

    On several processes all get the same directory; the main one creates it.

    On a disk it has a temporary name; when the block ends, every file is synced and the directory renamed, so that an
    older `path` stays until the new one is there. A bucket knows no renaming, and copying all embeddings once more is
    not worth what it saves: stages never replace what is whole. So the directory is `path` itself, an older one is
    removed first, and what counts as whole is what has a manifest: the block writes it last, when all processes are
    done. Other files of the block go through `file_within`.
    """
    make = _directory_in_place if filesystems.is_remote(path) else _renamed_directory
    with writing(path), make(path) as directory:
        yield directory


@contextlib.contextmanager
def shared_directory(path: epath.Path, fingerprint: Mapping[str, Any]) -> Iterator[epath.Path]:
    """As `atomic_directory`, for an artifact of few small files that several jobs may make at the same time.

    The first that is done wins: what has a manifest with this fingerprint is neither removed nor written again, so that
    readers find it from then on. Only the main process may fill the directory, which is a local one.

    Raises:
        InputError: if what another job wrote meanwhile was made from something else.
    """
    make = _uploaded_directory if filesystems.is_remote(path) else _renamed_directory
    with writing(path), make(path, fingerprint) as directory:
        yield directory


@contextlib.contextmanager
def _uploaded_directory(path: epath.Path, fingerprint: Mapping[str, Any]) -> Iterator[epath.Path]:
    with tempfile.TemporaryDirectory() as directory:
        partial = epath.Path(directory)
        yield partial
        if devices.is_main_process() and not _is_there(path, fingerprint):
            # Nothing is removed. Of two jobs that come here at once each writes what the other does, file by file.
            for file in sorted(partial.iterdir(), key=lambda file: file.name == MANIFEST):
                (path / file.name).write_bytes(file.read_bytes())
    devices.barrier(f"wrote {path}")


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
            for directory, _, files in os.walk(partial):
                for name in (*files, ""):
                    _sync(os.path.join(directory, name))
            _put_in_place(partial, path, fingerprint)
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
        # Without its manifest it counts for nothing, so it may stay where the bucket is what failed.
        with contextlib.suppress(Exception):
            if devices.is_main_process():
                _remove_artifact(path)
        raise
    devices.barrier(f"wrote {path}")


@contextlib.contextmanager
def atomic_file(path: epath.Path) -> Iterator[epath.Path]:
    """Gives the name of a local file that becomes `path`, whole, when the block ends without an error."""
    make = _uploaded_file if filesystems.is_remote(path) else _renamed_file
    with writing(path), make(path) as partial:
        yield partial


@contextlib.contextmanager
def _renamed_file(path: epath.Path) -> Iterator[epath.Path]:
    # The ending is kept: some writers go by it. On other hosts there may be processes of the same number.
    partial = path.with_name(f".partial-{os.getpid()}{secrets.token_hex(4)}-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def file_within(path: epath.Path) -> contextlib.AbstractContextManager[epath.Path]:
    """Gives the name of a local file that becomes `path`, a file of an `atomic_directory`, when the block ends.

    NumPy and Arrow write local files by name, not those of a bucket.
    """
    return _uploaded_file(path) if filesystems.is_remote(path) else contextlib.nullcontext(path)


@contextlib.contextmanager
def _uploaded_file(path: epath.Path) -> Iterator[epath.Path]:
    # Written to the bucket directly, half a file would be stored where the block fails: closing completes an object.
    with tempfile.TemporaryDirectory() as directory:
        partial = epath.Path(directory) / path.name
        yield partial
        path.write_bytes(partial.read_bytes())  # an object is replaced when the last of its bytes has arrived


@contextlib.contextmanager
def writing(path: epath.Path) -> Iterator[None]:
    """Turns what the system says when `path` cannot be written, or not in full, into an error of one line.

    Raises:
        InputError: naming the path and the reason.
        BucketUnavailableError: the same, where `path` lies in a bucket and the reason passes by itself.
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
            raise BucketUnavailableError(f"{path}: cannot be written for now ({reason})") from error
        before = "" if remote else "; what was there before is unchanged"
        raise InputError(f"{path}: cannot be written ({reason}){before}") from error


def write_if_changed(path: epath.Path, content: bytes) -> bool:
    """Writes a file atomically unless that is what it holds; returns whether it did."""
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
    """Reads a JSON file; None where there is none.

    Raises:
        InputError: if it is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not a JSON file ({error}); remove it and run the stage again") from None


def as_main_finds(find: Callable[[], Any]) -> Any:
    """What `find` gives on the main process, a value for JSON, for every process of this job.

    What another job writes, or a disk that hosts share, is not seen by all at the same moment; but all must do the
    same.
    """
    if devices.process_count() == 1:
        return find()
    return json.loads(devices.text_from_main(json.dumps(find()) if devices.is_main_process() else ""))


def check_fingerprint(artifact: epath.Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses an artifact that was made from something else.

    Args:
        artifact: named in the error.
        found: the fingerprint the artifact carries, a flat mapping of field names to plain values.
        expected: that of this run.

    Raises:
        InputError: naming the fields that differ, with both values.
    """
    found, expected = _plain(found), _plain(expected)
    if differing := differing_fields(found, expected):
        shown = "; ".join(f"{n}: {found.get(n)!r} there, {expected.get(n)!r} now" for n in differing[:3])
        more = f" (and {len(differing) - 3} more fields)" if len(differing) > 3 else ""
        raise InputError(
            f"{artifact} was made from something else: {shown}{more}. Give the config and overrides it was made with, "
            "take another --workdir, or remove it"
        )


def differing_fields(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The names of the fields in which two fingerprints differ, sorted."""
    found, expected = _plain(found), _plain(expected)
    return [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As the mapping reads after JSON, where tuples are lists."""
    return json.loads(json.dumps(dict(value)))


def _put_in_place(partial: epath.Path, path: epath.Path, fingerprint: Mapping[str, Any] | None) -> None:
    """Renames `partial` to `path`; an older `path` is only removed once the new one is in place.

    Where there is a fingerprint and an artifact that has it, that one stays.
    """
    old = partial.with_suffix(".old")
    while not _renamed(partial, path):
        # Asked after the renaming has failed: another job may have been first by a moment.
        if fingerprint is not None and _is_there(path, fingerprint):
            shutil.rmtree(partial, ignore_errors=True)
            return
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # another job has moved it away
            os.rename(path, old)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _renamed(partial: epath.Path, path: epath.Path) -> bool:
    """Renames a directory unless there is something at `path`; in one step, in which no other job can come between."""
    try:
        os.rename(partial, path)
    except OSError as error:
        # What was in the way may be gone already; but a file may also be in the way of the directory above.
        in_the_way = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not in_the_way and not (error.errno == errno.ENOTDIR and path.is_file()):
            raise
        return False
    return True


def _is_there(path: epath.Path, fingerprint: Mapping[str, Any]) -> bool:
    """Whether a directory holds a whole artifact; raises InputError if that was made from something else."""
    manifest = read_json(path / MANIFEST)
    if manifest is None:
        return False
    check_fingerprint(path, manifest["fingerprint"], fingerprint)
    return True


def _remove_stale_partials(path: epath.Path) -> None:
    """Removes what killed jobs left of `path`; of another host, that is what is old."""
    for partial in [p for ending in ("partial", "old") for p in path.parent.glob(f"{path.name}.*.{ending}")]:
        job = partial.name.removeprefix(f"{path.name}.").rpartition(".")[0]
        with contextlib.suppress(FileNotFoundError):
            if not devices.may_be_running(job) or time.time() - os.path.getmtime(partial) > _STALE_S:
                shutil.rmtree(partial, ignore_errors=True)


def _remove_artifact(path: epath.Path) -> None:
    """Removes a directory in a bucket; its manifest first, so that what is left half way does not count as whole."""
    (path / MANIFEST).unlink(missing_ok=True)
    path.rmtree(missing_ok=True)


def _sync(path: os.PathLike) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
