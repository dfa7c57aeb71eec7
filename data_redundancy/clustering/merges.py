"""Merges of clusters, the common result of all clustering algorithms."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Merges:
    """A sequence of merges. A cluster is identified by its lowest member.

    Attributes:
        height: [M] float64, the distances at which clusters merge.
        low: [M] int64, the lowest member of one cluster, and of the merged cluster.
        high: [M] int64, the lowest member of the other cluster, greater than `low`.
        round: [M] int64, greater than the rounds of the merges that made the two clusters.
    """

    height: np.ndarray
    low: np.ndarray
    high: np.ndarray
    round: np.ndarray

    def __len__(self) -> int:
        return len(self.height)

    def __getitem__(self, which: np.ndarray | slice) -> "Merges":
        return Merges(self.height[which], self.low[which], self.high[which], self.round[which])

    def renumbered(self, rows: np.ndarray) -> "Merges":
        """Returns the same merges with row i replaced by `rows[i]`, which must be ascending."""
        return Merges(self.height, rows[self.low], rows[self.high], self.round)

    def in_order(self, linkage: str) -> "Merges":
        """Returns the merges sorted by height, and at equal heights as the linkage breaks ties."""
        by_members = (self.high, self.low) if linkage == "complete" else (self.high, self.low, self.round)
        return self[np.lexsort((*by_members, self.height))]

    @staticmethod
    def none() -> "Merges":
        """Returns an empty sequence of merges."""
        return Merges(np.empty(0), *(np.empty(0, np.int64) for _ in range(3)))

    @staticmethod
    def concatenate(parts: list["Merges"]) -> "Merges":
        """Concatenates sequences of merges, each of which may build on those before it."""
        rounds, num_rounds = [], 0
        for part in parts:
            rounds.append(part.round + num_rounds)
            num_rounds += part.round.max(initial=-1) + 1
        height, low, high = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("height", "low", "high")
        )
        return Merges(height, low, high, np.concatenate(rounds))
