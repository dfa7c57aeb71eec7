"""Group sequential tests: seeds are added in rounds, and a look after each round tests whether the question is settled.

Testing at the full level after every round, and stopping at the first success, gives wrong answers more often than the
level says. Here the error is spent over the looks: each look has so small a level that all of them together keep the
full one. The looks and their levels are fixed before the first look.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats
from scipy.optimize import brentq

from data_redundancy.errors import InputError
from data_redundancy.evidence.difference import MIN_SEEDS, Difference
from data_redundancy.evidence.effects import Effect, compare, interval, seeds_to_pair
from data_redundancy.evidence.limits import one_sided, require_confidence, require_margin
from data_redundancy.evidence.noninferiority import Outcome, margin_test
from data_redundancy.evidence.trials import Trial

_CELLS = 200
"""Cells of the grid that carries a distribution from one seed to the next."""


@dataclass(frozen=True)
class LookSchedule:
    """The looks, and the level of the test at each.

    Attributes:
        looks: [K] numbers of seeds on each side at which to look, ascending; the last is the most there will be.
        levels: [K] one-sided levels: at look k a p-value below `levels[k]` settles the question.
        confidence: Confidence level of all looks together: the error of each side of the margin is half of
            1 - confidence.
    """

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    confidence: float


@dataclass(frozen=True)
class Decision:
    """The result of the looks so far.

    Attributes:
        outcome: "yes" or "no" from the first look that settles the question; else "not shown yet".
        effect: The difference from the full set at that look, or at the last look so far.
        difference: `effect` with its repeated confidence interval, which is valid for any reason to stop. It leaves out
            -margin exactly when the question is settled.
        margin: The largest acceptable loss, a fraction.
        confidence: Level of the interval.
        level: The one-sided level of that look.
        next_look: Number of seeds at the next look; None when the question is settled or no look is left.
    """

    outcome: Outcome
    effect: Effect
    difference: Difference
    margin: float
    confidence: float
    level: float
    next_look: int | None


def rounds(first: int, step: int, most: int) -> tuple[int, ...]:
    """Returns the numbers of seeds at which to look: `first`, then `step` more in every round, and at last `most`.

    Raises:
        InputError: If `first` is below 2, `step` below 1, or `most` below `first`.
    """
    if first < MIN_SEEDS:
        raise InputError("first", first, f"must be at least {MIN_SEEDS}, the fewest seeds that have an interval")
    if step < 1:
        raise InputError("step", step, "must be at least 1")
    if most < first:
        raise InputError("most", most, f"must be at least first={first}")
    return (*range(first, most, step), most)


def make_look_schedule(looks: Sequence[int], confidence: float = 0.95) -> LookSchedule:
    """Spreads the error over the looks.

    After n seeds, the share ln(1 + (e - 1) n / n_max) of the one-sided level (1 - confidence) / 2 is spent: this is the
    spending function that Lan and DeMets match to Pocock's test. The one for O'Brien and Fleming's test has a little
    more power, but hardly any chance to stop before the middle, and every seed costs at least two training runs.

    For t tests of paired, normally distributed differences, the levels are exact up to the grid on which they are
    computed, which is about one part in a hundred. For Welch's test, and for differences that are not normal, they are
    approximate.

    Args:
        looks: [K] numbers of seeds at which to look, ascending, the first at least 2.
        confidence: Confidence level of all looks together, in (0, 1).

    Raises:
        InputError: If the looks do not ascend or start below 2, or `confidence` is outside (0, 1).

    References:
        Lan and DeMets (1983), Discrete Sequential Boundaries for Clinical Trials, Biometrika 70(3).
        Jennison and Turnbull (1991), Exact Calculations for Sequential t, chi-squared and F Tests, Biometrika 78(1).
        Jennison and Turnbull (2000), Group Sequential Methods with Applications to Clinical Trials, chapters 7 and 9.
    """
    require_confidence(confidence)
    looks = tuple(looks)
    if not looks or looks[0] < MIN_SEEDS or any(later <= sooner for sooner, later in pairwise(looks)):
        raise InputError("looks", looks, f"must be ascending numbers of seeds, the first at least {MIN_SEEDS}")
    shares = np.log1p((math.e - 1) * np.array(looks) / looks[-1])
    spent = np.diff(one_sided(confidence) * shares, prepend=0.0).tolist()
    return LookSchedule(looks, nominal_levels(looks, spent), confidence)


def nominal_levels(looks: Sequence[int], spent: Sequence[float]) -> tuple[float, ...]:
    """Computes the level of each look's one-sided t test from the error to be made at that look for the first time.

    Let U be the sum of n normal values with mean 0, divided by the root of their sum of squares: U determines t, and it
    does not depend on the scale. One more value turns U into (U + v) / sqrt(1 + v^2), where v sqrt(n) has Student's
    distribution with n degrees of freedom and is independent of U. So the distribution of U among the runs that have
    not stopped is carried from one seed to the next, as masses on a grid.

    Args:
        looks: [K] ascending numbers of values, the first at least 2.
        spent: [K] the chance, under the hypothesis, of stopping at each look and not before; all positive.

    Returns:
        [K] levels.
    """
    due = dict(zip(looks, spent, strict=True))
    levels = [spent[0]]
    # The mass beyond is too small to matter even for the look that spends the least error.
    reach = float(stats.norm.isf(1e-4 * min(spent)))
    edges = np.linspace(-reach, float(stats.norm.isf(spent[0])), _CELLS + 1)
    ratios, masses = _nodes(edges, np.diff(stats.norm.cdf(edges)), looks[0])
    for number in range(looks[0] + 1, looks[-1] + 1):
        above = _Above(ratios, masses, number - 1)
        top = reach
        if number in due:
            top = brentq(lambda z, above=above, n=number: above(_ratio(z, n)) - due[n], -reach, 2 * reach)
            levels.append(float(stats.norm.sf(top)))
        edges = np.linspace(-reach, top, _CELLS + 1)
        ratios, masses = _nodes(edges, -np.diff(above(_ratio(edges, number))), number)
    return tuple(levels)


def effects_at_looks(trials: Mapping[int, Trial], others: Mapping[int, Trial], looks: Sequence[int]) -> list[Effect]:
    """Estimates the difference between two selections at every look for which both have enough seeds.

    Look k takes the first `looks[k]` of the paired seeds in ascending order, or of each selection's own seeds where
    none are paired. So the runs of every look are known before they are run, and further runs do not change it.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        looks: [K] ascending numbers of seeds.

    Returns:
        One difference for each look that has enough seeds.
    """
    pairs = seeds_to_pair(trials, others)
    ours, theirs = (pairs or sorted(side) for side in (trials, others))
    return [
        compare({seed: trials[seed] for seed in ours[:look]}, {seed: others[seed] for seed in theirs[:look]})
        for look in looks
        if look <= min(len(ours), len(theirs))
    ]


def decide(effects: Sequence[Effect], schedule: LookSchedule, margin: float) -> Decision:
    """Decides whether the looks so far settle on which side of the margin a selection lies.

    Each side of the margin has its own error, (1 - confidence) / 2 over all looks. Neither relies on stopping when the
    other side is shown, so that further looks after that would not invalidate it.

    Args:
        effects: The difference from the full set at the first looks of the schedule, at least at one.
        schedule: The looks and their levels.
        margin: The largest acceptable loss, a fraction.

    Raises:
        InputError: If there is no look yet (says how many seeds the first needs), there are more looks than in the
            schedule, a look has another number of seeds than in the schedule, or `margin` is outside (0, 0.5).

    References:
        Jennison and Turnbull (1989), Interim Analyses: The Repeated Confidence Interval Approach, Journal of the Royal
        Statistical Society B 51(3).
    """
    require_margin(margin)
    looks, levels = schedule.looks, schedule.levels
    seeds = tuple(effect.num_seeds for effect in effects)
    if not seeds:
        raise InputError("effects", None, f"must not be empty: the first look needs {looks[0]} seeds on both sides")
    if seeds != looks[: len(seeds)]:
        raise InputError("effects", None, f"must be at looks of the schedule, {looks}, but are of {seeds} seeds")
    outcomes = [margin_test(effect, margin).outcome(level) for effect, level in zip(effects, levels, strict=False)]
    settled = [look for look, outcome in enumerate(outcomes) if outcome is not Outcome.OPEN]
    look = settled[0] if settled else len(outcomes) - 1
    return Decision(
        outcome=outcomes[look],
        effect=effects[look],
        difference=interval(effects[look], 1 - 2 * levels[look]),
        margin=margin,
        confidence=schedule.confidence,
        level=levels[look],
        next_look=None if settled or look + 1 == len(looks) else looks[look + 1],
    )


@dataclass(frozen=True)
class _Above:
    """The mass that reaches `x` or more with one more value.

    Attributes:
        ratios: [M] values of U, see `nominal_levels`.
        masses: [M] the mass at each.
        number: The number of values that U is made of.
    """

    ratios: np.ndarray
    masses: np.ndarray
    number: int

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Returns the mass at or above each `x`, in the shape of `x`."""
        x = np.asarray(x)[..., None]
        # U sqrt(1 - s^2) + s >= x for s = v / sqrt(1 + v^2): with U = tan(a) and s = sin(b), sin(a + b) >= x cos(a).
        angle = np.arctan(self.ratios)
        lowest = np.arcsin(np.clip(x * np.cos(angle), -1, 1))
        chance = self._below(np.pi - lowest - angle) - self._below(lowest - angle)
        return np.maximum(chance, 0) @ self.masses

    def _below(self, angle: np.ndarray) -> np.ndarray:
        """Returns the chance that the angle b of one more value is below `angle`."""
        inside = np.clip(angle, -np.pi / 2, np.pi / 2)
        return special.stdtr(self.number, self.number**0.5 * np.tan(inside))


def _nodes(edges: np.ndarray, masses: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Places two nodes of U in every cell, each with half of its mass and together with its spread (Gauss-Legendre).

    Args:
        edges: [M + 1] edges of the cells, in values of a normal distribution.
        masses: [M] masses of the cells.
        number: The number of values that U is made of.

    Returns:
        [2 M] values of U and their [2 M] masses.
    """
    # The mean of the two nodes is shifted to the mean of a density that falls off like the normal one.
    apart = np.diff(edges) / 12**0.5
    middle = (edges[1:] + edges[:-1]) / 2 * (1 - apart**2)
    return _ratio(np.concatenate([middle - apart, middle + apart]), number), np.tile(masses / 2, 2)


def _ratio(z: ArrayLike, number: int) -> np.ndarray:
    """Returns the U whose t has the same tail as the normal value `z`: grids even in `z` are fine where the mass is."""
    t = np.sign(z) * stats.t.isf(stats.norm.sf(np.abs(z)), number - 1)
    return np.sqrt(number) * t / np.sqrt(number - 1 + t**2)
