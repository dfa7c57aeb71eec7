"""The result of every selection method."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SelectionArrays:
    """The examples that a method keeps, and what represents the others.

    Attributes:
        method: the name of the method.
        prune_fraction: the requested share of examples to prune.
        keep: [K] int64, the indices of the kept examples, ascending and unique.
        cluster: [N] int64, the cluster of every example; -1 if the method makes no clusters.
        representative: [N] int64, the index of the kept example that represents each example. A kept example represents
            itself. -1 for a pruned example without a representative.
        distance: [N] float64, the cosine distance of every example to its representative; NaN if it has none.
    """

    method: str
    prune_fraction: float
    keep: np.ndarray
    cluster: np.ndarray
    representative: np.ndarray
    distance: np.ndarray

    @property
    def num_examples(self) -> int:
        """The number of examples N, kept and pruned."""
        return len(self.cluster)

    @property
    def kept(self) -> np.ndarray:
        """Whether each example is kept, [N] bool."""
        kept = np.zeros(self.num_examples, bool)
        kept[self.keep] = True
        return kept

    @property
    def redundant(self) -> np.ndarray:
        """The indices of the pruned examples, [N-K] int64, ascending."""
        return np.flatnonzero(~self.kept)
