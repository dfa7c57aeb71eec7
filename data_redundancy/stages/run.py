"""Run all commands from prepare to report, skipping finished work.

Reads:
  The data set (dataset.*), or the images that prepare.source names.
Writes:
  The files of prepare, train, embed, cluster, score, select, sweep and report: a trained classifier, embeddings,
  dendrograms, scores if a method needs them, the selection of select.*, the trials of sweep.*, and
  WORKDIR/report/index.html.
  After an interruption, the same command resumes. Before the first training run, it logs the number of runs. After a
  few steps, it logs the expected time.
Example:
  data-redundancy run --config=digits --workdir=runs/digits
"""

import dataclasses
import importlib
from collections.abc import Iterable
from typing import Any

from data_redundancy.experiment import trial_grid
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step
from data_redundancy.experiment.requirements import score_names
from data_redundancy.experiment.result import CommandResult, NoOptions
from data_redundancy.experiment.trials import TrialSpec

Options = NoOptions

STAGES = ("prepare", "train", "embed", "cluster", "score", "select", "sweep", "report")
"""The commands, in order."""


@dataclasses.dataclass(frozen=True)
class RunResult(CommandResult):
    """The results of all commands.

    Attributes:
        stages: the result of each command, by name.
    """

    stages: dict[str, CommandResult]

    def text(self) -> str:
        """Returns the text of the last command's result."""
        return list(self.stages.values())[-1].text()


def run(experiment: Experiment, options: NoOptions) -> RunResult:
    """Runs the command."""
    del options
    first, *others = STAGES
    results = run_stages(experiment, [first])
    experiment.trials.announce("run", _count_training_runs(experiment))
    return RunResult(results | run_stages(experiment, others))


def run_stages(
    experiment: Experiment, names: Iterable[str], *, remembered: Experiment | None = None
) -> dict[str, CommandResult]:
    """Runs several commands with their default options, and writes config.json if the workdir has none.

    The config.json of an earlier command is not replaced here: only after the last command is the config known to fit
    all artifacts.

    Args:
        experiment: the experiment to run the commands on.
        names: names of the commands, in order.
        remembered: the experiment whose config is written; by default `experiment`.

    Returns:
        The result of each command, by name.
    """
    results: dict[str, CommandResult] = {}
    for name in names:
        stage = _module(name)
        results[name] = stage.run(experiment, stage.Options())
        if name != "prepare":  # a config that the next command rejects must not be written
            (remembered or experiment).remember_config(replace=False)
    return results


def _module(name: str) -> Any:
    return importlib.import_module(f"data_redundancy.stages.{name}")


def _count_training_runs(experiment: Experiment) -> int:
    """Returns the number of unfinished training runs: for the embeddings, for the scores and in the sweep."""
    config, trials = experiment.config, experiment.trials
    keys = trial_grid.keys(config)
    finished = trial_grid.find_results(trials, trial_grid.find_specs(keys, experiment.selections))
    full = TrialSpec.full(config.train.seed)
    own = config.train.seed not in config.sweep.seeds and trials.result(full) is None
    names = score_names(config)
    runs = experiment.score_runs(names) if names else None
    num_scores = sum(bool(runs.todo(seed)) for seed in config.score.seeds) if runs else 0
    return len(keys) - len(finished) + own + num_scores


def preview(experiment: Experiment, options: NoOptions) -> list[Step]:
    """Returns the steps of the command."""
    del options
    return preview_stages(experiment, STAGES)


def preview_stages(experiment: Experiment, names: Iterable[str]) -> list[Step]:
    """Returns the steps of several commands with their default options."""
    steps = []
    for name in names:
        stage = _module(name)
        steps += stage.preview(experiment, stage.Options())
    return steps
