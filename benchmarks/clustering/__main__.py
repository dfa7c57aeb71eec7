"""Runs the workloads, contestants in alternation, and prints tables. For Linux."""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile

import numpy as np

from benchmarks import processes
from benchmarks.clustering import report
from benchmarks.clustering.workloads import Row, Workload, cpu_workloads, device_workloads, growth_workloads
from benchmarks.processes import Result

EXPLANATION = """
seconds: least of all runs, from embeddings in memory to a partition, without compilation; first call: the same work
once before in the same process, with compilation (where both are equal, compilation is in both). Every run is a process
of its own; peak MB: the most that it held, MB before: with everything imported and the input read. Columns that begin
with /: the peer's seconds in those of ours. identical: at a prune fraction, the share of examples whose cluster is the
same set of examples as ours; peers decide from float32 distances, so near ties may fall otherwise."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clustering", description=__doc__)
    parser.add_argument("--embeddings", type=pathlib.Path, help=".npy, [N, 64] float32: real embeddings of 10 classes")
    parser.add_argument("--labels", type=pathlib.Path, help=".npy, [N] integers: their classes")
    parser.add_argument("--workdir", type=pathlib.Path, help="read both from this work directory of data-redundancy")
    parser.add_argument("--only", help="workloads to run, by commas (default: all that this machine has devices for)")
    parser.add_argument("--classes", type=int, default=20, help="how many of ImageNet's classes to measure")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shrink", type=int, default=1, help="divide every class's size by this, for a quick trial")
    parser.add_argument("--json", type=pathlib.Path, help="write all numbers to this file")
    parser.add_argument("--plot", type=pathlib.Path, default=processes.ROOT / "docs" / "clustering_growth.png")
    arguments = parser.parse_args()
    if (arguments.embeddings is None) != (arguments.labels is None):
        parser.error("--embeddings and --labels: one without the other")
    if arguments.embeddings and arguments.workdir:
        parser.error("--workdir: real embeddings come from there or from --embeddings, not from both")
    return arguments


def real_source(arguments: argparse.Namespace) -> dict[str, str] | None:
    """Where `inputs.read_real` finds real embeddings."""
    names = ["workdir"] if arguments.workdir else ["embeddings", "labels"] if arguments.embeddings else []
    return {name: str(getattr(arguments, name).resolve()) for name in names} or None


def choose(workloads: list[Workload], only: str | None, backend: str) -> list[Workload]:
    """Those asked for, or those that there are devices for."""
    if only is None:
        return [w for w in workloads if backend != "cpu" or not w.name.startswith("gpu-")]
    names = processes.chosen((w.name for w in workloads), only)
    return [w for w in workloads if w.name in names]


def measure(workload: Workload, row: Row, scratch: pathlib.Path) -> tuple[Result, np.ndarray | None]:
    """One measurement in a process of its own: its result, and the partition at every fraction."""
    job = {
        "input": str(scratch / "input"),
        "contestant": row.contestant,
        "options": row.options,
        "fractions": row.fractions,
        "warm_up": workload.warm_up if row.is_ours else "small",
    }
    result = processes.run_job("benchmarks.clustering.measure", job, scratch)
    if "failed" in result:
        print(f"{workload.name}: {row.name} failed: {result['failed']}", file=sys.stderr)
        return result, None
    print(f"{workload.name}: {row.name}: {result['seconds']:.2f} s, {result['peak_mb']:,.0f} MB", file=sys.stderr)
    return result, np.load(scratch / "partitions.npy")


def run_workload(workload: Workload, repeats: int, scratch: pathlib.Path) -> dict[str, Result]:
    """All measurements of a workload: one run of everyone, then the next."""
    processes.write_input("benchmarks.clustering.inputs", workload.name, workload.title, workload.recipe, scratch)
    rows = {row.name: row for row in workload.rows}
    partitions: dict[str, dict[float, np.ndarray]] = {}

    def measure_row(name: str) -> Result:
        result, cuts = measure(workload, rows[name], scratch)
        if cuts is not None:
            partitions[name] = dict(zip(rows[name].fractions, cuts, strict=True))
        return result

    summary = processes.alternate(rows, min(repeats, workload.repeats or repeats), measure_row)
    for name, shares in agreement(workload, partitions).items():
        summary[name]["identical"] = shares
    return summary


def agreement(workload: Workload, partitions: dict[str, dict[float, np.ndarray]]) -> dict[str, dict[float, float]]:
    """How much the partitions are those of the first of our rows that has one at the fraction."""
    reference: dict[float, str] = {}
    for row in workload.rows:
        if row.is_ours and row.name in partitions:
            reference = dict.fromkeys(row.fractions, row.name) | reference
    return {
        name: {
            fraction: report.share_identical(partition, partitions[reference[fraction]][fraction])
            for fraction, partition in cuts.items()
            if reference.get(fraction, name) != name
        }
        for name, cuts in partitions.items()
    }


def report_growth(growth: list[Workload], results: list[dict[str, Result]], plot: pathlib.Path) -> None:
    """Prints the exponents and draws the plot."""
    lines = report.growth_lines([workload.largest_tree for workload in growth], results)
    for name, (sizes, seconds) in lines.items():
        if len(sizes) > 1:
            print(f"{name}: time grows with n^{report.exponent(sizes, seconds):.2f} from {sizes[0]:,} to {sizes[-1]:,}")
    report.plot_growth(lines, plot)
    print(f"plot: {plot}")


def main() -> int:
    arguments = parse_arguments()
    backend, device_words = processes.devices()
    real = real_source(arguments)
    everything = [
        *cpu_workloads(real, arguments.shrink, arguments.classes),
        *growth_workloads(real, arguments.shrink),
        *device_workloads(arguments.shrink),
    ]
    workloads = choose(everything, arguments.only, backend)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for workload in workloads:
            results.append(run_workload(workload, arguments.repeats, pathlib.Path(scratch)))
            print(f"\n{workload.name}: {workload.title}\n\n{report.table(workload, results[-1])}")
            print(*report.remarks(workload, results[-1]), sep="\n", flush=True)
    growth = [(w, r) for w, r in zip(workloads, results, strict=True) if w.name == "growth"]
    if growth:
        report_growth(*map(list, zip(*growth, strict=True)), arguments.plot)
    hardware = processes.hardware(device_words, report.PACKAGES)
    print(f"{EXPLANATION}\n\n{hardware}")
    if arguments.json:
        raw = [{**dataclasses.asdict(w), "results": r} for w, r in zip(workloads, results, strict=True)]
        arguments.json.write_text(json.dumps({"hardware": hardware, "workloads": raw}, indent=2))
    return int(any("failed" in result for of_workload in results for result in of_workload.values()))


if __name__ == "__main__":
    sys.exit(main())
