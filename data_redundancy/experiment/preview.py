"""What a command would do: its steps, which of them are done, and how long the others are expected to take."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from tabulate import tabulate

from data_redundancy.data.tfds.builder import NotPreparedError
from data_redundancy.experiment import trial_grid
from data_redundancy.experiment.durations import duration_text
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.result import CommandResult

_T = TypeVar("_T")

RUN, SKIP = "run", "skip"
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a command.

    Attributes:
        command: that does it.
        action: `run` or `skip`.
        what: is made.
        seconds: that it is expected to take; None if unknown, 0 for a step that is skipped.
    """

    command: str
    action: str
    what: str
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Preview(CommandResult):
    """The steps of a command, none of which was run."""

    steps: tuple[Step, ...]

    def text(self) -> str:
        """Returns a table of the steps."""
        rows = [[step.command, step.action, _time(step), step.what] for step in self.steps]
        return tabulate(rows, ["command", "would", "expected", "what"], disable_numparse=True)


def _time(step: Step) -> str:
    if step.action == SKIP:
        return ""
    return UNKNOWN if step.seconds is None else duration_text(step.seconds)


def step(command: str, what: str, *, done: bool | None, seconds: float | None = None) -> Step:
    """Returns a step that is skipped if it is done, and run if it is not done or that is not known."""
    return Step(command, SKIP, what, 0) if done else Step(command, RUN, what, seconds)


def if_prepared(find: Callable[[], _T]) -> _T | None:
    """Returns what `find` returns, None if the data set is not prepared yet."""
    try:
        return find()
    except NotPreparedError:
        return None


def remaining_trials(experiment: Experiment, keys: Sequence[trial_grid.Key]) -> tuple[int, float | None]:
    """Returns how many trials are not finished, and the seconds that they are expected to take.

    The time follows from the median speed of the finished trials of these and of the experiment's sweep; without any,
    it is None.

    Args:
        experiment: of the trials.
        keys: of the trials.
    """
    trials, selections = experiment.trials, experiment.selections
    finished = trial_grid.find_results(trials, trial_grid.find_specs(keys, selections))
    known = finished or trial_grid.find_results(
        trials, trial_grid.find_specs(trial_grid.keys(experiment.config), selections)
    )
    left = len(keys) - len(finished)
    if not known:
        return left, None
    speed = float(np.median([result["train_seconds"] / result["steps"] for result in known]))
    num_steps, _ = experiment.fingerprints.durations(experiment.fingerprints.num_train)
    return left, speed * num_steps * left
