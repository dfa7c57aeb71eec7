"""Tables, and the ratios that are asked for."""

import statistics

from tabulate import tabulate

from benchmarks.processes import Result
from benchmarks.training.workloads import Workload

PACKAGES = ("jax", "flax", "torch", "timm", "tensorflow-cpu")


def rates(result: Result) -> list[float]:
    """Images per second of every run."""
    return [images / seconds for images, seconds in zip(result["images"], result["seconds"], strict=True)]


def ratios(result: Result, peer: Result) -> list[float]:
    """Of the rates of runs that came one after the other."""
    return [ours / theirs for ours, theirs in zip(rates(result), rates(peer), strict=True)]


def table(workload: Workload, results: dict[str, Result]) -> str:
    """The table of one workload."""
    lines = []
    for row in workload.rows:
        result = results[row.name]
        if "failed" in result:
            lines.append({"who": row.name, "images/s": "failed"})
            continue
        first = [seconds for seconds in result["first_seconds"] if seconds is not None]
        on_device = [mb for mb in result["device_peak_mb"] if mb is not None]
        lines.append(
            {
                "who": row.name,
                "images/s": f"{statistics.median(rates(result)):,.0f}",
                "all runs": " ".join(f"{rate:,.0f}" for rate in rates(result)),
                "seconds": f"{min(result['seconds']):.1f}",
                "before that": f"{min(first):.1f}" if first else "",
                "peak MB": f"{max(result['peak_mb']):,.0f}",
                **({"device peak MB": f"{max(on_device):,.0f}"} if on_device else {}),
            }
        )
    return tabulate(lines, headers="keys", disable_numparse=True, colalign=["left"])


def verdicts(workload: Workload, results: dict[str, Result]) -> list[str]:
    """A line for every bound, and what failed."""
    lines = [f"{name} failed: {result['failed']}" for name, result in results.items() if "failed" in result]
    for bound in workload.bounds:
        if "failed" in results[bound.row] or "failed" in results[bound.peer]:
            continue
        of_pairs = ratios(results[bound.row], results[bound.peer])
        ratio = statistics.median(of_pairs)
        reached = "reached" if ratio >= bound.least else "MISSED"
        between = f"{min(of_pairs):.2f} to {max(of_pairs):.2f}"
        lines.append(f"{bound.row} / {bound.peer}: {ratio:.2f}, {between} (bound {bound.least:.2f}: {reached})")
    return lines
