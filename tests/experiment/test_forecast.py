"""The number of training runs is logged before the first, and the time that they will take after its first steps."""

import logging

import pytest

from data_redundancy.experiment.forecast import Forecast
from helpers import training_runs
from helpers.command import TINY, run_here, write_digits
from helpers.quick_net import quick_net

without_tensorboard = pytest.fixture(autouse=True)(training_runs.without_tensorboard)


class Trainer:
    """Keeps what it is to call when the speed is known."""

    def __init__(self):
        self.reports = []

    def on_first_speed(self, report):
        self.reports.append(report)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "data_redundancy")
    return lambda: [record.getMessage() for record in caplog.records]


def test_several_runs(lines):
    trainer = Trainer()
    Forecast().announce("sweep", 1200, trainer)
    assert lines() == ["sweep: 1200 training runs to do"]
    (report,) = trainer.reports
    report(0.05, 2000)
    assert lines()[1:] == ["sweep: a training run of 2,000 steps takes about 100 s, all 1,200 about 33 h"]


def test_one_run(lines):
    trainer = Trainer()
    Forecast().announce("train", 1, trainer)
    trainer.reports[0](0.25, 1200)
    assert lines() == ["train: 1 training run to do", "train: a training run of 1,200 steps takes about 5 min"]


def test_no_run(lines):
    trainer = Trainer()
    Forecast().announce("train", 0, trainer)
    assert (lines(), trainer.reports) == ([], [])


def test_an_earlier_announcement_of_as_many_runs_covers_a_later_one(lines):
    trainer, forecast = Trainer(), Forecast()
    for label, num_runs in (("run", 6), ("train", 1), ("sweep", 5), ("sweep", 6)):
        forecast.announce(label, num_runs, trainer)
    assert lines() == ["run: 6 training runs to do"]
    assert len(trainer.reports) == 1


def test_more_runs_than_were_announced_are_announced(lines):
    trainer, forecast = Trainer(), Forecast()
    for label, num_runs in (("train", 1), ("answer", 8), ("answer", 6)):
        forecast.announce(label, num_runs, trainer)
    assert lines() == ["train: 1 training run to do", "answer: 8 training runs to do"]


# In commands


@pytest.fixture
def flags(tmp_path, monkeypatch):
    """Of trials on random subsets, with a model that compiles quickly."""
    write_digits(tmp_path / "d.npz")
    monkeypatch.chdir(tmp_path)
    random = ("--config.select.method=random", "--config.sweep.methods=random")
    with quick_net():
        yield (*TINY, *random, "--config.dataset.name=d.npz", "--workdir=w")


def forecasts(done):
    assert done.code == 0, done.err
    return [line for line in done.err.splitlines() if "training run" in line]


def test_a_sweep_says_what_it_will_take_and_what_is_left_when_it_is_run_again(flags, capfd):
    done = run_here(capfd, "sweep", *flags)
    number, duration = forecasts(done)
    assert number == "sweep: 4 training runs to do"
    assert duration.startswith("sweep: a training run of 8 steps takes ")
    assert ", all 4 " in duration
    said = [done.err.index(text) for text in (number, duration, "sweep: trial 1/4")]
    assert said == sorted(said)
    assert forecasts(run_here(capfd, "sweep", *flags)) == []
    assert forecasts(run_here(capfd, "sweep", *flags, "--config.sweep.seeds=(0,1,2)"))[0].startswith("sweep: 2 ")


def test_train_has_one_run(flags, capfd):
    number, duration = forecasts(run_here(capfd, "train", *flags))
    assert number == "train: 1 training run to do"
    assert ", all" not in duration
    assert forecasts(run_here(capfd, "train", *flags)) == []


@pytest.mark.slow
def test_run_says_it_once_for_all_commands(flags, capfd):
    """The runs of the sweep, the runs for scores, and a separate run for the embeddings."""
    own = ("--config.train.seed=9", "--config.sweep.methods=random,el2n", "--config.score.seeds=(0,1,2)")
    done = run_here(capfd, "run", *flags, *own, "--config.score.epochs=1")
    number, duration = forecasts(done)
    assert number == f"run: {6 + 3 + 1} training runs to do"
    assert duration.startswith("run: a training run of 8 steps takes ")
    assert ", all 10 " in duration
    said = [done.err.index(text) for text in (number, duration, "train: test accuracy")]
    assert said == sorted(said)
