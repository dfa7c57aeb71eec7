"""Score every training image by how much training makes of it.

Reads:
  the data set (dataset.*).
Writes:
  WORKDIR/scores/SCORE/seedK/: scores.npy, [N] float32 in canonical order, and manifest.json; for every score that a
  method of select.method or sweep.methods goes by, and for every K of score.seeds. Methods go by the mean over K.
  Meanwhile the runs are in WORKDIR/scores/run-seedK/; one that was cut off goes on from its newest checkpoint, and one
  that has given its scores is removed.
  el2n (the norm of probabilities minus label) and grad_norm (that of the gradient of the example's loss by all
  parameters) are taken once, early in a run. forgetting counts how many times an image is classified right after one
  epoch and wrong after the next; one that is never right gets more than any other.
Takes:
  score.seeds, score.epochs (into the run, for el2n and grad_norm; by default a tenth of it), score.forgetting_epochs
  (by default a whole run), select.method, select.score (for ccs), sweep.methods; model.*, train.*, input.* as the stage
  train does, whose learning rates the runs have though they end before; embed.batch_size for images per call.
Example:
  data-redundancy score --config=digits --workdir=runs/digits --config.sweep.methods="(random,el2n)"
"""

import logging

from ml_collections import ConfigDict

from data_redundancy.experiment.score_runs import ScoreRuns, needed
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    names, seeds = needed(config), config.score.seeds
    if not names:
        log.info("score: no method needs scores, skipped")
        return
    runs, directory = ScoreRuns(config, workdir, names), workdir.show(workdir.scores)
    todo = [seed for seed in seeds if runs.todo(seed)]
    if not todo:
        log.info("score: already done, skipped (%s)", directory)
    elif len(todo) < len(seeds):
        log.info("score: %d of %d runs already done, skipped", len(seeds) - len(todo), len(seeds))
    for seed in seeds:
        if seed in todo:
            runs.run(seed)
            log.info("score: seed %d gave %s (%s)", seed, ", ".join(names), directory)
        runs.clean_up(seed)
