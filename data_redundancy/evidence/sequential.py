"""Adding seeds in rounds, and looking after each, without looking oneself into a wrong answer.

Who tests after every round and stops at the first success errs more often than the level says. Here the error is spent
over the looks: little enough at each that all together keep to the level. All is fixed before the first look.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special, stats
from scipy.optimize import brentq

from data_redundancy.errors import InputError
from data_redundancy.evidence.difference import MIN_SEEDS, Difference
from data_redundancy.evidence.effects import Effect, compare, interval, seeds_to_pair
from data_redundancy.evidence.limits import one_sided, require_confidence, require_margin
from data_redundancy.evidence.noninferiority import Outcome, margin_test
from data_redundancy.evidence.trials import Trial

_CELLS = 200


@dataclass(frozen=True)
class LookSchedule:
    """When to look, and how small a p-value has to be then.

    Attributes:
        looks: [K] numbers of seeds on each side at which to look, rising; the last is the most there will be.
        levels: [K] one-sided levels: at look k a p-value below `levels[k]` settles it.
        confidence: Of all looks together: 1 - confidence is the error of both sides, half of it each.
    """

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    confidence: float


@dataclass(frozen=True)
class Decision:
    """What the looks so far say.

    Attributes:
        outcome: "yes" or "no" from the first look that settles it; else "not shown yet".
        effect: The difference from the full set at that look, or at the last one so far.
        difference: The same with its repeated confidence interval: it holds whatever made one stop, and it leaves out
            -margin just when the question is settled.
        margin: The loss that is still accepted, a fraction.
        confidence: Level of the interval.
        level: The one-sided level of that look.
        next_look: Number of seeds at the next look; None when the question is settled or the plan is used up.
    """

    outcome: Outcome
    effect: Effect
    difference: Difference
    margin: float
    confidence: float
    level: float
    next_look: int | None


def rounds(first: int, step: int, most: int) -> tuple[int, ...]:
    """The looks of a plan: `first` seeds, then `step` more in every round, and never more than `most`.

    Raises:
        InputError: If `first` is below 2, `step` below 1, or `most` below `first`.
    """
    if first < MIN_SEEDS:
        raise InputError(f"first={first}: an interval needs at least {MIN_SEEDS} seeds")
    if step < 1:
        raise InputError(f"step={step}: must be at least 1")
    if most < first:
        raise InputError(f"most={most}: must be at least first={first}")
    return (*range(first, most, step), most)


def make_look_schedule(looks: Sequence[int], confidence: float = 0.95) -> LookSchedule:
    """Spreads the error over the looks.

    Of the one-sided level (1 - confidence) / 2 the share ln(1 + (e - 1) n / n_max) is spent by the time of n seeds, the
    spending function that Lan and DeMets match to Pocock's test. That of O'Brien and Fleming has a little more power
    but next to no chance to stop before the middle, and a seed is two training runs. For t tests of paired differences
    that are normal the levels are exact but for the grid they are computed on, about one part in a hundred. For Welch's
    test, and for differences that are not normal, they are close.

    Args:
        looks: [K] numbers of seeds at which to look, rising, the first at least 2.
        confidence: Of all looks together, in (0, 1).

    Raises:
        InputError: If the looks do not rise or start below 2, or `confidence` is outside (0, 1).

    References:
        Lan and DeMets (1983), Discrete Sequential Boundaries for Clinical Trials, Biometrika 70(3).
        Jennison and Turnbull (1991), Exact Calculations for Sequential t, chi-squared and F Tests, Biometrika 78(1).
        Jennison and Turnbull (2000), Group Sequential Methods with Applications to Clinical Trials, chapters 7 and 9.
    """
    require_confidence(confidence)
    looks = tuple(looks)
    if not looks or looks[0] < MIN_SEEDS or any(later <= sooner for sooner, later in pairwise(looks)):
        raise InputError(f"looks={looks}: must be numbers of seeds that rise, the first at least {MIN_SEEDS}")
    shares = np.log1p((math.e - 1) * np.array(looks) / looks[-1])
    return LookSchedule(looks, nominal_levels(looks, np.diff(one_sided(confidence) * shares, prepend=0.0)), confidence)


def nominal_levels(looks: Sequence[int], spent: Sequence[float]) -> tuple[float, ...]:
    """The level of each look's one-sided t test with which just so much error is made there for the first time.

    The sum of n normal values with mean 0 over the root of their sum of squares, U, gives t and does not depend on the
    scale. With one value more it becomes (U + v) / sqrt(1 + v^2), where v sqrt(n) has Student's distribution with n
    degrees of freedom and is independent of U. So the distribution of U among the runs that have not stopped is carried
    on from one seed to the next, as masses on a grid.

    Args:
        looks: [K] rising numbers of values, the first at least 2.
        spent: [K] chance, under the hypothesis, of stopping at each look and not before; all positive.

    Returns:
        [K] levels.
    """
    due = dict(zip(looks, spent, strict=True))
    levels = [spent[0]]
    # What lies beyond is too little to matter even for the look that may err least.
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
    """The difference between two selections at every look for which both have the seeds.

    Look k is at the first `looks[k]` of the seeds that pair, in rising order, or of each side's own where none do:
    which runs count is settled before they are run, and a run too many changes no look before it.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        looks: [K] rising numbers of seeds.

    Returns:
        As many differences as there are looks with enough seeds.
    """
    pairs = seeds_to_pair(trials, others)
    ours, theirs = (pairs or sorted(side) for side in (trials, others))
    return [
        compare({seed: trials[seed] for seed in ours[:look]}, {seed: others[seed] for seed in theirs[:look]})
        for look in looks
        if look <= min(len(ours), len(theirs))
    ]


def decide(effects: Sequence[Effect], plan: LookSchedule, margin: float) -> Decision:
    """Whether the looks so far settle on which side of the margin a selection lies.

    Each side of the margin has its own error, (1 - confidence) / 2 over all looks. Neither side counts on the other's
    stop, so that going on after one would not break it.

    Args:
        effects: The difference from the full set at the first looks of the plan, at least at one.
        plan: The plan.
        margin: The loss that is still accepted, a fraction.

    Raises:
        InputError: If there is no look yet (says how many seeds the first needs), there are more than were planned, one
            has not the number of seeds that was planned, or `margin` is outside (0, 0.5).

    References:
        Jennison and Turnbull (1989), Interim Analyses: The Repeated Confidence Interval Approach, Journal of the Royal
        Statistical Society B 51(3).
    """
    require_margin(margin)
    seeds = tuple(effect.num_seeds for effect in effects)
    if not seeds:
        raise InputError(f"effects is empty: the first look needs {plan.looks[0]} seeds on both sides")
    if seeds != plan.looks[: len(seeds)]:
        raise InputError(f"effects of {seeds} seeds: the plan looks at {plan.looks}")
    outcomes = [margin_test(effect, margin).outcome(level) for effect, level in zip(effects, plan.levels, strict=False)]
    settled = [look for look, outcome in enumerate(outcomes) if outcome is not Outcome.OPEN]
    look = settled[0] if settled else len(outcomes) - 1
    return Decision(
        outcome=outcomes[look],
        effect=effects[look],
        difference=interval(effects[look], 1 - 2 * plan.levels[look]),
        margin=margin,
        confidence=plan.confidence,
        level=plan.levels[look],
        next_look=None if settled or look + 1 == len(plan.looks) else plan.looks[look + 1],
    )


@dataclass(frozen=True)
class _Above:
    """The mass that one value more takes to `x` or above, from `masses` [M] at `ratios` [M] of `number` values."""

    ratios: np.ndarray
    masses: np.ndarray
    number: int

    def __call__(self, x: np.ndarray | float) -> np.ndarray | float:
        x = np.asarray(x)[..., None]
        # U sqrt(1 - s^2) + s >= x for s = v / sqrt(1 + v^2): with U = tan(a) and s = sin(b), sin(a + b) >= x cos(a).
        angle = np.arctan(self.ratios)
        lowest = np.arcsin(np.clip(x * np.cos(angle), -1, 1))
        chance = self._below(np.pi - lowest - angle) - self._below(lowest - angle)
        return np.maximum(chance, 0) @ self.masses

    def _below(self, angle: np.ndarray) -> np.ndarray:
        inside = np.clip(angle, -np.pi / 2, np.pi / 2)
        return special.stdtr(self.number, self.number**0.5 * np.tan(inside))


def _nodes(edges: np.ndarray, masses: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Two U per cell, with half its mass each: so placed that they spread as the cell does (Gauss and Legendre)."""
    # Their mean lies where a density that falls off as the normal one has it.
    apart = np.diff(edges) / 12**0.5
    middle = (edges[1:] + edges[:-1]) / 2 * (1 - apart**2)
    return _ratio(np.concatenate([middle - apart, middle + apart]), number), np.tile(masses / 2, 2)


def _ratio(z: np.ndarray | float, number: int) -> np.ndarray | float:
    """The U whose t has the same tail as the normal value `z`; cells even in `z` are fine where the mass is."""
    t = np.sign(z) * stats.t.isf(stats.norm.sf(np.abs(z)), number - 1)
    return np.sqrt(number) * t / np.sqrt(number - 1 + t**2)
