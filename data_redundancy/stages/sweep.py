"""Train on what was kept, from scratch, for every fraction, method and seed, and on the full set.

Reads:
  the data set; as the methods need them, WORKDIR/embeddings/, WORKDIR/dendrograms/ and WORKDIR/scores/.
Writes:
  the selections it needs, and for each trial WORKDIR/trials/SELECTION/seedK/ as the stage train does. Finished trials
  are skipped, and one that was cut off goes on from its newest checkpoint.
Takes:
  sweep.fractions .methods .seeds, sweep.equal (compare at an equal number of steps, or of epochs), model.*, train.*,
  input.*. Methods that draw at random draw anew for every seed. With --shard=i/n, every n-th trial from the i-th on:
  n jobs on one workdir then share the sweep. sweep.trials_per_device: so many trials are trained at the same time, each
  whole on one device, with the results they have alone but for rounding; 0: one at a time over all devices; None: as
  many as there is memory for on accelerators, one at a time on CPU, on several processes and where images stream.
  evidence.margin and .confidence, by which it says at the end what can go.
Example:
  data-redundancy sweep --config=digits --workdir=runs/digits --config.sweep.fractions="(0.1,0.3,0.5)"
"""

import logging

from ml_collections import ConfigDict

from data_redundancy.experiment import dataset, dendrograms, trial_grid
from data_redundancy.experiment.selections import KeepLists
from data_redundancy.experiment.trials import Trials, can_run_together
from data_redundancy.runtime import devices
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir, *, shard: tuple[int, int] = (0, 1)) -> None:
    """Runs the stage; of `shard` (i, n), every n-th trial from the i-th on."""
    together = can_run_together(config)
    dataset.check_fractions(config, "sweep.fractions", config.sweep.fractions)
    dendrograms.check_depth(config, "sweep.fractions", config.sweep.fractions, config.sweep.methods)
    trials = Trials(config, workdir)
    first, every = shard
    plans = trial_grid.plans(config, KeepLists(config, workdir), make=True, chosen=slice(first, None, every))
    results = trial_grid.run(trials, plans, together=together, label="sweep")
    if every == 1 and devices.is_main_process():
        # SciPy takes a while to import.
        from data_redundancy.reporting import verdict_lines

        for line in verdict_lines.lines(config, workdir, results):
            log.info("sweep: %s", line)
