"""Statistics over trials: how much accuracy pruning costs, and how certain that is."""

from data_redundancy.evidence.classes import ClassEffect, class_effects
from data_redundancy.evidence.difference import Difference
from data_redundancy.evidence.difference_plot import difference_plot
from data_redundancy.evidence.effects import Effect, compare, interval, paired_effect, unpaired_effect
from data_redundancy.evidence.largest import largest_fraction, next_fraction
from data_redundancy.evidence.multiplicity import holm
from data_redundancy.evidence.noninferiority import MarginTest, Outcome, margin_test
from data_redundancy.evidence.plot import accuracy_plot
from data_redundancy.evidence.power import more_seeds
from data_redundancy.evidence.sequential import (
    Decision,
    LookSchedule,
    decide,
    effects_at_looks,
    make_look_schedule,
    rounds,
)
from data_redundancy.evidence.statistics import ClassChange, Row, summarise
from data_redundancy.evidence.table import format_markdown, format_table, write_csv
from data_redundancy.evidence.trials import Trial
from data_redundancy.evidence.verdict import (
    RandomVerdict,
    Verdict,
    Versus,
    decision_words,
    other_at_look,
    other_words,
    random_at_look,
    random_words,
    verdict_words,
    verdicts,
)

__all__ = [
    "ClassChange",
    "ClassEffect",
    "Decision",
    "Difference",
    "Effect",
    "LookSchedule",
    "MarginTest",
    "Outcome",
    "RandomVerdict",
    "Row",
    "Trial",
    "Verdict",
    "Versus",
    "accuracy_plot",
    "class_effects",
    "compare",
    "decide",
    "decision_words",
    "difference_plot",
    "effects_at_looks",
    "format_markdown",
    "format_table",
    "holm",
    "interval",
    "largest_fraction",
    "make_look_schedule",
    "margin_test",
    "more_seeds",
    "next_fraction",
    "other_at_look",
    "other_words",
    "paired_effect",
    "random_at_look",
    "random_words",
    "rounds",
    "summarise",
    "unpaired_effect",
    "verdict_words",
    "verdicts",
    "write_csv",
]
