"""Trials per hour when many are trained together, beside one at a time, in the same run; and memory.

    python -m benchmarks.trials --help

On a GPU: ResNet-20 and -32 on noise of CIFAR's size, batch 128, as a sweep trains them, with its lines and checkpoints.
On CPU a small model, to see that it works. Every measurement runs in a process of its own. Needs neither TensorFlow nor
PyTorch; tabulate.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from tabulate import tabulate

from benchmarks import processes

ASKED_FOR = 3.0
"""On a GPU: times the trials per hour of one at a time."""
IMAGES_PER_TRIAL = 200 * 50_000
"""200 epochs of CIFAR."""
ON_GPU = {
    "models": "resnet20,resnet32",
    "image_size": 32,
    "batch_size": 128,
    "num_steps": 2000,
    "at_once": "1,2,4,8,16,32",
}
ON_CPU = {"models": "resnet8", "image_size": 16, "batch_size": 32, "num_steps": 20, "at_once": "2,4"}


def parse_arguments(backend: str) -> argparse.Namespace:
    defaults = ON_GPU if backend == "gpu" else ON_CPU
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    parser.add_argument("--models", default=defaults["models"], help=f"by commas (here {defaults['models']})")
    parser.add_argument("--image_size", type=int, default=defaults["image_size"])
    parser.add_argument("--batch_size", type=int, default=defaults["batch_size"], help="images per step and trial")
    parser.add_argument("--num_steps", type=int, default=defaults["num_steps"], help="that are timed")
    parser.add_argument("--at_once", default=defaults["at_once"], help="trials per device, by commas")
    parser.add_argument("--dtype", default="bfloat16" if backend == "gpu" else "float32")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="write all numbers to this file")
    return parser.parse_args()


def measure(model: str, per_device: int, arguments: argparse.Namespace, scratch: pathlib.Path) -> processes.Result:
    """Trains so many trials on each device, or (0) one over all of them."""
    options = {
        "model": model,
        "image_size": arguments.image_size,
        "num_classes": 10,
        "dtype": arguments.dtype,
        "batch_size": arguments.batch_size,
        "num_images": 50_000,
        "num_steps": arguments.num_steps,
        "pad": 4,
        "trials_per_device": per_device,
        "checkpoint_every_steps": 1000,
    }
    job = {"contestant": "ours.train", "environment": {}, "options": options}
    result = processes.run_job("benchmarks.training.measure", job, scratch)
    told = result.get("failed") or f"{result['images'] / result['seconds']:,.0f} images/s"
    print(f"{model}, {name_of(per_device)}: {told}", file=sys.stderr)
    return result


def name_of(per_device: int) -> str:
    return f"{per_device} per device" if per_device else "one at a time"


def rates(result: processes.Result) -> list[float]:
    """Trials per hour in every repetition."""
    pairs = zip(result["images"], result["seconds"], strict=True)
    return [3600 * images / seconds / IMAGES_PER_TRIAL for images, seconds in pairs]


def row(per_device: int, result: processes.Result, alone: processes.Result) -> list[Any]:
    if "failed" in result:
        return [name_of(per_device), result["failed"][:60]]
    trials_per_hour = statistics.median(rates(result))
    ratio = None if "failed" in alone else trials_per_hour / statistics.median(rates(alone))
    device_mb = result["device_peak_mb"][0]
    return [
        name_of(per_device),
        trials_per_hour,
        ratio,
        max(result["peak_mb"]),
        device_mb,
        min(result["first_seconds"]),
    ]


def report(model: str, results: dict[int, processes.Result]) -> str:
    rows = [row(per_device, result, results[0]) for per_device, result in results.items()]
    headers = [model, "trials/h", "ratio", "peak MB", "device peak MB", "s before that"]
    ratios = [r[2] for r in rows[1:] if len(r) > 2 and r[2] is not None]
    best = f"best: {max(ratios):.2f} times the trials per hour of one at a time" if ratios else "nothing to compare"
    return f"{tabulate(rows, headers, floatfmt=('', '.2f', '.2f', '.0f', '.0f', '.0f'))}\n{best}"


def main() -> int:
    backend, device_words = processes.devices()
    arguments = parse_arguments(backend)
    sizes = [0, *map(int, arguments.at_once.split(","))]
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.models.split(","):
            names = {str(size): size for size in sizes}
            found = processes.alternate(
                names,
                arguments.repeats,
                lambda name, model=model: measure(model, int(name), arguments, pathlib.Path(scratch)),
            )
            results[model] = {size: found[name] for name, size in names.items()}
            print(f"\n{report(model, results[model])}\n", flush=True)
    hardware = processes.hardware(device_words, ("jax", "jaxlib", "flax"))
    print(
        f"trials of {IMAGES_PER_TRIAL:,} images, {arguments.dtype}; asked for on a GPU: {ASKED_FOR:g} times\n{hardware}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"hardware": hardware, "results": results}, indent=2))
    return int(any("failed" in result for of_model in results.values() for result in of_model.values()))


if __name__ == "__main__":
    sys.exit(main())
