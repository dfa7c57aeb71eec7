"""Statistics over trials: what removing data costs, and how sure that is."""

from data_redundancy.evidence.plot import accuracy_plot
from data_redundancy.evidence.statistics import ClassChange, Difference, Row, summarise
from data_redundancy.evidence.table import format_markdown, format_table, write_csv
from data_redundancy.evidence.trials import Trial

__all__ = [
    "ClassChange",
    "Difference",
    "Row",
    "Trial",
    "accuracy_plot",
    "format_markdown",
    "format_table",
    "summarise",
    "write_csv",
]
