"""Writes an export shard by shard, with several processes.

An interrupted run can be continued, and a directory that is only half written never has its final name. Everything is
written to a hidden folder beside the final one, `.NAME.exporting`:

    plan.json   what is being written: a run with the same plan continues, any other starts over
    parts/      shards that are being written
    data/       complete shards
    done/       for each complete shard, its files and their sizes

When all shards are complete, `data` is renamed to the final name, in one step.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.exporting.format import Description, Example, Format, Shard
from data_redundancy.runtime import devices
from data_redundancy.store import files, metrics
from data_redundancy.store.directories import replace_directory

THREADS = min(8, 2 * len(os.sched_getaffinity(0)))
"""The number of shards that a process writes at the same time, because some of them wait for the disk."""
_FEW_FILES = 256
_OVERWRITE = "set overwrite to replace it"


def export(
    out: pathlib.Path,
    writer: Format,
    shards: list[Shard],
    examples: Callable[[Shard], Iterable[Example]],
    about: Description,
    *,
    plan: Mapping[str, Any],
    overwrite: bool,
) -> int:
    """Writes a data set. All processes of the job call this together.

    Args:
        out: the absolute path of the directory, which must be missing or empty unless it may be replaced.
        writer: the writer of the format.
        shards: all shards.
        examples: function that reads the examples of a shard.
        about: the description of the data set.
        plan: JSON values that distinguish this export from others, in addition to `shards` and `about`.
        overwrite: whether an existing directory may be replaced.

    Returns:
        The number of shards that an earlier run had written.

    Raises:
        InputError: naming `out`, if it exists already, another job is writing it, or the processes do not share its
            disk; naming its path, if it cannot be written.
    """
    with files.writing(out), _locked(out) as work:
        finished = devices.call_on_main(lambda: _begin(out, work, _json(plan, shards, about), overwrite))
        pending = [shard for shard in shards if _name(shard) not in finished]
        own = pending[devices.process_index() :: devices.process_count()]
        _write_each(own, lambda shard: _write(writer, work, shard, examples(shard), about))
        devices.barrier("wrote all shards")
        if devices.is_main_process():
            _check_all_done(out, work, shards)
            writer.finish(work / "data", shards, about)
            _sync(*_unsynced(work))
            _put_in_place(work / "data", out, overwrite)
            shutil.rmtree(work)
    devices.barrier("exported")
    return len(finished)


def check_free(
    out: pathlib.Path,
    *,
    overwrite: bool,
    keep_clear_of: Iterable[pathlib.Path] = (),
    keep_out_of: Iterable[pathlib.Path] = (),
) -> None:
    """Checks that a directory may be written.

    Args:
        out: the absolute path of the directory.
        overwrite: whether an existing directory may be replaced.
        keep_clear_of: files and directories that must not be replaced, and so none of their parents either.
        keep_out_of: directories in which nothing may be written.

    Raises:
        InputError: naming `out`, if the directory may not be written.
    """
    out = out.resolve()
    for path in (*keep_clear_of, pathlib.Path.cwd(), pathlib.Path.home()):
        if path.resolve().is_relative_to(out):
            raise _invalid(out, f"must not be or contain {path.resolve()}", "Name a separate directory")
    for path in keep_out_of:
        if out.is_relative_to(path.resolve()):
            raise _invalid(out, f"must not be in {path.resolve()}", "Name a directory elsewhere")
    if os.path.lexists(out) and not out.is_dir():
        raise _invalid(out, "exists already and is not a directory", "Name another directory")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise _invalid(out, "exists already and is not empty", f"Name another directory, or {_OVERWRITE}")
    if out.is_dir() and os.path.ismount(out):
        raise _invalid(out, "must not be the mount point of a disk", "Name a directory in it")


def check_file_free(out: pathlib.Path, *, overwrite: bool) -> None:
    """Checks that a single file may be written; see `check_free`.

    Raises:
        InputError: naming `out`, if the file may not be written.
    """
    if out.is_dir():
        raise _invalid(out, "must be a file, but is a directory", "Name a file")
    if os.path.lexists(out) and not overwrite:
        raise _invalid(out, "exists already", f"Name another file, or {_OVERWRITE}")


def _invalid(out: pathlib.Path, requirement: str, fix: str) -> InputError:
    return InputError("out", os.fspath(out), requirement, fix)


@contextlib.contextmanager
def _locked(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the working folder, which no other job can lock until the block ends or the main process ends."""
    work = out.with_name(f".{out.name}.exporting")
    if not devices.is_main_process():
        yield work
        return
    descriptor = _lock(out, work)
    try:
        yield work
    finally:
        os.close(descriptor)


def _lock(out: pathlib.Path, work: pathlib.Path) -> int:
    while True:
        work.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise _invalid(out, "is being written by another export", "Wait until it ends") from None
        except OSError as error:  # some file systems have no locks
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        # The job that had the lock may have ended, and removed the folder, just before.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(work)):
                return descriptor
        os.close(descriptor)


def _json(plan: Mapping[str, Any], shards: list[Shard], about: Description) -> dict[str, Any]:
    return json.loads(
        json.dumps({**plan, "shards": [dataclasses.astuple(shard) for shard in shards], "about": vars(about)})
    )


def _begin(out: pathlib.Path, work: pathlib.Path, plan: dict[str, Any], overwrite: bool) -> list[str]:
    """Prepares the working folder, on the main process; returns the shards that an earlier run with this plan wrote."""
    _recover(out)
    check_free(out, overwrite=overwrite)
    # If `data` is missing, a run was killed after it had renamed it.
    if _read_json(work / "plan.json") != plan or not (work / "data").is_dir():
        for path in work.iterdir():
            _remove(path)
        for name in ("data", "done"):
            (work / name).mkdir()
        files.write_json(epath.Path(work / "plan.json"), plan)
    _remove(work / "parts")
    (work / "parts").mkdir()
    return sorted(path.name for path in (work / "done").iterdir() if _is_whole(work / "data", _read_json(path)))


def _read_json(path: pathlib.Path) -> Any:
    """Returns the content of a JSON file, or None if it is missing or incomplete."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


def _is_whole(data: pathlib.Path, sizes: dict[str, int] | None) -> bool:
    """Returns whether a shard has all its files, of the right size, because a power failure may have truncated them."""
    try:
        return sizes is not None and all((data / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def _write_each(shards: list[Shard], write: Callable[[Shard], None]) -> None:
    """Writes several shards at the same time. After an error, no further ones are started."""
    ended = threading.Event()

    def attempt(shard: Shard) -> None:
        if ended.is_set():
            return
        with contextlib.ExitStack() as on_error:
            on_error.callback(ended.set)
            write(shard)
            on_error.pop_all()

    pool = concurrent.futures.ThreadPoolExecutor(THREADS)
    try:
        with metrics.progress("export", total=len(shards), unit="files") as bar:
            futures = [pool.submit(attempt, shard) for shard in shards]
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                future.result()
                bar.update(done)
    finally:
        ended.set()
        pool.shutdown(cancel_futures=True)


def _write(writer: Format, work: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description) -> None:
    """Writes a shard to a separate folder, then moves its files to `data`."""
    part, sizes = work / "parts" / _name(shard), {}
    part.mkdir()
    try:
        writer.write_shard(part, shard, examples, about)
        _sync(*(path for path in part.rglob("*") if path.is_file()))
        for directory, _, names in os.walk(part):
            target = work / "data" / os.path.relpath(directory, part)
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                os.replace(os.path.join(directory, name), target / name)
                sizes[os.path.relpath(target / name, work / "data")] = (target / name).stat().st_size
    finally:
        shutil.rmtree(part, ignore_errors=True)
    (work / "done" / _name(shard)).write_text(json.dumps(sizes))


def _unsynced(work: pathlib.Path) -> list[pathlib.Path]:
    """Returns the directories, and the files that belong to no shard."""
    synced = {name for path in (work / "done").iterdir() for name in _read_json(path)}
    data = work / "data"
    return [data, *(path for path in data.rglob("*") if path.is_dir() or str(path.relative_to(data)) not in synced)]


def _name(shard: Shard) -> str:
    return f"{shard.split}-{shard.number}"


def _check_all_done(out: pathlib.Path, work: pathlib.Path, shards: list[Shard]) -> None:
    missing = [shard for shard in shards if not (work / "done" / _name(shard)).exists()]
    if missing:
        requirement = (
            f"must be on a disk that all processes share: {len(missing)} of {len(shards)} files are missing although "
            "all processes have finished"
        )
        raise _invalid(out, requirement, "Name a directory on a shared disk")


def _put_in_place(data: pathlib.Path, out: pathlib.Path, overwrite: bool) -> None:
    """Renames `data` to `out`, and removes an older `out` after that."""

    def check_again() -> bool:
        check_free(out, overwrite=overwrite)  # another program may have written it meanwhile
        return False

    replace_directory(epath.Path(data), epath.Path(out), aside=epath.Path(_old(out)), existing_wins=check_again)
    _remove(_old(out))  # raises an error if it could not be removed


def _recover(out: pathlib.Path) -> None:
    """Repairs the state after a run that was killed while it replaced `out`: restores the older `out` or removes it."""
    old = _old(out)
    if not old.exists():
        return
    if out.is_dir() and any(out.iterdir()):
        _remove(old)
    else:
        os.rename(old, out)  # which replaces an empty directory


def _old(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f".{out.name}.replaced")


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(*paths: pathlib.Path) -> None:
    """Waits until files and directories are on the disk."""
    if len(paths) > _FEW_FILES:  # syncing a million small files one by one takes hours
        os.sync()
        return
    for path in paths:
        files.sync(path)
