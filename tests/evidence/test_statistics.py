"""Summaries of trials: the numbers, their tables and their plots."""

import csv
import io
import math
import subprocess
import sys

import numpy as np
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from data_redundancy.errors import InputError
from data_redundancy.evidence import (
    ClassChange,
    Difference,
    Row,
    accuracy_plot,
    difference_plot,
    format_markdown,
    format_table,
    summarise,
    write_csv,
)
from helpers.evidence_trials import runs, trial

CLASSES = ("cat", "dog")


def three_sides():
    return [
        *runs("full", 0.0, [0.90, 0.92, 0.94]),
        *runs("agglomerative", 0.1, [0.89, 0.92, 0.92]),
        *runs("random", 0.1, [0.85, 0.89, 0.90]),
    ]


def row(method="agglomerative", fraction=0.1, **changes):
    values = {
        "method": method,
        "prune_fraction": fraction,
        "num_kept": 45_000,
        "num_seeds": 5,
        "accuracy_mean": 0.9231,
        "accuracy_std": 0.0015,
        "confidence": 0.95,
        "difference_from_full": Difference(-0.0031, -0.0052, -0.0010, 5),
        "difference_from_random": Difference(0.0117, 0.0005, 0.0229, 5),
        "worst_class": ClassChange("automobile", -0.0218),
    }
    return Row(**{**values, **changes})


def by_key(rows):
    return {(row.method, row.prune_fraction): row for row in rows}


def test_mean_and_std_by_hand():
    full, agglomerative, _ = summarise(three_sides(), CLASSES)
    assert full.accuracy_mean == pytest.approx(0.92)
    assert full.accuracy_std == pytest.approx(0.02)  # n - 1; n would give 0.0163
    assert agglomerative.accuracy_mean == pytest.approx(0.91)
    assert (full.num_kept, agglomerative.num_kept, full.num_seeds) == (1000, 900, 3)


def test_difference_by_hand():
    difference = by_key(summarise(three_sides(), CLASSES))["agglomerative", 0.1].difference_from_full
    # Differences -0.01, 0, -0.02: s = 0.01, and t(0.975, 2 degrees of freedom) = 4.302653 from the printed tables.
    half_width = 4.302653 * 0.01 / math.sqrt(3)
    assert difference.mean == pytest.approx(-0.01)
    assert difference.low == pytest.approx(-0.01 - half_width, rel=1e-6)
    assert difference.high == pytest.approx(-0.01 + half_width, rel=1e-6)
    assert difference.num_seeds == 3


accuracies = st.integers(0, 10_000).map(lambda correct: correct / 10_000)


@given(
    st.lists(st.tuples(accuracies, accuracies, accuracies), min_size=3, max_size=8),
    st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_differences_equal_scipys_paired_t_test(triples, confidence):
    full, method, random = map(np.array, zip(*triples, strict=True))
    trials = [*runs("random", 0.3, random), *runs("full", 0.0, full), *runs("el2n", 0.3, method)]
    rows = by_key(summarise(trials, CLASSES, confidence))
    for difference, ours, other in [
        (rows["el2n", 0.3].difference_from_full, method, full),
        (rows["el2n", 0.3].difference_from_random, method, random),
        (rows["random", 0.3].difference_from_full, random, full),
    ]:
        if np.ptp(ours - other) < 1e-12:
            # The chance that all of n differences have one sign is 2 ** -n: too few rule out nothing.
            enough = 0.5 ** len(full) < (1 - confidence) / 2
            expected = (np.mean(ours - other),) * 2 if enough else (-1, 1)
        else:
            expected = stats.ttest_rel(ours, other).confidence_interval(confidence)
        assert difference.mean == pytest.approx(np.mean(ours - other), abs=1e-12)
        assert (difference.low, difference.high) == pytest.approx(tuple(expected), abs=1e-12, rel=1e-9)


def test_pairing_is_by_seed_not_by_position():
    trials = [*runs("full", 0.0, [0.5, 0.6, 0.7]), *reversed(runs("el2n", 0.1, [0.4, 0.5, 0.62]))]
    difference = by_key(summarise(trials, CLASSES))["el2n", 0.1].difference_from_full
    # Differences -0.1, -0.1, -0.08: s = 0.02 / sqrt(3).
    half_width = 4.302653 * 0.02 / 3
    assert (difference.low, difference.high) == pytest.approx((-0.28 / 3 - half_width, -0.28 / 3 + half_width))


def test_zero_variance_gives_the_mean_where_there_are_seeds_enough():
    for count, ends in ((5, (-1, 1)), (6, (-0.25, -0.25))):  # 2 ** -6 is the first below 0.025
        rows = summarise([*runs("full", 0.0, [0.5] * count), *runs("el2n", 0.1, [0.25] * count)], CLASSES)
        assert rows[1].difference_from_full == Difference(-0.25, *ends, num_seeds=count)
        assert ("-25.00 [nothing varies]" in format_table(rows)) == (count == 5)


def test_confidence_next_to_one_stays_finite():
    difference = summarise(three_sides(), CLASSES, confidence=1 - 1e-15)[1].difference_from_full
    assert math.isfinite(difference.low)
    assert difference.low < -1


def test_interval_covers_the_true_difference_as_often_as_it_says():
    # The seeds' common effect is ten times the rest: an interval that ignored the pairing would nearly always cover.
    generator = np.random.default_rng(0)
    truth, repetitions, covered = -0.02, 2000, 0
    for _ in range(repetitions):
        common = 0.8 + generator.normal(0, 0.02, 5)
        full = common + generator.normal(0, 0.002, 5)
        pruned = common + truth + generator.normal(0, 0.002, 5)
        difference = summarise([*runs("full", 0.0, full), *runs("el2n", 0.5, pruned)], CLASSES)[1].difference_from_full
        covered += difference.low <= truth <= difference.high
    assert covered / repetitions == pytest.approx(0.95, abs=0.02)


def test_only_common_seeds_count_in_differences():
    trials = [
        *runs("full", 0.0, [0.90, 0.92, 0.94], first_seed=0),
        *runs("el2n", 0.1, [0.90, 0.93, 0.50], first_seed=1),
        *runs("random", 0.1, [0.10, 0.20], first_seed=3),
    ]
    rows = by_key(summarise(trials, CLASSES))
    difference = rows["el2n", 0.1].difference_from_full
    expected = stats.ttest_rel([0.90, 0.93], [0.92, 0.94]).confidence_interval(0.95)
    assert difference.num_seeds == 2
    assert (difference.low, difference.high) == pytest.approx(tuple(expected))
    assert rows["el2n", 0.1].num_seeds == 3
    assert rows["el2n", 0.1].accuracy_mean == pytest.approx((0.90 + 0.93 + 0.50) / 3)
    assert rows["random", 0.1].worst_class is None


@pytest.mark.parametrize("first_seed", [2, 9])  # one seed in common, or none
def test_seeds_that_do_not_pair_are_compared_by_welchs_rule(first_seed):
    full, pruned = [0.90, 0.92, 0.94], [0.89, 0.80, 0.85, 0.91]
    _, row = summarise([*runs("full", 0.0, full), *runs("el2n", 0.1, pruned, first_seed)], CLASSES, 0.9)
    difference = row.difference_from_full
    expected = stats.ttest_ind(pruned, full, equal_var=False).confidence_interval(0.9)
    assert (difference.low, difference.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert difference.mean == pytest.approx(np.mean(pruned) - np.mean(full))
    assert (difference.paired, difference.num_seeds) == (False, 3)
    lines = format_table([row]).splitlines()
    assert [line.count("]*") for line in lines if line.startswith("el2n 10%")] == [1]
    note = lines[-1]
    assert note == "*: not paired, for most seeds are of one side only; 90% interval by Welch's rule"
    assert format_markdown([row]).splitlines()[-1] == note


def test_pairs_are_not_marked_as_unpaired():
    text = format_table(summarise(three_sides(), CLASSES))
    assert "*" not in text
    assert "Welch" not in text


def test_random_is_compared_at_the_same_fraction_only():
    trials = [*runs("full", 0.0, [0.9, 0.9]), *runs("el2n", 0.1, [0.8, 0.7]), *runs("random", 0.3, [0.5, 0.6])]
    rows = by_key(summarise(trials, CLASSES))
    assert rows["el2n", 0.1].difference_from_random is None
    assert rows["el2n", 0.1].difference_from_full is not None


def test_full_and_random_are_not_compared_with_themselves():
    rows = by_key(summarise(three_sides(), CLASSES))
    full, random = rows["full", 0.0], rows["random", 0.1]
    assert (full.difference_from_full, full.difference_from_random, full.worst_class) == (None, None, None)
    assert random.difference_from_random is None
    assert random.difference_from_full is not None


def test_single_seed():
    full, pruned = summarise([*runs("full", 0.0, [0.9]), *runs("el2n", 0.1, [0.8])], CLASSES)
    assert math.isnan(full.accuracy_std)
    assert math.isnan(pruned.accuracy_std)
    assert (pruned.difference_from_full, pruned.difference_from_random) == (None, None)
    assert pruned.worst_class == ClassChange("cat", pytest.approx(-0.1))


def test_without_the_full_set():
    rows = summarise(runs("el2n", 0.1, [0.8, 0.9]), CLASSES)
    assert len(rows) == 1
    assert rows[0].difference_from_full is None
    assert rows[0].worst_class is None


def test_worst_class_of_the_mean_over_common_seeds():
    trials = [
        trial("full", seed=0, classes=[0.9, 0.8]),
        trial("full", seed=1, classes=[0.9, 0.8]),
        trial("full", seed=2, classes=[1.0, 1.0]),
        trial("el2n", 0.1, seed=0, classes=[0.6, 0.7]),  # seed 0 alone would name the cat
        trial("el2n", 0.1, seed=1, classes=[0.9, 0.3]),
    ]
    assert summarise(trials, CLASSES)[1].worst_class == ClassChange("dog", pytest.approx(-0.3))


def test_worst_class_may_have_gained():
    trials = [trial(classes=[0.5, 0.5]), trial("el2n", 0.1, classes=[0.9, 0.6])]
    assert summarise(trials, CLASSES)[1].worst_class == ClassChange("dog", pytest.approx(0.1))


def test_classes_without_test_examples_do_not_count():
    nan = float("nan")
    trials = [trial(classes=[nan, 0.5]), trial("el2n", 0.1, classes=[nan, 0.4])]
    assert summarise(trials, CLASSES)[1].worst_class == ClassChange("dog", pytest.approx(-0.1))
    trials = [trial(classes=[nan, nan]), trial("el2n", 0.1, classes=[nan, nan])]
    assert summarise(trials, CLASSES)[1].worst_class is None


def test_order_of_rows_does_not_depend_on_that_of_trials():
    keys = [("random", 0.1), ("zeta", 0.1), ("full", 0.0), ("random", 0.05), ("agglomerative", 0.1), ("zeta", 0.0)]
    rows = summarise([trial(method, fraction) for method, fraction in keys], CLASSES)
    assert [(row.method, row.prune_fraction) for row in rows] == [
        ("full", 0.0),
        ("zeta", 0.0),
        ("random", 0.05),
        ("agglomerative", 0.1),
        ("zeta", 0.1),
        ("random", 0.1),
    ]
    shuffled = np.random.default_rng(0).permutation(np.array(three_sides(), dtype=object))
    assert summarise(shuffled, CLASSES)[1:] == summarise(three_sides(), CLASSES)[1:]


def test_inputs_are_not_mutated_and_may_be_read_only():
    trials = three_sides()
    before = [one.class_accuracy.copy() for one in trials]
    expected = summarise(three_sides(), CLASSES)
    for one in trials:
        one.class_accuracy.flags.writeable = False
    assert summarise(iter(trials), CLASSES) == expected
    for one, class_accuracy in zip(trials, before, strict=True):
        assert np.array_equal(one.class_accuracy, class_accuracy, equal_nan=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: summarise([trial(seed=7), trial(seed=7)], CLASSES), ["'full'", "seed=7"]),
        (lambda: summarise([trial(num_kept=9), trial(seed=1, num_kept=8)], CLASSES), ["num_kept", "9", "8"]),
        (lambda: summarise([trial()], CLASSES, confidence=1.0), ["confidence=1.0", "between 0 and 1"]),
        (lambda: summarise([trial()], CLASSES, confidence=0), ["confidence=0"]),
        (lambda: summarise([trial()], CLASSES, confidence=95), ["confidence=95"]),
        (lambda: summarise([trial()], CLASSES, confidence=math.nan), ["confidence=nan"]),
        (lambda: summarise([], CLASSES), ["trials: must not be empty"]),
        (lambda: summarise([trial()], ["cat"]), ["class_names: must have one name per class", "1", "2"]),
        (lambda: trial("el2n", 1.0), ["prune_fraction=1.0", "'el2n'", "must be in [0, 1)"]),
        (lambda: trial("el2n", -0.1), ["prune_fraction=-0.1"]),
        (lambda: trial("full", 0.1), ["prune_fraction=0.1", "'full'"]),
        (lambda: trial(accuracy=92.5), ["accuracy=92.5"]),
        (lambda: trial(accuracy=math.nan), ["accuracy=nan"]),
        (lambda: trial(classes=0.5), ["class_accuracy", "()"]),
        (lambda: format_table([]), ["rows: must not be empty"]),
        (lambda: format_markdown([]), ["rows: must not be empty"]),
        (lambda: write_csv([], io.StringIO()), ["rows: must not be empty"]),
        (lambda: accuracy_plot([], "title"), ["rows: must not be empty"]),
        (lambda: difference_plot([], 0.005, "title"), ["rows: must not be empty"]),
        (lambda: difference_plot(summarise(three_sides(), CLASSES), 0.5, "title"), ["margin=0.5"]),
    ],
)
def test_errors_are_one_line(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


FULL_ROW = row("full", 0.0, num_kept=50_000, difference_from_full=None, difference_from_random=None, worst_class=None)


def squeeze(line):
    return " ".join(line.split())


def test_table_shows_percent_and_signed_points():
    lines = format_table([FULL_ROW, row()]).splitlines()
    assert squeeze(lines[3]) == "full 50,000 92.31 ± 0.15 5"
    assert squeeze(lines[4]) == (
        "agglomerative 10% 45,000 92.31 ± 0.15 5 -0.31 [-0.52, -0.10] +1.17 [+0.05, +2.29] -2.18 automobile"
    )
    assert len(lines) == 7  # two lines of headings, a rule, two rows, an empty line, one note


def test_table_says_where_random_subsets_were_not_run():
    trials = [*three_sides(), *runs("el2n", 0.3, [0.8, 0.9, 0.85]), *runs("el2n", 0.1, [0.8])]
    lines = {squeeze(line)[:8]: line for line in format_table(summarise(trials, CLASSES)).splitlines()}
    assert " not run " in lines["el2n 30%"]
    assert " not run " not in lines["el2n 10%"]


def test_table_names_the_confidence_really_used():
    text = format_table([row(confidence=0.9)])
    assert "[90% interval]" in text
    assert "90% Student t interval" in text.splitlines()[-1]
    assert "95" not in text
    assert "99.99999%" in format_table([row(confidence=0.9999999)])


def test_table_marks_what_needs_more_seeds_and_only_that():
    text = format_table([FULL_ROW, row(num_seeds=1, difference_from_full=None, accuracy_std=math.nan)])
    *_, cells, _, _, note = text.splitlines()
    assert squeeze(cells).startswith("agglomerative 10% 45,000 92.31 ± - 1 - +1.17")
    assert note.startswith("-: needs at least 2 seeds")
    random = row("random", difference_from_random=None)
    assert "at least" not in format_table([FULL_ROW, random, row(worst_class=ClassChange("-", -0.1))])


def test_no_negative_zero():
    text = format_table([row(difference_from_full=Difference(-1e-9, -1e-9, 1e-9, 3))])
    assert "+0.00 [+0.00, +0.00]" in text


def test_class_names_that_look_like_numbers_stay_as_they_are():
    assert format_table([row(worst_class=ClassChange("1.50", -0.1))]).splitlines()[3].split()[-1] == "1.50"


@pytest.mark.parametrize("name", ["automobile", "great white shark, white shark, man-eater, Carcharodon carcharias"])
@pytest.mark.parametrize("scale", [1, 10, 1000])
def test_table_fits_the_terminal(name, scale):
    wide = row(
        num_kept=450_000,
        confidence=0.999,
        accuracy_std=0.0015 * min(scale, 10),
        difference_from_full=Difference(-0.0231, -0.0252 * scale, 0.0210 * scale, 2),
        difference_from_random=Difference(0.0231, -0.0252 * scale, 0.0210 * scale, 2),
        worst_class=ClassChange(name, -0.1218),
    )
    text = format_table([FULL_ROW, wide, row("random", worst_class=ClassChange("cat", -0.1))])
    assert max(map(len, text.splitlines())) <= 120
    assert name[:6] in text
    assert ("…" in text) == (name not in text)


def test_markdown_is_one_table_with_nothing_cut():
    name = "a|b" * 40
    lines = format_markdown([FULL_ROW, row(worst_class=ClassChange(name, -0.1))]).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert {line.replace(r"\|", "").count("|") for line in table} == {9}
    assert name.replace("|", r"\|") in table[3]
    assert "percentage points" in lines[-1]


def test_csv_reads_back_exactly():
    rows = summarise([*three_sides(), *runs("el2n", 0.3, [0.7])], ['a, "b"', "dog"])
    file = io.StringIO(newline="")
    write_csv(rows, file)
    lines = list(csv.DictReader(io.StringIO(file.getvalue())))
    table = pyarrow.csv.read_csv(
        io.BytesIO(file.getvalue().encode()), convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    ).to_pylist()
    assert len(lines) == len(table) == len(rows)
    for expected, text, values in zip(rows, lines, table, strict=True):
        assert text["method"] == expected.method
        assert float(text["prune_fraction"]) == expected.prune_fraction
        for name in ("num_kept", "num_seeds", "accuracy_mean", "confidence"):
            assert values[name] == getattr(expected, name)
        for name in ("difference_from_full", "difference_from_random"):
            difference = getattr(expected, name)
            for field in ("mean", "low", "high", "num_seeds", "paired"):
                assert values[f"{name}_{field}"] == (None if difference is None else getattr(difference, field))
        assert values["accuracy_std"] == (None if math.isnan(expected.accuracy_std) else expected.accuracy_std)
        worst = expected.worst_class
        assert (values["worst_class"], values["worst_class_change"]) == (
            (worst.name, worst.change) if worst else (None, None)
        )
    assert text.keys() == {
        *("method", "prune_fraction", "num_kept", "num_seeds", "accuracy_mean", "accuracy_std", "confidence"),
        *(
            f"difference_from_{side}_{field}"
            for side in ("full", "random")
            for field in ("mean", "low", "high", "num_seeds", "paired")
        ),
        *("worst_class", "worst_class_change"),
    }


def error_bars(axes):
    """Per method: x, y and the half length of each bar, as drawn."""
    drawn = {}
    for container in axes.containers:
        line, _, (bars,) = container
        segments = bars.get_segments()
        half = [(s[1, 1] - s[0, 1]) / 2 if len(s) == 2 else math.nan for s in segments]
        drawn[container.get_label()] = (line.get_xdata(), line.get_ydata(), half)
    return drawn


def test_plot_draws_means_and_standard_deviations():
    trials = [
        *three_sides(),
        *runs("agglomerative", 0.5, [0.80, 0.70, 0.75]),
        *runs("random", 0.5, [0.60, 0.70, 0.80]),
    ]
    rows = by_key(summarise(trials, CLASSES))
    (axes,) = accuracy_plot(list(rows.values()), "digits").axes
    drawn = error_bars(axes)
    assert list(drawn) == ["agglomerative", "random"]
    for method, (x, y, half) in drawn.items():
        assert x == pytest.approx([10, 50], abs=2)
        assert y == pytest.approx([100 * rows[method, f].accuracy_mean for f in (0.1, 0.5)])
        assert half == pytest.approx([100 * rows[method, f].accuracy_std for f in (0.1, 0.5)])
    assert np.all(drawn["random"][0] - drawn["agglomerative"][0] > 0.5)  # bars are side by side
    assert axes.get_title() == "digits"
    (full,) = [line for line in axes.lines if line.get_label() == "full"]
    assert full.get_ydata() == pytest.approx([92, 92])
    (band,) = axes.patches
    assert band.get_extents().transformed(axes.transData.inverted()).intervaly == pytest.approx([90, 94])


def test_plot_explains_itself():
    figure = accuracy_plot(summarise([*three_sides(), *runs("el2n", 0.1, [0.8])], CLASSES), "costs $5 to $6")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["full", "agglomerative", "el2n", "random"]
    assert "± one std over 1 to 3 seeds" in legend.get_title().get_text()
    (axes,) = figure.axes
    assert "%" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()
    figure.savefig(io.BytesIO(), format="png")


def assert_points_inside_axes(figure):
    figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    for x, _, _ in error_bars(axes).values():
        assert np.all((low < x) & (x < high))


@pytest.mark.parametrize(
    "trials",
    [
        [trial()],
        [trial(), trial(seed=1)],
        [trial("el2n", 0.1)],
        [trial(), trial("el2n", 0.1), trial("random", 0.1)],
        [trial(f"method{k}", 0.1, accuracy=0.5) for k in range(14)],
        [*runs("el2n", 0.01, [0.0, 1.0]), *runs("random", 0.02, [1.0, 1.0]), *runs("random", 0.99, [0.0])],
        [trial("el2n", k / 40, accuracy=k / 40) for k in range(40)],
    ],
    ids=["one full", "two full", "one pruned", "one seed", "many methods", "wild", "many fractions"],
)
def test_plot_of_extremes_draws_everything_without_warnings(trials):
    assert_points_inside_axes(accuracy_plot(summarise(trials, CLASSES), "t" * 300))


def test_difference_plot_draws_the_intervals_of_the_table():
    trials = [*three_sides(), *runs("el2n", 0.1, [0.9, 0.8, 0.85]), *runs("el2n", 0.3, [0.9])]
    rows = summarise(trials, CLASSES)
    figure = difference_plot(rows, 0.005, "costs $5 to $6")
    assert [axes.get_title() for axes in figure.axes] == ["agglomerative", "el2n"]
    row = by_key(rows)["el2n", 0.1]
    container = figure.axes[1].containers[0]
    assert container.lines[0].get_xydata() == pytest.approx(np.array([[10, 100 * row.difference_from_full.mean]]))
    (bar,) = container.lines[2][0].get_segments()
    ends = [100 * row.difference_from_full.low, 100 * row.difference_from_full.high]
    assert bar == pytest.approx(np.array([[10, ends[0]], [10, ends[1]]]))
    assert [line.get_ydata()[0] for line in figure.axes[0].get_lines()[-2:]] == [0, -0.5]
    assert figure.get_suptitle() == "costs $5 to $6"
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"random subsets, 95% interval", "the method, 95% interval", "margin"}


def test_difference_plot_of_many_methods_of_random_alone_and_of_the_full_set_alone():
    full, level = runs("full", 0.0, [0.8, 0.8]), [0.8, 0.7]
    many = [*full, *(trial for i in range(11) for trial in runs(f"m{i:02}", 0.1, level))]
    figure = difference_plot(summarise(many, CLASSES), 0.005, "t")
    assert len(figure.axes) == 11
    # The last of four columns has one panel fewer, so the panel above the gap shows the fractions.
    assert [bool(axes.get_xlabel()) for axes in figure.axes] == [False] * 7 + [True] * 4
    low, high = figure.axes[0].get_ylim()
    assert -20 < low < -5 < 0 < high < 20  # though two seeds have intervals of a hundred points
    for trials in ([*full, *runs("random", 0.1, level)], full):
        assert [axes.get_title() for axes in difference_plot(summarise(trials, CLASSES), 0.01, "t").axes] == ["random"]


def test_plot_needs_no_pyplot_and_evidence_no_matplotlib():
    code = (
        "import sys; import data_redundancy.evidence as e; assert 'matplotlib' not in sys.modules\n"
        "import numpy as np\n"
        "rows = e.summarise([e.Trial('full', 0.0, 0, 9, 0.5, np.array([0.5]))], ['a'])\n"
        "e.accuracy_plot(rows, 't'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
