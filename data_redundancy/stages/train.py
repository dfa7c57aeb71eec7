"""Train the classifier on the full training split.

Reads:
  The data set (dataset.*).
Writes:
  WORKDIR/trials/full/seedK/, where K is train.seed: checkpoints/ (Orbax), metrics.jsonl, timing.jsonl, TensorBoard
  events, a trace in profile/ if train.profile_steps is set, and at the end result.json. An interrupted run resumes from
  its newest checkpoint.
Example:
  data-redundancy train --config=digits --workdir=runs/digits
"""

import dataclasses
import logging

from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, remaining_trials, step
from data_redundancy.experiment.result import CommandResult, NoOptions
from data_redundancy.experiment.trials import FULL, TrialSpec

log = logging.getLogger("data_redundancy")

Options = NoOptions


@dataclasses.dataclass(frozen=True)
class TrainResult(CommandResult):
    """The training run.

    Attributes:
        directory: directory of the run.
        seed: seed of the run, train.seed.
        accuracy: accuracy on the test split, a fraction.
        steps: number of training steps.
        skipped: whether the run was already finished.
    """

    directory: str
    seed: int
    accuracy: float
    steps: int
    skipped: bool


def run(experiment: Experiment, options: NoOptions) -> TrainResult:
    """Runs the command."""
    del options
    trials, spec = experiment.trials, TrialSpec.full(experiment.config.train.seed)
    directory = experiment.workdir.show(experiment.workdir.trial(spec.selection, spec.seed))
    result = trials.result(spec)
    skipped = result is not None
    if skipped:
        log.info("train: already done, skipped (%s)", directory)
    else:
        trials.announce("train", 1)
        result = trials.run(spec, parameter_overview=True)
    assert result is not None
    log.info("train: test accuracy %.2f%% after %d steps", 100 * result["accuracy"], result["steps"])
    return TrainResult(directory, spec.seed, result["accuracy"], result["steps"], skipped)


def preview(experiment: Experiment, options: NoOptions) -> list[Step]:
    """Returns the steps of the command."""
    del options
    seed = experiment.config.train.seed
    what = f"training run on the full set, seed {seed}"
    return [if_prepared(lambda: _preview(experiment, what)) or step("train", what, done=None)]


def _preview(experiment: Experiment, what: str) -> Step:
    left, seconds = remaining_trials(experiment, [(FULL, 0.0, experiment.config.train.seed)])
    return step("train", what, done=not left, seconds=seconds)
