"""What a command would do: its steps, which of them are done, and how long the others are expected to take."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from tabulate import tabulate

from data_redundancy.data.tfds.builder import NotPreparedError
from data_redundancy.experiment.durations import duration_text
from data_redundancy.experiment.result import CommandResult
from data_redundancy.experiment.trials import TrialResult

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


def training_seconds(results: Iterable[TrialResult], num_steps: Sequence[int]) -> float | None:
    """Returns the seconds that training runs are expected to take, by the median speed of finished trials.

    Args:
        results: of finished trials; without any, the time is unknown.
        num_steps: of each run.
    """
    speeds = [result["train_seconds"] / result["steps"] for result in results]
    return float(np.median(speeds) * sum(num_steps)) if speeds else None
