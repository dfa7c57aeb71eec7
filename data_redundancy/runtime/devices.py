"""Devices and processes: the only home of pmap, replication, splitting over devices and barriers.

One program runs on every process; each process drives its local devices. A *global batch* of B rows is split evenly and
in order over all devices of all processes, so that results do not depend on how many there are.
"""

import collections
import functools
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data_redundancy.errors import InputError
from data_redundancy.runtime import processes

AXIS = "devices"
"""Name of the mapped axis: collectives inside a pmapped function (also BatchNorm's) refer to it."""


def pmap(function: Callable, *, in_axes: Any, out_axes: Any, donate_argnums: tuple[int, ...] = ()) -> Callable:
    """Maps `function` over all devices, with the axis name `AXIS`.

    Replicated values go in and come out with axis None; split values have a leading axis of local devices.

    On the CPU backend the result is waited for: with several virtual devices and many calls in flight, XLA's in-process
    all-reduce can deadlock.
    """
    mapped = jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donate_argnums)

    @functools.wraps(function)
    def call(*args):
        result = mapped(*args)
        if jax.default_backend() == "cpu" and jax.device_count() > 1:
            jax.block_until_ready(result)
        return result

    call.lower = mapped.lower  # as of what jax.jit gives: to see what it takes before it is called
    return call


def replicate(tree: Any) -> Any:
    """Puts a copy of every array on each local device."""
    return jax.device_put(tree, _local_sharding(PartitionSpec()))


def spread(tree: Any) -> Any:
    """Puts each row of arrays [local devices, ...] on a device of its own."""
    return jax.device_put(tree, _local_sharding(PartitionSpec(AXIS)))


def own_part(array: np.ndarray, axis: int = 0) -> np.ndarray:
    """This process's part of a global batch that is split evenly and in order along `axis`."""
    return np.split(array, jax.process_count(), axis=axis)[jax.process_index()]


def stack_local(array: np.ndarray, axis: int = 0) -> np.ndarray:
    """Splits this process's own rows, along `axis`, over its local devices: [devices, ...]."""
    devices = jax.local_device_count()
    shape = (*array.shape[:axis], devices, array.shape[axis] // devices, *array.shape[axis + 1 :])
    return np.moveaxis(array.reshape(shape), axis, 0)  # a view: images are many bytes


def split_batch(array: np.ndarray, axis: int = 0) -> np.ndarray:
    """Splits `axis` of a global batch over all devices and gives this process its part.

    Returns:
        The array with a new leading axis of local devices, and `axis` shortened by the number of all devices.
    """
    return stack_local(own_part(array, axis), axis)


def put_on_devices(batches: Iterable[Any], *, ahead: int) -> Iterator[Any]:
    """Puts batches, trees of arrays [local devices, ...], on the devices before they are asked for.

    Args:
        batches: on the host.
        ahead: how many to keep on the devices beyond the one that is used; copying overlaps with computing.
    """
    waiting = collections.deque()
    for batch in batches:
        waiting.append(spread(batch))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def check_batch_size(batch_size: int, field: str) -> None:
    """Raises InputError unless all devices get the same number of rows of a global batch."""
    devices = jax.device_count()
    if batch_size < 1 or batch_size % devices:
        of = "" if jax.process_count() == 1 else f" ({jax.process_count()} processes of {jax.local_device_count()})"
        raise InputError(f"{field}={batch_size}: must be a positive multiple of the number of devices, {devices}{of}")


def row_share(num_rows: int, multiple: int, process: int | None = None) -> tuple[int, int]:
    """The contiguous rows [start, stop) of `num_rows` that a process owns; starts are multiples of `multiple`.

    Aligned starts let every process write its own chunks of a shared array.
    """
    process = jax.process_index() if process is None else process
    blocks = -(-num_rows // multiple)
    start, stop = (min(num_rows, multiple * (blocks * p // jax.process_count())) for p in (process, process + 1))
    return start, stop


def process_index() -> int:
    """The number of this process, from 0."""
    return jax.process_index()


def process_count() -> int:
    """How many processes there are."""
    return jax.process_count()


@functools.cache
def job_name() -> str:
    """A name that all processes of this job have, and those of no other.

    It is the host and number of its main process, by which `may_be_running` goes, and something drawn by chance: in
    containers the number is usually 1, and hosts may have one name.
    """
    name = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return gather_rows(np.array([name.encode()], "S96"))[0].decode()


def may_be_running(job: str) -> bool:
    """Whether another job of this name may still be there; of those on other hosts nothing is known.

    On the main process only, whose number this job's name has.
    """
    parts = re.fullmatch(r"(.+)-(\d+)-[0-9a-f]+", job)
    if parts is None or parts[1] != _host():
        return True
    # Another job that had this process's number has ended: so a restarted container removes what it left.
    return int(parts[2]) != os.getpid() and psutil.pid_exists(int(parts[2]))


def _host() -> str:
    return socket.gethostname()[:64]  # as long as Linux lets it be: names that begin alike are told apart at the end


def local_devices() -> int:
    """How many devices this process drives."""
    return jax.local_device_count()


def is_main_process() -> bool:
    """Whether this is the process that writes shared files."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process has come to the barrier of this name.

    Raises:
        ProcessLostError: if one does not come in time, where `distributed.start` has joined the processes.
    """
    if processes.is_watching():
        processes.barrier(name)
    elif jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def split_over(devices: Sequence[jax.Device]) -> NamedSharding:
    """Says that the first axis of an array is split over devices."""
    return NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec(AXIS))


def on_each(function: Callable, split: NamedSharding) -> Callable:
    """Lets every device apply `function` to its own part of the arguments; the results are split like these.

    For use inside jit: one program, in which every device may take a different number of turns of a loop.
    """
    return jax.shard_map(function, mesh=split.mesh, in_specs=split.spec, out_specs=split.spec, check_vma=False)


def gather_rows(rows: np.ndarray) -> np.ndarray:
    """The rows [n, ...] of every process, one after the other; every process gets them all."""
    if jax.process_count() == 1:
        return rows
    counts = multihost_utils.process_allgather(np.array(len(rows)))
    padded = np.zeros((int(counts.max()), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    # As bytes, for JAX would cut 64-bit numbers in half.
    gathered = multihost_utils.process_allgather(np.ascontiguousarray(padded).view(np.uint8).reshape(-1))
    parts = np.asarray(gathered).reshape(len(counts), -1).view(rows.dtype).reshape(len(counts), *padded.shape)
    return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])


def from_main(tree: Any) -> Any:
    """The arrays of the main process, for every process, to the last bit.

    Args:
        tree: of host arrays; on other processes only their shapes and dtypes matter.
    """
    if jax.process_count() == 1:
        return tree
    # As bytes, for what is sent is a sum with the others' zeros, by which -0.0 would become 0.0.
    sent = multihost_utils.broadcast_one_to_all(jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), tree))
    return jax.tree.map(lambda x, b: np.asarray(b).view(x.dtype).reshape(x.shape), tree, sent)


def text_from_main(text: str) -> str:
    """The text of the main process, for every process."""
    return gather_rows(np.frombuffer(text.encode() if is_main_process() else b"", np.uint8)).tobytes().decode()


def _local_sharding(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.asarray(jax.local_devices()), (AXIS,)), spec)
