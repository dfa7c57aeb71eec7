"""Several processes: how they find each other, notice that one is gone, and end together.

Processes that are given a coordinator first meet at its address and compare what they were told, because JAX ends a
process without an exception where they differ. While they run, each says every second that it is alive, through the
key-value store of JAX's coordination service, and looks for the others: one that fails tells the others why, and a
silent one is given up after `SILENCE_S`. Where process 0 goes, which runs that service, JAX aborts the others at once.
"""

import atexit
import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import re
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import jax

from data_redundancy.errors import STOPPED, InputError, ProcessLostError

SILENCE_S = 30.0
"""A process that has not been heard of for so long is taken for dead."""
_BEAT_S = 0.5
_FAREWELLS = 10
_GREETING = ("process_id", "num_processes")
_GREETING_BYTES = 1000
_PREFIX = "data_redundancy/"
_LOST = re.compile(r"gloo|nccl|closed by peer|connection reset|socket closed|unavailable", re.IGNORECASE)

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Processes:
    """How many processes there are to be, and who this one is; None where nobody said.

    Attributes:
        coordinator: HOST:PORT at which process 0 can be reached.
        num_processes: how many there are.
        process_id: the number of this one, from 0.
        num_devices: how many devices all of them have together.
        start_timeout_s: how long to wait for the others at the start.
        barrier_timeout_s: how long to wait for them at a barrier, or at the end.
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


def parse(given: dict[str, str | None]) -> Processes:
    """What flags say, and where they are silent the environment.

    Args:
        given: a text or None for every field of `Processes`.

    Raises:
        InputError: for a value that is none, or one of the first three without the others.
    """
    names = {name: f"--{name}" for name in given}
    values = dict(given)
    for name, variable in _ENVIRONMENT.items():
        if values[name] is None and os.environ.get(variable):
            values[name], names[name] = os.environ[variable], variable
    for name in ("num_processes", "process_id", "num_devices"):
        values[name] = _whole_number(values[name], names[name], least=0 if name == "process_id" else 1)
    for name in ("start_timeout_s", "barrier_timeout_s"):
        values[name] = _seconds(values[name], names[name], default=getattr(Processes, name))
    processes = Processes(**values)
    missing = [name for name in _ENVIRONMENT if values[name] is None]
    if missing and len(missing) < len(_ENVIRONMENT) and not _in_slurm_step():
        raise InputError(
            f"--{missing[0]}: must be given with the rest of --coordinator, --num_processes and --process_id, or as "
            f"{_ENVIRONMENT[missing[0]]} in the environment"
        )
    if processes.coordinator is not None:
        _address(processes.coordinator, names["coordinator"])
    if (processes.process_id or 0) >= (processes.num_processes or sys.maxsize):
        raise InputError(
            f"{names['process_id']}={processes.process_id}: must be less than "
            f"{names['num_processes']}={processes.num_processes}"
        )
    return processes


def start(processes: Processes) -> None:
    """Joins the other processes, where there are any; before anything else of JAX is used.

    On TPU pods, under Slurm and under Open MPI, JAX finds out by itself who they are.

    Raises:
        InputError: if the coordinator does not answer in time, processes are missing or were told different things, or
            the number of processes or devices is not what was asked for.
    """
    if not jax.distributed.is_initialized():
        _initialize(processes)
    _check_count("processes", processes.num_processes, jax.process_count)
    _check_count("devices", processes.num_devices, jax.device_count)
    global _watch
    if jax.distributed.is_initialized() and jax.process_count() > 1 and _watch is None:
        per_process = [sum(d.process_index == p for d in jax.devices()) for p in range(jax.process_count())]
        if len(set(per_process)) > 1:
            raise InputError(f"devices: the processes have {per_process} of them; each must have as many as the others")
        _watch = _Watch(processes.barrier_timeout_s)
        _watch.start()
        atexit.register(_part)
        log.info(
            "process %d of %d, %d of %d devices",
            jax.process_index(),
            jax.process_count(),
            jax.local_device_count(),
            jax.device_count(),
        )


def _part() -> None:
    """Takes leave of the other processes, watching them to the last, then ends the watch.

    A thread that is still inside JAX's client when Python ends brings the whole process down.
    """
    try:
        jax.distributed.shutdown()
    finally:
        _watch.stop()


def _check_count(name: str, asked: int | None, count: Callable[[], int]) -> None:
    # Counting starts JAX's devices up, which commands that need none should not wait for.
    if asked is not None and asked != count():
        raise InputError(f"--num_{name}={asked}: must be the number of {name} there are, which is {count()}")


def is_watching() -> bool:
    """Whether this is one of several processes that `start` has joined."""
    return _watch is not None


def end_all(code: int, message: str) -> None:
    """Tells the other processes to end, waits a moment until they have heard it, and ends this one."""
    _watch.end_all(code, message)


def ends_because_of_another(error: Exception) -> str | None:
    """What to say of an error that comes of another process's end; None for any other error."""
    if not is_watching():
        return None
    _watch.wait_to_be_ended()
    text = " ".join(str(error).split())
    if isinstance(error, ProcessLostError):
        return text
    return f"lost contact to another process ({text[:200]})" if _LOST.search(text) else None


def _initialize(processes: Processes) -> None:
    options = {
        "initialization_timeout": round(processes.start_timeout_s),
        "shutdown_timeout_seconds": round(processes.barrier_timeout_s),
    }
    # SIGTERM is ours: see `stopping`.
    jax.config.update("jax_enable_preemption_service", False)
    if processes.coordinator is not None and processes.process_id is not None:
        if processes.num_processes == 1:
            return
        _meet(processes)
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            processes.coordinator,
            processes.num_processes,
            processes.process_id,
            cluster_detection_method="deactivate",
            **options,
        )
    elif _in_slurm_step() or int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(processes.coordinator, processes.num_processes, processes.process_id, **options)
    elif _may_be_tpu():
        try:
            jax.distributed.initialize(**options)
        except ValueError:
            log.debug("no pod: JAX found no coordinator")


def _in_slurm_step() -> bool:
    return "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def _may_be_tpu() -> bool:
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return importlib.util.find_spec("libtpu") is not None and (not platforms or "tpu" in platforms)


def _meet(processes: Processes) -> None:
    """Waits until all processes have come to the coordinator's address, and said that they were told the same."""
    host, port = _address(processes.coordinator, "--coordinator")
    deadline = time.monotonic() + processes.start_timeout_s
    me = {name: getattr(processes, name) for name in _GREETING}
    if processes.process_id == 0:
        fault = _host_meeting(processes, port, deadline)
    else:
        fault = _go_to_meeting(processes, (host, port), deadline, me)
    if fault:
        raise InputError(fault)


def _host_meeting(processes: Processes, port: int, deadline: float) -> str | None:
    arrived: dict[int, socket.socket] = {}
    fault = None
    try:
        listener = _listener(port, backlog=processes.num_processes)
    except OSError as error:
        reason = os.strerror(error.errno)
        return f"--coordinator={processes.coordinator}: process 0 cannot listen on port {port} ({reason})"
    with listener:
        for connection, said in _arrivals(listener, deadline):
            fault = _difference(processes, said, arrived)
            # Of two with one number both are told.
            arrived[-len(arrived) - 1 if said["process_id"] in arrived else said["process_id"]] = connection
            if fault or len(arrived) == processes.num_processes - 1:
                break
        else:
            missing = sorted({*range(1, processes.num_processes)} - {*arrived})
            fault = (
                f"--num_processes={processes.num_processes}: after {processes.start_timeout_s:g} s process "
                f"{', '.join(map(str, missing))} has not come to {processes.coordinator}"
            )
        for connection in arrived.values():
            try:
                connection.sendall((json.dumps(fault) + "\n").encode())
                connection.recv(1)  # the other side closes first, so that the port is free at once
            except OSError:
                pass
            connection.close()
    return fault


def _listener(port: int, *, backlog: int) -> socket.socket:
    """Takes connections of IPv6 and IPv4, as the coordinator's address may be either."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", port), backlog=backlog)


def _arrivals(listener: socket.socket, deadline: float) -> Iterator[tuple[socket.socket, dict[str, int]]]:
    """The other processes' connections and what they say of themselves, until the deadline.

    Anybody may connect to a port, and say nothing or something else: nobody is waited for while others come, and what
    is no greeting is closed. A process whose connection broke comes again.
    """
    waiting: dict[socket.socket, bytearray] = {}
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        try:
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.fileobj is listener:
                        _accept(listener, waiting, selector)
                        continue
                    connection, said = key.fileobj, waiting[key.fileobj]
                    if _read_line(connection, said):
                        selector.unregister(connection)
                        del waiting[connection]
                        if (greeting := _greeting(said)) is None:
                            connection.close()
                        else:
                            connection.settimeout(5)
                            yield connection, greeting
        finally:
            for connection in waiting:
                connection.close()


def _accept(listener: socket.socket, waiting: dict[socket.socket, bytearray], selector) -> None:
    with contextlib.suppress(OSError):  # it may be gone again
        connection, _ = listener.accept()
        connection.setblocking(False)
        waiting[connection] = bytearray()
        selector.register(connection, selectors.EVENT_READ)


def _read_line(connection: socket.socket, said: bytearray) -> bool:
    """Reads what there is; whether nothing more is to come: the line is complete, too long, or its writer gone."""
    try:
        more = connection.recv(_GREETING_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        more = b""
    said += more
    return not more or b"\n" in more or len(said) >= _GREETING_BYTES


def _greeting(line: bytes) -> dict[str, int] | None:
    """What a process says of itself; None for anything else."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_greeting = isinstance(said, dict) and all(type(said.get(name)) is int for name in _GREETING)
    return said if is_greeting else None


def _difference(processes: Processes, said: dict[str, int], arrived: dict[int, socket.socket]) -> str | None:
    if said["num_processes"] != processes.num_processes:
        return (
            f"--num_processes: process {said['process_id']} was told {said['num_processes']}, process 0 "
            f"{processes.num_processes}; all must be told the same"
        )
    if said["process_id"] in arrived or not 0 < said["process_id"] < processes.num_processes:
        return f"--process_id={said['process_id']}: two processes have it; each must have its own"
    return None


def _go_to_meeting(processes: Processes, address, deadline: float, me: dict[str, int]) -> str | None:
    fault = (
        f"--coordinator={processes.coordinator}: no answer within {processes.start_timeout_s:g} s; process 0 must run "
        "there"
    )
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(address, timeout=max(min(deadline - time.monotonic(), 10), 0.01)) as there:
                there.sendall((json.dumps(me) + "\n").encode())
                there.settimeout(max(deadline + 5 - time.monotonic(), 1))
                if answer := there.makefile().readline():
                    return json.loads(answer)
        except (OSError, ValueError):
            pass
        time.sleep(0.2)
    return fault


class _Watch(threading.Thread):
    """Says that this process is alive, and looks whether the others are."""

    def __init__(self, barrier_timeout_s: float):
        super().__init__(name="watch", daemon=True)
        # JAX has no public door to its key-value store; Orbax takes this one too.
        from jax._src import distributed as jax_distributed

        self._client = jax_distributed.global_state.client
        self._me, self._count = jax.process_index(), jax.process_count()
        self._ending = threading.Lock()
        self._barrier_timeout_s = barrier_timeout_s
        self._barriers = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        beat, heard = 0, {}
        while not self._stopped.is_set():
            beat += 1
            try:
                self._client.key_value_set(f"{_PREFIX}alive/{self._me}", str(beat), allow_overwrite=True)
                entries = dict(self._client.key_value_dir_get(_PREFIX))
            except Exception:  # at the end of the process, or where process 0 is gone, which JAX sees to
                return
            if end := entries.get(f"{_PREFIX}end"):
                said = json.loads(end)
                self._end(said["code"], f"stopped, as process {said['process']} was: {said['message']}")
            now = time.monotonic()
            for process in range(self._count):
                said = entries.get(f"{_PREFIX}alive/{process}")
                if heard.get(process, (None,))[0] != said or process not in heard:
                    heard[process] = (said, now)
                elif now - heard[process][1] > SILENCE_S:
                    self._end(STOPPED, f"process {process} has not been heard of for {SILENCE_S:g} s")
            self._stopped.wait(_BEAT_S)

    def stop(self) -> None:
        """Ends the thread, and waits until it has ended."""
        self._stopped.set()
        self.join()

    def barrier(self, name: str) -> None:
        self._barriers += 1
        try:
            # Not the name, in which there may be a path that differs between hosts.
            self._client.wait_at_barrier(
                f"{_PREFIX}{self._barriers}", timeout_in_ms=round(1000 * self._barrier_timeout_s)
            )
        except Exception as error:
            self.wait_to_be_ended()
            raise ProcessLostError(
                f"--barrier_timeout_s={self._barrier_timeout_s:g}: another process did not come to {name!r}"
            ) from error

    def end_all(self, code: int, message: str) -> None:
        with self._ending:  # and keeps it: nothing else ends this process now
            said = json.dumps({"code": code, "message": message, "process": self._me})
            with contextlib.suppress(Exception):  # another one was first
                self._client.key_value_set(f"{_PREFIX}end", said)
            self._leave(code)

    def wait_to_be_ended(self) -> None:
        """Gives another process, whose end may be why this one fails, the time to say so."""
        time.sleep(4 * _BEAT_S)

    def _end(self, code: int, message: str) -> None:
        if not self._ending.acquire(blocking=False):
            time.sleep(60)  # the main thread is ending this process
        _say(message)
        self._leave(code)

    def _leave(self, code: int) -> None:
        """Ends this process; process 0 the last: the service ends with it, and whoever has not heard is aborted."""
        try:
            self._client.key_value_set(f"{_PREFIX}ended/{self._me}", "1", allow_overwrite=True)
            for _ in range(_FAREWELLS if self._me == 0 else 0):
                time.sleep(_BEAT_S)
                if len(self._client.key_value_dir_get(f"{_PREFIX}ended/")) == self._count:
                    break
        finally:
            _exit(code)


_watch: _Watch | None = None


def barrier(name: str) -> None:
    """Waits until every process has come to the barrier of this name.

    Raises:
        ProcessLostError: if one does not within `Processes.barrier_timeout_s`.
    """
    _watch.barrier(name)


def _say(message: str) -> None:
    print(f"data-redundancy: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _exit(code: int) -> None:
    """Without JAX's farewell, which would wait for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _address(text: str, name: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isdecimal() and 0 < int(port) < 2**16):
        raise InputError(f"{name}={text}: must be HOST:PORT, such as 10.0.0.1:1234")
    return host.strip("[]"), int(port)


def _whole_number(text: str | None, name: str, *, least: int) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d+", text.strip()) or int(text) < least:
        raise InputError(f"{name}={text}: must be a whole number, at least {least}")
    return int(text)


def _seconds(text: str | None, name: str, *, default: float) -> float:
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise InputError(f"{name}={text}: must be a number of seconds, greater than 0")
    return seconds
