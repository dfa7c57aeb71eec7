"""Seeds in rounds: the levels of the looks, the decision and its error rate; the search for the largest fraction."""

import math

import numpy as np
import pytest
from scipy import stats

from data_redundancy.errors import InputError
from data_redundancy.evidence import (
    Outcome,
    decide,
    decision_words,
    effects_at_looks,
    interval,
    largest_fraction,
    make_look_schedule,
    next_fraction,
    paired_effect,
    rounds,
    unpaired_effect,
)
from data_redundancy.evidence.sequential import nominal_levels
from helpers.evidence_trials import by_seed, runs

YES, NO, OPEN = Outcome
MARGIN = 0.005


def effects(differences, looks):
    return [paired_effect(differences[:look]) for look in looks]


def t_values(samples, looks):
    """[R, K] t of each row's first values, at every look."""
    numbers = np.array(looks)
    sums, squares = (np.cumsum(values, axis=1)[:, numbers - 1] for values in (samples, samples**2))
    return sums / np.sqrt(numbers) / np.sqrt((squares - sums**2 / numbers) / (numbers - 1))


def binomial_error(rate, repetitions):
    return 3.5 * math.sqrt(rate * (1 - rate) / repetitions)


def test_rounds():
    assert rounds(3, 2, 15) == (3, 5, 7, 9, 11, 13, 15)
    assert rounds(3, 2, 6) == (3, 5, 6)
    assert rounds(5, 1, 5) == (5,)


def test_one_look_is_the_ordinary_test():
    assert make_look_schedule([5]).levels == pytest.approx((0.025,))
    assert make_look_schedule([7], confidence=0.9).levels == pytest.approx((0.05,))


@pytest.mark.parametrize("confidence", [0.01, 1 - 1e-12])
def test_levels_at_any_confidence_are_those_of_fewer_errors(confidence):
    levels = make_look_schedule((2, 3, 4, 7), confidence).levels
    # The error of each look is at most the total error, which is at most the sum of the errors of all looks.
    assert 0 < max(levels) < (1 - confidence) / 2 < sum(levels)


def test_the_first_look_spends_its_share():
    # ln(1 + (e - 1) / 2) = 0.620115
    assert make_look_schedule([4, 8]).levels[0] == pytest.approx(0.025 * 0.620115, rel=1e-6)


def test_two_looks_by_quadrature():
    """Two values, then a third: the chance of no first, but a second success, integrated over the first t."""
    spent = (0.01, 0.015)
    _, level = nominal_levels((2, 3), spent)
    t, step = np.linspace(-2000, stats.t.isf(spent[0], 1), 2_000_001, retstep=True)
    # The first two have sum of squares 1 and sum u; the third times sqrt(2) is Student's with 2 degrees of freedom.
    u = math.sqrt(2) * t / np.sqrt(1 + t**2)
    critical = stats.t.isf(level, 2)
    # (u + v) / sqrt(1 + v^2) >= b, where b belongs to the critical t: v between the roots of a quadratic.
    b = math.sqrt(3) * critical / math.sqrt(2 + critical**2)
    roots = np.sqrt(np.maximum(u**2 - (b**2 - 1) * (b**2 - u**2), 0))
    low, high = (u - roots) / (b**2 - 1), (u + roots) / (b**2 - 1)
    possible = (u > 0) & (roots > 0)
    chance = np.where(possible, stats.t.cdf(math.sqrt(2) * high, 2) - stats.t.cdf(math.sqrt(2) * low, 2), 0)
    assert np.sum(chance * stats.t.pdf(t, 1)) * step == pytest.approx(spent[1], rel=0.01)


def test_with_many_seeds_the_levels_are_those_of_the_normal_boundary():
    # Two equal halves of 0.025 by the Pocock-type function: z = 2.157 and 2.201 in the tables of Lan and DeMets.
    first, second = make_look_schedule([60, 120]).levels
    assert stats.norm.isf(first) == pytest.approx(2.157, abs=0.001)
    assert stats.norm.isf(second) == pytest.approx(2.201, abs=0.01)


SCHEDULES = [rounds(3, 2, 15), rounds(5, 2, 15), rounds(2, 1, 8), (2, 4, 6)]


@pytest.mark.parametrize("looks", SCHEDULES, ids=str)
def test_all_looks_together_keep_the_level_at_the_margin(looks):
    """At every look, too, the error spent so far is the intended share."""
    repetitions = 400_000
    levels = make_look_schedule(looks).levels
    t = t_values(np.random.default_rng(5).normal(0, 1, (repetitions, looks[-1])), looks)
    critical = np.array([stats.t.isf(level, look - 1) for look, level in zip(looks, levels, strict=True)])
    meant = 0.025 * np.log1p((math.e - 1) * np.array(looks) / looks[-1])
    for crossed in (t > critical, t < -critical):
        for spent, share in zip(np.logical_or.accumulate(crossed, axis=1).mean(0), meant, strict=True):
            assert spent == pytest.approx(share, abs=binomial_error(share, repetitions))
    # Without the schedule: more than twice as often.
    naive = np.array([stats.t.isf(0.025, look - 1) for look in looks])
    assert (t > naive).any(1).mean() > 0.05


def test_decide_agrees_with_a_simulation():
    looks = rounds(3, 2, 9)
    schedule = make_look_schedule(looks)
    samples = np.random.default_rng(1).normal(-0.003, 0.003, (200, 9))
    t = t_values(samples + MARGIN, looks)
    seen = set()
    for row, values in zip(samples, t, strict=True):
        decision = decide(effects(row, looks), schedule, MARGIN)
        expected = OPEN
        for value, look, level in zip(values, looks, schedule.levels, strict=True):
            critical = stats.t.isf(level, look - 1)
            if abs(value) > critical:
                expected = YES if value > 0 else NO
                break
        assert (decision.outcome, decision.effect.num_seeds) == (expected, look)
        low, high = decision.difference.low + MARGIN, decision.difference.high + MARGIN
        assert (YES if low > 0 else NO if high < 0 else OPEN) is expected
        seen.add((expected, look))
    assert len(seen) > 4


@pytest.mark.parametrize("truth", [0.0, -MARGIN, -0.012])
def test_the_interval_is_valid_at_the_look_that_stops(truth):
    looks = rounds(3, 2, 15)
    repetitions, levels = 100_000, make_look_schedule(looks).levels
    samples = np.random.default_rng(2).normal(truth, 0.004, (repetitions, looks[-1]))
    critical = np.array([stats.t.isf(level, look - 1) for look, level in zip(looks, levels, strict=True)])
    decided = np.abs(t_values(samples + MARGIN, looks)) > critical
    stop = np.where(decided.any(1), decided.argmax(1), len(looks) - 1)
    # The repeated interval at the stop covers the truth exactly when the t about the truth is not critical there.
    missed = np.abs(t_values(samples - truth, looks))[np.arange(repetitions), stop] > critical[stop]
    assert missed.mean() < 0.05 + binomial_error(0.05, repetitions)


def test_welch_keeps_the_level_closely():
    """Sides that share no seeds: the levels for paired runs are an approximation."""
    looks, repetitions = rounds(3, 2, 11), 40_000
    levels = make_look_schedule(looks).levels
    generator = np.random.default_rng(3)
    ours, others = generator.normal(0, 1, (2, repetitions, looks[-1])) * np.array([[[1.0]], [[2.0]]])
    crossed = np.zeros(repetitions, bool)
    for look, level in zip(looks, levels, strict=True):
        crossed |= (
            stats.ttest_ind(ours[:, :look], others[:, :look], axis=1, equal_var=False, alternative="greater").pvalue
            < level
        )
    assert 0.02 < crossed.mean() < 0.03


def test_looks_stop_at_the_first_that_settles_it():
    looks = rounds(3, 2, 9)
    schedule = make_look_schedule(looks)
    good = [0.0, 0.0002, -0.0002]
    decision = decide(effects([*good, *[-0.1, -0.2] * 3], looks), schedule, MARGIN)
    assert (decision.outcome, decision.difference.num_seeds, decision.next_look) == (YES, 3, None)
    assert decision.difference == interval(paired_effect(good), 1 - 2 * schedule.levels[0])
    bad = decide(effects([value - 0.02 for value in good], [3]), schedule, MARGIN)
    assert (bad.outcome, bad.next_look) == (NO, None)
    assert decide(effects([0.0, -0.01, 0.01], [3]), schedule, MARGIN).next_look == 5


def test_runs_that_do_not_vary_need_the_sign_test():
    schedule = make_look_schedule(rounds(3, 2, 15))
    outcomes = [decide(effects([0.0] * 15, schedule.looks[: k + 1]), schedule, MARGIN).outcome for k in range(7)]
    # 2 ** -7 = 0.0078 is above the levels of about 0.005, 2 ** -9 = 0.002 is below.
    assert outcomes == [OPEN, OPEN, OPEN, YES, YES, YES, YES]


def test_the_words_of_a_decision():
    looks = (3, 5)
    schedule = make_look_schedule(looks)
    differences = [0.004, -0.006, 0.002, 0.001, -0.003]
    assert decision_words(decide(effects(differences, [3]), schedule, MARGIN), 0.1) == (
        "not shown yet for 10% within 0.5 points"
        ": the next look is at 5 seeds (difference +0.00, 95% repeated CI -1.58 to +1.58, 3 seeds)"
    )
    assert decision_words(decide(effects(differences, looks), schedule, MARGIN), 0.1) == (
        "not shown yet for 10% within 0.5 points"
        " with all 5 seeds that were planned: a new question would need about 11 seeds "
        "(difference -0.04, 95% repeated CI -0.71 to +0.63, 5 seeds)"
    )
    assert decision_words(decide(effects([0.0, 0.0002, -0.0002], [3]), schedule, MARGIN), 0.1) == (
        "10% can go: accuracy stays within 0.5 points of the full set "
        "(difference +0.00, 95% repeated CI -0.06 to +0.06, 3 seeds)"
    )


def test_looks_take_the_first_seeds_in_order():
    full = by_seed(runs("full", 0.0, [0.5, 0.6, 0.7, 0.8, 0.9]))
    pruned = by_seed(reversed(runs("el2n", 0.1, [0.6, 0.5, 0.9, 0.9], first_seed=1)))
    found = effects_at_looks(pruned, full, (2, 3, 5))
    assert found == [paired_effect([0.6 - 0.6, 0.5 - 0.7]), paired_effect([0.6 - 0.6, 0.5 - 0.7, 0.9 - 0.8])]
    apart = by_seed(runs("el2n", 0.1, [0.6, 0.5, 0.9], first_seed=7))
    assert effects_at_looks(apart, full, (2, 4)) == [unpaired_effect([0.6, 0.5], [0.5, 0.6])]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rounds(1, 2, 9), r"^first=1: must be at least 2, the fewest seeds that have an interval$"),
        (lambda: rounds(3, 0, 9), r"^step=0: must be at least 1$"),
        (lambda: rounds(3, 2, 2), r"^most=2: must be at least first=3$"),
        (lambda: make_look_schedule([]), r"^looks=\(\): must be ascending"),
        (lambda: make_look_schedule([1, 2]), r"^looks=\(1, 2\): must be .* the first at least 2$"),
        (lambda: make_look_schedule([3, 3]), r"^looks=\(3, 3\): must be ascending numbers of seeds"),
        (lambda: make_look_schedule([3], confidence=1), r"^confidence=1: must be between"),
        (
            lambda: decide([], make_look_schedule([3]), MARGIN),
            r"^effects: must not be empty: the first look needs 3 seeds on both",
        ),
        (
            lambda: decide(effects([0.1, 0.2], [2]), make_look_schedule([3]), MARGIN),
            r"^effects: must be at looks of the schedule, \(3,\), but are of \(2,\) seeds$",
        ),
        (
            lambda: decide(effects([0.1] * 3, [3, 3]), make_look_schedule([3]), MARGIN),
            r"^effects: must be at looks of the schedule, \(3,\), but are of \(3, 3\) seeds$",
        ),
        (lambda: decide(effects([0.1] * 3, [3]), make_look_schedule([3]), 5), r"^margin=5: must be between"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_search_goes_up_until_one_fails():
    fractions = [0.3, 0.1, 0.2, 0.5]
    outcomes, asked = {}, []
    while (fraction := next_fraction(fractions, outcomes)) is not None:
        asked.append(fraction)
        outcomes[fraction] = YES if fraction < 0.3 else NO
    assert asked == [0.1, 0.2, 0.3]
    assert largest_fraction(fractions, outcomes) == 0.2
    assert largest_fraction(fractions, {}) is None
    assert (next_fraction(fractions, {0.1: OPEN}), largest_fraction(fractions, {0.1: OPEN})) == (None, None)
    everything = dict.fromkeys(fractions, YES)
    assert (next_fraction(fractions, everything), largest_fraction(fractions, everything)) == (None, 0.5)


@pytest.mark.parametrize("outcomes", [{0.2: YES}, {0.1: NO, 0.2: YES}, {0.1: YES, 0.4: NO}])
def test_the_search_refuses_answers_out_of_order(outcomes):
    for search in (next_fraction, largest_fraction):
        with pytest.raises(
            InputError, match=r"^outcomes: must be of the smallest of \[0.1, 0.2, 0.3\], .* but are of \["
        ):
            search([0.1, 0.2, 0.3], outcomes)


def test_the_search_keeps_the_level_without_correction():
    """Five fractions, the last three at the margin, one full set for all: how often is one of the three a "yes"?"""
    fractions, losses = [0.1, 0.2, 0.3, 0.4, 0.5], [0.0, -0.004, -0.005, -0.005, -0.005]
    looks, repetitions = (3, 5, 7), 30_000
    levels = make_look_schedule(looks).levels
    generator = np.random.default_rng(4)
    full = generator.normal(0, 0.001, (repetitions, 7))
    critical = np.array([stats.t.isf(level, look - 1) for look, level in zip(looks, levels, strict=True)])
    shown = []
    for loss in losses:
        t = t_values(generator.normal(loss, 0.0005, (repetitions, 7)) - full + MARGIN, looks)
        first = np.where((np.abs(t) > critical).any(1), (np.abs(t) > critical).argmax(1), 2)
        shown.append((t > critical)[np.arange(repetitions), first])
    wrong, passed = 0, np.ones(repetitions, bool)
    for loss, yes in zip(losses, shown, strict=True):
        passed &= yes
        wrong = passed.mean() if loss == -MARGIN and not wrong else wrong
    for row in np.array(shown).T[:200]:
        outcomes = {}
        while (fraction := next_fraction(fractions, outcomes)) is not None:
            outcomes[fraction] = YES if row[fractions.index(fraction)] else OPEN
        assert (largest_fraction(fractions, outcomes) or 0) == pytest.approx(0.1 * np.cumprod(row).sum())
    assert wrong < 0.025 + binomial_error(0.025, repetitions)
    assert np.any(shown[2:], axis=0).mean() > 0.03  # each tested independently, as in a bisection
