"""How contestants are timed."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 10.0
"""Rounds go on for so long."""
WARM = 5
"""Batches of a stream that come before the timed ones, unless said otherwise."""

Measured = dict[str, Any]
"""{"images" and "seconds" of what is timed, "first_seconds" of what came before, with compilation}."""


def repeat(work: Callable[[], int]) -> Measured:
    """Does the work once untimed, and then again and again; it returns the number of images it has done with."""
    start = time.perf_counter()
    work()
    first_seconds, images = time.perf_counter() - start, 0
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < SECONDS:
        images += work()
    return {"images": images, "seconds": seconds, "first_seconds": first_seconds}


def difference(work: Callable[[int], int], *, short: int, long: int) -> Measured:
    """Does a short and a long piece of work, once the short one has been done untimed: what the long one does more.

    Args:
        work: does so many steps, and returns the number of images in them.
        short: steps of the short piece.
        long: steps of the long piece.
    """
    pieces = []
    for steps in (short, short, long):
        start = time.perf_counter()
        images = work(steps)
        pieces.append((images, time.perf_counter() - start))
    first, before, after = pieces
    return {"images": after[0] - before[0], "seconds": after[1] - before[1], "first_seconds": first[1]}


def stream(batches: Iterator[Any], *, batch_size: int, count: int, warm: int = WARM, under_way: int = 0) -> Measured:
    """Takes `count` batches after some that compile, fill queues and read files.

    Args:
        batches: to be taken.
        batch_size: images in each.
        count: how many are timed.
        warm: how many come before.
        under_way: how many more may be done already when timing begins, where the last ones are timed too; they count
            as none.
    """
    start = time.perf_counter()
    for _ in itertools.islice(batches, warm):
        pass
    first_seconds = time.perf_counter() - start
    start = time.perf_counter()
    taken = sum(1 for _ in itertools.islice(batches, count))
    seconds = time.perf_counter() - start
    return {"images": (taken - under_way) * batch_size, "seconds": seconds, "first_seconds": first_seconds}
