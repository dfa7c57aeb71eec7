"""One measurement, to be run as a process of its own: images per second and peak memory of one contestant."""

import importlib
import json
import os
import pathlib
import sys


def main() -> None:
    directory = pathlib.Path(sys.argv[1])
    job = json.loads((directory / "job.json").read_text())
    os.environ.update(job["environment"])
    from benchmarks import memory

    module, function = job["contestant"].split(".")
    contestant = getattr(importlib.import_module(f"benchmarks.training.{module}"), function)
    measured = contestant(directory / "input", **job["options"])
    memories = {"peak_mb": memory.peak_mb(), "device_peak_mb": memory.device_peak_mb()}
    (directory / "result.json").write_text(json.dumps({**measured, **memories}))


if __name__ == "__main__":
    main()
