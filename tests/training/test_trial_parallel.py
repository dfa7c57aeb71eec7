"""Trial parallelism: the results of many trials at the same time equal the results of single trials."""

import json
import os
import re
import signal
from unittest import mock

import jax
import numpy as np
import pytest

from data_redundancy.errors import Stopped
from data_redundancy.experiment import trial_grid
from data_redundancy.runtime import devices as parallel
from data_redundancy.runtime import stopping
from data_redundancy.training import trainer, trial_parallel
from helpers import training_runs
from helpers import training_script as script
from helpers.command import TINY, error_line, run_here, run_process, write_digits
from helpers.training_runs import assert_same, before_step, cut_at, largest_difference, run_script
from helpers.training_script import make_runs, outcome

without_tensorboard = pytest.fixture(autouse=True)(training_runs.without_tensorboard)
cache = pytest.fixture(scope="module", autouse=True)(training_runs.shared_compilations)

TOLERANCE = 2e-5
"""Tolerance of losses and parameters, as in test_devices_do_not_matter; the largest difference seen is 5e-7."""


def tiny():
    return script.tiny_trainer(**script.DEVICES_SETTINGS)


def assert_close(alone, at_once):
    assert alone.keys() == at_once.keys()
    assert np.array_equal(alone["class_accuracy"], at_once["class_accuracy"])
    assert largest_difference(alone, at_once) < TOLERANCE


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Outcomes of three runs, trained one after the other on eight devices."""
    with pytest.MonkeyPatch.context() as patch:
        training_runs.without_tensorboard(patch)
        runs = make_runs(tmp_path_factory.mktemp("alone"))
        return [outcome(tiny(), run, tiny().train(run)) for run in runs]


def test_parallel_runs_equal_single_runs(tmp_path, alone):
    """On eight devices: three runs, and five copies of the first run, which write no files."""
    runs = make_runs(tmp_path)
    results = tiny().train_in_parallel(runs)
    for run, result, expected in zip(runs, results, alone, strict=True):
        assert set(result) == {"accuracy", "loss", "class_accuracy", "steps", "train_seconds"}
        assert_close(expected, outcome(tiny(), run, result))
        names = {path.name for path in run.directory.iterdir()}
        assert names == {"checkpoints", "metrics.jsonl", "timing.jsonl"}
        kept = {path.name for path in (run.directory / "checkpoints").iterdir() if path.name.isdigit()}
        assert kept == {"8", "11"}
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]
    assert np.ptp(alone[0]["lines"][:, 1]) > 1000 * TOLERANCE, "the losses have changed"
    assert largest_difference(alone[0], alone[1], ".params") > 100 * TOLERANCE, "the runs differ"


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [1, 2])
def test_numbers_of_devices(tmp_path, alone, cache, num_devices):
    """Three runs on one device; on two devices, two runs each, one of them a copy."""
    assert run_script("parallel", tmp_path, num_devices=num_devices, cache=cache) == 0
    for k, expected in enumerate(alone):
        found = dict(np.load(tmp_path / f"{k}.npz"))
        assert int(found.pop("devices")) == num_devices
        assert_close(expected, found)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"ema_decay": 0.9}, {"steps_per_call": 4}, {"optimizer": "lars"}])
def test_settings(tmp_path, settings):
    """Averages of variables, calls of several steps, and LARS, whose norms must be computed for each run."""
    trainer_of = script.make_trainer(script.TinyNet(), **{**script.DEVICES_SETTINGS, **settings})
    apart, at_once = make_runs(tmp_path / "apart", 2), make_runs(tmp_path / "at_once", 2)
    for one, other, result in zip(apart, at_once, trainer_of.train_in_parallel(at_once), strict=True):
        assert_close(outcome(trainer_of, one, trainer_of.train(one)), outcome(trainer_of, other, result))


def test_a_residual_network(tmp_path):
    """All convolutions and BatchNorms of a real network, in training steps and in evaluation."""
    trainer_of = script.make_trainer(script.resnet8(), **script.DEVICES_SETTINGS)
    apart, at_once = (make_runs(tmp_path / name, 2, num_steps=3) for name in ("apart", "at_once"))
    for one, other, result in zip(apart, at_once, trainer_of.train_in_parallel(at_once), strict=True):
        expected = outcome(trainer_of, one, trainer_of.train(one))
        assert largest_difference(expected, outcome(trainer_of, other, result)) < 2e-4


def test_runs_on_one_device_do_not_see_each_other(tmp_path):
    """Other images in one run change no other run, bit for bit, including its BatchNorm statistics."""
    first, second = ([*make_runs(tmp_path / name, 16)] for name in ("first", "second"))
    second[9] = script.make_run(tmp_path / "second" / "9", seed=77, keep=np.arange(700, 1400))
    states = []
    for runs in (first, second):
        tiny().train_in_parallel(runs)
        states.append([script.flatten(tiny().restore(run)) for run in runs])
    for k, (one, other) in enumerate(zip(*states, strict=True)):
        if k == 9:
            assert largest_difference(one, other, ".batch_stats") > 1e-3
        else:
            assert_same(one, other)


def test_convolutions_are_grouped_as_accelerators_know_them():
    """The speed on accelerators is tested by the program: gradients of kernels are convolutions with two groups.

    Taken of each run on its own, they would be convolutions with kernels of the size of the images.
    """
    trainer_of = script.make_trainer(script.resnet8())
    text = trainer_of._trial_parallel._lower(trainer_of._create_state, 2).as_text()
    convolutions = 9  # and of the first one no gradient of the images
    assert text.count("batch_group_count = 2") == convolutions
    assert text.count("feature_group_count = 2") == 2 * convolutions - 1
    assert text.count("stablehlo.convolution") == 3 * convolutions - 1


# Interruptions


def stop_now():
    stopping._handle(signal.SIGTERM, None)


@pytest.fixture
def uninterrupted(tmp_path):
    runs = make_runs(tmp_path / "uninterrupted")
    tiny().train_in_parallel(runs)
    return [script.flatten(tiny().restore(run)) for run in runs]


def test_stopped_and_resumed_runs_equal_uninterrupted_ones_bitwise(tmp_path, uninterrupted, monkeypatch):
    runs = make_runs(tmp_path / "cut")
    monkeypatch.setattr(stopping, "_requested", False)
    with before_step(6, stop_now), pytest.raises(Stopped, match=r"saved 3 runs \(test to test\) at step \d"):
        tiny().train_in_parallel(runs)
    monkeypatch.setattr(stopping, "_requested", False)
    (step,) = {tiny().step_of(run) for run in runs}
    assert 6 <= step < script.NUM_STEPS
    tiny().train_in_parallel(runs)
    for run, whole, directory in zip(runs, uninterrupted, ("0", "1", "2"), strict=True):
        assert_same(script.flatten(tiny().restore(run)), whole)
        assert script.read_metrics(run.directory) == script.read_metrics(tmp_path / "uninterrupted" / directory)


def test_sums_of_unfinished_windows_are_resumed(tmp_path, monkeypatch):
    """SIGTERM between two lines of metrics: the sums so far of each run are saved with its state."""
    settings = {**script.DEVICES_SETTINGS, "log_every_steps": 5, "checkpoint_every_steps": 100}
    trainer_of = script.tiny_trainer(**settings)
    whole, cut = make_runs(tmp_path / "whole"), make_runs(tmp_path / "cut")
    trainer_of.train_in_parallel(whole)
    monkeypatch.setattr(stopping, "_requested", False)
    with before_step(7, stop_now), pytest.raises(Stopped):
        trainer_of.train_in_parallel(cut)
    monkeypatch.setattr(stopping, "_requested", False)
    assert trainer_of.step_of(cut[0]) % 5, "not at a line"
    trainer_of.train_in_parallel(cut)
    for one, other in zip(whole, cut, strict=True):
        assert script.read_metrics(one.directory) == script.read_metrics(other.directory)


def test_parallel_runs_resume_alone_and_single_runs_in_parallel(tmp_path, alone):
    runs = make_runs(tmp_path)
    with cut_at(8), pytest.raises(training_runs.CutError):
        tiny().train_in_parallel(runs[:2])
    assert tiny().step_of(runs[0]) == 8
    assert_close(alone[0], outcome(tiny(), runs[0], tiny().train(runs[0])))
    with cut_at(8), pytest.raises(training_runs.CutError):
        tiny().train(runs[2])
    results = tiny().train_in_parallel(runs[1:])
    for run, result, expected in zip(runs[1:], results, alone[1:], strict=True):
        assert_close(expected, outcome(tiny(), run, result))


def test_runs_at_different_steps_raise(tmp_path):
    runs = make_runs(tmp_path, 2)
    with cut_at(8), pytest.raises(training_runs.CutError):
        tiny().train(runs[0])
    with pytest.raises(ValueError, match="different steps"):
        tiny().train_in_parallel(runs)


# How many


def test_how_many_fit():
    """The memory of one and of two runs predicts the memory of four, up to one run."""
    layout, create_state = tiny()._trial_parallel, tiny()._create_state
    one, four = (layout._bytes(create_state, runs) for runs in (1, 4))
    assert four > one

    def fitting(limit, in_use=1000):
        device = mock.Mock(**{"memory_stats.return_value": {"bytes_limit": limit, "bytes_in_use": in_use}})
        with mock.patch.object(jax, "local_devices", return_value=[device]):
            return layout.max_runs_per_device(create_state)

    with mock.patch.object(jax, "local_device_count", return_value=8):
        room = int(four / trial_parallel.SHARE_OF_MEMORY) + 1000
        assert fitting(room) in (3, 4, 5)
        assert fitting(room, in_use=room) == 0
        assert fitting(int(0.9 * one)) == 0
        assert fitting(10**12) == trial_parallel.MAX_RUNS_PER_DEVICE


def test_on_cpu_no_runs_are_parallel():
    assert tiny().max_runs_per_device() == 0


@pytest.mark.parametrize(
    ("lengths", "max_parallel", "num_devices", "sizes"),
    [
        ([8] * 5, 1, 1, [1] * 5),
        ([8] * 5, 8, 1, [5]),
        ([8] * 9, 8, 1, [5, 4]),
        ([8] * 9, 4, 2, [4, 4, 1]),
        ([8] * 18, 16, 8, [16, 2]),
        ([8, 6, 8, 6, 8], 4, 1, [3, 2]),
    ],
)
def test_batches(lengths, max_parallel, num_devices, sizes):
    specs = list(enumerate(lengths))
    found = list(trial_grid.batches(specs, lambda spec: spec[1], max_parallel=max_parallel, num_devices=num_devices))
    assert [len(batch) for batch in found] == sizes
    assert sorted(spec for batch in found for spec in batch) == specs
    assert all(len({length for _, length in batch}) == 1 for batch in found)
    assert all(batch == sorted(batch) for batch in found)


# A sweep


JOB = (*TINY, "--config.dataset.name=d.npz", "--config.train.learning_rate=0.02", "--config.sweep.methods=random")


RUN = """
import os, signal, sys
sys.modules["tensorflow"] = None  # takes seconds to import
from data_redundancy.cli import main
from data_redundancy.training import trainer
train_batches = trainer.train_batches
def deadly(*arguments, first_step, **more):
    if first_step == {step}:
        {do}
    return train_batches(*arguments, first_step=first_step, **more)
trainer.train_batches = deadly
sys.exit(main.main())
"""


def run(*arguments, before_step=(None, "pass"), **options):
    """Runs a command in another process, which may execute code before a step."""
    step, do = before_step
    return run_process(*arguments, code=RUN.format(step=step, do=do), **options)


def results_of(workdir):
    return {
        str(path.parent.relative_to(workdir)): json.loads(path.read_text())
        for path in workdir.glob("trials/*/*/result.json")
    }


@pytest.fixture(scope="module")
def one_at_a_time(tmp_path_factory):
    """The folder of a sweep of four trials, and its results."""
    folder = tmp_path_factory.mktemp("sweep")
    write_digits(folder / "d.npz")
    done = run("sweep", *JOB, "--workdir=w", cwd=folder)
    assert done.code == 0, done.err
    assert "sweep: one trial at a time, which is fastest on CPU (sweep.trials_per_device)" in done.err
    return folder, results_of(folder / "w")


def assert_results_close(found, expected):
    assert found.keys() == expected.keys()
    for name, result in expected.items():
        assert found[name].keys() == result.keys()
        for field, value in result.items():
            if field == "loss":
                assert found[name][field] == pytest.approx(value, abs=2e-4)
            elif field != "train_seconds":
                assert found[name][field] == value, (name, field)


@pytest.mark.slow
@pytest.mark.parametrize(("per_device", "devices"), [(2, 1), (1, 2)])
def test_a_sweep_of_batches_has_the_results_of_one_of_single_trials(one_at_a_time, tmp_path, per_device, devices):
    folder, expected = one_at_a_time
    write_digits(tmp_path / "d.npz")
    command = ("sweep", *JOB, "--workdir=w", f"--config.sweep.trials_per_device={per_device}")
    done = run(*command, cwd=tmp_path, devices=devices)
    assert done.code == 0, done.err
    at_once = min(4, per_device * devices)
    assert len(re.findall(rf"sweep: trial \d/4, .* each, {at_once} at once\)", done.err)) == 4
    assert_results_close(results_of(tmp_path / "w"), expected)
    for path in (folder / "w" / "trials").glob("*/*/manifest.json"):
        other = tmp_path / path.relative_to(folder)
        assert json.loads(other.read_text())["fingerprint"] == json.loads(path.read_text())["fingerprint"]
    # Both ways of training skip the trials that the other has finished, and train the missing ones.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "w" / "trials").rglob("*")}
    (tmp_path / "w" / "trials" / "full" / "seed1" / "result.json").unlink()
    done = run("sweep", *JOB, "--workdir=w", "--config.sweep.trials_per_device=0", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "sweep: 3 of 4 trials already done, skipped" in done.err
    assert_results_close(results_of(tmp_path / "w"), expected)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "w" / "trials").rglob("*")}
    assert {p.parent.name for p in after if after[p] != before.get(p)} <= {"seed1", "full", "checkpoints", "8"}


@pytest.mark.slow
def test_a_batch_finishes_what_single_trials_began(one_at_a_time, tmp_path):
    """One trial is finished, one is at step 4: the other two are trained in parallel, and the one resumes alone."""
    _, expected = one_at_a_time
    write_digits(tmp_path / "d.npz")
    done = run("train", *JOB, "--workdir=w", cwd=tmp_path)
    assert done.code == 0, done.err
    command = ("sweep", *JOB, "--workdir=w")
    assert run(*command, cwd=tmp_path, before_step=(6, "sys.exit(9)")).code == 9
    done = run(*command, "--config.sweep.trials_per_device=4", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "sweep: 1 of 4 trials already done, skipped" in done.err
    assert "full seed 1: resumed at step 4 of 8" in done.err
    assert len(re.findall(r", 2 at once\)", done.err)) == 2
    assert_results_close(results_of(tmp_path / "w"), expected)


@pytest.mark.slow
def test_sigterm_to_a_sweep_saves_the_whole_batch(one_at_a_time, tmp_path):
    _, expected = one_at_a_time
    write_digits(tmp_path / "d.npz")
    command = ("sweep", *JOB, "--workdir=w", "--config.sweep.trials_per_device=4")
    stopped = run(*command, cwd=tmp_path, before_step=(5, "os.kill(os.getpid(), signal.SIGTERM)"))
    assert stopped.code == 75, stopped.err
    assert "saved 4 runs (full seed 0 to random-0.2-seed1 seed 1) at step 6 of 8" in stopped.err
    done = run(*command, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "resumed at step 6 of 8" in done.err
    assert_results_close(results_of(tmp_path / "w"), expected)


def test_epochs_make_batches_of_equal_lengths(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "d.npz")
    lengths = []

    def train_in_parallel(self, runs):
        lengths.append({run.num_steps for run in runs})
        measured = {"class_accuracy": np.zeros(10), "accuracy": 0.5, "train_seconds": 1.0}
        return [{**measured, "steps": run.num_steps} for run in runs]

    with mock.patch.object(trainer.Trainer, "train_in_parallel", train_in_parallel):
        done = run_here(
            capfd, "sweep", *JOB, "--workdir=w", "--config.sweep.equal=epochs", "--config.sweep.trials_per_device=1"
        )
    assert done.code == 0, done.err
    assert lengths == [{8}, {6}]


def test_streams_train_one_at_a_time(capfd, tmp_path):
    done = run_here(
        capfd,
        "sweep",
        "--config=imagenet",
        f"--workdir={tmp_path}",
        "--config.sweep.trials_per_device=2",
    )
    assert error_line(done) == (
        "--config.sweep.trials_per_device=2: must be 0 or None with input.mode=stream: only one trial at a time can "
        "read streamed images"
    )


def test_several_processes_train_one_at_a_time(capfd, tmp_path):
    write_digits(tmp_path / "d.npz")
    with mock.patch.object(parallel, "process_count", return_value=2):
        done = run_here(
            capfd,
            "sweep",
            *TINY,
            f"--config.dataset.name={tmp_path / 'd.npz'}",
            f"--workdir={tmp_path / 'w'}",
            "--config.sweep.trials_per_device=1",
        )
    assert error_line(done) == (
        "--config.sweep.trials_per_device=1: must be 0 or None on 2 processes, which train one trial at a time"
    )
