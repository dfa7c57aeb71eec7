"""The classes that lose accuracy."""

import math

import numpy as np
import pytest
from scipy import stats

from data_redundancy.errors import InputError
from data_redundancy.evidence import class_effects
from data_redundancy.evidence.multiplicity import holm
from helpers.evidence_trials import by_seed, runs, trial

NAMES = ("cat", "dog", "eel", "fox")


def sides(changes, first_seed=0):
    """`changes` [n, C] as trials of a full set with varied accuracies and of a pruned one."""
    changes = np.array(changes)
    full = 0.5 + np.linspace(0, 0.2, changes.size).reshape(changes.shape)
    return (
        by_seed(trial("el2n", 0.1, seed, 0.5, row) for seed, row in enumerate(full + changes, first_seed)),
        by_seed(trial("full", 0.0, seed, 0.5, row) for seed, row in enumerate(full)),
    )


def pays(trials, others, names, name, p_value):
    """Whether a class pays at error rates just above and just below a p-value."""
    found = []
    for error in (p_value * (1 + 1e-6), p_value * (1 - 1e-6)):
        effects = class_effects(trials, others, names, 1 - error)
        found.append(next(effect.pays for effect in effects if effect.name == name))
    return tuple(found)


def test_each_class_by_scipy_and_all_by_holm():
    changes = np.random.default_rng(0).normal([-0.1, 0.0, -0.01, 0.1], 0.01, (5, 4))
    found = {effect.name: effect for effect in class_effects(*sides(changes), NAMES, 0.9)}
    tests = [stats.ttest_1samp(column, 0) for column in changes.T]
    adjusted = holm([test.pvalue for test in tests])
    for name, column, test, p_value in zip(NAMES, changes.T, tests, adjusted, strict=True):
        effect = found[name]
        assert (effect.change, effect.low, effect.high) == pytest.approx(
            (column.mean(), *test.confidence_interval(0.9)), rel=1e-6
        )
        if p_value < 1 - 1e-3:
            assert pays(*sides(changes), NAMES, name, p_value) == (column.mean() < 0, False)
    assert [name for name in NAMES if found[name].pays] == ["cat"]  # the fox gains as much


def test_the_largest_loss_comes_first_and_classes_without_test_images_are_left_out():
    changes = [[0.1, math.nan, -0.2, 0.0], [0.2, math.nan, -0.1, 0.01]]
    assert [effect.name for effect in class_effects(*sides(changes), NAMES)] == ["eel", "fox", "cat"]
    assert class_effects(*sides([[math.nan]] * 2), ["cat"]) == []


def test_a_class_that_does_not_vary_pays_only_after_seeds_enough():
    for count, expected in [(3, False), (7, True)]:  # 2 * 2 ** -7 * 2 classes = 0.03
        trials, others = sides([[-0.1, 0.0]] * count)
        lost, same = class_effects(trials, others, NAMES[:2])
        assert (lost.name, lost.pays) == ("cat", expected)
        assert pays(trials, others, NAMES[:2], "cat", 2 * 2 * 2**-count) == (True, False)
        assert not same.pays
        assert not any(pays(trials, others, NAMES[:2], "dog", 1 - 1e-5))


def test_seeds_that_do_not_pair_are_compared_by_welch():
    pruned, full = sides(np.random.default_rng(1).normal(-0.1, 0.02, (4, 2)), first_seed=9)
    effect = class_effects(pruned, full, NAMES[:2])[0]
    columns = [[trial.class_accuracy[NAMES.index(effect.name)] for trial in side.values()] for side in (pruned, full)]
    expected = stats.ttest_ind(*columns, equal_var=False).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx(tuple(expected))


def test_chance_alone_makes_no_class_pay_more_often_than_it_may():
    """A hundred classes, no change: some class seems to pay in 2.5% of data sets, without correction in nearly all."""
    generator = np.random.default_rng(2)
    repetitions = 4000
    changes = generator.normal(0, 0.02, (repetitions, 3, 100))
    t = changes.mean(1) / (changes.std(1, ddof=1) / math.sqrt(3))
    smallest = 2 * stats.t.cdf(t, 2).min(1)
    wrong = np.minimum(1, 100 * smallest) < 0.05
    names = [str(index) for index in range(100)]
    for index in [*np.flatnonzero(wrong)[:4], *np.flatnonzero(~wrong)[:4]]:
        assert any(effect.pays for effect in class_effects(*sides(changes[index]), names)) == wrong[index]
    assert wrong.mean() == pytest.approx(0.025, abs=3.5 * math.sqrt(0.025 * 0.975 / repetitions))
    assert np.mean(smallest < 0.05) > 0.9


def test_mistakes():
    with pytest.raises(
        InputError, match=r"^class_names: must have .*, but has 3 for the 4 classes of method 'el2n', seed=0$"
    ):
        class_effects(*sides(np.zeros((2, 4))), NAMES[:3])
    with pytest.raises(InputError, match=r"^trials: must have at least 2 seeds, but has 1$"):
        class_effects(*sides(np.zeros((1, 4))), NAMES)
    with pytest.raises(InputError, match=r"^confidence=2: must be between 0 and 1"):
        class_effects(by_seed(runs("el2n", 0.1, [0.5])), {}, NAMES, 2)
