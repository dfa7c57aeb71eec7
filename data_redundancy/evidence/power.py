"""The number of further seeds that would probably settle a question."""

import numpy as np

from data_redundancy.evidence.effects import Effect, smallest_p

POWER = 0.8
"""The chance that the computed number of seeds is enough, if the estimates so far are the true values."""

MOST_SEEDS = 100
"""The largest number of further seeds that is computed; beyond it, "more than 100" is answer enough."""


def more_seeds(effect: Effect, bound: float, level: float) -> int | None:
    """Estimates how many more seeds would probably show on which side of a bound the true difference lies.

    The estimate takes the difference and the spread seen so far for the true ones. Both come from a few runs, so it is
    rough: use it for planning, not for deciding.

    Args:
        effect: The difference so far.
        bound: The value to be ruled out, for example -margin.
        level: Level of the one-sided test.

    Returns:
        The lowest number, at least 1, with which the chance of a p-value below `level` is 80%; None for more than 100.

    References:
        Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 2.
    """
    totals = np.arange(effect.num_seeds + 1, effect.num_seeds + MOST_SEEDS + 1)
    enough = np.flatnonzero(_settles(effect, abs(effect.mean - bound), level, totals))
    return int(enough[0]) + 1 if len(enough) else None


def _settles(effect: Effect, distance: float, level: float, totals: np.ndarray) -> np.ndarray:
    """Returns, for each total number of seeds [n], whether it would probably be enough, [n] bool."""
    if distance == 0:
        return np.zeros(len(totals), bool)
    if effect.standard_error == 0:
        return np.array([smallest_p(int(total), effect.paired) < level for total in totals])
    from statsmodels.stats.power import ttest_power  # lazy: importing it takes half a second

    spread = effect.standard_error * effect.num_seeds**0.5
    freedom = effect.degrees_of_freedom * (totals - 1) / (effect.num_seeds - 1)
    return ttest_power(distance / spread, totals, level, df=freedom, alternative="larger") >= POWER
