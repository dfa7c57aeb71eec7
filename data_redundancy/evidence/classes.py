"""Which classes pay for what was removed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.evidence.effects import compare, interval, p_different
from data_redundancy.evidence.limits import require_confidence
from data_redundancy.evidence.multiplicity import holm
from data_redundancy.evidence.trials import Trial


@dataclass(frozen=True)
class ClassEffect:
    """What happened to one class's accuracy. All but `adjusted_p` and `num_seeds` are fractions.

    Attributes:
        name: The class.
        change: Mean change against the other side.
        low: Lower end of this class's own interval, which knows nothing of the other classes.
        high: Upper end.
        adjusted_p: Two-sided p-value of "nothing changed", corrected for the number of classes by Holm's rule.
        num_seeds: As in `Effect`.
        pays: Whether the class lost accuracy, by `adjusted_p`.
        has_interval: As in `Difference`.
    """

    name: str
    change: float
    low: float
    high: float
    adjusted_p: float
    num_seeds: int
    pays: bool
    has_interval: bool


def class_effects(
    trials: Mapping[int, Trial], others: Mapping[int, Trial], class_names: Sequence[str], confidence: float = 0.95
) -> list[ClassEffect]:
    """The change of every class, with one error rate for all of them.

    With 5% error in all, chance alone makes a class "pay" in at most one data set of 40, however many classes it has.

    Args:
        trials: Trials of one selection by seed.
        others: Trials of the selection to compare with, by seed.
        class_names: [C] names, in the order of `Trial.class_accuracy`.
        confidence: Level of the intervals and, as 1 - confidence, of the error in all; in (0, 1).

    Returns:
        The classes that have test examples, the largest loss first.

    Raises:
        InputError: If either side has fewer than 2 trials, the number of classes differs from that of `class_names`, or
            `confidence` is outside (0, 1).
    """
    require_confidence(confidence)
    for trial in (*trials.values(), *others.values()):
        if len(trial.class_accuracy) != len(class_names):
            raise InputError(
                f"class_names has {len(class_names)} names but class_accuracy of {trial.method!r} has "
                f"{len(trial.class_accuracy)} numbers: the two must agree"
            )
    found = [
        (name, effect)
        for index, name in enumerate(class_names)
        if not np.isnan((effect := compare(trials, others, lambda trial, c=index: trial.class_accuracy[c])).mean)
    ]
    adjusted = holm([p_different(effect) for _, effect in found])
    intervals = [interval(effect, confidence) for _, effect in found]
    effects = [
        ClassEffect(
            name=name,
            change=effect.mean,
            low=ends.low,
            high=ends.high,
            adjusted_p=p_value,
            num_seeds=effect.num_seeds,
            pays=effect.mean < 0 and p_value < 1 - confidence,
            has_interval=ends.has_interval,
        )
        for (name, effect), ends, p_value in zip(found, intervals, adjusted, strict=True)
    ]
    return sorted(effects, key=lambda effect: effect.change)
