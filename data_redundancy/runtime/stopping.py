"""SIGTERM, by which schedulers say that a machine is about to go.

Anywhere it ends the command at once, as Ctrl-C does: artifacts are written whole or not at all. A training run asks for
a moment, `deferred`, to save what it has.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

from data_redundancy.errors import Stopped

_requested = False
_deferring = 0


def install() -> None:
    """Lets SIGTERM raise `Stopped`; only the main thread can, others leave things as they are."""
    global _requested
    _requested = False
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _handle)


def ignore() -> None:
    """Leaves SIGTERM without effect: the process is about to end anyway, and says so to others."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def requested() -> bool:
    """Whether this process has been told to stop."""
    return _requested


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Within the block SIGTERM only makes `requested` true; what is left to do is then to save and raise `Stopped`."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Within the block, which is in one of `deferred`, SIGTERM ends the command at once; also one that came before it.

    For long work in between, once what there is to save is saved.
    """
    global _deferring
    before, _deferring = _deferring, 0
    try:
        if _requested:
            raise Stopped("told to stop (SIGTERM)")
        yield
    finally:
        _deferring = before


def _handle(signum, frame) -> None:
    global _requested
    _requested = True
    if not _deferring:
        raise Stopped("told to stop (SIGTERM)")
