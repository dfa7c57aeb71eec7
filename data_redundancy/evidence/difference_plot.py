"""A figure of the accuracy lost against the full set, with intervals: one panel for every method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_redundancy.evidence.difference import Difference
from data_redundancy.evidence.formatting import percent
from data_redundancy.evidence.limits import require_margin
from data_redundancy.evidence.statistics import Row, require_rows
from data_redundancy.evidence.trials import FULL, RANDOM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_COLUMNS = 4
# From Okabe and Ito (2008), Color Universal Design.
_COLOUR, _RANDOM_COLOUR, _MARGIN_COLOUR = "#0072B2", "#777777", "#D55E00"


def difference_plot(rows: Sequence[Row], margin: float, title: str) -> Figure:
    """Draws accuracy minus that of the full set against the prune fraction, one panel for every method.

    Error bars are the intervals of the table. Random subsets are a line with a band in every panel. A fraction whose
    whole bar is above the line of the margin can be pruned. Intervals of few seeds may extend beyond the panel.

    Args:
        rows: The evidence, from `summarise`.
        margin: The largest acceptable loss, a fraction.
        title: Shown above the panels.

    Returns:
        The figure, with a panel for every method other than random, or one panel for random alone; x in percent, y in
        percentage points.

    Raises:
        InputError: If there are no rows, or `margin` is outside (0, 0.5).
    """
    from matplotlib.figure import Figure

    require_rows(rows)
    require_margin(margin)
    methods = sorted({row.method for row in rows} - {FULL, RANDOM}) or [RANDOM]
    columns = min(len(methods), _MOST_COLUMNS)
    lines = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(max(7.0, 2.6 * columns), 1.6 + 2.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, method in zip(panels, methods, strict=False):
        _draw(axes, rows, method, margin)
    for axes in panels[len(methods) :]:
        axes.remove()
    # The lowest panel of every column, which need not be in the last line.
    for axes in panels[len(methods) - columns : len(methods)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("pruned (%)")
    panels[0].set_ylim(*_limits(rows, margin))
    # The title is the user's text: a dollar sign in it starts no formula.
    figure.suptitle(title, parse_math=False, wrap=True)
    figure.supylabel("accuracy minus full set's (pp)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _draw(axes: Axes, rows: Sequence[Row], method: str, margin: float) -> None:
    """Draws one panel."""
    level = f"{percent(rows[0].confidence, digits=10)} interval"
    fractions, differences = _of_method(rows, RANDOM)
    if method != RANDOM and fractions:
        means, below, above = _points(differences)
        axes.plot(fractions, means, color=_RANDOM_COLOUR, linewidth=1.2, label=f"random subsets, {level}")
        low = [mean - reach for mean, reach in zip(means, below, strict=True)]
        high = [mean + reach for mean, reach in zip(means, above, strict=True)]
        axes.fill_between(fractions, low, high, color=_RANDOM_COLOUR, alpha=0.25, linewidth=0)
    fractions, differences = _of_method(rows, method)
    means, below, above = _points(differences)
    axes.errorbar(
        fractions,
        means,
        [below, above],
        color=_COLOUR,
        marker="o",
        markersize=4,
        linewidth=1.2,
        elinewidth=1.5,
        capsize=3,
        label=f"the method, {level}",
    )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(-100 * margin, color=_MARGIN_COLOUR, linewidth=1, linestyle="--", label="margin")
    axes.set_title(method, fontsize="medium")
    axes.set_xticks(sorted({100 * row.prune_fraction for row in rows if row.method != FULL}))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _of_method(rows: Sequence[Row], method: str) -> tuple[list[float], list[Difference]]:
    """Returns the fractions of a method in percent, ascending, and their differences from the full set.

    Fractions that cannot be compared with the full set are left out.
    """
    found = sorted(
        (100 * row.prune_fraction, row.difference_from_full)
        for row in rows
        if row.method == method and row.difference_from_full is not None
    )
    return [fraction for fraction, _ in found], [difference for _, difference in found]


def _points(differences: Sequence[Difference]) -> tuple[list[float], list[float], list[float]]:
    """Returns the means, and how far the intervals reach below and above them, in percentage points."""
    shown = [(d.mean, d.low, d.high) if d.has_interval else (d.mean, d.mean, d.mean) for d in differences]
    return (
        [100 * mean for mean, _, _ in shown],
        [100 * (mean - low) for mean, low, _ in shown],
        [100 * (high - mean) for mean, _, high in shown],
    )


def _limits(rows: Sequence[Row], margin: float) -> tuple[float, float]:
    """Returns the limits of y in percentage points.

    They include all means, the margin and 0, and as much of every interval as is not far beyond these.
    """
    means, below, above = _points([row.difference_from_full for row in rows if row.difference_from_full is not None])
    seen = [*means, 0.0, -100 * margin]
    room = 2 * max(max(seen) - min(seen), 200 * margin)
    low = min([*seen, *(mean - min(reach, room) for mean, reach in zip(means, below, strict=True))])
    high = max([*seen, *(mean + min(reach, room) for mean, reach in zip(means, above, strict=True))])
    return low - 0.05 * (high - low), high + 0.05 * (high - low)
