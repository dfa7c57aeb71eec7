"""One difference, one margin: intervals, the test against the margin, Holm's rule, seeds needed, and the words."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from data_redundancy.errors import InputError
from data_redundancy.evidence import (
    Outcome,
    Versus,
    compare,
    holm,
    interval,
    margin_test,
    more_seeds,
    paired_effect,
    random_words,
    summarise,
    unpaired_effect,
    verdict_words,
    verdicts,
)
from data_redundancy.evidence.effects import p_above, p_below, p_different
from helpers.evidence_trials import by_seed, runs, trial

# Mean 0.06 points, s = sqrt(0.0000041) = 0.2025 points: the interval is 0.06 ± 2.776445 * 0.2025 / sqrt(5).
FIVE = np.array([0.0006, 0.0036, -0.0014, -0.0004, 0.0006])
values = st.lists(st.integers(-500, 500).map(lambda count: count / 10_000), min_size=2, max_size=9)


def judge(full, pruned, margin=0.005, **kwargs):
    (verdict,) = verdicts([*runs("full", 0.0, full), *runs("el2n", 0.1, pruned)], margin, **kwargs)
    return verdict


def noninferior_p(verdict):
    """The p-value of a verdict on its own, without Holm's correction."""
    difference, level = verdict.difference, (1 - verdict.confidence) / 2
    freedom = difference.num_seeds - 1
    standard_error = (difference.high - difference.mean) / stats.t.isf(level, freedom)
    return stats.t.sf((difference.mean + verdict.margin) / standard_error, freedom)


def outcomes_about(trials, p_value, **kwargs):
    """The first verdicts at one-sided levels just above and just below a p-value."""
    levels = (p_value * (1 + 1e-6), p_value * (1 - 1e-6))
    return [verdicts(trials, confidence=1 - 2 * level, **kwargs)[0] for level in levels]


def test_paired_interval_by_hand():
    found = interval(paired_effect(FIVE), 0.95)
    half = 2.776445 * FIVE.std(ddof=1) / math.sqrt(5)
    assert (found.mean, found.num_seeds) == (pytest.approx(0.0006), 5)
    assert (found.low, found.high) == pytest.approx((0.0006 - half, 0.0006 + half), rel=1e-6)


def test_unpaired_interval_by_hand():
    # Variances 1 and 4 over 2 and 4 runs: se^2 = 0.5 + 1, df = 1.5^2 / (0.5^2 / 1 + 1^2 / 3).
    ours = np.array([-1, 1]) * 0.005 * math.sqrt(2)
    others = np.array([-1, -1, 1, 1]) * 0.01 * math.sqrt(3)
    effect = unpaired_effect(ours, others + 0.1)
    assert effect.mean == pytest.approx(-0.1)
    assert effect.standard_error == pytest.approx(0.01 * math.sqrt(0.5 + 4 / 4))
    assert effect.degrees_of_freedom == pytest.approx(1.5**2 / (0.5**2 + 1 / 3))
    assert (effect.num_seeds, effect.paired) == (2, False)


@given(values, values, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_unpaired_equals_scipys_and_statsmodels_welch(ours, others, confidence):
    effect, found = unpaired_effect(ours, others), interval(unpaired_effect(ours, others), confidence)
    if np.ptp(ours) == 0 or np.ptp(others) == 0:  # SciPy warns
        return
    theirs = CompareMeans(DescrStatsW(ours), DescrStatsW(others))
    expected = theirs.tconfint_diff(1 - confidence, usevar="unequal")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-10)
    assert p_different(effect) == pytest.approx(stats.ttest_ind(ours, others, equal_var=False).pvalue, rel=1e-6)


@given(values, st.sampled_from([0.001, 0.005, 0.02]))
def test_p_values_are_scipys_one_sided_ones(differences, margin):
    if np.ptp(differences) == 0:
        return
    test = margin_test(paired_effect(differences), margin)
    for ours, alternative in [(test.noninferior_p, "greater"), (test.inferior_p, "less")]:
        assert ours == pytest.approx(stats.ttest_1samp(differences, -margin, alternative=alternative).pvalue, rel=1e-6)


@given(values, st.sampled_from([0.001, 0.005, 0.02]), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_and_the_decision_agree(differences, margin, confidence):
    effect = paired_effect(differences)
    found = interval(effect, confidence)
    if min(abs(found.low + margin), abs(found.high + margin)) < 1e-12:
        return
    outcome = margin_test(effect, margin).outcome((1 - confidence) / 2)
    assert (outcome is Outcome.YES) == (found.low > -margin)
    assert (outcome is Outcome.NO) == (found.high < -margin)


def test_equal_differences_are_judged_by_the_sign_test():
    # 2 ** -5 = 0.031 is not below 0.025, 2 ** -6 = 0.016 is.
    for count, expected in [(2, Outcome.OPEN), (5, Outcome.OPEN), (6, Outcome.YES)]:
        effect = paired_effect([0.9 - 0.8, 0.8 - 0.7, *[0.1] * (count - 2)])  # equal except for rounding
        assert effect.standard_error == 0
        assert (p_above(effect, 0), p_below(effect, 0)) == (0.5**count, 1.0)
        assert margin_test(effect, 0.005).outcome(0.025) is expected
        found = interval(effect, 0.95)
        assert (found.low, found.high) == (pytest.approx((0.1, 0.1)) if expected is Outcome.YES else (-1, 1))
    assert p_above(effect, effect.mean) == p_below(effect, effect.mean) == p_different(paired_effect([0.0] * 9)) == 1


def test_sides_that_do_not_vary_are_judged_by_the_rank_sum_test():
    for count in (3, 4):
        ours, others = [0.7] * count, [0.8] * count
        exact = stats.mannwhitneyu(ours, others, alternative="less", method="exact").pvalue
        assert p_below(unpaired_effect(ours, others), 0) == pytest.approx(exact)


def test_compare_pairs_by_seed_where_two_seeds_are_common():
    full = by_seed(runs("full", 0.0, [0.5, 0.6, 0.7, 0.8]))
    shifted = by_seed(runs("el2n", 0.1, [0.59, 0.71, 0.9], first_seed=1))
    assert compare(shifted, full) == paired_effect([0.59 - 0.6, 0.71 - 0.7, 0.9 - 0.8])
    # Two in common of four are half of them; of five they are not, and pairing would leave out too much.
    full_of_five = by_seed([*runs("full", 0.0, [0.5, 0.6, 0.7, 0.8, 0.9])])
    later = runs("el2n", 0.1, [0.5, 0.65, 0.6, 0.7, 0.8], first_seed=3)
    assert compare(by_seed(later[:4]), full_of_five) == paired_effect([0.5 - 0.8, 0.65 - 0.9])
    assert compare(by_seed(later), full_of_five) == unpaired_effect(
        [0.5, 0.65, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8, 0.9]
    )
    apart = by_seed(runs("el2n", 0.1, [0.5, 0.6], first_seed=3))
    assert compare(apart, full) == unpaired_effect([0.5, 0.6], [0.5, 0.6, 0.7, 0.8])


def test_too_few_seeds_say_how_many_are_needed():
    two = by_seed(runs("full", 0.0, [0.5, 0.6]))
    for attempt, argument, number in (
        (lambda: paired_effect([0.1]), "differences", 1),
        (lambda: unpaired_effect([0.1], [0.2, 0.3]), "ours", 1),
        (lambda: unpaired_effect([0.2, 0.3], []), "others", 0),
        (lambda: compare({}, by_seed(runs("full", 0.0, [0.5]))), "trials", 0),
        (lambda: compare(two, by_seed(runs("full", 0.0, [0.5]))), "others", 1),
    ):
        with pytest.raises(InputError, match=rf"^{argument}: must have at least 2 seeds, but has {number}$"):
            attempt()


@pytest.mark.parametrize("margin", [-0.1, 0, 0.5, 1, math.nan, math.inf])
def test_margin_out_of_range(margin):
    for attempt in (lambda: verdicts([], margin), lambda: margin_test(paired_effect(FIVE), margin)):
        with pytest.raises(InputError, match=rf"^margin={margin}: must be between 0 and 0\.5, .*point is 0\.005\.$"):
            attempt()


@pytest.mark.parametrize("confidence", [-1, 0, 1, 95, math.nan])
def test_confidence_out_of_range(confidence):
    for attempt in (
        lambda: verdicts([], confidence=confidence),
        lambda: interval(paired_effect(FIVE), confidence),
        lambda: summarise([trial()], ["a", "b"], confidence),
    ):
        with pytest.raises(InputError, match=rf"^confidence={confidence}: must be between 0 and 1"):
            attempt()


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, each no less than the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []


@settings(max_examples=30)  # statsmodels collects garbage on every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_bonferroni_on_every_subset(p_values):
    """The closure principle: a hypothesis falls when every set of hypotheses that has it falls."""
    indices = range(len(p_values))
    subsets = [subset for size in indices for subset in itertools.combinations(indices, size + 1)]
    expected = [
        max(min(1, len(subset) * min(p_values[k] for k in subset)) for subset in subsets if index in subset)
        for index in indices
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_more_seeds_by_statsmodels():
    # s = 0.2025 points, 0.56 points from the margin: an effect of 2.77 s.
    spread = FIVE.std(ddof=1)
    needed = TTestPower().solve_power((0.0006 + 0.005) / spread, alpha=0.025, power=0.8, alternative="larger")
    assert needed < 5  # fewer than the 5 seeds so far: the smallest possible answer is one more
    assert more_seeds(paired_effect(FIVE), -0.005, 0.025) == 1
    wide = paired_effect(4 * FIVE)
    needed = TTestPower().solve_power((0.0024 + 0.005) / (4 * spread), alpha=0.025, power=0.8, alternative="larger")
    assert 5 + more_seeds(wide, -0.005, 0.025) == math.ceil(needed) > 6
    # The same distance on the other side, where it is "no" that would be shown.
    assert more_seeds(paired_effect(4 * FIVE - 2 * 0.0074), -0.005, 0.025) == more_seeds(wide, -0.005, 0.025)


def test_more_seeds_that_do_not_pair_by_statsmodels():
    full, pruned = np.array([0.9, 0.904, 0.897, 0.905]), np.array([0.898, 0.902, 0.895, 0.903])
    spread = math.sqrt((full.var(ddof=1) + pruned.var(ddof=1)) / 2)
    distance = pruned.mean() - full.mean() + 0.005
    needed = TTestIndPower().solve_power(distance / spread, alpha=0.025, power=0.8, alternative="larger")
    assert 4 + more_seeds(unpaired_effect(pruned, full), -0.005, 0.025) == math.ceil(needed) > 6


def test_more_seeds_where_nothing_varies_or_nothing_can_be_shown():
    assert more_seeds(paired_effect([0.0] * 3), -0.005, 0.025) == 3  # 2 ** -6 is the first below 0.025
    assert more_seeds(unpaired_effect([0.0] * 3, [0.0] * 3), -0.005, 0.025) == 1  # 1 / (8 choose 4) = 0.014
    assert more_seeds(paired_effect([-0.25, -0.25]), -0.25, 0.025) is None
    assert more_seeds(paired_effect([-0.3, 0.29]), -0.005, 0.025) is None


def test_as_many_seeds_as_named_settle_it_four_times_in_five():
    generator = np.random.default_rng(0)
    for effect in (paired_effect(4 * FIVE), paired_effect(2 * FIVE - 0.008)):
        total = 5 + more_seeds(effect, -0.005, 0.025)
        spread = effect.standard_error * math.sqrt(5)
        samples = generator.normal(effect.mean, spread, (20_000, total))
        t = (samples.mean(1) + 0.005) / (samples.std(1, ddof=1) / math.sqrt(total))
        settled = np.mean(np.abs(t) > stats.t.isf(0.025, total - 1))
        assert 0.79 < settled < 0.86


def test_words_of_the_three_answers():
    full = np.full(5, 0.9)
    assert verdict_words(judge(full, full + FIVE)) == (
        "10% can go: accuracy stays within 0.5 points of the full set "
        "(difference +0.06, 95% CI -0.17 to +0.29, 5 seeds)"
    )
    assert verdict_words(judge(full, full + 4 * FIVE)) == (
        "not shown yet for 10% within 0.5 points"
        ": about 6 more seeds would settle it (difference +0.24, 95% CI -0.69 to +1.17, 5 seeds)"
    )
    assert verdict_words(judge(full, full + FIVE - 0.02)) == (
        "no: 10% cannot go: accuracy falls by more than 0.5 points (difference -1.94, 95% CI -2.17 to -1.71, 5 seeds)"
    )
    assert verdict_words(judge([0.9] * 3, [0.9] * 3)) == (
        "not shown yet for 10% within 0.5 points"
        ": about 3 more seeds would settle it (difference +0.00, no 95% CI as nothing varies, "
        "3 seeds)"
    )
    assert verdict_words(judge([0.9, 0.9], [0.9, 0.5], confidence=0.9)) == (
        "not shown yet for 10% within 0.5 points"
        ": about 13 more seeds would settle it (difference -20.00, 90% CI -146.28 to +106.28, "
        "2 seeds)"
    )
    assert verdict_words(judge([0.9], [0.9, 0.9])) == (
        "not shown yet for 10%: needs at least 2 seeds, of it and of the full set (so far 1)"
    )


def test_words_say_what_holms_correction_asks_for():
    full = np.full(5, 0.9)
    trials = [*runs("full", 0.0, full), *runs("el2n", 0.1, full + 1.6 * FIVE - 0.002)]
    trials += [sample for fraction in (0.2, 0.3) for sample in runs("el2n", fraction, full + 4 * FIVE)]
    alone, among = verdicts(trials[:10])[0], verdicts(trials)[0]
    assert alone.outcome is Outcome.YES
    above, below = outcomes_about(trials, 3 * noninferior_p(alone))
    assert (above.outcome, below.outcome) == (Outcome.YES, Outcome.OPEN)
    assert verdict_words(among).startswith(
        "not shown yet for 10% within 0.5 points"
        " with Holm's correction for 3 fractions: about 4 more seeds would settle it (difference"
    )


def test_against_random():
    full = np.full(5, 0.9)
    sides = [*runs("full", 0.0, full), *runs("el2n", 0.1, full + FIVE)]
    for shift, outcome in [(-0.01, Versus.BETTER), (0.01, Versus.WORSE), (0.0, Versus.OPEN)]:
        el2n, random = verdicts([*sides, *runs("random", 0.1, full + shift)])
        assert el2n.from_random.outcome is outcome
        assert (random.method, random.from_random) == ("random", None)
    assert random_words(el2n.from_random) == (
        "no difference from random shown (difference +0.06, 95% CI -0.17 to +0.29, 5 seeds)"
    )
    assert verdicts(sides)[0].from_random is None


def test_a_fraction_without_trials_enough_counts_in_the_correction():
    full = np.full(5, 0.9)
    trials = [*runs("full", 0.0, full), *runs("el2n", 0.1, full + FIVE)]
    (alone,) = verdicts(trials)
    first, second = verdicts([*trials, *runs("el2n", 0.2, [0.9])])
    above, below = outcomes_about([*trials, *runs("el2n", 0.2, [0.9])], 2 * noninferior_p(alone))
    assert (first.num_fractions, above.outcome, below.outcome) == (2, Outcome.YES, Outcome.OPEN)
    assert (second.outcome, second.difference, second.num_seeds) == (Outcome.OPEN, None, 1)


def test_a_fraction_of_which_no_trial_has_begun_counts_in_the_correction():
    full = np.full(5, 0.9)
    trials = [*runs("full", 0.0, full), *runs("el2n", 0.1, full + FIVE), *runs("random", 0.1, full - 0.01 + 2 * FIVE)]
    alone, _ = verdicts(trials)
    planned, _ = verdicts(trials, planned=(0.3, 0.1, 0.5))
    above, below = outcomes_about(trials, 3 * noninferior_p(alone), planned=(0.3, 0.1, 0.5))
    assert (above.outcome, below.outcome) == (Outcome.YES, Outcome.OPEN)
    p_random = stats.ttest_1samp(full + FIVE - (full - 0.01 + 2 * FIVE), 0).pvalue
    above, below = outcomes_about(trials, 3 * p_random / 2, planned=(0.3, 0.1, 0.5))
    assert (above.from_random.outcome, below.from_random.outcome) == (Versus.BETTER, Versus.OPEN)
    assert planned.num_fractions == 3


def test_a_loss_of_just_the_margin_in_every_run_shows_nothing():
    full = np.array([0.91, 0.915, 0.93, 0.905, 0.955, 0.96, 0.925, 0.94, 0.95, 0.9])
    pruned = (np.round(200 * full) - 1) / 200  # one of 200 test images, half a point
    assert judge(full, pruned).outcome is Outcome.OPEN
    constant = unpaired_effect([0.03] * 5, [0.03] * 9)
    assert p_above(constant, 0.0) == p_below(constant, 0.0) == 1


def test_verdicts_are_in_order_and_agree_with_the_table():
    full = np.array([0.9, 0.91, 0.93])
    trials = runs("full", 0.0, full)
    for method in ("random", "kcenter", "el2n"):
        for fraction in (0.3, 0.1):
            trials += runs(method, fraction, full - fraction / 10 + [0, 0.001, 0.003])
    judged = verdicts(trials)
    assert [(v.method, v.prune_fraction) for v in judged] == [
        (method, fraction) for method in ("el2n", "kcenter", "random") for fraction in (0.1, 0.3)
    ]
    rows = {(row.method, row.prune_fraction): row for row in summarise(trials, ["a", "b"])}
    for verdict in judged:
        difference = rows[verdict.method, verdict.prune_fraction].difference_from_full
        assert (difference.mean, difference.low, difference.high) == pytest.approx(
            (verdict.difference.mean, verdict.difference.low, verdict.difference.high)
        )


def test_half_the_error_of_a_single_test_lies_on_each_side_of_the_margin():
    generator = np.random.default_rng(1)
    truth, repetitions = -0.005, 40_000
    for number in (2, 3, 5):
        samples = generator.normal(truth, 0.002, (repetitions, number))
        t = (samples.mean(1) - truth) / (samples.std(1, ddof=1) / math.sqrt(number))
        critical = stats.t.isf(0.025, number - 1)
        first = [margin_test(paired_effect(row), 0.005).outcome(0.025) for row in samples[:300]]
        assert first == [
            Outcome.YES if x > critical else Outcome.NO if x < -critical else Outcome.OPEN for x in t[:300]
        ]
        for wrong in (t > critical, t < -critical):
            assert wrong.mean() == pytest.approx(0.025, abs=binomial_error(0.025, repetitions))


def test_welchs_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(2)
    repetitions, covered = 3000, 0
    for _ in range(repetitions):
        found = interval(unpaired_effect(generator.normal(0.9, 0.004, 5), generator.normal(0.92, 0.002, 8)), 0.95)
        covered += found.low <= -0.02 <= found.high
    assert covered / repetitions == pytest.approx(0.95, abs=binomial_error(0.05, repetitions))


def test_holm_keeps_the_error_rate_of_all_fractions_together():
    """Four fractions at the margin, three seeds, one full set for all: a wrong "yes" or "no" anywhere."""
    generator = np.random.default_rng(3)
    repetitions = 40_000
    full = generator.normal(0, 0.001, (repetitions, 1, 3))
    differences = generator.normal(-0.005, 0.002, (repetitions, 4, 3)) - full
    t = (differences.mean(2) + 0.005) / (differences.std(2, ddof=1) / math.sqrt(3))
    yes, no = stats.t.sf(t, 2), stats.t.cdf(t, 2)
    for ours, row in zip(yes[:20], differences[:20], strict=True):
        assert ours == pytest.approx([margin_test(paired_effect(values), 0.005).noninferior_p for values in row])
    # One wrong claim is enough, so the smallest p-value says it all; the first few by the function itself.
    wrong_yes, wrong_no = (4 * p_values.min(1) < 0.025 for p_values in (yes, no))
    assert wrong_yes[:20].tolist() == [min(holm(row.tolist())) < 0.025 for row in yes[:20]]
    most = 0.025 + binomial_error(0.025, repetitions)
    assert max(wrong_yes.mean(), wrong_no.mean()) < most < np.mean(yes.min(1) < 0.025)


def test_importing_the_evidence_leaves_statsmodels_alone():
    code = "import sys, data_redundancy.evidence; assert not {'statsmodels', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def binomial_error(rate, repetitions):
    return 3.5 * math.sqrt(rate * (1 - rate) / repetitions)
