"""The result of the command `answer`."""

import dataclasses
from typing import Any

from data_redundancy.experiment import rounds
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.questions import Question
from data_redundancy.experiment.result import CommandResult
from data_redundancy.reporting import answer_lines


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
        reported: what the command `report` returned, with the table of the trials; None before it has run.
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
    reported: CommandResult | None = None

    def text(self) -> str:
        """Returns the table of the trials and the paths of the report, if it has run, and the answer in words."""
        of_report = "" if self.reported is None else f"{self.reported.text()}\n"
        return "\n".join([of_report, *self.lines])


def make_answer_result(
    experiment: Experiment,
    question: Question,
    found: dict[float, rounds.Answer],
    chosen: rounds.Answer,
    *,
    searched: bool,
) -> AnswerResult:
    """Returns the result of the command.

    Args:
        experiment: with the artifacts.
        question: that was asked.
        found: the answers by fraction.
        chosen: the answer to describe at length.
        searched: whether the largest fraction was searched.
    """
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
