"""A summary of trials: one row of evidence per selection.

Differences are taken between trials with the same seed, which share their initialisation; where two selections share
too few seeds, between their means. Standard deviations and intervals describe the variation over training runs on one
test split; they do not include the variation over test splits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.evidence.difference import MIN_SEEDS, Difference
from data_redundancy.evidence.effects import compare, interval
from data_redundancy.evidence.limits import require_confidence
from data_redundancy.evidence.trials import (
    FULL,
    RANDOM,
    SelectionKey,
    Trial,
    group_by_selection,
    require_class_names,
)


@dataclass(frozen=True)
class ClassChange:
    """The change of one class's mean accuracy against the full set; `change` is a fraction."""

    name: str
    change: float


@dataclass(frozen=True)
class Row:
    """The evidence about one selection. Accuracies and differences are fractions, not percentages.

    Attributes:
        method: The selection's method.
        prune_fraction: Share of the training examples removed, in [0, 1).
        num_kept: Number of training examples kept.
        num_seeds: Number of trials.
        accuracy_mean: Mean test accuracy over all trials.
        accuracy_std: Standard deviation over trials (n-1); NaN for a single trial.
        confidence: Level of the intervals below, in (0, 1).
        difference_from_full: Difference from the full set; None for the full set itself and where either side has fewer
            than 2 seeds.
        difference_from_random: Difference from random subsets at the same fraction; None for the full set, for random
            itself and where either side has fewer than 2 seeds.
        worst_class: The class that lost most against the full set; None for the full set itself and where no seed or
            class can be compared.
    """

    method: str
    prune_fraction: float
    num_kept: int
    num_seeds: int
    accuracy_mean: float
    accuracy_std: float
    confidence: float
    difference_from_full: Difference | None
    difference_from_random: Difference | None
    worst_class: ClassChange | None


def summarise(trials: Iterable[Trial], class_names: Sequence[str], confidence: float = 0.95) -> list[Row]:
    """Summarises trials as one row per selection.

    Args:
        trials: Finished trials in any order; selections may have different seeds.
        class_names: [C] names, in the order of `Trial.class_accuracy`.
        confidence: Level of the intervals, in (0, 1).

    Returns:
        The rows: the full set first, then by prune fraction, then by method name with random last.

    Raises:
        InputError: If there are no trials, a (method, fraction, seed) occurs twice, the trials of a selection kept
            different numbers of examples, the number of classes differs from that of `class_names`, or `confidence` is
            outside (0, 1).
    """
    require_confidence(confidence)
    selections = group_by_selection(trials)
    if not selections:
        raise InputError("trials", None, "must not be empty: at least one finished trial is needed")
    for by_seed in selections.values():
        require_class_names(by_seed.values(), class_names)
    return [_row(key, selections, class_names, confidence) for key in sorted(selections, key=_position)]


def mean_difference(trials: Mapping[int, Trial], others: Mapping[int, Trial], confidence: float) -> Difference | None:
    """Computes the difference in mean accuracy, with its Student t interval.

    Where seeds are paired, the interval is mean ± t * s / sqrt(n), with the standard deviation (n-1) s of the n paired
    differences and the quantile t of Student's distribution with n-1 degrees of freedom, as in `scipy.stats.ttest_rel`.
    Elsewhere it is Welch's interval for the difference of two means. See `effects.interval` for trials that do not
    vary.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        confidence: Level of the interval, in (0, 1).

    Returns:
        The difference, or None if either side has fewer than 2 seeds.

    References:
        Student (1908), The Probable Error of a Mean, Biometrika 6(1).
        Welch (1947), The Generalization of "Student's" Problem when Several Different Population Variances are
        Involved, Biometrika 34(1/2).
    """
    if min(len(trials), len(others)) < MIN_SEEDS:
        return None
    return interval(compare(trials, others), confidence)


def worst_class_change(
    trials: Mapping[int, Trial], others: Mapping[int, Trial], class_names: Sequence[str]
) -> ClassChange | None:
    """Finds the class whose mean accuracy over the common seeds fell most.

    The change is a minimum over classes, so chance alone makes it negative when there are many classes with few test
    images: compare it with the same number for random subsets.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        class_names: [C] names.

    Returns:
        The class with the most negative (or least positive) change, the first of equal ones; classes without test
        examples do not count. None if there is no common seed or no class to compare.
    """
    seeds = sorted(trials.keys() & others.keys())
    if not seeds:
        return None
    changes = np.mean([trials[seed].class_accuracy - others[seed].class_accuracy for seed in seeds], axis=0)
    if np.isnan(changes).all():
        return None
    worst = int(np.nanargmin(changes))
    return ClassChange(name=class_names[worst], change=float(changes[worst]))


def require_rows(rows: Sequence[Row]) -> None:
    """Validates that there is a row to show.

    Raises:
        InputError: If there are no rows.
    """
    if not rows:
        raise InputError("rows", None, "must not be empty: at least one selection is needed")


def _row(
    key: SelectionKey,
    selections: Mapping[SelectionKey, Mapping[int, Trial]],
    class_names: Sequence[str],
    confidence: float,
) -> Row:
    method, prune_fraction = key
    trials = selections[key]
    full = {} if method == FULL else selections.get((FULL, 0.0), {})
    random = {} if method in (FULL, RANDOM) else selections.get((RANDOM, prune_fraction), {})
    accuracies = np.array([trials[seed].accuracy for seed in sorted(trials)])
    return Row(
        method=method,
        prune_fraction=prune_fraction,
        num_kept=next(iter(trials.values())).num_kept,
        num_seeds=len(trials),
        accuracy_mean=float(accuracies.mean()),
        accuracy_std=float(accuracies.std(ddof=1)) if len(trials) >= MIN_SEEDS else float("nan"),
        confidence=confidence,
        difference_from_full=mean_difference(trials, full, confidence),
        difference_from_random=mean_difference(trials, random, confidence),
        worst_class=worst_class_change(trials, full, class_names),
    )


def _position(key: SelectionKey) -> tuple[bool, float, bool, str]:
    """Returns the sort key of a selection: the full set first, then by fraction, then by method with random last."""
    method, prune_fraction = key
    return method != FULL, prune_fraction, method == RANDOM, method
