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
        method: name of the selection method.
        prune_fraction: the fraction that the answer describes in detail.
        outcome: outcome of the test against the margin.
        found: numbers of the answer, as saved in its file.
        searched: outcomes of the tested fractions, and the largest fraction that can be pruned; None without a search.
        keep_list: path of the keep list.
        answer: path of the answer's file.
        report: path of the report's page.
        lines: the answer in words.
        reported: result of the command `report`, with the table of the trials; None before the report is written.
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
        """Returns the table of the trials and the paths of the report, if it is written, and the answer in words."""
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
        experiment: experiment of the question.
        question: the question.
        found: the answers by fraction.
        chosen: the answer to describe in detail.
        searched: whether the command searched for the largest fraction.
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
