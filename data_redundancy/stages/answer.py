"""Test whether a fraction can be pruned: run missing commands, and add seeds until the result is significant.

Reads:
  The data set and the artifacts of earlier commands. Missing artifacts are made first: by prepare; by train, embed and
  cluster if select.method needs them; by score if the method ranks by scores.
Writes:
  WORKDIR/answers/METHOD-FRACTION.json: first the plan (margin, confidence, number of seeds at every look at the
  results, first seed), later the result. With --largest, also METHOD-largest.json.
  The selections and trials of the test, as written by sweep, and WORKDIR/report/, as written by report. At the end, the
  command prints the table of the trials, the answer and the paths of the files.
Test:
  Every seed takes one trial on the full set, one on the method's selection and one on a random subset. The first look
  at the results is after evidence.first_look seeds, the others every evidence.look_every seeds, up to --max_trials
  trials per fraction. Seeds count up from evidence.seed.
  The error rate is spent over all looks (Lan and DeMets 1983), so that the confidence level holds although the test
  stops at the first significant look. The plan is therefore fixed before the first look, and another plan for the same
  question is rejected. Trials that are already finished count. When run again, the command resumes, or repeats the
  answer.
  With --largest, the command tests sweep.fractions in ascending order, until a fraction is not shown to be removable.
Example:
  data-redundancy answer --config=digits --workdir=runs/digits --fraction=0.1
  data-redundancy answer --config=digits --workdir=runs/digits --largest --config.sweep.fractions="(0.1,0.3,0.5)"
"""

import dataclasses
import logging

from data_redundancy.experiment import answers, questions, rounds, trial_grid
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, remaining_trials, step
from data_redundancy.experiment.questions import Question
from data_redundancy.experiment.requirements import commands_before
from data_redundancy.experiment.trials import can_run_in_parallel
from data_redundancy.reporting import answer_lines
from data_redundancy.reporting.answer_result import AnswerResult, make_answer_result
from data_redundancy.runtime import devices
from data_redundancy.stages import report
from data_redundancy.stages.run import preview_stages, run_stages

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        largest: whether to search for the largest of sweep.fractions that can be pruned.
    """

    largest: bool = False


def run(experiment: Experiment, options: Options) -> AnswerResult:
    """Runs the command.

    Raises:
        InputError: if the question is invalid, or was saved with another plan.
    """
    can_run_in_parallel(experiment.config)
    question = questions.make_question(experiment.config, largest=options.largest)
    # All checks precede the training, which may take hours.
    keys = [None, *question.fractions] if options.largest else list(question.fractions)
    saved = {key: answers.find_saved(experiment.workdir, question, key) for key in keys}
    asked = _asked(experiment, question)
    run_stages(asked, ["prepare"], remembered=experiment)
    questions.check_size(question, len(experiment.dataset.train.labels))
    for key in keys:
        asked.answers.check_fingerprint(question, key, saved[key])
    run_stages(asked, commands_before(asked.config, question.method), remembered=experiment)
    if options.largest and saved[None] is None:
        asked.answers.save(question, None, None)
    found = rounds.search(asked, question, saved)
    if options.largest:
        asked.answers.save(question, None, rounds.search_as_saved(question, found))
    chosen = answer_lines.chosen_answer(question, found)
    result = make_answer_result(experiment, question, found, chosen, searched=options.largest)
    try:
        reported = _report(experiment, question, found, chosen)
    except BaseException:
        if devices.is_main_process():
            log.warning("%s", result.text())  # shown even with --quiet, because the report lacks it
        raise
    return dataclasses.replace(result, reported=reported)


def _asked(experiment: Experiment, question: Question) -> Experiment:
    """Returns the experiment with all trials that the question may need."""
    sweep = question.sweep(fractions=question.fractions, num_seeds=question.schedule.looks[-1])
    return experiment.vary(fraction=question.fractions[0], seed=question.seed, **sweep)


def _report(
    experiment: Experiment, question: Question, found: dict[float, rounds.Answer], chosen: rounds.Answer
) -> report.ReportResult:
    """Writes the report; after a search, fractions may have different numbers of seeds."""
    num_seeds = max(answer.decision.effect.num_seeds for answer in found.values())
    sweep = question.sweep(fractions=list(found), num_seeds=num_seeds)
    varied = experiment.vary(fraction=chosen.fraction, seed=question.seed, **sweep)
    return report.run(varied, report.Options(warn_of_unfinished=False))


def preview(experiment: Experiment, options: Options) -> list[Step]:
    """Returns the steps of the command."""
    question = questions.make_question(experiment.config, largest=options.largest)
    looks, per_seed = question.schedule.looks, 1 + len(question.methods)
    before = preview_stages(_asked(experiment, question), commands_before(experiment.config, question.method))
    steps = []
    for fraction in question.fractions:
        saved = answers.find_saved(experiment.workdir, question, fraction)
        settled = saved is not None and saved["found"] is not None and saved["found"]["next_look"] is None
        what = f"{per_seed * looks[0]} to {per_seed * looks[-1]} trials for {fraction}; time of the first look"
        steps.append(step("answer", what, done=settled, seconds=_first_look_seconds(experiment, question, fraction)))
    return [*before, *steps, Step("report", "run", "index.html and the table")]


def _first_look_seconds(experiment: Experiment, question: Question, fraction: float) -> float | None:
    """Returns the expected seconds of the unfinished trials of the first look; None if unknown."""
    sweep = question.sweep(fractions=[fraction], num_seeds=question.schedule.looks[0])
    keys = trial_grid.keys(experiment.vary(**sweep).config)
    remaining = if_prepared(lambda: remaining_trials(experiment, keys))
    return None if remaining is None else remaining[1]
