"""Rounds of seeds that answer a question: trials are added until a look settles it, or the last look."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from data_redundancy import evidence
from data_redundancy.experiment import trial_grid
from data_redundancy.experiment.answers import Saved
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.questions import RANDOM, Question
from data_redundancy.experiment.results import evidence_trial
from data_redundancy.experiment.trials import FULL, TrialResult, can_run_in_parallel

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result of the looks so far for one fraction.

    Attributes:
        fraction: the prune fraction in question.
        decision: comparison of the selections with the full set.
        versus: comparison of the selections with random subsets; None if the method is random.
        random: comparison of random subsets of the same size with the full set; None if the method is random.
        losing: the classes that are shown to lose accuracy.
        results: results of the trials.
        trials_before: number of trials on selections that were finished before the plan was saved.
    """

    fraction: float
    decision: evidence.Decision
    versus: evidence.RandomVerdict | None
    random: evidence.Decision | None
    losing: tuple[evidence.ClassEffect, ...]
    results: Sequence[TrialResult]
    trials_before: int


def search(
    experiment: Experiment, question: Question, saved: Mapping[float | None, Saved | None]
) -> dict[float, Answer]:
    """Answers a question for its fractions in ascending order, until the answer to one is not "yes".

    Args:
        experiment: the experiment that runs the trials.
        question: the question.
        saved: the saved answer to the question for each fraction, or None.

    Returns:
        The answers by fraction.
    """
    found: dict[float, Answer] = {}
    while (fraction := evidence.next_fraction(question.fractions, _outcomes(found))) is not None:
        found[fraction] = _settle(experiment, question, fraction, saved[fraction])
    return found


def _outcomes(found: Mapping[float, Answer]) -> dict[float, evidence.Outcome]:
    return {fraction: answer.decision.outcome for fraction, answer in found.items()}


def largest_fraction(question: Question, found: Mapping[float, Answer]) -> float | None:
    """Returns the largest fraction that is shown to be removable, None if there is none."""
    return evidence.largest_fraction(question.fractions, _outcomes(found))


def search_as_saved(question: Question, found: Mapping[float, Answer]) -> dict[str, Any]:
    """Returns the result of a search for the largest fraction, as it is saved."""
    return {
        "outcomes": [{"fraction": f, "outcome": str(outcome)} for f, outcome in _outcomes(found).items()],
        "largest": largest_fraction(question, found),
    }


def _settle(experiment: Experiment, question: Question, fraction: float, saved: Saved | None) -> Answer:
    """Adds seeds until a look settles the question, or until the last look; returns the answer."""
    looks, answers = question.schedule.looks, experiment.answers
    place = experiment.workdir.show(experiment.workdir.answer(question.name(fraction)))
    if saved is None:
        whole = experiment.vary(**question.sweep(fractions=[fraction], num_seeds=looks[-1]))
        trials_before = _count_earlier_trials(whole, question)
        answers.save(question, fraction, None, trials_before)
    else:
        trials_before = saved["trials_before"]
    settled = saved is not None and saved["found"] is not None and saved["found"]["next_look"] is None
    if settled:
        log.info("answer: already done, skipped (%s)", place)
    for number, look_at in enumerate(looks, 1):
        varied = experiment.vary(**question.sweep(fractions=[fraction], num_seeds=look_at))
        answer = look(question, fraction, _results(varied), trials_before)
        final = answer.decision.next_look is None
        if not settled:
            words = evidence.decision_words(answer.decision, fraction)
            log.info("answer: look %d of at most %d, %d seeds: %s", number, len(looks), look_at, words)
        if final or not settled:
            answers.save(question, fraction, as_saved(answer), trials_before)
        if final:
            return answer
    raise AssertionError("the last look has no next one")


def _results(experiment: Experiment) -> list[TrialResult]:
    """Returns the results of all trials of the sweep, after running the unfinished trials."""
    trials = experiment.trials
    specs = trial_grid.make_specs(trial_grid.keys(experiment.config), experiment.selections)
    experiment.release()
    results = trial_grid.find_results(trials, specs)
    if len(results) == len(specs):
        return results
    return trial_grid.run(trials, specs, parallel=can_run_in_parallel(experiment.config), label="answer")


def _count_earlier_trials(experiment: Experiment, question: Question) -> int:
    """Returns the number of trials on selections that are finished before the plan is saved, and logs it."""
    specs = trial_grid.find_specs(trial_grid.keys(experiment.config), experiment.selections)
    count = len(trial_grid.find_results(experiment.trials, [spec for spec in specs if spec.method != FULL]))
    if count:
        log.info(
            "answer: %d trials of these seeds are already finished and are used; if the margin or the fraction was "
            "chosen because of them, use other seeds (--config.evidence.seed=%d)",
            count,
            question.seed + question.schedule.looks[-1],
        )
    return count


def look(question: Question, fraction: float, results: Sequence[TrialResult], trials_before: int) -> Answer:
    """Returns the answer from the trials of all seeds up to a look."""
    by_method: dict[str, dict[int, evidence.Trial]] = {}
    for result in results:
        by_method.setdefault(result["method"], {})[result["seed"]] = evidence_trial(result)
    own, full = by_method[question.method], by_method[FULL]
    effects = evidence.effects_at_looks(own, full, question.schedule.looks)
    decision = evidence.decide(effects, question.schedule, question.margin)
    versus, random = None, None
    if question.method != RANDOM:
        versus = evidence.random_at_look(decision, evidence.compare(own, by_method[RANDOM]))
        random = evidence.other_at_look(decision, evidence.compare(by_method[RANDOM], full))
    classes = evidence.class_effects(own, full, results[0]["class_names"], 1 - 2 * decision.level)
    return Answer(
        fraction=fraction,
        decision=decision,
        versus=versus,
        random=random,
        losing=tuple(effect for effect in classes if effect.pays),
        results=results,
        trials_before=trials_before,
    )


def as_saved(answer: Answer) -> dict[str, Any]:
    """Returns an answer as it is saved; differences are fractions."""
    decision, versus, random = answer.decision, answer.versus, answer.random
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
        if random is None
        else {"outcome": str(random.outcome), "words": evidence.other_words(random, answer.fraction)},
        "classes_that_lose": [{"name": effect.name, "change": effect.change} for effect in answer.losing],
    }
