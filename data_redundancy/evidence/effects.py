"""A difference in mean accuracy between two sides, with all that tests and intervals need to know of it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from data_redundancy.errors import InputError
from data_redundancy.evidence.difference import ANYTHING, MIN_SEEDS, Difference
from data_redundancy.evidence.limits import one_sided, require_confidence
from data_redundancy.evidence.trials import Trial

# Accuracies are counts over the number of test images, so what differs by less than this differs by rounding alone.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Effect:
    """An estimated difference in mean accuracy.

    Attributes:
        mean: Mean accuracy minus the other side's, a fraction.
        standard_error: Of `mean`, a fraction; 0 where nothing varies.
        degrees_of_freedom: Of Student's distribution.
        num_seeds: Seeds that pair if `paired`; else those of the side that has fewer.
        paired: Whether the two sides were compared seed by seed.
    """

    mean: float
    standard_error: float
    degrees_of_freedom: float
    num_seeds: int
    paired: bool


def paired_effect(differences: ArrayLike) -> Effect:
    """The mean of differences between runs with the same seed.

    Args:
        differences: [n] accuracy minus the other side's, fractions.

    Raises:
        InputError: If there are fewer than 2.

    References:
        Student (1908), The Probable Error of a Mean, Biometrika 6(1).
    """
    values = np.asarray(differences, dtype=np.float64)
    _require_seeds(len(values), len(values))
    standard_error = math.sqrt(_variance(values) / len(values))
    return Effect(float(values.mean()), standard_error, float(len(values) - 1), len(values), paired=True)


def unpaired_effect(ours: ArrayLike, others: ArrayLike) -> Effect:
    """The difference between the means of two sides that share no seeds and may vary differently.

    Args:
        ours: [n] accuracies, fractions.
        others: [m] accuracies of the other side, fractions.

    Raises:
        InputError: If either side has fewer than 2.

    References:
        Welch (1947), The Generalization of "Student's" Problem when Several Different Population Variances are
        Involved, Biometrika 34(1/2).
    """
    ours, others = np.asarray(ours, dtype=np.float64), np.asarray(others, dtype=np.float64)
    _require_seeds(len(ours), len(others))
    parts = np.array([_variance(ours) / len(ours), _variance(others) / len(others)])
    lowest = min(len(ours), len(others))
    if parts.any():
        weights = parts / parts.sum()
        freedom = float(1 / np.sum(weights**2 / [len(ours) - 1, len(others) - 1]))
    else:
        freedom = float(lowest - 1)
    return Effect(float(ours.mean() - others.mean()), math.sqrt(parts.sum()), freedom, lowest, paired=False)


def compare(
    trials: Mapping[int, Trial],
    others: Mapping[int, Trial],
    measure: Callable[[Trial], float] = lambda trial: trial.accuracy,
) -> Effect:
    """Compares two selections: seed by seed where they pair, as `seeds_to_pair` says, else by Welch's rule.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        measure: What to compare; the test accuracy unless told otherwise.

    Raises:
        InputError: If either side has fewer than 2 trials.
    """
    if pairs := seeds_to_pair(trials, others):
        return paired_effect([measure(trials[seed]) - measure(others[seed]) for seed in pairs])
    return unpaired_effect(
        [measure(trials[seed]) for seed in sorted(trials)], [measure(others[seed]) for seed in sorted(others)]
    )


def seeds_to_pair(trials: Mapping[int, Trial], others: Mapping[int, Trial]) -> list[int]:
    """The common seeds, rising; none where they are fewer than 2, or fewer than half of what the smaller side has.

    Pairing leaves out the trials of other seeds: with few in common, more is lost by that than pairing gains.
    """
    common = sorted(trials.keys() & others.keys())
    return common if len(common) >= max(MIN_SEEDS, min(len(trials), len(others)) / 2) else []


def p_above(effect: Effect, bound: float) -> float:
    """One-sided p-value against "the true difference is at most `bound`"; small says that it is above.

    Where nothing varies there is no t, and a spread of 0 over a few seeds is luck. Then it is the p-value of the exact
    rank test: `smallest_p` if the mean is above `bound`, else 1.
    """
    if effect.standard_error == 0:
        return smallest_p(effect.num_seeds, effect.paired) if effect.mean - bound > _ROUNDING else 1.0
    return float(stats.t.sf((effect.mean - bound) / effect.standard_error, effect.degrees_of_freedom))


def p_below(effect: Effect, bound: float) -> float:
    """One-sided p-value against "the true difference is at least `bound`"; as `p_above`, of the other side."""
    if effect.standard_error == 0:
        return smallest_p(effect.num_seeds, effect.paired) if bound - effect.mean > _ROUNDING else 1.0
    return float(stats.t.cdf((effect.mean - bound) / effect.standard_error, effect.degrees_of_freedom))


def p_different(effect: Effect) -> float:
    """Two-sided p-value against "the true difference is 0"."""
    return min(1.0, 2 * min(p_above(effect, 0.0), p_below(effect, 0.0)))


def smallest_p(num_seeds: int, paired: bool) -> float:
    """The one-sided p-value of the exact rank test when all runs point the same way.

    That of the sign test, 2 ** -n, for n pairs; that of the rank sum test, 1 / (2n choose n), for n runs on each side.
    """
    return 0.5**num_seeds if paired else 1 / math.comb(2 * num_seeds, num_seeds)


def interval(effect: Effect, confidence: float) -> Difference:
    """The two-sided Student t interval: it lies above a bound just when `p_above` is below (1 - confidence) / 2.

    Where nothing varies it is the mean if there are enough seeds for that by `smallest_p`, else `ANYTHING`.

    Raises:
        InputError: If `confidence` is outside (0, 1).
    """
    require_confidence(confidence)
    level = one_sided(confidence)
    if effect.standard_error == 0 and smallest_p(effect.num_seeds, effect.paired) >= level:
        return Difference(effect.mean, *ANYTHING, effect.num_seeds, effect.paired)
    half_width = float(stats.t.isf(level, effect.degrees_of_freedom)) * effect.standard_error
    return Difference(effect.mean, effect.mean - half_width, effect.mean + half_width, effect.num_seeds, effect.paired)


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if np.ptp(values) > _ROUNDING else 0.0


def _require_seeds(ours: int, others: int) -> None:
    if min(ours, others) < MIN_SEEDS:
        raise InputError(f"seeds: {ours} on one side and {others} on the other; an interval needs at least {MIN_SEEDS}")
