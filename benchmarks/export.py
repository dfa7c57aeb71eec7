"""Measures the TFDS export against `cp -r` of the same files. For Linux.

Everyone writes to the same disk and waits until all is on it (fsync); runs alternate, each a process of its own. Export
is measured without what comes before it in the command: imports, and reading the data set's labels or list of records.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from tabulate import tabulate

from benchmarks import memory, processes

LEAST = 0.5
"""What is asked for: the speed of cp on the same files, at least so many times."""
CP = "cp -r"
# Name: share that is pruned, whether records are checked against the list that training from a stream makes.
EXPORTS = {
    "export, all kept": (0.0, False),
    "export, 10% pruned": (0.1, False),
    "export, all kept, list of records checked": (0.0, True),
    "export, 10% pruned, list of records checked": (0.1, True),
}


def measure(scratch: pathlib.Path) -> None:
    """One run, in this process: SCRATCH/job.json says whose, SCRATCH/result.json gets what it took."""
    name = json.loads((scratch / "job.json").read_text())["name"]
    out = scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    run = copy(scratch, out) if name == CP else prepare(scratch, out, *EXPORTS[name])
    before, start = memory.peak_mb(), time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    result = {
        "seconds": seconds,
        "bytes": num_bytes(out),
        "peak_mb": memory.peak_mb(),
        "grown_mb": memory.peak_mb() - before,
    }
    (scratch / "result.json").write_text(json.dumps(result))
    shutil.rmtree(out)


def copy(scratch: pathlib.Path, out: pathlib.Path):
    """Copies the data set by `cp`."""

    def run():
        subprocess.run(["cp", "-r", scratch / "input/all", out], check=True)
        for path in out.rglob("*"):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    return run


def prepare(scratch: pathlib.Path, out: pathlib.Path, fraction: float, checked: bool):
    """Gets everything ready to export the data set."""
    import numpy as np
    from etils import epath

    from benchmarks.training import inputs
    from data_redundancy.data.tfds import builder, catalog
    from data_redundancy.exporting import contents, driver, source, tfds
    from data_redundancy.exporting.format import Description
    from data_redundancy.runtime import devices

    prepared = builder.open_prepared(inputs.NAME, data_dir=scratch / "input/all")
    before = {}
    if checked:
        directory = epath.Path(scratch / "catalog")
        listed = catalog.read_or_make(prepared, "train", directory=directory, image_key="image", label_key="label")
        before["train"] = (listed.digest, listed.length)
    class_names = prepared.info.features["label"].names
    read = source.TfdsSource(prepared, class_names=class_names, listed=before)
    keep = inputs.keep_list(read.sizes["train"], fraction).astype(np.int64)
    chosen = contents.choose(
        read, "train", keep, splits="all", num_shards=inputs.NUM_SHARDS, shard_lengths=tfds.file_lengths(read)
    )
    provenance = {"selection": "benchmark", "fraction": fraction, "split": "train", "fingerprint": ""}
    provenance |= {"num_kept": len(keep), "num_examples": read.sizes["train"]}
    about = Description(inputs.NAME, inputs.VERSION, tuple(class_names), "", "", provenance, chosen.num_examples)
    writer = tfds.make(chosen)
    devices.barrier("ready")  # starts JAX, as the command has done by then
    return lambda: driver.export(out, writer, chosen.shards, chosen.examples, about, plan={}, overwrite=False)


def num_bytes(directory: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def table(results: dict[str, processes.Result], num_bytes_in: int) -> str:
    """A line for each; speeds are in bytes of the source."""
    rows = []
    for name, result in results.items():
        if "failed" in result:
            rows.append({"who": name, "MB/s": f"failed: {result['failed']}"})
            continue
        ratios = [theirs / ours for ours, theirs in zip(result["seconds"], results[CP]["seconds"], strict=True)]
        rows.append(
            {
                "who": name,
                "MB/s": f"{num_bytes_in / 1e6 / statistics.median(result['seconds']):,.0f}",
                "seconds": " ".join(f"{seconds:.2f}" for seconds in result["seconds"]),
                "of cp's speed": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                "peak MB": f"{max(result['peak_mb']):,.0f}",
                "of these while writing": f"{max(result['grown_mb']):,.0f}",
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True, colalign=["left"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument("--photos", type=int, default=3000, help="JPEGs to write and read (3000, some 250 MB)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scratch", type=pathlib.Path, help="an existing directory to work in (by default in /tmp)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = pathlib.Path(folder)
        recipe = {"num_photos": arguments.photos, "pruned": []}
        processes.write_input("benchmarks.training.inputs", "export", f"{arguments.photos} JPEGs", recipe, scratch)
        results = processes.alternate(
            (CP, *EXPORTS),
            arguments.repeats,
            lambda name: processes.run_job("benchmarks.export", {"name": name}, scratch),
        )
        size = num_bytes(scratch / "input/all")
        print(processes.hardware(processes.devices()[1], ("tensorflow-cpu", "tensorflow-datasets")))
        print(f"\n{arguments.photos} JPEGs, {size / 1e6:,.0f} MB, in TFRecord files\n\n{table(results, size)}")
    if any("failed" in result for result in results.values()):
        return 1
    speeds = [statistics.median(results[CP]["seconds"]) / statistics.median(r["seconds"]) for r in results.values()]
    print(f"\nat least {LEAST:g} of cp's speed: {'reached' if min(speeds) >= LEAST else 'MISSED'}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        measure(pathlib.Path(sys.argv[1]))
    else:
        sys.exit(main())
