"""Finished trials, grouped by the selection they trained on."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from data_redundancy.errors import InputError

FULL = "full"
RANDOM = "random"

SelectionKey = tuple[str, float]
"""(method, prune fraction), for example ("agglomerative", 0.1)."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One training run on one selection with one seed.

    Attributes:
        method: The selection's method; "full" is the one that keeps everything.
        prune_fraction: Share of the training examples removed, in [0, 1); 0 for "full".
        seed: Trials with the same seed share their initialisation.
        num_kept: Number of training examples kept.
        accuracy: Test accuracy after the last step, in [0, 1].
        class_accuracy: [C] float64, the same for every class; NaN for a class without test examples.

    Raises:
        InputError: If a value is outside its range.
    """

    method: str
    prune_fraction: float
    seed: int
    num_kept: int
    accuracy: float
    class_accuracy: np.ndarray

    def __post_init__(self):
        if not 0 <= self.prune_fraction < 1:
            raise InputError(f"prune_fraction={self.prune_fraction} of {self.method!r}: must be in [0, 1)")
        if self.method == FULL and self.prune_fraction != 0:
            raise InputError(f"prune_fraction={self.prune_fraction} of {FULL!r}: must be 0, it keeps everything")
        if not 0 <= self.accuracy <= 1:
            raise InputError(f"accuracy={self.accuracy} of {self.method!r}: must be in [0, 1]")
        if np.ndim(self.class_accuracy) != 1:
            shape = np.shape(self.class_accuracy)
            raise InputError(f"class_accuracy of {self.method!r} has shape {shape}: must be [C], one number per class")


def group_by_selection(trials: Iterable[Trial]) -> dict[SelectionKey, dict[int, Trial]]:
    """Groups trials by selection and, within a selection, by seed.

    Args:
        trials: Finished trials in any order.

    Returns:
        For every selection, keyed by method and prune fraction, its trials keyed by seed.

    Raises:
        InputError: If a selection has two trials with one seed, or trials that kept different numbers of examples.
    """
    selections: dict[SelectionKey, dict[int, Trial]] = {}
    for trial in trials:
        name = f"method={trial.method!r}, prune_fraction={trial.prune_fraction}"
        by_seed = selections.setdefault((trial.method, trial.prune_fraction), {})
        if trial.seed in by_seed:
            raise InputError(f"trials: two with {name}, seed={trial.seed}; each seed may occur once per selection")
        by_seed[trial.seed] = trial
        expected = next(iter(by_seed.values())).num_kept
        if trial.num_kept != expected:
            raise InputError(f"trials: num_kept of {name} is {expected} and {trial.num_kept}; it must be one number")
    return selections
