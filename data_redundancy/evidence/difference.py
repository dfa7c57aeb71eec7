"""A difference in mean accuracy between two sides, with its interval."""

from dataclasses import dataclass

MIN_SEEDS = 2
"""Fewer values than this have no standard deviation, hence no interval."""

ANYTHING = (-1.0, 1.0)
"""The interval that rules nothing out: accuracies lie in [0, 1]."""


@dataclass(frozen=True)
class Difference:
    """A difference in mean accuracy, with its confidence interval.

    Attributes:
        mean: Accuracy minus the other side's, a fraction, so 0.01 is one percentage point: the mean over seeds that
            pair if `paired`, else the difference of the means.
        low: Lower end of the interval, a fraction.
        high: Upper end of the interval, a fraction.
        num_seeds: Number of seeds that pair; if not `paired`, that of the side that has fewer.
        paired: Whether the two sides were compared seed by seed.
    """

    mean: float
    low: float
    high: float
    num_seeds: int
    paired: bool = True

    @property
    def has_interval(self) -> bool:
        """Whether the interval rules anything out: not where nothing varies over a few seeds."""
        return (self.low, self.high) != ANYTHING
