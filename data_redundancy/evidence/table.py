"""Tables of evidence for the terminal, for Markdown and as CSV."""

import csv
import math
from collections.abc import Sequence
from typing import TextIO

from tabulate import tabulate

from data_redundancy.evidence.difference import MIN_SEEDS, Difference
from data_redundancy.evidence.formatting import percent
from data_redundancy.evidence.statistics import Row, require_rows
from data_redundancy.evidence.trials import FULL, RANDOM

TERMINAL_WIDTH = 120
"""The most columns of `format_table`."""

MISSING = "-"
"""The cell for a number that cannot be computed."""

UNPAIRED = "*"
"""The mark of a difference that is not paired by seed."""

_SHORTEST_CLASS_NAME = 7
_CLASS_NAME_COLUMN = 7
_ALIGNMENT = ("left", "right", "right", "right", "right", "right", "right", "left")


def format_table(rows: Sequence[Row]) -> str:
    """Formats the evidence as a table for the terminal.

    Args:
        rows: The evidence, from `summarise`.

    Returns:
        Text at most 120 columns wide: long class names are shortened to fit (`write_csv` writes them in full).

    Raises:
        InputError: If there are no rows.
    """
    headers, cells = _headers(rows), _cells(rows)
    table = tabulate(cells, headers, tablefmt="simple", colalign=_ALIGNMENT, disable_numparse=True)
    excess = max(map(len, table.splitlines())) - TERMINAL_WIDTH
    if excess > 0:
        longest = max(len(cell[_CLASS_NAME_COLUMN]) for cell in cells)
        limit = max(longest - excess, _SHORTEST_CLASS_NAME)
        cells = [[*cell[:_CLASS_NAME_COLUMN], _shorten(cell[_CLASS_NAME_COLUMN], limit)] for cell in cells]
        table = tabulate(cells, headers, tablefmt="simple", colalign=_ALIGNMENT, disable_numparse=True)
    return "\n".join([table, "", *_notes(rows, cells)])


def format_markdown(rows: Sequence[Row]) -> str:
    """Formats the evidence as a table in GitHub's Markdown.

    Args:
        rows: The evidence, from `summarise`.

    Returns:
        The table and its notes, with nothing shortened.

    Raises:
        InputError: If there are no rows.
    """
    headers = [header.strip().replace("\n", " ") for header in _headers(rows)]
    cells = _cells(rows)
    escaped = [[text.replace("|", r"\|") for text in cell] for cell in cells]
    table = tabulate(escaped, headers, tablefmt="github", colalign=_ALIGNMENT, disable_numparse=True)
    return "\n\n".join([table, *_notes(rows, cells)])


def write_csv(rows: Sequence[Row], file: TextIO) -> None:
    """Writes the raw numbers as CSV, one line per selection; accuracies and differences are fractions.

    Args:
        rows: The evidence, from `summarise`.
        file: A text file opened with `newline=""`. A missing value becomes an empty cell.

    Raises:
        InputError: If there are no rows.
    """
    require_rows(rows)
    records = [_record(row) for row in rows]
    writer = csv.DictWriter(file, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)


def _headers(rows: Sequence[Row]) -> list[str]:
    require_rows(rows)
    level = _level(rows)
    return [
        "method and\nshare pruned",
        "\nkept",
        "test acc. %\nmean ± std",
        "\nseeds",
        f"pp from full\n[{level} interval]",
        f"pp from random\n[{level} interval]",
        "worst\npp",
        "class",
    ]


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    return [
        [
            row.method if row.method == FULL else f"{row.method} {percent(row.prune_fraction)}",
            f"{row.num_kept:,}",
            f"{100 * row.accuracy_mean:.2f} ± {_std(row.accuracy_std)}",
            str(row.num_seeds),
            "" if row.method == FULL else _difference(row.difference_from_full),
            _from_random(row, rows),
            *_worst_class(row),
        ]
        for row in rows
    ]


def _notes(rows: Sequence[Row], cells: Sequence[Sequence[str]]) -> list[str]:
    level = _level(rows)
    notes = [
        f"pp: percentage points, paired by seed, {level} Student t interval; std over seeds (n-1); "
        "worst: largest loss of a class"
    ]
    if any(MISSING in text.split() for cell in cells for text in cell[:_CLASS_NAME_COLUMN]):
        notes.append(f"{MISSING}: needs at least {MIN_SEEDS} seeds; for a difference, on both sides")
    if any(difference is not None and not difference.paired for row in rows for difference in _differences(row)):
        notes.append(f"{UNPAIRED}: not paired, for most seeds are of one side only; {level} interval by Welch's rule")
    return notes


def _differences(row: Row) -> tuple[Difference | None, Difference | None]:
    return row.difference_from_full, row.difference_from_random


def _level(rows: Sequence[Row]) -> str:
    return percent(rows[0].confidence, digits=10)


def _points(fraction: float) -> str:
    points = 100 * fraction
    # Intervals of two seeds can reach thousands of points; decimals would be meaningless and make the table too wide.
    return f"{points:+z.2f}" if abs(points) < 100 else f"{points:+.0f}"


def _std(fraction: float) -> str:
    return MISSING if math.isnan(fraction) else f"{100 * fraction:.2f}"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return MISSING
    ends = f"{_points(difference.low)}, {_points(difference.high)}" if difference.has_interval else "nothing varies"
    return f"{_points(difference.mean)} [{ends}]{'' if difference.paired else UNPAIRED}"


def _from_random(row: Row, rows: Sequence[Row]) -> str:
    if row.method in (FULL, RANDOM):
        return ""
    was_run = any(other.method == RANDOM and other.prune_fraction == row.prune_fraction for other in rows)
    return _difference(row.difference_from_random) if was_run or row.difference_from_random else "not run"


def _worst_class(row: Row) -> tuple[str, str]:
    if row.worst_class is None:
        return "", ""
    return _points(row.worst_class.change), row.worst_class.name


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _record(row: Row) -> dict[str, str | int | float]:
    return {
        "method": row.method,
        "prune_fraction": row.prune_fraction,
        "num_kept": row.num_kept,
        "num_seeds": row.num_seeds,
        "accuracy_mean": row.accuracy_mean,
        "accuracy_std": "" if math.isnan(row.accuracy_std) else row.accuracy_std,
        "confidence": row.confidence,
        **_difference_record("difference_from_full", row.difference_from_full),
        **_difference_record("difference_from_random", row.difference_from_random),
        "worst_class": row.worst_class.name if row.worst_class else "",
        "worst_class_change": row.worst_class.change if row.worst_class else "",
    }


def _difference_record(name: str, difference: Difference | None) -> dict[str, str | int | float]:
    return {
        f"{name}_mean": difference.mean if difference else "",
        f"{name}_low": difference.low if difference else "",
        f"{name}_high": difference.high if difference else "",
        f"{name}_num_seeds": difference.num_seeds if difference else "",
        f"{name}_paired": str(difference.paired).lower() if difference else "",
    }
