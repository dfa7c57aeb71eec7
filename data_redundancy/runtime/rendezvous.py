"""How the processes of a job meet before JAX joins them.

Every process connects to the coordinator's address, where process 0 listens, and sends its number and how many
processes it expects. Process 0 compares these and answers each process, so that all of them raise the same error. JAX
alone would end a process without an exception if the numbers differed.
"""

import contextlib
import dataclasses
import json
import os
import selectors
import socket
import time
from collections.abc import Collection, Iterator

from data_redundancy.errors import InputError

_GREETING = ("process_id", "num_processes")
_GREETING_BYTES = 1000
_ANSWER_TIMEOUT_S = 5.0
_RETRY_S = 0.2


@dataclasses.dataclass(frozen=True)
class _Meeting:
    """What this process knows about the meeting; see `meet`. `deadline` is a value of `time.monotonic`."""

    coordinator: str
    num_processes: int
    process_id: int
    timeout_s: float
    deadline: float


def parse_address(text: str, argument: str) -> tuple[str, int]:
    """Splits HOST:PORT into host and port.

    Args:
        text: the address; an IPv6 host is in brackets.
        argument: the argument that errors name.

    Raises:
        InputError: if the text is not an address with a port from 1 to 65535.
    """
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isdecimal() and 0 < int(port) < 2**16):
        raise InputError(argument, text, "must be HOST:PORT, such as 10.0.0.1:1234")
    return host.strip("[]"), int(port)


def meet(coordinator: str, num_processes: int, process_id: int, *, timeout_s: float) -> None:
    """Waits until all processes have connected to the coordinator's address and agree on their numbers.

    Args:
        coordinator: HOST:PORT at which process 0 can be reached.
        num_processes: the number of processes.
        process_id: the number of this process, from 0.
        timeout_s: how long to wait, in seconds.

    Raises:
        InputError: if the address cannot be used, processes are missing or their numbers contradict each other. All
            processes that have connected raise the same error.
    """
    meeting = _Meeting(coordinator, num_processes, process_id, timeout_s, time.monotonic() + timeout_s)
    address = parse_address(coordinator, "coordinator")
    fault = _host(meeting, address[1]) if process_id == 0 else _visit(meeting, address)
    if fault is not None:
        raise fault


def _host(meeting: _Meeting, port: int) -> InputError | None:
    """Waits for the other processes and answers them; returns the error that all of them must raise."""
    arrived: dict[int, socket.socket] = {}
    fault = None
    try:
        listener = _listener(port, backlog=meeting.num_processes)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        requirement = f"must have a port on which process 0 can listen ({reason})"
        return InputError("coordinator", meeting.coordinator, requirement)
    with listener:
        for connection, greeting in _arrivals(listener, meeting.deadline):
            fault = _contradiction(meeting, greeting, arrived)
            # Both of two processes with the same number get an answer.
            number = greeting["process_id"]
            arrived[-len(arrived) - 1 if number in arrived else number] = connection
            if fault or len(arrived) == meeting.num_processes - 1:
                break
        else:
            fault = _missing(meeting, arrived)
        _answer_all(arrived.values(), fault)
    return fault


def _answer_all(connections: Collection[socket.socket], fault: InputError | None) -> None:
    answer = json.dumps(None if fault is None else fault.args) + "\n"
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(answer.encode())
            connection.recv(1)  # the other side closes first, so that the port is free at once
        connection.close()


def _missing(meeting: _Meeting, arrived: Collection[int]) -> InputError:
    numbers = sorted({*range(1, meeting.num_processes)} - {*arrived})
    processes = f"process{'es' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
    return InputError(
        "num_processes",
        meeting.num_processes,
        f"must be the number of processes that run: after {meeting.timeout_s:g} s, {processes} had not connected to "
        f"{meeting.coordinator}",
    )


def _contradiction(meeting: _Meeting, greeting: dict[str, int], arrived: Collection[int]) -> InputError | None:
    """Returns the error about a greeting that contradicts what process 0 knows, or None."""
    number, count = greeting["process_id"], greeting["num_processes"]
    if count != meeting.num_processes:
        requirement = (
            f"must be the same for all processes, but is {count} for process {number} and {meeting.num_processes} for "
            "process 0"
        )
        return InputError("num_processes", None, requirement)
    if number in arrived or not 0 < number < meeting.num_processes:
        return InputError("process_id", number, "must differ between processes, but two processes have this number")
    return None


def _listener(port: int, *, backlog: int) -> socket.socket:
    """Returns a socket that accepts connections of IPv6 and IPv4, as the coordinator's address may be either."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", port), backlog=backlog)


def _arrivals(listener: socket.socket, deadline: float) -> Iterator[tuple[socket.socket, dict[str, int]]]:
    """Yields the connection and the greeting of each process that arrives before the deadline.

    Any program may connect to a port, and send nothing or something else. So several connections are read at the same
    time, and one that does not send a greeting is closed. A process whose connection broke connects again.
    """
    waiting: dict[socket.socket, bytearray] = {}
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        try:
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    connection = key.fileobj
                    assert isinstance(connection, socket.socket)
                    if connection is listener:
                        _accept(listener, waiting, selector)
                    elif _read_line(connection, waiting[connection]):
                        selector.unregister(connection)
                        greeting = _parse_greeting(waiting.pop(connection))
                        if greeting is None:
                            connection.close()
                        else:
                            connection.settimeout(_ANSWER_TIMEOUT_S)
                            yield connection, greeting
        finally:
            for connection in waiting:
                connection.close()


def _accept(listener: socket.socket, waiting: dict[socket.socket, bytearray], selector: selectors.BaseSelector) -> None:
    with contextlib.suppress(OSError):  # the other side may have closed it again
        connection, _ = listener.accept()
        connection.setblocking(False)
        waiting[connection] = bytearray()
        selector.register(connection, selectors.EVENT_READ)


def _read_line(connection: socket.socket, line: bytearray) -> bool:
    """Appends the bytes that have arrived to `line`; returns whether it is complete, too long, or truncated."""
    try:
        more = connection.recv(_GREETING_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        more = b""
    line += more
    return not more or b"\n" in more or len(line) >= _GREETING_BYTES


def _parse_greeting(line: bytearray) -> dict[str, int] | None:
    """Returns the numbers that a process sends, or None for anything else."""
    try:
        greeting = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_greeting = isinstance(greeting, dict) and all(type(greeting.get(name)) is int for name in _GREETING)
    return greeting if is_greeting else None


def _visit(meeting: _Meeting, address: tuple[str, int]) -> InputError | None:
    """Connects to process 0 until it answers; returns the error that it sent, or one if it did not answer in time."""
    greeting = json.dumps({name: getattr(meeting, name) for name in _GREETING}) + "\n"
    while (left := meeting.deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(address, timeout=max(min(left, 10), 0.01)) as connection:
                connection.sendall(greeting.encode())
                # Process 0 may answer only at its own deadline.
                connection.settimeout(max(meeting.deadline + _ANSWER_TIMEOUT_S - time.monotonic(), 1))
                if answer := connection.makefile().readline():
                    parts = json.loads(answer)
                    return None if parts is None else InputError(*parts)
        except (OSError, ValueError):  # process 0 does not listen yet, or another program does
            pass
        time.sleep(_RETRY_S)
    requirement = f"must be the address of process 0, but nothing answered there within {meeting.timeout_s:g} s"
    return InputError("coordinator", meeting.coordinator, requirement)
