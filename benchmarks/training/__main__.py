"""Runs the workloads, contestants in alternation, and prints tables. For Linux."""

import argparse
import dataclasses
import importlib.util
import json
import pathlib
import sys
import tempfile

from benchmarks import processes
from benchmarks.processes import Result
from benchmarks.training import report
from benchmarks.training.workloads import Workload, all_workloads

EXPLANATION = """
images/s: median of the runs, without compilation (but for `devices`). Every run is a process of its own; peak MB: the
most that it held. before that: what came before in the same process, compilation included. Ratios are of the images/s
of two runs that came one after the other: their median, and from the least to the greatest."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--only", help="workloads to run, by commas (default: all that this machine is for)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photos", type=int, default=2000, help="JPEGs to write and read (2000)")
    parser.add_argument("--shrink", type=int, default=1, help="divide steps and images by this, for a quick trial")
    parser.add_argument("--scratch", type=pathlib.Path, help="an existing directory for the JPEGs (by default in /tmp)")
    parser.add_argument("--json", type=pathlib.Path, help="write all numbers to this file")
    return parser.parse_args()


def choose(workloads: list[Workload], only: str | None, backend: str) -> list[Workload]:
    """Those asked for, or those that there are devices and packages for."""
    if only is not None:
        names = processes.chosen((w.name for w in workloads), only)
        return [w for w in workloads if w.name in names]
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    return [w for w in workloads if w.needs_gpu == (backend == "gpu") and (has_tensorflow or not w.needs_tensorflow)]


def run_workload(workload: Workload, repeats: int, scratch: pathlib.Path) -> dict[str, Result]:
    """All measurements of a workload: one run of everyone, then the next."""
    if workload.recipe is not None:
        processes.write_input("benchmarks.training.inputs", workload.name, workload.title, workload.recipe, scratch)
    rows = {row.name: row for row in workload.rows}

    def measure(name: str) -> Result:
        result = processes.run_job("benchmarks.training.measure", dataclasses.asdict(rows[name]), scratch)
        told = result.get("failed") or f"{result['images'] / result['seconds']:,.0f} images/s"
        print(f"{workload.name}: {name}: {told}", file=sys.stderr)
        return result

    return processes.alternate(rows, repeats, measure)


def main() -> int:
    arguments = parse_arguments()
    backend, device_words = processes.devices()
    workloads = choose(all_workloads(num_photos=arguments.photos, shrink=arguments.shrink), arguments.only, backend)
    results = []
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        for workload in workloads:
            results.append(run_workload(workload, arguments.repeats, pathlib.Path(scratch)))
            print(f"\n{workload.name}: {workload.title}\n\n{report.table(workload, results[-1])}\n")
            print(*report.verdicts(workload, results[-1]), sep="\n", flush=True)
    hardware = processes.hardware(device_words, report.PACKAGES)
    print(f"{EXPLANATION}\n\n{hardware}")
    if arguments.json:
        raw = [{**dataclasses.asdict(w), "results": r} for w, r in zip(workloads, results, strict=True)]
        arguments.json.write_text(json.dumps({"hardware": hardware, "workloads": raw}, indent=2))
    return int(any("failed" in result for of_workload in results for result in of_workload.values()))


if __name__ == "__main__":
    sys.exit(main())
