"""Train from scratch on the kept images, for every fraction, method and seed, and on the full set.

Reads:
  The data set. WORKDIR/embeddings/, WORKDIR/dendrograms/ and WORKDIR/scores/, as the methods need them.
Writes:
  The selections that do not exist yet, and WORKDIR/trials/SELECTION/seedK/ for every trial, with the same files as the
  command train. Finished trials are skipped, and an interrupted trial resumes from its newest checkpoint. Methods that
  draw at random draw a new subset for every seed.
  Before the first training run, the command logs the number of runs. After a few steps, it logs the expected time.
  With --shard=i/n, the command runs every n-th trial, starting with trial i (from 0), so that n jobs can share the
  sweep on one workdir.
  With sweep.trials_per_device, several trials are trained at the same time on every device. Their results are the same
  as if each were trained alone, except for rounding.
Example:
  data-redundancy sweep --config=digits --workdir=runs/digits --config.sweep.fractions="(0.1,0.3,0.5)"
"""

import dataclasses
import logging

from data_redundancy.experiment import trial_grid
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, remaining_trials, step
from data_redundancy.experiment.result import CommandResult
from data_redundancy.experiment.trials import can_run_in_parallel
from data_redundancy.runtime import devices

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        shard: (i, n): run every n-th trial, starting with trial i (from 0).
    """

    shard: tuple[int, int] = (0, 1)


@dataclasses.dataclass(frozen=True)
class SweepResult(CommandResult):
    """The results of the trials.

    Attributes:
        directory: directory of all trials.
        num_trials: number of trials of this job.
        trials: selection, method, prune_fraction, seed, num_kept and accuracy of each trial.
        lines: the verdicts in words; empty for a shard, which has only some of the trials.
    """

    directory: str
    num_trials: int
    trials: tuple[dict, ...]
    lines: tuple[str, ...]


def run(experiment: Experiment, options: Options) -> SweepResult:
    """Runs the command."""
    parallel = can_run_in_parallel(experiment.config)
    sweep = experiment.config.sweep
    keys = trial_grid.shard(trial_grid.keys(experiment.config), *options.shard)
    experiment.check_selections("sweep.fractions", sweep.fractions, sweep.methods)
    trials, specs = experiment.trials, trial_grid.make_specs(keys, experiment.selections)
    experiment.release()
    results = trial_grid.run(trials, specs, parallel=parallel, label="sweep")
    lines: list[str] = []
    if options.shard[1] == 1 and devices.is_main_process():
        from data_redundancy.reporting import verdict_lines  # imports statsmodels, which takes seconds

        lines = verdict_lines.lines(experiment, results)
        for line in lines:
            log.info("sweep: %s", line)
    names = ("selection", "method", "prune_fraction", "seed", "num_kept", "accuracy")
    return SweepResult(
        directory=experiment.workdir.show(experiment.workdir.trials),
        num_trials=len(specs),
        trials=tuple({name: result[name] for name in names} for result in results),
        lines=tuple(lines),
    )


def preview(experiment: Experiment, options: Options) -> list[Step]:
    """Returns the steps of the command."""
    keys = trial_grid.shard(trial_grid.keys(experiment.config), *options.shard)
    what = f"{len(keys)} trials"
    return [if_prepared(lambda: _preview(experiment, keys)) or step("sweep", what, done=None)]


def _preview(experiment: Experiment, keys: list[trial_grid.Key]) -> Step:
    sweep = experiment.config.sweep
    experiment.check_selections("sweep.fractions", sweep.fractions, sweep.methods)
    left, seconds = remaining_trials(experiment, keys)
    return step("sweep", f"{left or len(keys)} of {len(keys)} trials", done=not left, seconds=seconds)
