"""Exact copies among unit vectors, which merge first; the rest of the tree is that of the distinct vectors."""

from dataclasses import dataclass

import numpy as np

from data_redundancy.clustering.distances import Units
from data_redundancy.clustering.merges import Merges


@dataclass(frozen=True, eq=False)
class DistinctUnits:
    """The distinct vectors among n unit vectors.

    Attributes:
        units: K unit vectors.
        rows: [K] int64, ascending, the first row of each among the n vectors.
        sizes: [K] int64, how often each occurs.
        copies: the merges of each vector with its copies.
    """

    units: Units
    rows: np.ndarray
    sizes: np.ndarray
    copies: Merges

    @classmethod
    def of(cls, units: Units) -> "DistinctUnits":
        """Finds the distinct vectors among n unit vectors."""
        rows, copies = _without_copies(units)
        sizes = 1 + np.bincount(np.searchsorted(rows, copies.low), minlength=len(rows))
        return cls(units[rows] if len(copies) else units, rows, sizes, copies)

    def merges_of_all(self, merges: Merges, linkage: str) -> Merges:
        """Returns the merges of all n vectors in order, given the merges of the distinct vectors.

        Copies merge first, also before vectors of the same direction that are not copies, which have distance zero too.
        """
        return Merges.concatenate([self.copies.in_order(linkage), merges.renumbered(self.rows).in_order(linkage)])


def _without_copies(units: Units) -> tuple[np.ndarray, Merges]:
    """Returns the first row of every distinct vector, ascending, and the merges of the vectors with their copies."""
    some = np.linspace(0, units.num_dimensions - 1, 8).astype(np.int64)
    suspects = np.flatnonzero(_is_repeated(_checksum(units.high[:, some])))
    contents = np.hstack([units.high[suspects], units.low[suspects]])
    _, first, group = np.unique(_checksum(contents), return_index=True, return_inverse=True)
    original = first[group]
    # Different vectors may have the same checksum.
    is_copy = (original != np.arange(len(suspects))) & (contents[original] == contents).all(axis=1)
    low, high = suspects[original[is_copy]], suspects[is_copy]
    is_distinct = np.ones(len(units), bool)
    is_distinct[high] = False
    return np.flatnonzero(is_distinct), Merges(np.zeros(len(high)), low, high, np.zeros(len(high), np.int64))


def _checksum(contents: np.ndarray) -> np.ndarray:
    """Returns a checksum of every row of contents [n, m] float32, [n] uint64."""
    random = np.random.default_rng(0).integers(2**64, size=contents.shape[1], dtype=np.uint64)
    multipliers = np.bitwise_or(random, np.uint64(1))  # odd
    checksum = np.zeros(len(contents), np.uint64)
    for start in range(0, contents.shape[1], 64):  # some columns at a time, since the matrix may be large
        columns = slice(start, start + 64)
        checksum += (np.ascontiguousarray(contents[:, columns]).view(np.uint32) * multipliers[columns]).sum(axis=1)
    return checksum


def _is_repeated(values: np.ndarray) -> np.ndarray:
    """Returns which values [n] occur more than once, [n] bool."""
    order = np.argsort(values)
    is_same = values[order[1:]] == values[order[:-1]]
    repeated = np.zeros(len(values), bool)
    repeated[order[1:][is_same]] = repeated[order[:-1][is_same]] = True
    return repeated
