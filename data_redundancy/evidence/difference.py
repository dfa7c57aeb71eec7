"""A difference in mean accuracy between two sides, with its interval."""

from dataclasses import dataclass

MIN_SEEDS = 2
"""Fewer values than this have no standard deviation, hence no interval."""


@dataclass(frozen=True)
class Difference:
    """A difference in mean accuracy, with its confidence interval.

    Attributes:
        mean: Accuracy minus the other side's: the mean over common seeds if `paired`, else the difference of the means;
            a fraction, so 0.01 is one percentage point.
        low: Lower end of the interval, a fraction.
        high: Upper end of the interval, a fraction.
        num_seeds: Number of seeds that both sides have; if not `paired`, that of the side that has fewer.
        paired: Whether the two sides were compared seed by seed.
    """

    mean: float
    low: float
    high: float
    num_seeds: int
    paired: bool = True
