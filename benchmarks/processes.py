"""Measurements in processes of their own, everyone in turn.

The process that starts them imports neither JAX nor PyTorch and holds no data: Linux hands a process's peak memory on
to those it starts.
"""

import importlib.metadata
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]

Result = dict[str, Any]
"""A row's measurements: lists over repetitions, or `failed`."""


def run_python(module: str, *arguments: str) -> str | None:
    """Runs a module in a process of its own; the reason if that fails."""
    process = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    if process.returncode == 0:
        return None
    last_lines = process.stderr.strip().splitlines()[-1:]
    return " ".join([f"signal {-process.returncode}" if process.returncode < 0 else "", *last_lines]).strip()


def run_job(module: str, job: dict[str, Any], scratch: pathlib.Path) -> Result:
    """Runs a module that reads SCRATCH/job.json and writes SCRATCH/result.json; gives that, or `failed`."""
    (scratch / "job.json").write_text(json.dumps(job))
    reason = run_python(module, str(scratch))
    return {"failed": reason} if reason is not None else json.loads((scratch / "result.json").read_text())


def write_input(module: str, name: str, title: str, recipe: Any, scratch: pathlib.Path) -> None:
    """Lets a module write SCRATCH/input by a recipe, unless the workload before had the same one."""
    directory, text = scratch / "input", json.dumps(recipe)
    made_from = scratch / "recipe.json"
    if made_from.exists() and made_from.read_text() == text:
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    print(f"{name}: writing the input, {title}", file=sys.stderr)
    reason = run_python(module, text, str(directory))
    if reason is not None:
        raise SystemExit(f"{name}: {reason}")
    made_from.write_text(text)


def alternate(names: Iterable[str], repeats: int, measure: Callable[[str], Result]) -> dict[str, Result]:
    """One run of everyone, then the next in the opposite order; who has failed is not run again."""
    runs: dict[str, list[Result]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in list(runs)[:: -1 if repeat % 2 else 1]:
            if not any("failed" in result for result in runs[name]):
                runs[name].append(measure(name))
    return {name: _summarise(results) for name, results in runs.items()}


def _summarise(runs: list[Result]) -> Result:
    failed = [run for run in runs if "failed" in run]
    return failed[0] if failed else {key: [run[key] for run in runs] for key in runs[0]}


def chosen(names: Iterable[str], only: str) -> list[str]:
    """The names that `--only` asks for; an unknown one ends the program."""
    known, asked = list(dict.fromkeys(names)), only.split(",")
    for name in asked:
        if name not in known:
            raise SystemExit(f"--only: no workload {name!r}; there are {', '.join(known)}")
    return asked


def devices() -> tuple[str, str]:
    """JAX's backend, and the devices in words; asked of another process, as starting JAX takes memory."""
    question = "import jax; print(jax.default_backend()); d = jax.devices(); print(len(d), 'x', d[0].device_kind)"
    answer = subprocess.run([sys.executable, "-c", question], stdout=subprocess.PIPE, text=True, check=True).stdout
    backend, kind = answer.splitlines()
    return backend, f"{backend} ({kind})"


def hardware(devices: str, packages: Sequence[str]) -> str:
    """Processor, cores, devices and versions in one line."""
    model = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    memory = math.prod(os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_PAGE_SIZE")) / 2**30
    versions = ", ".join(f"{package} {_version(package)}" for package in packages)
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model[1] if model else 'processor unknown'}, {cores} cores, {memory:.0f} GiB; JAX on {devices}; {versions}"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # such as TensorFlow on an accelerator's machine
        return "not installed"
