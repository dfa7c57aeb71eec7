"""Facility location: keep examples to which the other examples are similar, by lazy greedy maximisation."""

import heapq
from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays
from data_redundancy.selection.vectors import float64_unit_vectors

HELD_BYTES = 2**31
"""Memory for rows of similarities: all rows of a class if they fit, otherwise the most recently used rows."""
_FETCHED = 64
_BITS = 24


def select(pool: Pool, num_pruned: Mapping[int, int]) -> SelectionArrays:
    """Keeps, in every class, one after another the example that adds most to f(S) = sum_i max_{j in S} s(i, j).

    s is (1 + cosine similarity) / 2. It is not negative, so that f grows with S; the paper leaves the similarity open.
    Summed over the examples of one class, and over all classes, f is the paper's function for nearest-neighbour
    classifiers. The paper limits the number kept in all; here every class has its own number.

    f is submodular: the gain of an example never grows. Gains computed in earlier steps are therefore upper bounds, and
    most of them need not be computed again. Of equal gains, the lowest index is taken; s is rounded to 2^-24 so that
    sums of it are exact in any order. f of the kept examples is at least 1 - 1/e of the largest possible value.

    Args:
        pool: with embeddings.
        num_pruned: for every label, how many of its examples to prune.

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
    """Returns the chosen rows of x [n, D] in the order of their choice, [count] int64."""
    unit = _fixed_point(float64_unit_vectors(x))
    similarities = _Similarities(unit)
    covered = np.zeros(len(unit), np.float32)  # similarity of every row to the most similar chosen row
    # The gains of the first choice, plus the most that rounding of similarities may add to them.
    bounds = 0.5 * (len(unit) + unit @ unit.sum(axis=0)) + len(unit) * 2.0**-_BITS
    heap = list(zip((-bounds).tolist(), range(len(unit)), strict=True))
    heapq.heapify(heap)
    chosen = np.empty(count, np.int64)
    for i in range(count):
        similar = similarities.of_first_row(heap)
        row = heapq.heappop(heap)[1]
        gain = _negative_gain(similar, covered)
        while heap and heap[0] < (gain, row):
            similar = similarities.of_first_row(heap)
            row = heapq.heapreplace(heap, (gain, row))[1]
            gain = _negative_gain(similar, covered)
        # No upper bound that is left exceeds the gain of this row, whose similarities were read last.
        chosen[i] = row
        np.maximum(covered, similar, out=covered)
    return chosen


def _negative_gain(similar: np.ndarray, covered: np.ndarray) -> float:
    """Returns minus the gain in f of a row, given its similarities [n] and those to the rows chosen before [n]."""
    return -float(np.maximum(similar - covered, 0).sum(dtype=np.float64))


def _fixed_point(unit: np.ndarray) -> np.ndarray:
    """Rounds unit vectors [n, D] so that float64 represents their products, and sums of these, exactly."""
    return np.rint(unit * 2.0**_BITS) * 2.0**-_BITS


class _Similarities:
    """Rows of the matrix of similarities, computed many at a time and kept while there is memory for them."""

    def __init__(self, unit: np.ndarray):
        """Reserves memory.

        Args:
            unit: [n, D] float64, as returned by `_fixed_point`.
        """
        self._unit = unit
        num_slots = min(len(unit), max(_FETCHED, HELD_BYTES // (4 * len(unit))))
        self._rows = np.empty((num_slots, len(unit)), np.float32)
        self._slots: dict[int, int] = {}  # from row to slot, the least recently used row first
        if num_slots == len(unit):
            for start in range(0, len(unit), _FETCHED):
                self._fetch(list(range(start, min(start + _FETCHED, len(unit)))))

    def of_first_row(self, heap: list[tuple[float, int]]) -> np.ndarray:
        """Returns the similarities of the first row of a heap to all rows, [n] float32, multiples of 2^-24.

        Args:
            heap: bounds and rows. If the similarities of the first row are missing, they are computed together with
                the similarities of the next rows.
        """
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
