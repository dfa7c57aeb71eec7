"""Run all commands from prepare to report, each of which skips what is finished.

Reads:
  the data set (dataset.*), or what prepare.source names.
Writes:
  what prepare, train, embed, cluster, score, select, sweep and report write: a trained classifier, embeddings,
  dendrograms, scores where a method needs them, the selection of select.*, the trials of sweep.*, and
  WORKDIR/report/index.html. Interrupted at any time, the same command resumes. Before the first training run, it logs
  how many there are, and after a few steps how long they will take.
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
    """The results of all commands, by name."""

    stages: dict[str, CommandResult]

    def text(self) -> str:
        """Returns the text of the last command."""
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
    """Runs some commands without options of their own, and remembers the config of a workdir that has none yet.

    The config of an earlier command is replaced at the end only, when it is known that this one fits all artifacts.

    Args:
        experiment: to run them on.
        names: of the commands, in order.
        remembered: the experiment whose config is remembered; by default `experiment`.
    """
    results: dict[str, CommandResult] = {}
    for name in names:
        stage = _module(name)
        results[name] = stage.run(experiment, stage.Options())
        if name != "prepare":  # which leaves nothing in the workdir, as a config that the next command rejects must
            (remembered or experiment).remember_config(replace=False)
    return results


def _module(name: str) -> Any:
    return importlib.import_module(f"data_redundancy.stages.{name}")


def _count_training_runs(experiment: Experiment) -> int:
    """The number of training runs that are not finished: for the embeddings, for scores, and of the sweep."""
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
    """Returns the steps of some commands without options of their own."""
    steps = []
    for name in names:
        stage = _module(name)
        steps += stage.preview(experiment, stage.Options())
    return steps
