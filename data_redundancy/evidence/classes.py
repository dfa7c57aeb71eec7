"""The change of every class's accuracy, to find the classes that lose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_redundancy.evidence.effects import Effect, compare, interval, p_different
from data_redundancy.evidence.limits import require_confidence
from data_redundancy.evidence.multiplicity import holm
from data_redundancy.evidence.trials import Trial, require_class_names


@dataclass(frozen=True)
class ClassEffect:
    """The change of one class's accuracy.

    Attributes:
        name: The class.
        change: Mean change against the other selection, a fraction.
        low: Lower end of this class's own interval, a fraction; it is not corrected for the number of classes.
        high: Upper end of the interval, a fraction.
        pays: Whether the class lost accuracy, by its two-sided p-value corrected for the number of classes.
        has_interval: Whether the interval rules out anything, as in `Difference`.
    """

    name: str
    change: float
    low: float
    high: float
    pays: bool
    has_interval: bool


def class_effects(
    trials: Mapping[int, Trial], others: Mapping[int, Trial], class_names: Sequence[str], confidence: float = 0.95
) -> list[ClassEffect]:
    """Estimates the change of every class, with one error rate for all classes.

    P-values are corrected for the number of classes by Holm's rule. At a confidence of 95%, chance alone makes a class
    "pay" in at most one data set of 40, however many classes it has.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        class_names: [C] names, in the order of `Trial.class_accuracy`.
        confidence: Level of the intervals, in (0, 1); 1 - confidence is the error rate of all classes together.

    Returns:
        The classes that have test examples, the largest loss first.

    Raises:
        InputError: If either selection has fewer than 2 trials, the number of classes differs from that of
            `class_names`, or `confidence` is outside (0, 1).
    """
    require_confidence(confidence)
    require_class_names([*trials.values(), *others.values()], class_names)
    effects = [(name, _class_effect(trials, others, index)) for index, name in enumerate(class_names)]
    found = [(name, effect) for name, effect in effects if not np.isnan(effect.mean)]
    adjusted = holm([p_different(effect) for _, effect in found])
    intervals = [interval(effect, confidence) for _, effect in found]
    changes = [
        ClassEffect(
            name=name,
            change=effect.mean,
            low=ends.low,
            high=ends.high,
            pays=effect.mean < 0 and p_value < 1 - confidence,
            has_interval=ends.has_interval,
        )
        for (name, effect), ends, p_value in zip(found, intervals, adjusted, strict=True)
    ]
    return sorted(changes, key=lambda change: change.change)


def _class_effect(trials: Mapping[int, Trial], others: Mapping[int, Trial], index: int) -> Effect:
    return compare(trials, others, lambda trial: float(trial.class_accuracy[index]))
