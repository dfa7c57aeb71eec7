"""Shared by the tests of training: bodies of fixtures, comparisons, and `training_script` in other processes."""

import os
import pathlib
import signal
import subprocess
import sys
from unittest import mock

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from data_redundancy.training import trainer as trainer_module

ROOT = pathlib.Path(__file__).parents[2]


def without_tensorboard(monkeypatch):
    """TensorFlow takes seconds to import; `test_metrics` reads TensorBoard's files."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)


def shared_compilations(tmp_path_factory):
    """Shares compiled functions between trainers and processes; draws random numbers in a way that compiles faster."""
    directory = tmp_path_factory.getbasetemp() / "compilation_cache"
    names = {
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_threefry_partitionable": False,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield {name.upper(): str(value) for name, value in names.items()}
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def run_script(*arguments, num_devices, cache):
    """Runs `training_script` in another process; returns its exit code: 0, or the code after a SIGKILL."""
    environment = {
        **os.environ,
        **cache,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }
    command = [sys.executable, ROOT / "tests" / "helpers" / "training_script.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def assert_same(a, b):
    """Asserts that all arrays are equal, bit for bit."""
    assert a.keys() == b.keys()
    different = [name for name in a if a[name].dtype != b[name].dtype or not np.array_equal(a[name], b[name])]
    assert not different


def largest_difference(a, b, prefix=""):
    names = [name for name in a if name.startswith(prefix)]
    assert names
    return max(np.abs(a[name].astype(np.float64) - b[name]).max() for name in names)


def before_step(step, do):
    """Calls `do` when a trainer prepares a call that begins at `step` or later."""

    def doing(*args, first_step, **kwargs):
        if first_step >= step:
            do()
        return train_batches(*args, first_step=first_step, **kwargs)

    train_batches = trainer_module.train_batches
    return mock.patch.object(trainer_module, "train_batches", doing)


class CutError(Exception):
    """Interrupts a run."""


def cut_at(step):
    """Interrupts a run with a `CutError` before `step`."""

    def cut():
        raise CutError

    return before_step(step, cut)
