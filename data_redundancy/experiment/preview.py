"""Previews of commands: the steps, which of them are finished, and the expected time of the others."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from tabulate import tabulate

from data_redundancy.data.tfds.builder import NotPreparedError
from data_redundancy.errors import InputError
from data_redundancy.experiment import trial_grid
from data_redundancy.experiment.durations import duration_text
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.result import CommandResult
from data_redundancy.experiment.trials import TrialResult
from data_redundancy.selection.allocation import num_pruned

_T = TypeVar("_T")

RUN, SKIP = "run", "skip"
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a command.

    Attributes:
        command: name of the command that runs the step.
        action: `run` or `skip`.
        what: description of what the step makes.
        seconds: expected duration; None if unknown, 0 for a skipped step.
    """

    command: str
    action: str
    what: str
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Preview(CommandResult):
    """The steps of a command that was not run."""

    steps: tuple[Step, ...]

    def text(self) -> str:
        """Returns a table of the steps."""
        rows = [[step.command, step.action, _time(step), step.what] for step in self.steps]
        return tabulate(rows, ["command", "action", "expected time", "result"], disable_numparse=True)


def _time(step: Step) -> str:
    if step.action == SKIP:
        return ""
    return UNKNOWN if step.seconds is None else duration_text(step.seconds)


def step(command: str, what: str, *, done: bool | None, seconds: float | None = None) -> Step:
    """Returns a step: to skip if `done` is true, to run if it is false or None (unknown)."""
    return Step(command, SKIP, what, 0) if done else Step(command, RUN, what, seconds)


def if_prepared(find: Callable[[], _T]) -> _T | None:
    """Calls `find` and returns its result, or None if the data set is not prepared yet."""
    try:
        return find()
    except NotPreparedError:
        return None


def remaining_trials(experiment: Experiment, keys: Sequence[trial_grid.Key]) -> tuple[int, float | None]:
    """Returns the number of unfinished trials, and their expected seconds, or None if unknown.

    Args:
        experiment: experiment of the trials.
        keys: keys of the trials.
    """
    finished = trial_grid.find_results(experiment.trials, trial_grid.find_specs(keys, experiment.selections))
    done = {(result["method"], result["prune_fraction"], result["seed"]) for result in finished}
    left = [key for key in keys if key not in done]
    num_train = experiment.fingerprints.num_train
    num_steps = [experiment.fingerprints.durations(num_train - num_pruned(num_train, key[1]))[0] for key in left]
    return len(left), training_seconds(experiment, sum(num_steps), finished)


def training_seconds(experiment: Experiment, num_steps: int, finished: Sequence[TrialResult] = ()) -> float | None:
    """Returns the expected seconds of training steps, estimated from the median speed of finished trials.

    Args:
        experiment: experiment of the training runs.
        num_steps: total number of steps.
        finished: results of the trials to use; if empty, all finished trials of the experiment's sweep.

    Returns:
        None if no trial is finished.
    """
    known = finished or _finished_trials(experiment)
    speeds = [result["train_seconds"] / result["steps"] for result in known]
    return float(np.median(speeds)) * num_steps if speeds else None


def _finished_trials(experiment: Experiment) -> Sequence[TrialResult]:
    """Returns the results of finished trials of the sweep; skips trials of another config, which the sweep rejects."""
    found: list[TrialResult] = []
    for key in trial_grid.keys(experiment.config):
        with contextlib.suppress(InputError):
            found += trial_grid.find_results(experiment.trials, trial_grid.find_specs([key], experiment.selections))
    return found
