"""Ratios, agreement of partitions, tables and the plot of growth."""

import pathlib

import numpy as np
from tabulate import tabulate

from benchmarks.clustering.workloads import LARGEST_OF_PEERS, Workload
from benchmarks.processes import Result

PACKAGES = ("jax", "numpy", "scipy", "fastcluster", "scikit-learn")
# Okabe and Ito (2008), Color Universal Design: told apart with every common kind of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#444444")
MARKERS = ("o", "s", "^")


def share_identical(a: np.ndarray, b: np.ndarray) -> float:
    """The share of examples whose cluster, as a set of examples, is the same in both partitions [N]."""
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    _, pair, size_of_both = np.unique(a * (b.max() + 1) + b, return_inverse=True, return_counts=True)
    size_of_both = size_of_both[pair]
    return float(np.mean((np.bincount(a)[a] == size_of_both) & (np.bincount(b)[b] == size_of_both)))


def table(workload: Workload, results: dict[str, Result]) -> str:
    """The table of one workload: our rows, then the peers with their ratios to each of ours."""
    ours = [row.name for row in workload.rows if row.is_ours and "failed" not in results[row.name]]
    has_peers = any(not row.is_ours for row in workload.rows)
    lines = []
    for row in workload.rows:
        result = results[row.name]
        line = {"who": row.name}
        if "failed" in result:
            lines.append({**line, "seconds": "failed"})
            continue
        line |= _measured(result, workload.scale)
        if has_peers:
            best = min(result["seconds"])
            line |= {f"/ {name}": "" if row.is_ours else f"{best / min(results[name]['seconds']):.2f}" for name in ours}
            line["identical"] = "  ".join(f"{f}: {share:.2%}" for f, share in result.get("identical", {}).items())
        lines.append(line)
    return tabulate(lines, headers="keys", disable_numparse=True, colalign=["left"])


def _measured(result: Result, scale: float) -> dict[str, str]:
    best = min(result["seconds"])
    first = [seconds for seconds in result["first_seconds"] if seconds is not None]
    line = {"seconds": _seconds(best)}
    if scale != 1:
        line["scaled"] = f"{best * scale:.1f}"
    line |= {
        "all runs": " ".join(_seconds(seconds) for seconds in result["seconds"]),
        "first call": _seconds(min(first)) if first else "",
        "peak MB": f"{max(result['peak_mb']):,.0f}",
        "MB before": f"{max(result['before_mb']):,.0f}",
    }
    on_device = [mb for mb in result["device_peak_mb"] if mb is not None]
    return {**line, **({"device peak MB": f"{max(on_device):,.0f}"} if on_device else {})}


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds < 1 else f"{seconds:.2f}"


def remarks(workload: Workload, results: dict[str, Result]) -> list[str]:
    """What is to be said below a table: the memory of peers that are not run, and what failed."""
    lines = [f"{name} failed: {result['failed']}" for name, result in results.items() if "failed" in result]
    n = workload.largest_tree
    if n > LARGEST_OF_PEERS:
        peak = f"8 n(n-1)/2 bytes = {4 * n * (n - 1) / 1e9:,.0f} GB"
        lines.append(f"peers are not run: their distances alone would take {peak}")
    return lines


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The exponent of growth: the slope of least squares through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth_lines(sizes: list[int], all_results: list[dict[str, Result]]) -> dict[str, tuple[list[int], list[float]]]:
    """For every contestant the sizes and seconds it has been measured at."""
    lines = {}
    for size, results in zip(sizes, all_results, strict=True):
        for name, result in results.items():
            if "failed" not in result:
                of_name = lines.setdefault(name, ([], []))
                of_name[0].append(size)
                of_name[1].append(min(result["seconds"]))
    return lines


def plot_growth(lines: dict[str, tuple[list[int], list[float]]], path: pathlib.Path) -> None:
    """Draws seconds against examples, both logarithmic, with the exponents in the legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.subplots()
    for (name, (sizes, seconds)), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=True):
        label = f"{name}: n^{exponent(sizes, seconds):.2f}" if len(sizes) > 1 else name
        axes.loglog(sizes, seconds, color=colour, marker=marker, markersize=5, linewidth=1.2, label=label)
    ticks = sorted({size for sizes, _ in lines.values() for size in sizes})
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="examples in the class (64 dimensions)", ylabel="seconds")
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
