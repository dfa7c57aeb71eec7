"""Every selection method on embeddings of CIFAR-10's shape: seconds, peak memory, and peers in the same run.

    python -m benchmarks.selection [METHOD ...] --help

50,000 x 64 in 10 classes, per class, 10% and 50% pruned: what is asked for is less than 60 s on two cores and less than
4 GB, or that the command says beforehand what it will take. Real embeddings with --workdir; else an imitation: classes
of sub-clusters behind a ReLU, with near-duplicates (benchmarks.clustering.inputs). Every measurement is a process of
its own, on one thread: processor time, which depends little on what else the machine does, then bounds what two cores
take. `agglomerative` is measured without its clustering, which benchmarks.clustering measures, and methods that go by
scores with random ones, without the training.

Peers: apricot-select's lazy greedy on similarities from a float32 matrix product, for facility_location, where it is
installed (--apricot names a Python that has it); a plain reading of the rule with NumPy for kcenter. The others have no
peer on PyPI that chooses as they do. For Linux.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from tabulate import tabulate

from benchmarks import memory, processes

FRACTIONS = (0.1, 0.5)
SIZES = [5_000] * 10
MOST_SECONDS, MOST_MB = 60, 4e9 / 2**20
THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def measure(scratch: pathlib.Path) -> None:
    """One run, in this process: SCRATCH/job.json says of what, SCRATCH/result.json gets what it took."""
    import numpy as np

    job = json.loads((scratch / "job.json").read_text())
    x, labels = np.load(scratch / "input/x.npy"), np.load(scratch / "input/labels.npy")
    keep = PEERS[job["peer"]] if job["peer"] else ours
    run = keep(x, labels.astype(np.int64), job["method"], job["fraction"], job["scope"])
    before, start, used = memory.resident_mb(), time.perf_counter(), time.process_time()
    kept = run()
    result = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - used,
        "before_mb": before,
        "peak_mb": memory.peak_mb(),
        "kept": np.sort(kept).tolist(),
    }
    (scratch / "result.json").write_text(json.dumps(result))


def ours(x, labels, method, fraction, scope):
    """The method as the stage `select` calls it."""
    import numpy as np
    import sklearn.cluster  # noqa: F401 - not part of the time

    from data_redundancy.selection import METHODS, Pool, select, top_score

    rng = np.random.default_rng(0)
    scores = {name: rng.gamma(2.0, size=len(x)) for name in top_score.SCORES}
    within = labels if scope == "class" else np.zeros_like(labels)
    trees = None
    if "dendrograms" in METHODS[method].needs:
        from data_redundancy import cluster

        trees = cluster(x, labels, max_prune_fraction=max(FRACTIONS), scope=scope)
    pool = Pool(within, x, trees, scores, classes=labels)
    return lambda: select(pool, method=method, prune_fraction=fraction).keep


def apricot(x, labels, method, fraction, scope):
    """The package apricot-select; on float32 similarities, made in the time that is measured.

    It compiles anew for every class, which is part of what its users wait for.
    """
    import numpy as np
    from apricot import FacilityLocationSelection

    def similarities(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return (1 + unit @ unit.T) / 2

    def choose(x, count):
        if count == 1:
            return np.array([similarities(x).sum(axis=0).argmax()])
        return FacilityLocationSelection(count, metric="precomputed", optimizer="lazy").fit(similarities(x)).ranking

    return lambda: by_class(choose, x, labels, fraction)


def plain_kcenter(x, labels, method, fraction, scope):
    """A pass over all rows for every one that is chosen."""
    import numpy as np

    def choose(x, count):
        x = x.astype(np.float64)
        chosen = [int(((x - x.mean(axis=0)) ** 2).sum(axis=1).argmin())]
        nearest = np.full(len(x), np.inf)
        while len(chosen) < count:
            np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(axis=1), out=nearest)
            chosen.append(int(nearest.argmax()))
        return np.array(chosen)

    return lambda: by_class(choose, x, labels, fraction)


def by_class(choose, x, labels, fraction):
    import numpy as np

    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([rows[choose(x[rows], len(rows) - round(fraction * len(rows)))] for rows in members])


PEERS = {"apricot": apricot, "plain kcenter": plain_kcenter}
PEER_OF = {"facility_location": "apricot", "kcenter": "plain kcenter"}


def run(job: dict, scratch: pathlib.Path, python: str) -> processes.Result:
    """One measurement in a process of its own."""
    (scratch / "job.json").write_text(json.dumps(job))
    process = subprocess.run(
        [python, "-m", "benchmarks.selection", str(scratch)],
        cwd=processes.ROOT,
        env={"PATH": "/usr/bin:/bin", **THREADS},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if process.returncode:
        return {"failed": " ".join([f"exit code {process.returncode}", *process.stderr.strip().splitlines()[-1:]])}
    result = json.loads((scratch / "result.json").read_text())
    print(f"{job}: {result['cpu_seconds']:.2f} s of a core, {result['peak_mb']:,.0f} MB", file=sys.stderr)
    return result


def row(name: str, fraction: float, result: processes.Result, ours: processes.Result | None) -> list:
    """A line of the table; `ours` for a peer's."""
    if "failed" in result:
        return [name, f"{fraction:.0%}", result["failed"][:80]]
    line = [name, f"{fraction:.0%}", result["cpu_seconds"], result["seconds"], result["peak_mb"], result["before_mb"]]
    if ours is None or "failed" in ours:
        return line
    same = len(set(result["kept"]) & set(ours["kept"])) / len(ours["kept"])
    return [*line, result["cpu_seconds"] / ours["cpu_seconds"], f"{same:.1%}"]


def main() -> int:
    from data_redundancy.selection import METHODS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"by default all: {', '.join(METHODS)}")
    parser.add_argument("--scope", choices=["class", "dataset"], default="class", help="dataset: one class of 50,000")
    parser.add_argument("--workdir", type=pathlib.Path, help="take embeddings from this work directory")
    parser.add_argument("--apricot", default=sys.executable, help="a Python with apricot-select, NumPy and tabulate")
    parser.add_argument("--shrink", type=int, default=1, help="divide every class's size by this, for a quick trial")
    parser.add_argument("--json", type=pathlib.Path, help="write all numbers to this file")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.methods if name not in METHODS]:
        parser.error(f"no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    real = {"workdir": str(arguments.workdir.resolve())} if arguments.workdir else None
    sizes = [size // arguments.shrink for size in SIZES]
    recipe = {"kind": "first_of_classes", "sizes": sizes, "dimensions": 64, "real": real}
    rows, within, everything = [], True, []
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        title = f"{sum(sizes):,} x 64"
        processes.write_input("benchmarks.clustering.inputs", "selection", title, recipe, scratch)
        for method in arguments.methods or METHODS:
            for fraction in FRACTIONS:
                job = {"method": method, "fraction": fraction, "scope": arguments.scope, "peer": None}
                result = run(job, scratch, sys.executable)
                rows.append(row(method, fraction, result, None))
                everything.append(job | result)
                within &= "failed" not in result and (
                    result["cpu_seconds"] < MOST_SECONDS and result["peak_mb"] < MOST_MB
                )
                if method in PEER_OF and arguments.scope == "class":
                    job["peer"] = PEER_OF[method]
                    python = arguments.apricot if job["peer"] == "apricot" else sys.executable
                    theirs = run(job, scratch, python)
                    rows.append(row(job["peer"], fraction, theirs, result))
                    everything.append(job | theirs)
    headers = ["", "pruned", "s of a core", "s by the clock", "peak MB", "MB before", "of our time", "kept as by us"]
    print(tabulate(rows, headers, floatfmt=("", "", ".2f", ".2f", ".0f", ".0f", ".1f", "")))
    hardware = processes.hardware(processes.devices()[1], ("numpy", "scipy", "scikit-learn"))
    print(f"\n{'real' if real else 'SYNTHETIC'} embeddings; one thread each\n{hardware}")
    print(f"less than {MOST_SECONDS} s and {MOST_MB * 2**20 / 1e9:g} GB: {'reached' if within else 'MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"hardware": hardware, "runs": everything}))
    return int(not within)


if __name__ == "__main__":
    if len(sys.argv) == 2 and pathlib.Path(sys.argv[1], "job.json").is_file():
        measure(pathlib.Path(sys.argv[1]))
    else:
        sys.exit(main())
