"""What every selection method returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Selection:
    """A method's keep list with its evidence.

    Attributes:
      method: the method's name.
      prune_fraction: the share of examples to remove that was asked for.
      keep: [K] int64, the indices kept, ascending and unique.
      cluster: [N] int64, the cluster of every example; -1 where the method makes no clusters.
      representative: [N] int64, the index that stands for every example in what is kept: its own for one that is kept;
        -1 for a redundant one whose method names no substitute.
      distance: [N] float64, the cosine distance of every example to its representative; NaN where there is none.
    """

    method: str
    prune_fraction: float
    keep: np.ndarray
    cluster: np.ndarray
    representative: np.ndarray
    distance: np.ndarray

    @property
    def num_examples(self) -> int:
        """The number of examples there were to select from."""
        return len(self.cluster)

    @property
    def kept(self) -> np.ndarray:
        """Whether each example is kept, [N] bool."""
        kept = np.zeros(self.num_examples, bool)
        kept[self.keep] = True
        return kept

    @property
    def redundant(self) -> np.ndarray:
        """The indices that are not kept, [N-K] int64, ascending."""
        return np.flatnonzero(~self.kept)
