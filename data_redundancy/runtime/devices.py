"""Devices and processes: mapping and splitting over devices, barriers, and data exchanged between processes.

The same program runs on every process, and each process drives its local devices. A *global batch* of B rows is split
evenly and in order over all devices of all processes, so that results do not depend on their numbers. Other modules do
not use `jax.pmap` or `multihost_utils` themselves.
"""

import collections
import functools
import json
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
"""Name of the mapped axis, which collectives inside a mapped function use, as in BatchNorm."""

_JOB_NAME = re.compile(r"(.+)-(\d+)-[0-9a-f]{8}")


def pmap(function: Callable, *, in_axes: Any, out_axes: Any, donate_argnums: tuple[int, ...] = ()) -> Callable:
    """Maps `function` over all devices, with the axis name `AXIS`.

    On the CPU backend, a call waits for its result: with several virtual devices and many calls in flight, XLA's
    in-process all-reduce can deadlock.

    Args:
        function: what to map, written for one device.
        in_axes: for each argument, 0 if it has a leading axis of local devices, None if it is replicated.
        out_axes: the same for the results.
        donate_argnums: positions of arguments whose memory the call may reuse.

    Returns:
        The mapped function, with the method `lower` of functions from `jax.jit`.
    """
    mapped = jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donate_argnums)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        result = mapped(*args)
        if jax.default_backend() == "cpu" and jax.device_count() > 1:
            jax.block_until_ready(result)
        return result

    setattr(call, "lower", mapped.lower)  # noqa: B010 - functions have no attribute `lower` for a type checker
    return call


def replicate(tree: Any) -> Any:
    """Puts a copy of every array on each local device."""
    return jax.device_put(tree, _local_sharding(PartitionSpec()))


def spread(tree: Any) -> Any:
    """Puts each row of arrays [local devices, ...] on a separate device."""
    return jax.device_put(tree, _local_sharding(PartitionSpec(AXIS)))


def own_part(array: np.ndarray, axis: int = 0) -> np.ndarray:
    """Returns the part of a global batch that belongs to this process, when it is split evenly along `axis`."""
    return np.split(array, jax.process_count(), axis=axis)[jax.process_index()]


def stack_local(array: np.ndarray, axis: int = 0) -> np.ndarray:
    """Splits the part of this process over its local devices.

    Args:
        array: the part of a global batch that belongs to this process.
        axis: the axis to split.

    Returns:
        A view of the array with a new leading axis of local devices.
    """
    devices = jax.local_device_count()
    shape = (*array.shape[:axis], devices, array.shape[axis] // devices, *array.shape[axis + 1 :])
    return np.moveaxis(array.reshape(shape), axis, 0)


def put_on_devices(batches: Iterable[Any], *, ahead: int) -> Iterator[Any]:
    """Puts batches on the devices before they are needed, so that copying overlaps with computing.

    Args:
        batches: trees of arrays [local devices, ...] on the host.
        ahead: how many batches to keep on the devices beyond the one in use.

    Yields:
        The batches, in order.
    """
    waiting: collections.deque[Any] = collections.deque()
    for batch in batches:
        waiting.append(spread(batch))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def check_batch_size(batch_size: int, argument: str) -> None:
    """Checks that a global batch can be split evenly over all devices.

    Args:
        batch_size: rows of a global batch.
        argument: the argument that errors name.

    Raises:
        InputError: if the batch size is not a positive multiple of the number of devices.
    """
    devices = jax.device_count()
    if batch_size < 1 or batch_size % devices:
        of = "" if jax.process_count() == 1 else f" ({jax.process_count()} processes of {jax.local_device_count()})"
        requirement = f"must be a positive multiple of the number of devices, {devices}{of}"
        raise InputError(argument, batch_size, requirement)


def row_share(num_rows: int, multiple: int, process: int | None = None) -> tuple[int, int]:
    """Returns the rows [start, stop) that a process owns of an array.

    Args:
        num_rows: rows of the array.
        multiple: every start is a multiple of it, so that each process writes whole chunks of a chunked array.
        process: the number of the process; this process if None.
    """
    process = jax.process_index() if process is None else process
    blocks = -(-num_rows // multiple)
    start, stop = (min(num_rows, multiple * (blocks * p // jax.process_count())) for p in (process, process + 1))
    return start, stop


def process_index() -> int:
    """Returns the number of this process, from 0."""
    return jax.process_index()


def process_count() -> int:
    """Returns the number of processes."""
    return jax.process_count()


@functools.cache
def job_name() -> str:
    """Returns the name of this job: the same on all its processes, and different from that of any other job.

    The name has the host and the process id of the main process, which `may_be_running` reads, and random digits,
    because in containers the process id is usually 1 and hosts may have the same name.
    """
    name = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return gather_rows(np.array([name.encode()], "S96"))[0].decode()


def is_job_name(text: str) -> bool:
    """Returns whether a text has the form of a name of `job_name`."""
    return _JOB_NAME.fullmatch(text) is not None


def may_be_running(job: str) -> bool:
    """Returns whether the job with this name may still be running, which cannot be excluded for jobs of other hosts.

    May be called on the main process only.
    """
    parts = _JOB_NAME.fullmatch(job)
    if parts is None or parts[1] != _host():
        return True
    # A job that had the id of this process has ended; so a restarted container removes the files of its last run.
    return int(parts[2]) != os.getpid() and psutil.pid_exists(int(parts[2]))


def _host() -> str:
    return socket.gethostname()[:64]  # the longest that Linux allows; similar names often differ only at the end


def local_devices() -> int:
    """Returns the number of devices that this process drives."""
    return jax.local_device_count()


def is_main_process() -> bool:
    """Returns whether this is the process that writes shared files."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process has called this function.

    Args:
        name: says in an error which barrier it is.

    Raises:
        ProcessLostError: if `processes.start` has joined the processes, and one does not call this in time.
    """
    if processes.is_watching():
        processes.barrier(name)
    elif jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def split_over(devices: Sequence[jax.Device]) -> NamedSharding:
    """Returns the sharding that splits the first axis of an array over devices."""
    return NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec(AXIS))


def on_each(function: Callable, split: NamedSharding) -> Callable:
    """Returns a function, for use inside jit, that applies `function` to each device's part of the arguments.

    Unlike other functions inside jit, it may contain loops that take a different number of turns on each device.

    Args:
        function: what to apply.
        split: how the arguments are split, and the results will be.
    """
    return jax.shard_map(function, mesh=split.mesh, in_specs=split.spec, out_specs=split.spec, check_vma=False)


def gather_rows(rows: np.ndarray) -> np.ndarray:
    """Concatenates the rows [n, ...] of all processes in order; every process gets the result. n may differ."""
    if jax.process_count() == 1:
        return rows
    counts = multihost_utils.process_allgather(np.array(len(rows)))
    padded = np.zeros((int(counts.max()), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    # Sent as bytes, because JAX would truncate 64-bit numbers.
    gathered = multihost_utils.process_allgather(np.ascontiguousarray(padded).view(np.uint8).reshape(-1))
    parts = np.asarray(gathered).reshape(len(counts), -1).view(rows.dtype).reshape(len(counts), *padded.shape)
    return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])


def from_main(tree: Any) -> Any:
    """Returns the arrays of the main process, bit for bit, on every process.

    Args:
        tree: a tree of host arrays; on other processes only their shapes and dtypes are used.
    """
    if jax.process_count() == 1:
        return tree
    # Sent as bytes, because the broadcast adds zeros of the other processes, which turns -0.0 into 0.0.
    sent = multihost_utils.broadcast_one_to_all(jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), tree))
    return jax.tree.map(lambda x, b: np.asarray(b).view(x.dtype).reshape(x.shape), tree, sent)


def text_from_main(text: str) -> str:
    """Returns the text of the main process on every process."""
    return gather_rows(np.frombuffer(text.encode() if is_main_process() else b"", np.uint8)).tobytes().decode()


def call_on_main(function: Callable[[], Any]) -> Any:
    """Calls `function` on the main process and returns its result, a JSON value, on every process.

    Processes do not see a file that another job writes, or one on a shared disk, at the same moment. They use this
    where they must agree on what they do.

    Raises:
        InputError: on every process, if `function` raises it.
    """
    if jax.process_count() == 1:
        return function()
    if not is_main_process():
        found = json.loads(text_from_main(""))
        if "error" in found:
            raise InputError(*found["error"])
        return found["result"]
    try:
        result = function()
    except InputError as error:
        # The other processes wait for a result.
        text_from_main(json.dumps({"error": error.args}, default=str))
        raise
    return json.loads(text_from_main(json.dumps({"result": result})))["result"]


def _local_sharding(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.asarray(jax.local_devices()), (AXIS,)), spec)
