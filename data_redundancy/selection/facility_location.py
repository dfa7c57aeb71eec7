"""Keep examples to which the others are similar: facility location, by lazy greedy maximisation."""

import heapq
from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import unit_vectors
from data_redundancy.selection.result import Selection

HELD_BYTES = 2**31
"""The similarities of so many bytes are held: those of a whole class if they fit, else of the rows looked at last."""
_FETCHED = 64
_BITS = 24


def select(pool: Pool, num_pruned: Mapping[int, int]) -> Selection:
    """In every class keeps, one after the other, the example that adds most to f(S) = sum_i max_{j in S} s(i, j).

    s is (1 + cosine similarity) / 2, not negative, as f needs it to grow with S; the paper leaves the similarity open.
    Sums over the examples of one class, and of all classes, are the paper's function for nearest-neighbour classifiers;
    it limits how many are kept in all, here every class has a number of its own. A gain never grows (f is submodular),
    so the gains known from before are upper bounds, and most need not be computed again. Of equal gains the lowest
    index is taken; s is rounded to 2^-24, for sums that are exact in any order. f of what is kept is at least 1 - 1/e
    of the largest possible.

    Args:
      pool: with embeddings.
      num_pruned: for every label, how many of its examples go.

    Raises:
      InputError: the pool has no embeddings.

    References:
      Wei, Iyer, Bilmes, "Submodularity in Data Subset Selection and Active Learning", ICML 2015, section 4.
      Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978: lazy evaluation.
    """
    embeddings = embeddings_of(pool, "facility_location")
    return keep_by_class(
        "facility_location", pool, num_pruned, lambda members, num_kept, _: lazy_greedy(embeddings[members], num_kept)
    )


def lazy_greedy(x: np.ndarray, count: int) -> np.ndarray:
    """The rows of x [n, D] chosen, in the order of their choice, [count] int64."""
    unit = _fixed_point(unit_vectors(x))
    similarities = _Similarities(unit)
    covered = np.zeros(len(unit), np.float32)  # similarity of every row to the most similar one chosen
    # The gains of the first choice, and what rounding may add to them.
    bounds = 0.5 * (len(unit) + unit @ unit.sum(axis=0)) + len(unit) * 2.0**-_BITS
    heap = list(zip((-bounds).tolist(), range(len(unit)), strict=True))
    heapq.heapify(heap)
    chosen = np.empty(count, np.int64)
    for i in range(count):
        gain, row = None, None
        while row is None or (heap and heap[0] < (gain, row)):
            similar = similarities.of_first(heap)
            candidate = heapq.heappop(heap)[1] if row is None else heapq.heapreplace(heap, (gain, row))[1]
            gain, row = -float(np.maximum(similar - covered, 0).sum(dtype=np.float64)), candidate
        # The last one that was looked at: no other is left that may be better.
        chosen[i] = row
        np.maximum(covered, similar, out=covered)
    return chosen


def _fixed_point(unit: np.ndarray) -> np.ndarray:
    """Rounds unit vectors [n, D] so that float64 holds their products, and sums of them, exactly."""
    return np.rint(unit * 2.0**_BITS) * 2.0**-_BITS


class _Similarities:
    """Rows of the matrix of similarities, computed many at a time, before they are looked at."""

    def __init__(self, unit: np.ndarray):
        """`unit` [n, D] float64 is of fixed point."""
        self._unit = unit
        num_slots = min(len(unit), max(_FETCHED, HELD_BYTES // (4 * len(unit))))
        self._rows = np.empty((num_slots, len(unit)), np.float32)
        self._slots: dict[int, int] = {}  # of every row that is held, the one looked at last at the end
        if num_slots == len(unit):
            for start in range(0, len(unit), _FETCHED):
                self._fetch(list(range(start, min(start + _FETCHED, len(unit)))))

    def of_first(self, heap: list[tuple[float, int]]) -> np.ndarray:
        """The similarities of the first row of a heap to all rows, [n] float32, multiples of 2^-24."""
        row = heap[0][1]
        if row not in self._slots:
            self._fetch([row for _, row in heapq.nsmallest(_FETCHED, heap) if row not in self._slots])
        self._slots[row] = self._slots.pop(row)
        return self._rows[self._slots[row]]

    def _fetch(self, rows: list[int]) -> None:
        product = self._unit[rows] @ self._unit.T
        product += 1
        product *= 2.0 ** (_BITS - 1)
        np.rint(product, out=product)
        product *= 2.0**-_BITS
        np.minimum(product, 1, out=product)
        for row, similar in zip(rows, product, strict=True):
            is_full = len(self._slots) == len(self._rows)
            slot = self._slots.pop(next(iter(self._slots))) if is_full else len(self._slots)
            self._rows[slot], self._slots[row] = similar, slot
