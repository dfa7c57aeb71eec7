"""Train on what was kept, from scratch, for every fraction, method and seed, and on the full set.

Reads:
  the data set; as the methods need them, WORKDIR/embeddings/, WORKDIR/dendrograms/ and WORKDIR/scores/.
Writes:
  the selections that it needs, and for each trial WORKDIR/trials/SELECTION/seedK/ as the command train does. Finished
  trials are skipped, and a trial that was cut off resumes from its newest checkpoint. Methods that draw at random draw
  a new subset for every seed. Before the first training run, the command logs how many there are, and after a few
  steps how long they will take.
  With --shard=i/n it runs every n-th trial from the i-th on: n jobs on one workdir share the sweep.
  With sweep.trials_per_device, so many trials are trained at the same time, each on one device, with the results that
  they have alone but for rounding.
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
        shard: (i, n): run every n-th trial from the i-th on.
    """

    shard: tuple[int, int] = (0, 1)


@dataclasses.dataclass(frozen=True)
class SweepResult(CommandResult):
    """The trials.

    Attributes:
        directory: of all trials.
        num_trials: of this job.
        trials: selection, method, prune_fraction, seed, num_kept and accuracy of each.
        lines: which selections can be pruned, in words; empty for a shard, which has only some of the trials.
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
        from data_redundancy.reporting import verdict_lines  # statsmodels takes a while to import

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
