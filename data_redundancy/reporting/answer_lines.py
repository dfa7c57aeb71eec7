"""The text that the command `answer` prints."""

from collections.abc import Mapping, Sequence

from data_redundancy import evidence
from data_redundancy.evidence.formatting import percent
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.questions import Question
from data_redundancy.experiment.rounds import Answer, as_saved, largest_fraction
from data_redundancy.experiment.trials import FULL, TrialResult
from data_redundancy.reporting import answer_text

_CLASSES = 10  # listed at most


def chosen_answer(question: Question, found: Mapping[float, Answer]) -> Answer:
    """Returns the answer to describe in detail: for the largest removable fraction, or for the first fraction."""
    fraction = largest_fraction(question, found)
    return found[question.fractions[0] if fraction is None else fraction]


def search_lines(question: Question, found: Mapping[float, Answer]) -> list[str]:
    """Returns the result of the search for the largest fraction."""
    largest, tested = largest_fraction(question, found), ", ".join(map(percent, question.fractions))
    if largest is None:
        first = f"None of the fractions {tested} is shown to be removable"
    else:
        first = f"{percent(largest)} is the largest of the fractions {tested} that is shown to be removable"
    lines = [f"{first} (tested in ascending order, until one is not shown)."]
    return [*lines, *(f"  {evidence.decision_words(a.decision, f)}" for f, a in found.items()), ""]


def answer_lines(experiment: Experiment, question: Question, answer: Answer) -> list[str]:
    """Returns the answer about one fraction: the verdict, its numbers and the plan of the test."""
    own = [r for r in answer.results if r["method"] == question.method]
    full = [r for r in answer.results if r["method"] == FULL]
    found = answer_text.answer(
        [*own, *full],
        name=own[0]["selection"],
        method=question.method,
        fraction=answer.fraction,
        num_kept=own[0]["num_kept"],
        num_train=len(experiment.dataset.train.labels),
        equal=experiment.config.sweep.equal,
        confidence=question.schedule.confidence,
        margin=question.margin,
        decided={(question.method, answer.fraction): as_saved(answer)},
    )
    return [f"{found['headline']}.", *found["lines"], _losing_classes(answer, own[0]), *_asked(question, answer)]


def _losing_classes(answer: Answer, result: TrialResult) -> str:
    corrected = f"corrected for all {len(result['class_names'])} classes by Holm's rule"
    if not answer.losing:
        return f"No class is shown to lose accuracy, {corrected}."
    worst = ", ".join(f"{effect.name} ({100 * effect.change:+.2f})" for effect in answer.losing[:_CLASSES])
    more = f" and {len(answer.losing) - _CLASSES} more" if len(answer.losing) > _CLASSES else ""
    return f"Classes that lose accuracy, in points, {corrected}: {worst}{more}."


def _asked(question: Question, answer: Answer) -> list[str]:
    schedule, used = question.schedule, answer.decision.effect.num_seeds
    looks = ", ".join(map(str, schedule.looks))
    line = (
        f"Tested with a margin of {100 * question.margin:.6g} pp at {percent(schedule.confidence)} confidence, with "
        f"looks at {looks} seeds; used {used} seeds, {len(answer.results)} trials."
    )
    if answer.trials_before:
        line += (
            f" {answer.trials_before} trials were finished before the test was planned: they are no independent "
            "evidence if the margin or the fraction was chosen because of them."
        )
    if answer.decision.outcome is not evidence.Outcome.OPEN:
        return [line]
    unseen = question.seed + schedule.looks[-1]
    return [
        line,
        "The plan cannot be extended after a look: to continue, use a larger --max_trials in another --workdir, "
        f"with --config.evidence.seed={unseen}. Every further question has its own error rate.",
    ]


def place_lines(experiment: Experiment, question: Question, answer: Answer) -> list[str]:
    """Returns the paths of the keep list, the answer, the trials and the report."""
    workdir = experiment.workdir
    names = selections(question, answer)
    places = {
        "keep list": workdir.selection(names[0]) / "keep.npy",
        "answer": workdir.answer(question.name(answer.fraction)),
        "trials": workdir.trials,
        "report": workdir.report / "index.html",
        "table": workdir.report / "results.csv",
    }
    lines = [f"{name + ':':11}{workdir.show(path)}" for name, path in places.items()]
    if len(names) > 1:
        lines[0] += f" (the first of {len(names)}: every seed has its own)"
    return lines


def selections(question: Question, answer: Answer) -> Sequence[str]:
    """Returns the names of the selections of the method on which the trials were trained."""
    return list(dict.fromkeys(r["selection"] for r in answer.results if r["method"] == question.method))
