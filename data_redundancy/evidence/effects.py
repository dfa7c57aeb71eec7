"""Estimates of a difference in mean accuracy, with their p-values and intervals."""

import math
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from data_redundancy.errors import InputError
from data_redundancy.evidence.difference import ANYTHING, MIN_SEEDS, Difference
from data_redundancy.evidence.limits import one_sided, require_confidence
from data_redundancy.evidence.trials import Trial

# Accuracies are counts divided by the number of test images, so smaller differences than this are rounding errors.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Effect:
    """An estimated difference in mean accuracy.

    Attributes:
        mean: Mean accuracy minus that of the other selection, a fraction.
        standard_error: Standard error of `mean`, a fraction; 0 where nothing varies.
        degrees_of_freedom: Degrees of freedom of Student's distribution.
        num_seeds: Number of paired seeds if `paired`, else the number of seeds of the selection that has fewer.
        paired: Whether the two selections were compared seed by seed.
    """

    mean: float
    standard_error: float
    degrees_of_freedom: float
    num_seeds: int
    paired: bool


def paired_effect(differences: ArrayLike) -> Effect:
    """Estimates the mean of differences between runs with the same seed.

    Args:
        differences: [n] accuracy minus that of the other run, fractions.

    Raises:
        InputError: If there are fewer than 2 differences.

    References:
        Student (1908), The Probable Error of a Mean, Biometrika 6(1).
    """
    values = np.asarray(differences, dtype=np.float64)
    _require_seeds(differences=values)
    standard_error = math.sqrt(_variance(values) / len(values))
    return Effect(float(values.mean()), standard_error, float(len(values) - 1), len(values), paired=True)


def unpaired_effect(ours: ArrayLike, others: ArrayLike) -> Effect:
    """Estimates the difference between the means of two sides that share no seeds and may have different variances.

    Args:
        ours: [n] accuracies, fractions.
        others: [m] accuracies of the other side, fractions.

    Raises:
        InputError: If either side has fewer than 2 accuracies.

    References:
        Welch (1947), The Generalization of "Student's" Problem when Several Different Population Variances are
        Involved, Biometrika 34(1/2).
    """
    ours, others = np.asarray(ours, dtype=np.float64), np.asarray(others, dtype=np.float64)
    _require_seeds(ours=ours, others=others)
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
    """Compares two selections: seed by seed where `seeds_to_pair` finds enough seeds, else by Welch's rule.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        measure: Returns the number of a trial to compare, by default the test accuracy.

    Raises:
        InputError: If either selection has fewer than 2 trials.
    """
    _require_seeds(trials=trials, others=others)
    if pairs := seeds_to_pair(trials, others):
        return paired_effect([measure(trials[seed]) - measure(others[seed]) for seed in pairs])
    return unpaired_effect(
        [measure(trials[seed]) for seed in sorted(trials)], [measure(others[seed]) for seed in sorted(others)]
    )


def seeds_to_pair(trials: Mapping[int, Trial], others: Mapping[int, Trial]) -> list[int]:
    """Returns the common seeds, ascending; none if they are fewer than 2, or fewer than half of the smaller side's.

    Pairing leaves out the trials of all other seeds. With few common seeds, that loses more than pairing gains.
    """
    common = sorted(trials.keys() & others.keys())
    return common if len(common) >= max(MIN_SEEDS, min(len(trials), len(others)) / 2) else []


def p_above(effect: Effect, bound: float) -> float:
    """Computes the one-sided p-value against "the true difference is at most `bound`".

    A small value shows that the true difference is above `bound`. Where nothing varies there is no t statistic, as a
    spread of 0 over a few seeds is luck. The p-value is then that of the exact rank test: `smallest_p` if the mean is
    above `bound`, else 1.
    """
    if effect.standard_error == 0:
        return smallest_p(effect.num_seeds, effect.paired) if effect.mean - bound > _ROUNDING else 1.0
    return float(stats.t.sf((effect.mean - bound) / effect.standard_error, effect.degrees_of_freedom))


def p_below(effect: Effect, bound: float) -> float:
    """Computes the one-sided p-value against "the true difference is at least `bound`"; `p_above` of the other side."""
    if effect.standard_error == 0:
        return smallest_p(effect.num_seeds, effect.paired) if bound - effect.mean > _ROUNDING else 1.0
    return float(stats.t.cdf((effect.mean - bound) / effect.standard_error, effect.degrees_of_freedom))


def p_different(effect: Effect) -> float:
    """Computes the two-sided p-value against "the true difference is 0"."""
    return min(1.0, 2 * min(p_above(effect, 0.0), p_below(effect, 0.0)))


def smallest_p(num_seeds: int, paired: bool) -> float:
    """Returns the one-sided p-value of the exact rank test when all runs point the same way.

    For n pairs it is that of the sign test, 2 ** -n; for n runs on each side that of the rank sum test,
    1 / (2n choose n).
    """
    return 0.5**num_seeds if paired else 1 / math.comb(2 * num_seeds, num_seeds)


def interval(effect: Effect, confidence: float) -> Difference:
    """Computes the two-sided Student t interval.

    The interval lies above a bound exactly when `p_above` is below (1 - confidence) / 2. Where nothing varies, it is
    the mean alone if `smallest_p` says that there are enough seeds for that, else `ANYTHING`.

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
    """Returns the variance (n-1) of values [n]; 0 if they differ by rounding errors alone."""
    return float(values.var(ddof=1)) if np.ptp(values) > _ROUNDING else 0.0


def _require_seeds(**sides: Sized) -> None:
    """Raises InputError for the first argument that has values of fewer than 2 seeds."""
    for argument, values in sides.items():
        if len(values) < MIN_SEEDS:
            raise InputError(argument, None, f"must have at least {MIN_SEEDS} seeds, but has {len(values)}")
