"""Writes an export shard by shard, by several processes, so that a run that is cut off goes on, and nobody sees half.

All is written to a hidden folder beside the one that is asked for, `.NAME.exporting`:

    plan.json   what is being written: a run that means the same goes on, any other begins anew
    parts/      shards that are being written
    data/       shards that are whole
    done/       for each of these its files, and their sizes

When all are there, `data` is renamed to what was asked for, in one step.
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

from data_redundancy.errors import InputError
from data_redundancy.exporting.format import Description, Example, Format, Shard
from data_redundancy.runtime import devices
from data_redundancy.store import metrics, workdir

THREADS = min(8, 2 * len(os.sched_getaffinity(0)))
"""Shards that a process writes at a time: while some wait for the disk, others go on."""
_FEW_FILES = 256


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
    """Writes a data set; all processes of the job call this together.

    Args:
        out: the directory, absolute; empty or not there, or else replaced where that is allowed.
        writer: of the format.
        shards: all there are.
        examples: reads those of a shard.
        about: what the data set says of itself.
        plan: what tells this export from others, values for JSON; beside `shards` and `about`.
        overwrite: whether what is there may be replaced.

    Returns:
        How many shards an earlier run had written.

    Raises:
        InputError: if `out` is taken or cannot be written, or another job is writing it.
    """
    with workdir.writing(out), _locked(out) as work:
        finished = workdir.as_main_finds(lambda: _begin(out, work, _json(plan, shards, about), overwrite))
        pending = [shard for shard in shards if _name(shard) not in finished]
        own = pending[devices.process_index() :: devices.process_count()]
        _write_each(own, lambda shard: _write(writer, work, shard, examples(shard), about))
        devices.barrier("wrote all shards")
        if devices.is_main_process():
            _check_all_done(work, shards)
            writer.finish(work / "data", shards, about)
            _sync(*_unsynced(work))
            _put_in_place(work / "data", out)
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
    """Refuses to write where there is something.

    Args:
        out: absolute.
        overwrite: whether what is there may be replaced.
        keep_clear_of: files and directories that are not to be replaced, and those above them neither.
        keep_out_of: directories in which nothing is to be written.

    Raises:
        InputError: naming --out.
    """
    out = out.resolve()
    for path in (*keep_clear_of, pathlib.Path.cwd(), pathlib.Path.home()):
        if path.resolve().is_relative_to(out):
            raise InputError(f"--out={out}: is, or holds, {path.resolve()}; name a directory of its own")
    for path in keep_out_of:
        if out.is_relative_to(path.resolve()):
            raise InputError(f"--out={out}: is in {path.resolve()}; name a directory elsewhere")
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"--out={out}: is there already, and no directory")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise InputError(f"--out={out}: is there already and not empty; name another, or replace it by --overwrite")
    if out.is_dir() and os.path.ismount(out):
        raise InputError(f"--out={out}: is where a disk is mounted; name a directory in it")


def check_file_free(out: pathlib.Path, *, overwrite: bool) -> None:
    """As `check_free`, where a single file is to be written."""
    if out.is_dir():
        raise InputError(f"--out={out}: is a directory; name a file")
    if os.path.lexists(out) and not overwrite:
        raise InputError(f"--out={out}: is there already; name another, or replace it by --overwrite")


@contextlib.contextmanager
def _locked(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """The working folder, which no other job has as long as this one's main process lives."""
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
            raise InputError(f"--out={out}: another export is writing to it") from None
        except OSError as error:  # a file system without locks
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        # The job that had the lock may have been done, and removed the folder, just before.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(work)):
                return descriptor
        os.close(descriptor)


def _json(plan: Mapping[str, Any], shards: list[Shard], about: Description) -> dict[str, Any]:
    return json.loads(
        json.dumps({**plan, "shards": [dataclasses.astuple(shard) for shard in shards], "about": vars(about)})
    )


def _begin(out: pathlib.Path, work: pathlib.Path, plan: dict[str, Any], overwrite: bool) -> list[str]:
    """Takes over what an earlier run of the same plan has finished, and removes what else there is; on main only."""
    _recover(out)
    check_free(out, overwrite=overwrite)
    # Without `data` a run was killed that had put it in its place.
    if _read_json(work / "plan.json") != plan or not (work / "data").is_dir():
        for path in work.iterdir():
            _remove(path)
        for name in ("data", "done"):
            (work / name).mkdir()
        workdir.write_json(work / "plan.json", plan)
    _remove(work / "parts")
    (work / "parts").mkdir()
    return sorted(path.name for path in (work / "done").iterdir() if _is_whole(work / "data", _read_json(path)))


def _read_json(path: pathlib.Path) -> Any:
    """None for a file that is not there, or not whole."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


def _is_whole(data: pathlib.Path, sizes: dict[str, int] | None) -> bool:
    """Whether the files of a shard are there: a machine that went down may have lost their names, or their ends."""
    with contextlib.suppress(OSError):
        return sizes is not None and all((data / name).stat().st_size == size for name, size in sizes.items())
    return False


def _write_each(shards: list[Shard], write: Callable[[Shard], None]) -> None:
    """Writes several at a time; after an error, those that are begun are still finished."""
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
    """Writes a shard apart, then puts its files where they belong."""
    part, sizes = work / "parts" / _name(shard), {}
    part.mkdir()
    try:
        writer.write_shard(part, shard, examples, about)
        _sync(*(path for path in part.rglob("*") if path.is_file()))
        for directory, _, files in os.walk(part):
            target = work / "data" / os.path.relpath(directory, part)
            target.mkdir(parents=True, exist_ok=True)
            for name in files:
                os.replace(os.path.join(directory, name), target / name)
                sizes[os.path.relpath(target / name, work / "data")] = (target / name).stat().st_size
    finally:
        shutil.rmtree(part, ignore_errors=True)
    (work / "done" / _name(shard)).write_text(json.dumps(sizes))


def _unsynced(work: pathlib.Path) -> list[pathlib.Path]:
    """Directories, and the files that are no shard's."""
    synced = {name for path in (work / "done").iterdir() for name in _read_json(path)}
    data = work / "data"
    return [data, *(path for path in data.rglob("*") if path.is_dir() or str(path.relative_to(data)) not in synced)]


def _name(shard: Shard) -> str:
    return f"{shard.split}-{shard.number}"


def _check_all_done(work: pathlib.Path, shards: list[Shard]) -> None:
    missing = [shard for shard in shards if not (work / "done" / _name(shard)).exists()]
    if missing:
        raise InputError(
            f"--out: {len(missing)} of {len(shards)} files are not there though all processes are done; all must write "
            "to the same disk"
        )


def _put_in_place(data: pathlib.Path, out: pathlib.Path) -> None:
    """Renames `data` to `out`; what was there is removed after that."""
    old = _old(out)
    if out.is_dir() and any(out.iterdir()):
        os.rename(out, old)
    os.rename(data, out)  # an empty directory is replaced
    _sync(out.parent)
    _remove(old)


def _recover(out: pathlib.Path) -> None:
    """Mends what a run left that was killed between the two steps of a replacement, or before it had tidied up."""
    old = _old(out)
    if not old.exists():
        return
    if out.is_dir() and any(out.iterdir()):
        _remove(old)
    else:
        os.rename(old, out)  # an empty directory, which somebody has made meanwhile, is replaced


def _old(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f".{out.name}.replaced")


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(*paths: pathlib.Path) -> None:
    """Waits until files and directories are on the disk."""
    if len(paths) > _FEW_FILES:  # one by one, a million small files take hours
        os.sync()
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
