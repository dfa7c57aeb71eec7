"""How many more seeds would probably settle it."""

import numpy as np

from data_redundancy.evidence.effects import Effect, smallest_p

POWER = 0.8
"""The chance, if things are as they look, that the seeds named are enough."""

MOST_SEEDS = 100
"""More seeds than this are not counted: "more than 100" is answer enough."""


def more_seeds(effect: Effect, bound: float, level: float) -> int | None:
    """How many more seeds would probably show on which side of a bound the true difference lies.

    It takes the difference and the spread seen so far for the true ones. Both are guesses from a few runs, so the
    number is one too: for planning, not for deciding.

    Args:
        effect: The difference so far.
        bound: Where the true difference is suspected not to be, for example -margin.
        level: Of the one-sided test.

    Returns:
        The lowest number, at least 1, with which the chance of a p-value below `level` is 80%; None for more than 100.

    References:
        Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 2.
    """
    totals = np.arange(effect.num_seeds + 1, effect.num_seeds + MOST_SEEDS + 1)
    enough = np.flatnonzero(_settles(effect, abs(effect.mean - bound), level, totals))
    return int(enough[0]) + 1 if len(enough) else None


def _settles(effect: Effect, distance: float, level: float, totals: np.ndarray) -> np.ndarray:
    if distance == 0:
        return np.zeros(len(totals), bool)
    if effect.standard_error == 0:
        return np.array([smallest_p(int(total), effect.paired) < level for total in totals])
    from statsmodels.stats.power import ttest_power  # only here: it takes half a second to import

    spread = effect.standard_error * effect.num_seeds**0.5
    freedom = effect.degrees_of_freedom * (totals - 1) / (effect.num_seeds - 1)
    return ttest_power(distance / spread, totals, level, df=freedom, alternative="larger") >= POWER
