"""Finished trials, grouped by the selection that they trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from data_redundancy.errors import InputError

FULL = "full"
"""The method that keeps every training example."""

RANDOM = "random"
"""The method that keeps a random subset."""

SelectionKey = tuple[str, float]
"""(method, prune fraction), for example ("agglomerative", 0.1)."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One training run on one selection with one seed.

    Attributes:
        method: The selection's method; "full" keeps every training example.
        prune_fraction: Share of the training examples removed, in [0, 1); 0 for "full".
        seed: Trials with the same seed share their initialisation.
        num_kept: Number of training examples kept.
        accuracy: Test accuracy after the last step, in [0, 1].
        class_accuracy: [C] float64, the test accuracy of every class; NaN for a class without test examples.

    Raises:
        InputError: If a value is outside its range.
    """

    method: str
    prune_fraction: float
    seed: int
    num_kept: int
    accuracy: float
    class_accuracy: np.ndarray

    def __post_init__(self) -> None:
        if not 0 <= self.prune_fraction < 1:
            raise InputError("prune_fraction", self.prune_fraction, f"must be in [0, 1) (method {self.method!r})")
        if self.method == FULL and self.prune_fraction != 0:
            raise InputError("prune_fraction", self.prune_fraction, f"must be 0 for {FULL!r}, which keeps everything")
        if not 0 <= self.accuracy <= 1:
            raise InputError("accuracy", self.accuracy, f"must be in [0, 1] (method {self.method!r})")
        if np.ndim(self.class_accuracy) != 1:
            shape = np.shape(self.class_accuracy)
            raise InputError(
                "class_accuracy",
                None,
                f"must have shape [C], one number per class, but has shape {shape} (method {self.method!r})",
            )


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
            raise InputError(
                "trials", None, f"must have each seed once per selection, but have two with {name}, seed={trial.seed}"
            )
        by_seed[trial.seed] = trial
        expected = next(iter(by_seed.values())).num_kept
        if trial.num_kept != expected:
            raise InputError(
                "trials",
                None,
                f"must have one num_kept per selection, but have {expected} and {trial.num_kept} with {name}",
            )
    return selections


def require_class_names(trials: Iterable[Trial], class_names: Sequence[str]) -> None:
    """Validates that there is a name for every class.

    Raises:
        InputError: If the number of classes of a trial differs from the number of `class_names`.
    """
    for trial in trials:
        if len(trial.class_accuracy) != len(class_names):
            raise InputError(
                "class_names",
                None,
                f"must have one name per class, but has {len(class_names)} for the {len(trial.class_accuracy)} classes "
                f"of method {trial.method!r}, seed={trial.seed}",
            )
