import json
import logging
import math
import os
import pathlib
import pty
import re
import subprocess
import sys
import termios

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_redundancy.store import metrics

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def without_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it raises ImportError


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a test advances it."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(metrics.time, "monotonic", lambda: Clock.now)
    return Clock


def lines_of(directory):
    return (directory / "metrics.jsonl").read_text().splitlines()


# Sums


def test_means_are_sums_over_counts_of_unequal_batches():
    rng = np.random.default_rng(0)
    losses = [rng.normal(size=n) for n in (5, 1, 9)]
    sums = metrics.Sums()
    for batch in losses:
        sums.add({"loss": jnp.float32(batch.sum()), "accuracy": jnp.int32((batch > 0).sum()), "count": len(batch)})
    everything = np.concatenate(losses)
    means = sums.means()
    assert set(means) == {"loss", "accuracy"}
    assert all(type(value) is float for value in means.values())
    assert means["loss"] == pytest.approx(everything.mean(), rel=1e-6)
    assert means["accuracy"] == pytest.approx((everything > 0).mean())


def test_means_start_over():
    sums = metrics.Sums()
    sums.add({"loss": 10.0, "count": 1})
    sums.means()
    added = {"loss": jnp.float32(6), "count": 3}
    sums.add(added)
    assert sums.means() == {"loss": 2.0}
    assert set(added) == {"loss", "count"}


# metrics.jsonl


def test_writes_one_json_object_a_line(tmp_path, without_tensorflow):
    writer = metrics.MetricWriter(tmp_path / "a" / "b")
    writer.write(3, {"loss": 0.1 + 0.2, "accuracy": 1.0})
    assert json.loads(lines_of(tmp_path / "a" / "b")[0])["step"] == 3, "readable during the run"
    writer.write(6, {"loss": float("nan"), "accuracy": 0.0})
    writer.close()
    first, second = map(json.loads, lines_of(tmp_path / "a" / "b"))
    assert first == {"step": 3, "loss": 0.1 + 0.2, "accuracy": 1.0}
    assert math.isnan(second["loss"])


@pytest.mark.parametrize("resume_step", [0, 1, 4, 5, 6, 100])
@pytest.mark.parametrize("cut", [0, 1, 9, 17])
def test_resuming_drops_later_lines_and_a_half_written_one(tmp_path, without_tensorflow, resume_step, cut):
    written = [json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in (2, 4, 6)]
    (tmp_path / "metrics.jsonl").write_text("".join(written) + '{"step": 8, "loss": 0.125}\n'[:cut])
    writer = metrics.MetricWriter(tmp_path, resume_step=resume_step)
    writer.write(resume_step + 1, {"loss": 0.5})
    writer.close()
    kept = [line for line, step in zip(written, (2, 4, 6), strict=True) if step <= resume_step]
    added = json.dumps({"step": resume_step + 1, "loss": 0.5}) + "\n"
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(kept) + added
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "timing.jsonl"]


def test_a_complete_last_line_without_its_newline_counts(tmp_path, without_tensorflow):
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "loss": 1.0}')
    metrics.MetricWriter(tmp_path, resume_step=2).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 2, "loss": 1.0}\n'


def test_says_what_is_missing_without_tensorflow(tmp_path, without_tensorflow, caplog):
    caplog.set_level(logging.INFO, "data_redundancy")
    metrics.MetricWriter(tmp_path).close()
    assert "metrics.jsonl only" in caplog.text
    assert not list(tmp_path.glob("events*"))


# TensorBoard


@pytest.mark.slow
def test_tensorboard_reads_the_scalars_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    writer = metrics.MetricWriter(tmp_path)
    written = {1: {"loss": 2.5, "accuracy": 0.25}, 7: {"loss": 0.125, "accuracy": 0.75}}
    for step, scalars in written.items():
        writer.write(step, scalars)
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    read = {1: {}, 7: {}}
    for name in events.Tags()["tensors"]:
        for event in events.Tensors(name):
            read[event.step][name] = float(tensor_util.make_ndarray(event.tensor_proto))
    assert read == written


# Progress


def test_no_lines_for_what_is_done_in_seconds(caplog, clock):
    caplog.set_level(logging.INFO, "data_redundancy")
    with metrics.progress("train", total=10, unit="steps") as bar:
        for done in range(1, 11):
            clock.now += 0.9
            bar.update(done, {"loss": 1.0})
    assert caplog.messages == []


def test_lines_every_few_seconds_and_at_the_end(caplog, clock):
    caplog.set_level(logging.INFO, "data_redundancy")
    with metrics.progress("full seed 3", total=100, unit="steps", initial=20) as bar:
        for done in range(21, 101):
            clock.now += 1
            bar.update(done, {"loss": 1 / 3} if done % 2 else None)
    assert caplog.messages == [
        f"full seed 3: {done}/100 steps, 1 steps/s, {(100 - done) // 60:02d}:{(100 - done) % 60:02d} left, loss 0.3333"
        for done in range(30, 101, 10)
    ]


def test_the_last_line_comes_whenever_it_comes(caplog, clock):
    caplog.set_level(logging.INFO, "data_redundancy")
    bar = metrics.Progress("embed", total=4, unit="images")
    for seconds in (11, 1, 1, 1):
        clock.now += seconds
        bar.update([11, 12, 13, 14].index(int(clock.now - 1000)) + 1)
    bar.close()
    assert [re.match(r"embed: (\d)/4 images, .* left$", message)[1] for message in caplog.messages] == ["1", "4"]


def test_nothing_done_is_no_rate(caplog, clock):
    caplog.set_level(logging.INFO, "data_redundancy")
    bar = metrics.Progress("train", total=4, unit="steps")
    clock.now += 60
    bar.update(0)
    assert caplog.messages == ["train: 0/4 steps, 0 steps/s, ? left"]


BAR_SCRIPT = """
import logging, sys, time
logging.getLogger("data_redundancy").setLevel(sys.argv[1])
from data_redundancy.store import metrics
with metrics.progress("train", total=3, unit="steps") as bar:
    for done in (1, 2, 3):
        time.sleep(0.15)
        bar.update(done, {"loss": 0.5 / done})
"""


def shown_on_a_terminal(level: str) -> str:
    """What a process with this log level writes to its terminal."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    process = subprocess.Popen([sys.executable, "-c", BAR_SCRIPT, level], cwd=ROOT, stderr=terminal, stdin=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(controller)
    assert process.wait(timeout=60) == 0
    return shown.decode()


@pytest.mark.slow
def test_a_bar_on_a_terminal():
    text = shown_on_a_terminal("INFO")
    assert text.count("\r") >= 3, f"not drawn over itself: {text}"
    assert re.search(r"train: +67%\|.*\| 2/3 \[.*step.*loss=0\.25\]", text)


@pytest.mark.slow
def test_no_bar_for_those_who_want_warnings_only():
    assert shown_on_a_terminal("WARNING") == ""


def test_parameter_overview_counts(caplog):
    caplog.set_level(logging.INFO, "data_redundancy")
    metrics.log_parameter_overview({"head": {"kernel": jnp.zeros((100, 12)), "bias": jnp.zeros(12)}})
    assert "parameters: 1,212" in caplog.text
    assert "head/kernel" in caplog.text


def test_parameter_overview_without_clu(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "clu", None)
    caplog.set_level(logging.INFO, "data_redundancy")
    metrics.log_parameter_overview(jax.tree.map(jnp.zeros, {"kernel": (100, 12)}, is_leaf=lambda x: type(x) is tuple))
    assert caplog.messages == ["parameters: 1,200"]
