"""A difference in mean accuracy between two selections, with its confidence interval."""

from dataclasses import dataclass

MIN_SEEDS = 2
"""The fewest values that have a standard deviation, hence an interval."""

ANYTHING = (-1.0, 1.0)
"""The interval that rules out nothing: accuracies lie in [0, 1]."""


@dataclass(frozen=True)
class Difference:
    """A difference in mean accuracy, with its confidence interval.

    Attributes:
        mean: Accuracy minus that of the other selection, a fraction, so 0.01 is one percentage point: the mean over the
            paired seeds if `paired`, else the difference of the means.
        low: Lower end of the interval, a fraction.
        high: Upper end of the interval, a fraction.
        num_seeds: Number of paired seeds if `paired`, else the number of seeds of the selection that has fewer.
        paired: Whether the two selections were compared seed by seed.
    """

    mean: float
    low: float
    high: float
    num_seeds: int
    paired: bool = True

    @property
    def has_interval(self) -> bool:
        """Whether the interval rules out anything. It does not where all of a few seeds give the same difference."""
        return (self.low, self.high) != ANYTHING
