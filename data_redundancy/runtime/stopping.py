"""Handling of SIGTERM, which schedulers send before they take a machine away.

SIGTERM ends a command at once, as Ctrl-C does; artifacts are written whole or not at all. A training run uses
`deferred` to save a checkpoint first.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from data_redundancy.errors import Stopped

_MESSAGE = "stopped by SIGTERM"

_requested = False
_deferring = 0


def install() -> None:
    """Makes SIGTERM raise `Stopped` in the main thread. Does nothing if called from another thread."""
    global _requested
    _requested = False
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _handle)


def ignore() -> None:
    """Ignores SIGTERM, for a process that is already ending. Does nothing if called from another thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def requested() -> bool:
    """Returns whether this process has received SIGTERM."""
    return _requested


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """In the block, SIGTERM only makes `requested` return True. The block should then save and raise `Stopped`."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """In the block, which is inside a `deferred` one, SIGTERM raises `Stopped` at once, even if it came before.

    Used for long work that has nothing to save.
    """
    global _deferring
    before, _deferring = _deferring, 0
    try:
        if _requested:
            raise Stopped(_MESSAGE)
        yield
    finally:
        _deferring = before


def _handle(signum: int, frame: FrameType | None) -> None:
    global _requested
    _requested = True
    if not _deferring:
        raise Stopped(_MESSAGE)
