"""Train the classifier on the full training split.

Reads:
  the data set (dataset.*).
Writes:
  WORKDIR/trials/full/seedK/ with checkpoints/ (Orbax), metrics.jsonl, timing.jsonl, TensorBoard events, with
  train.profile_steps a trace in profile/, and when finished result.json. A run that was cut off goes
  on from its newest checkpoint.
Takes:
  model.*, train.* (train.seed is K), input.* (whether images stay in the devices' memory or are streamed, and how they
  are cropped then), embed.batch_size for evaluation.
Example:
  data-redundancy train --config=digits --workdir=runs/digits
"""

import logging

from ml_collections import ConfigDict

from data_redundancy.experiment.trials import Trials
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    trials = Trials(config, workdir)
    plan = trials.full(config.train.seed)
    result = trials.result(plan)
    if result is not None:
        log.info("train: already done, skipped (%s)", workdir.show(workdir.trial(plan.selection, plan.seed)))
    else:
        result = trials.run(plan, parameter_overview=True)
    log.info("train: test accuracy %.2f%% after %d steps", 100 * result["accuracy"], result["steps"])
