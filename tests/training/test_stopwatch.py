"""The speed of training: the share of waiting for input, and traces of the profiler."""

import contextlib
import json
import logging
import time
import types
from unittest import mock

import jax
import numpy as np
import pytest

from data_redundancy import training
from data_redundancy.store import metrics
from data_redundancy.training import profile as profile_module
from data_redundancy.training import stopwatch as stopwatch_module
from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.profile import WARM, Profile
from data_redundancy.training.stopwatch import BOTTLENECK, LONG_ENOUGH_S, Stopwatch, seconds_per_step, summary
from helpers import training_runs
from helpers import training_script as script
from helpers.training_runs import CutError, cut_at

without_tensorboard = pytest.fixture(autouse=True)(training_runs.without_tensorboard)
cache = pytest.fixture(scope="module", autouse=True)(training_runs.shared_compilations)


# The stopwatch


class Clock:
    """A clock that tests advance."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stopwatch_module, "time", clock)
    return clock


def window(stopwatch, clock, step, *, waits, computes):
    """Returns the timing of a window that ends at `step`, with the given seconds, each in two parts."""
    for _ in range(2):
        with stopwatch.waiting():
            clock.passes(waits / 2)
        clock.passes(computes / 2)
    return stopwatch.window(step)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_time_is_split_into_input_wait_and_compute(clock):
    stopwatch = Stopwatch("test", batch_size=64)
    assert window(stopwatch, clock, 3, waits=50, computes=100) == {}, "the first window compiles"
    assert window(stopwatch, clock, 7, waits=0.5, computes=1.5) == pytest.approx(
        {"input_wait_ms": 125, "compute_ms": 375, "images_per_s_per_device": 64 * 4 / 2 / 8}
    )
    assert window(stopwatch, clock, 8, waits=0, computes=0.25) == pytest.approx(
        {"input_wait_ms": 0, "compute_ms": 250, "images_per_s_per_device": 32}
    )


def test_a_resumed_run_counts_its_own_steps(clock):
    stopwatch = Stopwatch("test", batch_size=8)
    assert window(stopwatch, clock, 1003, waits=1, computes=1) == {}
    assert window(stopwatch, clock, 1007, waits=1, computes=1)["images_per_s_per_device"] == pytest.approx(2)


def test_a_window_without_a_step_says_nothing(clock):
    stopwatch = Stopwatch("test", batch_size=8)
    window(stopwatch, clock, 3, waits=1, computes=1)
    assert window(stopwatch, clock, 3, waits=1, computes=1) == {}


def test_excluded_time_belongs_to_no_window(clock):
    stopwatch = Stopwatch("test", batch_size=64)
    window(stopwatch, clock, 4, waits=1, computes=1)
    with stopwatch.excluded():
        clock.passes(10)
    with pytest.raises(ZeroDivisionError), stopwatch.excluded():
        clock.passes(30)
        raise ZeroDivisionError
    timing = window(stopwatch, clock, 6, waits=0.5, computes=1.5)
    assert timing == pytest.approx({"input_wait_ms": 250, "compute_ms": 750, "images_per_s_per_device": 8})
    assert window(stopwatch, clock, 8, waits=0.5, computes=1.5) == timing


def test_a_wait_that_an_error_ends_counts(clock):
    stopwatch = Stopwatch("test", batch_size=64)
    window(stopwatch, clock, 1, waits=1, computes=1)
    with pytest.raises(ZeroDivisionError), stopwatch.waiting():
        clock.passes(0.5)
        raise ZeroDivisionError
    assert window(stopwatch, clock, 2, waits=0, computes=1)["input_wait_ms"] == pytest.approx(500)


def test_the_bottleneck_is_reported_once(clock, caplog):
    stopwatch = Stopwatch("random-0.3 seed 2", batch_size=64)
    for step in (1, 2, 3, 4):
        window(stopwatch, clock, step, waits=3, computes=1)
    (warning,) = warnings(caplog)
    assert warning.startswith("random-0.3 seed 2: input is the bottleneck: for 75% of the time, ")


@pytest.mark.parametrize(
    ("share", "seconds", "warns"),
    [
        (BOTTLENECK + 0.01, LONG_ENOUGH_S + 0.01, True),
        (BOTTLENECK - 0.01, LONG_ENOUGH_S + 0.01, False),
        (BOTTLENECK - 0.01, 1000, False),
        (BOTTLENECK + 0.01, LONG_ENOUGH_S - 0.01, False),
        (1, LONG_ENOUGH_S - 0.01, False),
    ],
)
def test_a_bottleneck_is_one_that_counts(clock, caplog, share, seconds, warns):
    stopwatch = Stopwatch("test", batch_size=64)
    window(stopwatch, clock, 1, waits=1000, computes=0)
    assert warnings(caplog) == [], "no warning about the first window"
    window(stopwatch, clock, 2, waits=share * seconds, computes=(1 - share) * seconds)
    assert len(warnings(caplog)) == warns
    window(stopwatch, clock, 3, waits=500, computes=500)
    assert len(warnings(caplog)) == 1, "a window without a warning does not suppress a later one"


def test_timing_summary():
    assert summary({}) == {}
    timing = {"input_wait_ms": 30.0, "compute_ms": 90.0, "images_per_s_per_device": 1234.5}
    assert summary(timing) == {"input wait": "25%", "images/s per device": "1.23e+03"}
    assert seconds_per_step(timing) == pytest.approx(0.12)


# In a run


class SlowInput(training.InMemory):
    """A split that delays every batch."""

    SECONDS = 0.05

    def train_batches(self, calls, *, seed):
        for batch in super().train_batches(calls, seed=seed):
            time.sleep(self.SECONDS)
            yield batch


def timing_of(directory):
    return [json.loads(line) for line in (directory / "timing.jsonl").read_text().splitlines()]


@contextlib.contextmanager
def slow(owner, name, seconds):
    """Delays every call of a method."""
    method = getattr(owner, name)

    def slowly(*args, **kwargs):
        time.sleep(seconds)
        return method(*args, **kwargs)

    with mock.patch.object(owner, name, slowly):
        yield


def test_a_run_reports_how_long_it_waits(tmp_path):
    """It counts a slow input, but neither slow metrics nor slow checkpoints."""
    images, labels = (x[:200] for x in script.digits())
    mean, std = training.channel_statistics(images)
    split = SlowInput(images, labels, mean=mean, std=std)
    trainer = training.Trainer(
        script.TinyNet(), training.TrainSettings(**script.SETTINGS), num_classes=10, train=split, test=split
    )
    with slow(metrics.MetricWriter, "write", 0.3), slow(Checkpoints, "save", 0.3):
        trainer.train(script.make_run(tmp_path / "slow", keep=np.arange(200)))
    lines = timing_of(tmp_path / "slow")
    assert [line["step"] for line in lines] == [4, 6, 8, 9, 11], "the first window, to step 3, has no timing"
    for line in lines:
        assert set(line) == {"step", "input_wait_ms", "compute_ms", "images_per_s_per_device"}
        assert line["input_wait_ms"] >= 1e3 * SlowInput.SECONDS
        step_ms = line["input_wait_ms"] + line["compute_ms"]
        assert line["images_per_s_per_device"] == pytest.approx(64 / 8 * 1e3 / step_ms)
    # Checkpoints and metrics are written before the windows that end at 6 and 9; a busy machine may delay one of them.
    assert min(line["compute_ms"] for line in lines if line["step"] in (6, 9)) < 120
    script.tiny_trainer().train(script.make_run(tmp_path / "fast"))
    assert min(line["input_wait_ms"] for line in timing_of(tmp_path / "fast")) < 0.5 * 1e3 * SlowInput.SECONDS


def test_the_first_speed_is_reported_once(tmp_path):
    trainer, found = script.make_trainer(script.TinyNet()), []
    trainer.on_first_speed(lambda *speed: found.append(speed))
    trainer.train(script.make_run(tmp_path / "one"))
    ((seconds, num_steps),) = found
    (first, *_) = timing_of(tmp_path / "one")
    assert 1e3 * seconds == pytest.approx(first["input_wait_ms"] + first["compute_ms"])
    assert num_steps == script.NUM_STEPS
    trainer.on_first_speed(lambda *speed: found.append(speed))
    trainer.train_with_callback(script.make_run(tmp_path / "shorter"), [2, 3], lambda step, state: None)
    assert found.pop()[1] == 3
    trainer.train(script.make_run(tmp_path / "two"))
    assert len(found) == 1
    trainer.on_first_speed(lambda *speed: found.append(speed))
    trainer.train_in_parallel(runs := script.make_runs(tmp_path / "parallel"))
    (first, *_) = timing_of(runs[0].directory)
    assert 3e3 * found[1][0] == pytest.approx(first["input_wait_ms"] + first["compute_ms"]), "its share of the time"


# Traces


class Traced(list):
    """Records the steps between which the profiler would trace."""

    def __init__(self):
        super().__init__()
        self.step = None

    @contextlib.contextmanager
    def trace(self, directory):
        begin = self.step
        try:
            yield
        finally:
            self.append((directory, begin, self.step))


@pytest.fixture
def traced(monkeypatch):
    traced = Traced()
    instead = types.SimpleNamespace(profiler=traced, block_until_ready=jax.block_until_ready)
    monkeypatch.setattr(profile_module, "jax", instead)
    return traced


@pytest.mark.parametrize(
    ("num_steps", "first", "stop", "every", "expected"),
    [
        (2, 0, 20, 1, (10, 12)),
        (2, 7, 40, 1, (17, 19)),
        (5, 0, 12, 1, (10, 12)),
        (1, 0, 11, 1, (10, 11)),
        (2, 0, 20, 4, (12, 16)),
        (30, 0, 100, 25, (25, 75)),
        (2, 0, 10, 1, None),
        (2, 0, 12, 12, None),
        (0, 0, 20, 1, None),
        (2, 20, 20, 1, None),
    ],
)
def test_the_steps_that_are_traced(traced, caplog, tmp_path, num_steps, first, stop, every, expected):
    with Profile(tmp_path, num_steps=num_steps, first=first, stop=stop) as profile:
        for step in (*range(first, stop, every), stop):
            traced.step = step
            profile.at(step, None)
        assert traced == ([(str(tmp_path / "profile"), *expected)] if expected else [])
    assert len(traced) == (expected is not None), "and no trace is running at the end"
    assert len(warnings(caplog)) == (expected is None and num_steps > 0 and first < stop)


def test_an_error_ends_a_trace(traced, tmp_path):
    with pytest.raises(CutError), Profile(tmp_path, num_steps=5, first=0, stop=20) as profile:
        for step in range(12):
            traced.step = step
            profile.at(step, None)
        raise CutError
    assert traced == [(str(tmp_path / "profile"), 10, 11)]


def traces_below(directory):
    return [path for path in directory.glob("profile/plugins/profile/**/*") if path.is_file() and path.stat().st_size]


def test_a_run_leaves_a_trace_where_asked(tmp_path, caplog):
    trainer = script.tiny_trainer(profile_steps=2)
    trainer.train(script.make_run(tmp_path / "traced", num_steps=WARM + 3))
    assert any(path.name.endswith(".xplane.pb") for path in traces_below(tmp_path / "traced"))
    assert warnings(caplog) == []
    trainer.train(script.make_run(tmp_path / "short", num_steps=WARM))
    assert warnings(caplog) == [
        f"{tmp_path}/short: no step was traced (profile_steps=2): the trace begins with the first call after "
        f"{WARM} steps, which this run did not reach"
    ]
    assert not (tmp_path / "short" / "profile").exists()
    # An interrupted trace is written as far as it is, and does not prevent the next one.
    with cut_at(WARM + 1), pytest.raises(CutError):
        trainer.train(script.make_run(tmp_path / "cut", num_steps=WARM + 3))
    assert traces_below(tmp_path / "cut")
    script.tiny_trainer().train(script.make_run(tmp_path / "untraced", num_steps=WARM + 3))
    assert not (tmp_path / "untraced" / "profile").exists()
