"""Questions of the command `answer`: whether a fraction can be pruned, or which fraction is the largest."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_redundancy import evidence
from data_redundancy.errors import InputError
from data_redundancy.selection.allocation import num_pruned
from data_redundancy.store.workdir import selection_name

RANDOM = "random"
"""The method that every selection is compared with."""


@dataclasses.dataclass(frozen=True)
class Question:
    """The question whether a fraction can be pruned, or which of several fractions is the largest that can.

    Attributes:
        method: name of the selection method.
        fractions: prune fractions, ascending; they are tested in this order, until the answer to one is not "yes".
        margin: accuracy loss that is still accepted, a fraction.
        schedule: numbers of seeds at the looks, and levels of the tests.
        seed: first seed; the others count up from it.
    """

    method: str
    fractions: tuple[float, ...]
    margin: float
    schedule: evidence.LookSchedule
    seed: int

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of the trials of every seed, besides the trial on the full set."""
        return compared_methods(self.method)

    def seeds(self, number: int) -> tuple[int, ...]:
        """Returns the first `number` seeds."""
        return tuple(range(self.seed, self.seed + number))

    def sweep(self, *, fractions: Sequence[float], num_seeds: int) -> dict[str, Any]:
        """Returns the fields of the section `sweep` for trials with the first `num_seeds` seeds at some fractions."""
        return {"fractions": tuple(fractions), "methods": self.methods, "seeds": self.seeds(num_seeds)}

    def name(self, fraction: float | None) -> str:
        """Returns the name of the answer's file for a fraction; with None, for the search for the largest."""
        return f"{self.method}-largest" if fraction is None else selection_name(self.method, fraction)

    def plan(self, fraction: float | None) -> dict[str, Any]:
        """Returns the plan as it is saved, which must not change after the first look."""
        asked: Mapping[str, Any] = {"fractions": list(self.fractions)} if fraction is None else {"fraction": fraction}
        return {
            "method": self.method,
            **asked,
            "margin": self.margin,
            "confidence": self.schedule.confidence,
            "looks": list(self.schedule.looks),
            "seed": self.seed,
        }


def compared_methods(method: str) -> tuple[str, ...]:
    """Returns the methods whose trials are compared with the full set: `method` and random."""
    return tuple(dict.fromkeys((method, RANDOM)))


def make_question(config: ConfigDict, *, largest: bool) -> Question:
    """Returns the question of `select.method` and `select.fraction`, or of `sweep.fractions` for the largest.

    Raises:
        InputError: if the fraction is 0, or the allowed trials or seeds do not suffice for the first look.
    """
    settings, method = config.evidence, config.select.method
    fractions = tuple(sorted(config.sweep.fractions)) if largest else (config.select.fraction,)
    if not fractions[0] > 0:
        raise InputError("select.fraction", fractions[0], "must be greater than 0 and less than 1")
    methods = compared_methods(method)
    per_seed = 1 + len(methods)
    if settings.max_trials < per_seed * settings.first_look:
        raise InputError(
            "evidence.max_trials",
            settings.max_trials,
            f"must be at least {per_seed * settings.first_look}, as the first look is at {settings.first_look} seeds "
            f"(evidence.first_look), each with {per_seed} trials (full, {', '.join(methods)})",
        )
    looks = evidence.rounds(settings.first_look, settings.look_every, settings.max_trials // per_seed)
    if settings.seed + looks[-1] > 2**32:
        raise InputError(
            "evidence.seed",
            settings.seed,
            f"must be at most {2**32 - looks[-1]}, as {looks[-1]} seeds count up from it",
        )
    schedule = evidence.make_look_schedule(looks, settings.confidence)
    return Question(method, fractions, settings.margin, schedule, settings.seed)


def check_size(question: Question, num_train: int) -> None:
    """Raises InputError if a fraction is too small to prune an image."""
    smallest = question.fractions[0]
    if num_pruned(num_train, smallest) == 0:
        field = "select.fraction" if len(question.fractions) == 1 else "sweep.fractions"
        raise InputError(
            field, smallest, f"must be more than {0.5 / num_train:.6g}, to prune at least one of {num_train:,} images"
        )
