"""Can this share of the training images go? Run what is missing, and add seeds until that is settled.

Reads:
  the data set; what the stages before it wrote, which it runs where that is missing: prepare; train, embed and cluster
  as select.method needs them; score for methods that go by scores.
Writes:
  WORKDIR/answers/METHOD-FRACTION.json: the plan (margin, confidence, numbers of seeds to look at, seeds), before the
  first look, and what was found; METHOD-largest.json of a search. The selections and trials it needs, as the stage
  sweep does, and WORKDIR/report/, as the stage report does. At the end, the answer on the terminal, and where
  everything is.
Takes:
  --fraction (by default select.fraction), or --largest: searches sweep.fractions, from the smallest up, until one is
  not shown to be removable. select.method, and all that the stages above take.
  evidence.margin (the loss of accuracy that is still accepted) and evidence.confidence. Every seed takes a trial on
  the full set, one of the method and one on a random subset. The first look is at evidence.first_look seeds, then every
  evidence.look_every, up to --max_trials (by default evidence.max_trials) for a fraction; seeds count up from
  evidence.seed. The error is spent over all looks (Lan and DeMets 1983), so that stopping at the first that settles it
  keeps the confidence. For that the plan must be made before: another one for the same question is refused. Trials
  that are there already count. Started again, it goes on; what is settled is told again.
Example:
  data-redundancy answer --config=digits --workdir=runs/digits --fraction=0.1
  data-redundancy answer --config=digits --workdir=runs/digits --largest --config.sweep.fractions="(0.1,0.3,0.5)"
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_redundancy import evidence
from data_redundancy.experiment import dataset, questions, trial_grid
from data_redundancy.experiment.questions import RANDOM, Question
from data_redundancy.experiment.selections import KeepLists
from data_redundancy.experiment.trials import FULL, Trials, can_run_together
from data_redundancy.reporting import answer_text
from data_redundancy.runtime import devices
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the looks so far say of one fraction.

    Attributes:
        fraction: that was asked about.
        decision: against the full set.
        versus: against random subsets; None for random itself.
        random: random subsets of the same size, against the full set; None for random itself.
        paying: the classes that lose accuracy.
        results: of the trials that count.
        before: how many trials on what is kept there were before the plan.
    """

    fraction: float
    decision: evidence.Decision
    versus: evidence.RandomVerdict | None
    random: evidence.Decision | None
    paying: tuple[evidence.ClassEffect, ...]
    results: Sequence[Mapping[str, Any]]
    before: int


def run(
    config: ConfigDict, workdir: Workdir, *, run_stage: Callable[[str, ConfigDict], None], largest: bool = False
) -> None:
    """Runs the stage.

    Args:
        config: says what is asked.
        workdir: of all artifacts.
        run_stage: runs another stage, by name, with a config.
        largest: whether the largest of `sweep.fractions` is searched that can go.

    Raises:
        InputError: for a question that cannot be asked, or was planned otherwise before.
    """
    can_run_together(config)
    question = questions.ask(config, largest=largest)
    fractions = question.fractions
    # What is refused is refused before hours of training.
    keys = [None, *fractions] if largest else fractions
    saved = {key: questions.check_plan(workdir, question, key) for key in keys}
    asked = question.narrow(config, fraction=fractions[0], fractions=fractions, num_seeds=question.plan.looks[-1])
    run_stage("prepare", asked)
    questions.check_size(asked, question)
    for key in keys:
        questions.check_fingerprint(asked, workdir, question, key, saved[key])
    for stage in questions.stages_before(asked, question.method):
        run_stage(stage, asked)
    if largest and saved[None] is None:
        questions.save(asked, workdir, question, None, None)
    found = _search(config, workdir, question, saved)
    if largest:
        questions.save(asked, workdir, question, None, _found_by_search(question, found))
    told = _told_of(question, found)
    num_seeds = max(answer.decision.effect.num_seeds for answer in found.values())
    try:
        of_report = question.narrow(config, fraction=told.fraction, fractions=found, num_seeds=num_seeds)
        # Of a search, one fraction may have taken fewer seeds than another.
        run_stage("report", of_report, all_planned=False)
    finally:
        if devices.is_main_process():
            searched = _searched(question, found) if largest else []
            lines = [*searched, *_told(config, question, told), *_places(workdir, question, told)]
            print("\n" + "\n".join(lines))
    devices.barrier("told the answer")


def _search(
    config: ConfigDict, workdir: Workdir, question: Question, saved: Mapping[float | None, dict[str, Any] | None]
) -> dict[float, Answer]:
    """The answers by fraction, from the smallest up, until one is not a yes."""
    found: dict[float, Answer] = {}

    def outcomes() -> dict[float, evidence.Outcome]:
        return {fraction: answer.decision.outcome for fraction, answer in found.items()}

    while (fraction := evidence.next_fraction(question.fractions, outcomes())) is not None:
        found[fraction] = _settle(config, workdir, question, fraction, saved[fraction])
    return found


def _settle(
    config: ConfigDict, workdir: Workdir, question: Question, fraction: float, saved: Mapping[str, Any] | None
) -> Answer:
    """Adds seeds until the question is settled or the plan is used up."""
    looks, place = question.plan.looks, workdir.show(workdir.answer(question.name(fraction)))
    whole = question.narrow(config, fraction=fraction, fractions=[fraction], num_seeds=looks[-1])
    trials, keep_lists = Trials(whole, workdir), KeepLists(whole, workdir)
    if saved is None:
        before = _earlier_trials(whole, trials, keep_lists, question)
        questions.save(config, workdir, question, fraction, None, before)
    else:
        before = saved["trials_before"]
    answered = saved is not None and saved["found"] is not None and saved["found"]["next_look"] is None
    if answered:
        log.info("answer: already done, skipped (%s)", place)
    for number, look in enumerate(looks, 1):
        of_look = question.narrow(config, fraction=fraction, fractions=[fraction], num_seeds=look)
        answer = _look(question, fraction, _results(of_look, trials, keep_lists), before)
        final = answer.decision.next_look is None
        if not answered:
            words = evidence.decision_words(answer.decision, fraction)
            log.info("answer: look %d of at most %d, %d seeds: %s", number, len(looks), look, words)
        if final or not answered:
            questions.save(config, workdir, question, fraction, _found(answer), before)
        if final:
            return answer
    raise AssertionError("the last look has no next one")


def _results(config: ConfigDict, trials: Trials, keep_lists: KeepLists) -> list[dict[str, Any]]:
    """Those of all trials of a config's sweep, which are run where they are not finished."""
    plans = trial_grid.plans(config, keep_lists, make=True)
    results = [trials.result(plan) for plan in plans]
    if None not in results:
        return results
    return trial_grid.run(trials, plans, together=can_run_together(config), label="answer")


def _earlier_trials(config: ConfigDict, trials: Trials, keep_lists: KeepLists, question: Question) -> int:
    """How many trials of the question's seeds, on what is kept, are there before it is planned; says so."""
    plans = [plan for plan in trial_grid.plans(config, keep_lists, make=False) if plan.method != FULL]
    there = sum(trials.result(plan) is not None for plan in plans)
    if there:
        log.info(
            "answer: %d trials of these seeds are there already and count; if the margin or the fraction was chosen by "
            "them, take others (--config.evidence.seed=%d)",
            there,
            question.seed + question.plan.looks[-1],
        )
    return there


def _look(question: Question, fraction: float, results: Sequence[Mapping[str, Any]], before: int) -> Answer:
    """What trials of as many seeds as a look needs say."""
    by_method: dict[str, dict[int, evidence.Trial]] = {}
    for result in results:
        by_method.setdefault(result["method"], {})[result["seed"]] = answer_text.trial(result)
    own, full = by_method[question.method], by_method[FULL]
    decision = evidence.decide(
        evidence.effects_at_looks(own, full, question.plan.looks), question.plan, question.margin
    )
    at_level = 1 - 2 * decision.level
    return Answer(
        fraction=fraction,
        decision=decision,
        versus=None
        if question.method == RANDOM
        else evidence.random_at_look(decision, evidence.compare(own, by_method[RANDOM])),
        random=None
        if question.method == RANDOM
        else evidence.other_at_look(decision, evidence.compare(by_method[RANDOM], full)),
        paying=tuple(e for e in evidence.class_effects(own, full, results[0]["class_names"], at_level) if e.pays),
        results=results,
        before=before,
    )


def _found(answer: Answer) -> dict[str, Any]:
    """What is saved of an answer; differences are fractions."""
    decision, versus = answer.decision, answer.versus
    return {
        "outcome": str(decision.outcome),
        "num_seeds": decision.effect.num_seeds,
        "next_look": decision.next_look,
        "difference": dataclasses.asdict(decision.difference),
        "level": decision.level,
        "words": evidence.decision_words(decision, answer.fraction),
        "versus_random": None
        if versus is None
        else {
            "outcome": str(versus.outcome),
            "difference": dataclasses.asdict(versus.difference),
            "words": evidence.random_words(versus),
        },
        "random": None
        if answer.random is None
        else {"outcome": str(answer.random.outcome), "words": evidence.other_words(answer.random, answer.fraction)},
        "classes_that_lose": [{"name": effect.name, "change": effect.change} for effect in answer.paying],
    }


def _found_by_search(question: Question, found: Mapping[float, Answer]) -> dict[str, Any]:
    outcomes = {fraction: answer.decision.outcome for fraction, answer in found.items()}
    return {
        "outcomes": [{"fraction": fraction, "outcome": str(outcome)} for fraction, outcome in outcomes.items()],
        "largest": evidence.largest_fraction(question.fractions, outcomes),
    }


def _told_of(question: Question, found: Mapping[float, Answer]) -> Answer:
    """The answer to be told at length: that of the largest fraction that can go, or of the first."""
    fraction = evidence.largest_fraction(question.fractions, {f: a.decision.outcome for f, a in found.items()})
    return found[question.fractions[0] if fraction is None else fraction]


def _searched(question: Question, found: Mapping[float, Answer]) -> list[str]:
    largest = evidence.largest_fraction(question.fractions, {f: a.decision.outcome for f, a in found.items()})
    tested = ", ".join(map(_percent, question.fractions))
    if largest is None:
        first = f"No fraction is shown to be removable, of {tested}"
    else:
        first = f"{_percent(largest)} is the largest fraction shown to be removable, of {tested}"
    lines = [f"{first} (tested upwards, until one is not shown)."]
    return [*lines, *(f"  {evidence.decision_words(a.decision, f)}" for f, a in found.items()), ""]


def _told(config: ConfigDict, question: Question, answer: Answer) -> list[str]:
    """The answer in words."""
    own = [r for r in answer.results if r["method"] == question.method]
    full = [r for r in answer.results if r["method"] == FULL]
    found = answer_text.answer(
        [*own, *full],
        name=own[0]["selection"],
        method=question.method,
        fraction=answer.fraction,
        num_kept=own[0]["num_kept"],
        num_train=len(dataset.load_dataset(config).train.labels),
        equal=config.sweep.equal,
        confidence=question.plan.confidence,
        margin=question.margin,
        decided={(question.method, answer.fraction): _found(answer)},
    )
    return [f"{found['headline']}.", *found["lines"], _paying(answer, own[0]), *_asked(question, answer)]


def _paying(answer: Answer, result: Mapping[str, Any]) -> str:
    corrected = f"corrected for all {len(result['class_names'])} classes by Holm's rule"
    if not answer.paying:
        return f"No class is shown to lose accuracy, {corrected}."
    worst = ", ".join(f"{effect.name} ({100 * effect.change:+.2f})" for effect in answer.paying[:10])
    more = f" and {len(answer.paying) - 10} more" if len(answer.paying) > 10 else ""
    return f"Classes that lose accuracy, in points, {corrected}: {worst}{more}."


def _asked(question: Question, answer: Answer) -> list[str]:
    plan, used = question.plan, answer.decision.effect.num_seeds
    looks = ", ".join(map(str, plan.looks))
    line = (
        f"Asked with a margin of {100 * question.margin:.6g} pp at {_percent(plan.confidence)} confidence, looking at "
        f"{looks} seeds; used {used} seeds, {len(answer.results)} trials."
    )
    if answer.before:
        line += (
            f" {answer.before} trials were there before it was asked: no independent evidence if it was asked for them."
        )
    if answer.decision.outcome is not evidence.Outcome.OPEN:
        return [line]
    unseen = question.seed + plan.looks[-1]
    return [
        line,
        "A plan cannot be made longer after looking: to go on, ask with more --max_trials in another --workdir, with "
        f"--config.evidence.seed={unseen}. Every further question has its own chance to err.",
    ]


def _places(workdir: Workdir, question: Question, answer: Answer) -> list[str]:
    selections = dict.fromkeys(r["selection"] for r in answer.results if r["method"] == question.method)
    selection = next(iter(selections))
    places = {
        "keep list": workdir.selection(selection) / "keep.npy",
        "answer": workdir.answer(question.name(answer.fraction)),
        "trials": workdir.trials,
        "report": workdir.report / "index.html",
        "table": workdir.report / "results.csv",
    }
    lines = [f"{name + ':':11}{workdir.show(path)}" for name, path in places.items()]
    if len(selections) > 1:
        lines[0] += f" (the first of {len(selections)}: every seed has its own)"
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.6g}%"
