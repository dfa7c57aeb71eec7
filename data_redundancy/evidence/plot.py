"""A figure of accuracy against prune fraction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from data_redundancy.evidence.statistics import Row, require_rows
from data_redundancy.evidence.trials import FULL, RANDOM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito (2008), Color Universal Design: distinguishable with every common kind of colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# One more than the colours, so that no two of 42 methods share both colour and marker.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_FULL_COLOUR = "#444444"


def accuracy_plot(rows: Sequence[Row], title: str) -> Figure:
    """Draws test accuracy against prune fraction, one line per method, with error bars of one standard deviation.

    The full set is a horizontal line with a band of one standard deviation. The figure is independent of
    `matplotlib.pyplot` and of any window: save it with `figure.savefig`.

    Args:
        rows: The evidence, from `summarise`.
        title: Shown above the axes.

    Returns:
        The figure, with one plot; x and y are in percent.

    Raises:
        InputError: If there are no rows.
    """
    from matplotlib.figure import Figure

    require_rows(rows)
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.subplots()
    fractions = sorted({row.prune_fraction for row in rows if row.method != FULL})
    methods = sorted({row.method for row in rows if row.method != FULL}, key=lambda name: (name == RANDOM, name))
    offsets = _offsets(fractions, len(methods))
    for method, offset, colour, marker in zip(methods, offsets, cycle(_COLOURS), cycle(_MARKERS), strict=False):
        _draw_method(axes, [row for row in rows if row.method == method], offset, colour, marker)
    for row in rows:
        if row.method == FULL:
            _draw_full(axes, row)
    _label(axes, fractions, title)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, title=_meaning_of_bars(rows))
    return figure


def _draw_method(axes: Axes, rows: Sequence[Row], offset: float, colour: str, marker: str) -> None:
    rows = sorted(rows, key=lambda row: row.prune_fraction)
    axes.errorbar(
        x=[100 * row.prune_fraction + offset for row in rows],
        y=[100 * row.accuracy_mean for row in rows],
        yerr=[100 * row.accuracy_std for row in rows],
        label=rows[0].method,
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.2,
        elinewidth=1.5,
        capsize=3,
    )


def _draw_full(axes: Axes, row: Row) -> None:
    mean, std = 100 * row.accuracy_mean, 100 * row.accuracy_std
    axes.axhline(mean, color=_FULL_COLOUR, linewidth=1.2, linestyle="--", label=FULL, zorder=1)
    if not np.isnan(std):
        axes.axhspan(mean - std, mean + std, color=_FULL_COLOUR, alpha=0.15, linewidth=0, zorder=0)


def _label(axes: Axes, fractions: Sequence[float], title: str) -> None:
    # The title is the user's text: a dollar sign in it starts no formula.
    axes.set_title(title, parse_math=False, wrap=True)
    axes.set_xlabel("pruned share of the training set (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.ticklabel_format(useOffset=False)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if _smallest_gap(fractions) >= 0.05 * np.ptp(fractions or [0.0]):
        axes.set_xticks([100 * fraction for fraction in fractions], [f"{100 * fraction:.4g}" for fraction in fractions])
    if len(fractions) == 1:
        axes.set_xlim(100 * fractions[0] - 10, 100 * fractions[0] + 10)


def _meaning_of_bars(rows: Sequence[Row]) -> str:
    fewest, most = min(row.num_seeds for row in rows), max(row.num_seeds for row in rows)
    if most == 1:
        return "one seed, no error bars"
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"error bars and band: mean ± one std over {seeds} seeds"


def _offsets(fractions: Sequence[float], num_methods: int) -> np.ndarray:
    """Returns small shifts in percent, one per method and centred on 0, so that error bars are drawn side by side."""
    step = min(0.6, 30 * _smallest_gap(fractions) / max(num_methods, 1))
    return step * (np.arange(num_methods) - (num_methods - 1) / 2)


def _smallest_gap(fractions: Sequence[float]) -> float:
    """Returns the smallest distance between neighbouring fractions; infinity for fewer than two fractions."""
    return float(np.min(np.diff(fractions), initial=np.inf))
