"""Score every training image by its behaviour during training.

Reads:
  The data set (dataset.*).
Writes:
  WORKDIR/scores/SCORE/seedK/ for every score that a method in select.method or sweep.methods ranks by, and for every
  seed K in score.seeds: scores.npy, [N] float32 in canonical order, and manifest.json. Methods rank by the mean over
  the seeds.
  WORKDIR/scores/run-seedK/: a training run, which is removed after its scores are computed. An interrupted run resumes
  from its newest checkpoint.
Scores:
  el2n is the norm of the predicted probabilities minus the one-hot label. grad_norm is the norm of the gradient of the
  image's loss with respect to all parameters. Both are computed once, early in a run. forgetting counts how often an
  image is classified correctly after one epoch and incorrectly after the next; an image that is never classified
  correctly scores higher than all others.
  The runs use the learning rates of the command train, but may end earlier.
Example:
  data-redundancy score --config=digits --workdir=runs/digits --config.sweep.methods="(random,el2n)"
"""

import dataclasses
import logging

from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, step, training_seconds
from data_redundancy.experiment.requirements import score_names
from data_redundancy.experiment.result import CommandResult, NoOptions

log = logging.getLogger("data_redundancy")

Options = NoOptions


@dataclasses.dataclass(frozen=True)
class ScoreResult(CommandResult):
    """The scores.

    Attributes:
        directory: directory of all scores.
        scores: names of the scores; empty if no method needs scores.
        seeds: seeds of the runs.
        num_runs: number of runs that this command trained.
        skipped: whether all scores already existed, or no method needs scores.
    """

    directory: str
    scores: tuple[str, ...]
    seeds: tuple[int, ...]
    num_runs: int
    skipped: bool


def run(experiment: Experiment, options: NoOptions) -> ScoreResult:
    """Runs the command."""
    del options
    names, seeds = score_names(experiment.config), tuple(experiment.config.score.seeds)
    directory = experiment.workdir.show(experiment.workdir.scores)
    if not names:
        log.info("score: no method needs scores, skipped")
        return ScoreResult(directory, (), seeds, 0, skipped=True)
    runs = experiment.score_runs(names)
    todo = [seed for seed in seeds if runs.todo(seed)]
    if not todo:
        log.info("score: already done, skipped (%s)", directory)
    elif len(todo) < len(seeds):
        log.info("score: %d of %d runs already done, skipped", len(seeds) - len(todo), len(seeds))
    experiment.release()
    experiment.trials.announce("score", len(todo))
    for seed in seeds:
        if seed in todo:
            runs.run(seed)
            log.info("score: seed %d computed %s (%s)", seed, ", ".join(names), directory)
        runs.clean_up(seed)
    return ScoreResult(directory, tuple(names), seeds, len(todo), skipped=not todo)


def preview(experiment: Experiment, options: NoOptions) -> list[Step]:
    """Returns the steps of the command."""
    del options
    names, seeds = score_names(experiment.config), experiment.config.score.seeds
    if not names:
        return [step("score", "scores, which no method needs", done=True)]
    what = f"{', '.join(names)} by runs with seeds {', '.join(map(str, seeds))}"
    return [if_prepared(lambda: _preview(experiment, names, what)) or step("score", what, done=None)]


def _preview(experiment: Experiment, names: list[str], what: str) -> Step:
    runs = experiment.score_runs(names)
    todo = [seed for seed in experiment.config.score.seeds if runs.todo(seed)]
    num_steps = max(experiment.fingerprints.score_steps(name)[-1] for name in names)
    return step("score", what, done=not todo, seconds=training_seconds(experiment, len(todo) * num_steps))
