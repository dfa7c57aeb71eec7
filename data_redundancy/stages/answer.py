"""Settle whether a fraction can be pruned: run what is missing, and add seeds until the answer is shown.

Reads:
  the data set, and what earlier commands wrote. Runs those whose results are missing: prepare; train, embed and cluster
  as select.method needs them; score for methods that rank by scores.
Writes:
  WORKDIR/answers/METHOD-FRACTION.json: the plan (margin, confidence, numbers of seeds to look at, seeds), before the
  first look, and what was found; METHOD-largest.json of a search. The selections and trials that it needs, as sweep
  does, and WORKDIR/report/, as report does. At the end it prints the answer, and where everything is.
  Every seed takes a trial on the full set, one of the method and one on a random subset. The first look is at
  evidence.first_look seeds, then every evidence.look_every, up to --max_trials for a fraction; seeds count up from
  evidence.seed. The error rate is spent over all looks (Lan and DeMets 1983), so that stopping at the first look that
  settles the question keeps the confidence. The plan must therefore be made before: another plan for the same question
  is rejected. Finished trials count. Run again, the command resumes, or repeats the answer.
  With --largest it tests sweep.fractions from the smallest up, until one is not shown to be removable.
Example:
  data-redundancy answer --config=digits --workdir=runs/digits --fraction=0.1
  data-redundancy answer --config=digits --workdir=runs/digits --largest --config.sweep.fractions="(0.1,0.3,0.5)"
"""

import dataclasses
import logging
from typing import Any

from data_redundancy.experiment import answers, questions, rounds
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, step
from data_redundancy.experiment.questions import Question
from data_redundancy.experiment.requirements import commands_before
from data_redundancy.experiment.result import CommandResult
from data_redundancy.experiment.trials import can_run_in_parallel
from data_redundancy.reporting import answer_lines
from data_redundancy.runtime import devices
from data_redundancy.stages import report
from data_redundancy.stages.run import preview_stages, run_stages

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        largest: whether to search the largest of sweep.fractions that can be pruned.
    """

    largest: bool = False


@dataclasses.dataclass(frozen=True)
class AnswerResult(CommandResult):
    """The answer.

    Attributes:
        method: that selects.
        prune_fraction: the fraction that the answer describes at length.
        outcome: of the test against the margin.
        found: the numbers of the answer, as its file has them.
        searched: the outcome of every fraction of a search, and the largest that can be pruned; None without a search.
        keep_list: path of the keep list.
        answer: path of the answer's file.
        report: path of the page.
        lines: the answer in words.
    """

    method: str
    prune_fraction: float
    outcome: str
    found: dict[str, Any]
    searched: dict[str, Any] | None
    keep_list: str
    answer: str
    report: str
    lines: tuple[str, ...]

    def text(self) -> str:
        """Returns the answer in words."""
        return "\n" + "\n".join(self.lines)


def run(experiment: Experiment, options: Options) -> AnswerResult:
    """Runs the command.

    Raises:
        InputError: for a question that cannot be asked, or was planned differently before.
    """
    can_run_in_parallel(experiment.config)
    question = questions.make_question(experiment.config, largest=options.largest)
    # Everything that can be rejected is rejected before hours of training.
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
    result = _result(experiment, question, found, chosen, searched=options.largest)
    try:
        _report(experiment, question, found, chosen)
    except BaseException:
        if devices.is_main_process():
            log.info("%s", result.text())
        raise
    return result


def _asked(experiment: Experiment, question: Question) -> Experiment:
    """The experiment with all trials that the question may need."""
    sweep = question.sweep(fractions=question.fractions, num_seeds=question.schedule.looks[-1])
    return experiment.vary(fraction=question.fractions[0], seed=question.seed, **sweep)


def _report(
    experiment: Experiment, question: Question, found: dict[float, rounds.Answer], chosen: rounds.Answer
) -> None:
    """Writes the report; of a search, one fraction may have taken fewer seeds than another."""
    num_seeds = max(answer.decision.effect.num_seeds for answer in found.values())
    sweep = question.sweep(fractions=list(found), num_seeds=num_seeds)
    varied = experiment.vary(fraction=chosen.fraction, seed=question.seed, **sweep)
    report.run(varied, report.Options(warn_of_unfinished=False))


def _result(
    experiment: Experiment,
    question: Question,
    found: dict[float, rounds.Answer],
    chosen: rounds.Answer,
    *,
    searched: bool,
) -> AnswerResult:
    workdir = experiment.workdir
    selection = answer_lines.selections(question, chosen)[0]
    return AnswerResult(
        method=question.method,
        prune_fraction=chosen.fraction,
        outcome=str(chosen.decision.outcome),
        found=rounds.as_saved(chosen),
        searched=rounds.search_as_saved(question, found) if searched else None,
        keep_list=workdir.show(workdir.selection(selection) / "keep.npy"),
        answer=workdir.show(workdir.answer(question.name(chosen.fraction))),
        report=workdir.show(workdir.report / "index.html"),
        lines=(
            *(answer_lines.search_lines(question, found) if searched else []),
            *answer_lines.answer_lines(experiment, question, chosen),
            *answer_lines.place_lines(experiment, question, chosen),
        ),
    )


def preview(experiment: Experiment, options: Options) -> list[Step]:
    """Returns the steps of the command."""
    question = questions.make_question(experiment.config, largest=options.largest)
    looks, per_seed = question.schedule.looks, 1 + len(question.methods)
    before = preview_stages(_asked(experiment, question), commands_before(experiment.config, question.method))
    steps = []
    for fraction in question.fractions:
        saved = answers.find_saved(experiment.workdir, question, fraction)
        settled = saved is not None and saved["found"] is not None and saved["found"]["next_look"] is None
        what = f"{per_seed * looks[0]} to {per_seed * looks[-1]} trials for {fraction}, until it is settled"
        steps.append(step("answer", what, done=settled))
    return [*before, *steps, Step("report", "run", "index.html and the table")]
