"""Several processes: who they are, how they join, and how they end together.

Processes that are given a coordinator first meet at its address (`rendezvous`), then JAX joins them. While they run,
each watches the others (`watch`).
"""

import atexit
import dataclasses
import functools
import importlib.util
import logging
import os
import re
from collections.abc import Callable

import jax

from data_redundancy.errors import InputError, ProcessLostError
from data_redundancy.runtime import rendezvous
from data_redundancy.runtime.watch import Watch

_LOST = re.compile(r"gloo|nccl|closed by peer|connection reset|socket closed|unavailable", re.IGNORECASE)
_LONGEST_TIMEOUT_S = 1e6

log = logging.getLogger("data_redundancy")

_watch: Watch | None = None


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a job, and which of them this one is. None: not specified.

    Attributes:
        coordinator: HOST:PORT at which process 0 can be reached.
        num_processes: the number of processes.
        process_id: the number of this process, from 0.
        num_devices: the number of devices that all processes have together.
        start_timeout_s: how long to wait for the other processes at the start, in seconds.
        barrier_timeout_s: how long to wait for the other processes at a barrier or at the end, in seconds.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    num_devices: int | None = None
    start_timeout_s: float = 300.0
    barrier_timeout_s: float = 7200.0


_ENVIRONMENT = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}


def resolve(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    num_devices: int | None = None,
    start_timeout_s: float | None = None,
    barrier_timeout_s: float | None = None,
) -> Processes:
    """Returns the processes of this job; arguments that are None are taken from the environment, or else by default.

    The variables are JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Args:
        coordinator: see `Processes`.
        num_processes: see `Processes`.
        process_id: see `Processes`.
        num_devices: see `Processes`.
        start_timeout_s: see `Processes`.
        barrier_timeout_s: see `Processes`.

    Raises:
        InputError: naming the argument or the variable, for an invalid value; or if only some of `coordinator`,
            `num_processes` and `process_id` are given, unless Slurm knows the others.
    """
    address, address_name = _given_or_from_environment("coordinator", coordinator)
    count, count_name = _whole_number("num_processes", num_processes, least=1)
    number, number_name = _whole_number("process_id", process_id, least=0)
    devices, _ = _whole_number("num_devices", num_devices, least=1)
    values = {"coordinator": address, "num_processes": count, "process_id": number}
    missing = [name for name, value in values.items() if value is None]
    if missing and len(missing) < len(values) and not _in_slurm_step():
        raise InputError(
            missing[0],
            None,
            "must be given if any of coordinator, num_processes and process_id is given",
            f"Give it, or set {_ENVIRONMENT[missing[0]]} in the environment",
        )
    if address is not None:
        rendezvous.parse_address(str(address), address_name)
    if number is not None and count is not None and number >= count:
        raise InputError(number_name, number, f"must be less than {count_name}, which is {count}")
    return Processes(
        None if address is None else str(address),
        count,
        number,
        devices,
        _seconds("start_timeout_s", start_timeout_s, default=Processes.start_timeout_s),
        _seconds("barrier_timeout_s", barrier_timeout_s, default=Processes.barrier_timeout_s),
    )


def start(processes: Processes) -> None:
    """Joins the other processes, if there are any. Must be called before JAX is used for anything else.

    On TPU pods, under Slurm and under Open MPI, JAX determines the processes by itself.

    Raises:
        InputError: if the coordinator does not answer in time, processes are missing or disagree about their numbers,
            or the number of processes or devices differs from the requested one.
    """
    if not jax.distributed.is_initialized():
        _initialize(processes)
    _check_count("processes", processes.num_processes, jax.process_count)
    _check_count("devices", processes.num_devices, jax.device_count)
    global _watch
    if jax.distributed.is_initialized() and jax.process_count() > 1 and _watch is None:
        per_process = [sum(d.process_index == p for d in jax.devices()) for p in range(jax.process_count())]
        if len(set(per_process)) > 1:
            requirement = f"must be the same for every process, but the processes have {per_process} devices"
            raise InputError("num_devices", None, requirement)
        _watch = Watch(processes.barrier_timeout_s)
        _watch.start()
        atexit.register(_shut_down, _watch)
        log.info(
            "process %d of %d, %d of %d devices",
            jax.process_index(),
            jax.process_count(),
            jax.local_device_count(),
            jax.device_count(),
        )


def is_watching() -> bool:
    """Returns whether this is one of several processes that `start` has joined."""
    return _watch is not None


def barrier(name: str) -> None:
    """Waits until every process has called this function; see `Watch.barrier`. `start` must have joined them.

    Raises:
        ProcessLostError: if a process does not call it within `Processes.barrier_timeout_s`.
    """
    _running_watch().barrier(name)


def end_all(code: int, message: str) -> None:
    """Makes the other processes end, gives them a moment to do so, and ends this one. `start` must have joined them."""
    _running_watch().end_all(code, message)


def ends_because_of_another(error: Exception) -> str | None:
    """Returns the message for an error that the end of another process has caused, or None for any other error."""
    if _watch is None:
        return None
    _watch.wait_to_be_ended()
    text = " ".join(str(error).split())
    if isinstance(error, ProcessLostError):
        return text
    return f"lost contact with another process ({text[:200]})" if _LOST.search(text) else None


def _running_watch() -> Watch:
    assert _watch is not None, "processes.start has joined no other processes"
    return _watch


def _shut_down(watch: Watch) -> None:
    """Waits for the other processes, which are watched meanwhile, then stops the watch.

    A thread that is still inside JAX's client when Python ends aborts the whole process.
    """
    try:
        jax.distributed.shutdown()
    finally:
        watch.stop()


def _initialize(processes: Processes) -> None:
    initialize = functools.partial(
        jax.distributed.initialize,
        initialization_timeout=round(processes.start_timeout_s),
        shutdown_timeout_seconds=round(processes.barrier_timeout_s),
    )
    # `stopping` handles SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    coordinator, count, number = processes.coordinator, processes.num_processes, processes.process_id
    if coordinator is not None and count is not None and number is not None:
        if count == 1:
            return
        rendezvous.meet(coordinator, count, number, timeout_s=processes.start_timeout_s)
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        initialize(coordinator, count, number, cluster_detection_method="deactivate")
    elif _in_slurm_step() or int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        initialize(coordinator, count, number)
    elif _may_be_tpu():
        try:
            initialize()
        except ValueError:
            log.debug("JAX found no coordinator: this is no TPU pod")


def _check_count(name: str, requested: int | None, count: Callable[[], int]) -> None:
    # Counting starts JAX's devices, which takes time that commands without devices should not spend.
    if requested is not None and requested != count():
        raise InputError(f"num_{name}", requested, f"must be the number of {name} of this job, which is {count()}")


def _in_slurm_step() -> bool:
    return "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def _may_be_tpu() -> bool:
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return importlib.util.find_spec("libtpu") is not None and (not platforms or "tpu" in platforms)


def _given_or_from_environment(name: str, value: str | int | None) -> tuple[str | int | None, str]:
    """Returns a value and the argument that errors name: the variable, if the value is the environment's text."""
    variable = _ENVIRONMENT.get(name, "")
    if value is None and (text := os.environ.get(variable)):
        return text, variable
    return value, name


def _whole_number(name: str, value: int | None, *, least: int) -> tuple[int | None, str]:
    """Returns a number, from the environment if it is not given, and the argument that errors name."""
    found, argument = _given_or_from_environment(name, value)
    number = int(found) if isinstance(found, str) and re.fullmatch(r"\s*\d+\s*", found) else found
    if number is None or (isinstance(number, int) and number >= least):
        return number, argument
    raise InputError(argument, found, f"must be a whole number, at least {least}")


def _seconds(name: str, value: float | None, *, default: float) -> float:
    if value is None:
        return default
    if not 0 < value < _LONGEST_TIMEOUT_S:
        requirement = f"must be a number of seconds, greater than 0 and less than {_LONGEST_TIMEOUT_S:,.0f}"
        raise InputError(name, value, requirement)
    return value
