"""Merges of clusters: what all ways of agglomerating find."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Merges:
    """Merges of clusters, which are called by their lowest member.

    Attributes:
      height: [M] float64.
      low: [M] int64, the lowest member of one cluster, and of the merged one.
      high: [M] int64, the lowest member of the other cluster, above `low`.
      round: [M] int64, rises from a merge to those that build on it.
    """

    height: np.ndarray
    low: np.ndarray
    high: np.ndarray
    round: np.ndarray

    def __len__(self) -> int:
        return len(self.height)

    def __getitem__(self, which: np.ndarray | slice) -> "Merges":
        return Merges(self.height[which], self.low[which], self.high[which], self.round[which])

    def renamed(self, rows: np.ndarray) -> "Merges":
        """The same merges where row i is called `rows[i]`, ascending."""
        return Merges(self.height, rows[self.low], rows[self.high], self.round)

    def in_order(self, method: str) -> "Merges":
        """The merges in the order in which they are made: by height, then as `method` breaks ties."""
        by_members = (self.high, self.low) if method == "complete" else (self.high, self.low, self.round)
        return self[np.lexsort((*by_members, self.height))]

    @staticmethod
    def none() -> "Merges":
        """No merges."""
        return Merges(np.empty(0), *(np.empty(0, np.int64) for _ in range(3)))

    @staticmethod
    def concatenate(parts: list["Merges"]) -> "Merges":
        """All merges of several parts, each of which builds on those before it."""
        rounds, num_rounds = [], 0
        for part in parts:
            rounds.append(part.round + num_rounds)
            num_rounds += part.round.max(initial=-1) + 1
        return Merges(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("height", "low", "high")),
            np.concatenate(rounds),
        )
