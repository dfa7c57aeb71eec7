"""The expected time and memory of a selection, logged before it begins; nothing here is timed."""

import logging

import numpy as np
import pytest

from data_redundancy import data
from data_redundancy.clustering import strategy
from data_redundancy.configs import default
from data_redundancy.errors import InputError
from data_redundancy.experiment import pools, selections
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.selection import METHODS, Pool, expected_cost, facility_location
from data_redundancy.store import artifacts
from data_redundancy.store.workdir import Workdir
from helpers.command import run_here, write_digits


class Shape:
    """Embeddings of which only the shape may be read."""

    def __init__(self, num_examples, num_dimensions):
        self.shape, self.size, self.nbytes = (
            (num_examples, num_dimensions),
            num_examples * num_dimensions,
            4 * num_examples * num_dimensions,
        )

    def __len__(self):
        return self.shape[0]


def pool(sizes, num_dimensions=64):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return Pool(labels, Shape(len(labels), num_dimensions))


def cost(method, sizes=(5000,) * 10, num_dimensions=64, fraction=0.1, **options):
    return expected_cost(pool(sizes, num_dimensions), method=method, prune_fraction=fraction, **options)


PAIRWISE = ("kcenter", "herding", "facility_location")


@pytest.mark.parametrize("method", METHODS)
def test_cifar10_per_class_is_nothing_to_speak_of(method):
    for fraction in (0.1, 0.5):
        found = cost(method, fraction=fraction)
        assert 0 <= found.seconds < 60
        assert found.peak_bytes < 4e9


@pytest.mark.parametrize("method", PAIRWISE)
def test_one_class_of_all_costs_ten_times_as_much_and_more(method):
    assert cost(method, (50_000,)).seconds >= 9.9 * cost(method).seconds
    assert cost(method, (50_000,), fraction=0.5).seconds < cost(method, (50_000,)).seconds


@pytest.mark.parametrize("method", ["herding", "facility_location"])
def test_one_class_of_all_of_cifar10_is_long(method):
    assert cost(method, (50_000,)).seconds > 60


@pytest.mark.parametrize("method", [*PAIRWISE, "semdedup", "prototypes"])
def test_more_dimensions_cost_more(method):
    few, many = cost(method), cost(method, num_dimensions=2048)
    assert many.seconds > few.seconds
    assert many.peak_bytes > few.peak_bytes


def test_memory_by_hand():
    held = 4 * 50_000 * 64
    assert cost("random").peak_bytes == held
    assert cost("kcenter").peak_bytes == held + 3 * 8 * 5000 * 64
    assert cost("facility_location").peak_bytes == held + 3 * 8 * 5000 * 64 + 4 * 5000**2
    whole = cost("facility_location", (50_000,))
    assert whole.peak_bytes == held + 3 * 8 * 50_000 * 64 + facility_location.HELD_BYTES
    # All classes at the same time; k-means in float32.
    assert cost("prototypes").peak_bytes == held + (3 * 8 + 4) * 50_000 * 64


def test_nothing_is_done_where_nothing_goes():
    assert cost("facility_location", fraction=0.0).seconds == 0
    assert expected_cost(Pool(np.zeros(9, int)), method="random", prune_fraction=0.5).peak_bytes == 0


def test_means_of_classes_need_no_kmeans():
    assert cost("prototypes", centre="class").seconds == 0


def said(caplog, monkeypatch, method, *arguments, speed=1.0, **keywords):
    monkeypatch.setattr(strategy, "speed", lambda: speed)
    with caplog.at_level(logging.INFO, "data_redundancy"):
        selections.announce(default.get_config(), pool(*arguments, **keywords), method, 0.1)
    return [record.getMessage() for record in caplog.records]


def test_what_takes_long_is_announced(caplog, monkeypatch):
    (line,) = said(caplog, monkeypatch, "herding", (50_000,))
    assert line.startswith(
        "select: herding at 0.1 of 50,000 examples, 50,000 of them in the largest class; expected: 0.09 GB of memory, "
    )
    assert line.endswith((" s", " min"))


def test_what_takes_much_memory_is_announced(caplog, monkeypatch):
    (line,) = said(caplog, monkeypatch, "prototypes", (100,) * 2_000, 2_048)
    assert "expected: 13 GB of memory" in line


@pytest.mark.parametrize("method", METHODS)
def test_what_is_short_and_small_is_not_announced(caplog, monkeypatch, method):
    assert said(caplog, monkeypatch, method, (5000,) * 10) == []


def test_a_fast_machine_says_nothing_and_a_slow_one_does(caplog, monkeypatch):
    seconds = cost("herding", (50_000,)).seconds
    assert said(caplog, monkeypatch, "herding", (50_000,), speed=seconds / 59) == []
    assert len(said(caplog, monkeypatch, "herding", (50_000,), speed=seconds / 61)) == 1


@pytest.mark.parametrize("scope", ["class", "dataset"])
def test_it_is_announced_before_the_selection(tmp_path, monkeypatch, capfd, scope):
    """By the command, on embeddings from a file, with the sizes of its scope; the limit is lowered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(selections, "_LARGE", 0)
    rng = np.random.default_rng(0)
    np.savez("e.npz", embeddings=rng.normal(size=(60, 4)), labels=np.repeat([0, 1, 2], [10, 20, 30]))
    flags = ("--config.select.method=kcenter", f"--config.cluster.scope={scope}", "--fraction=0.3", "--out=kept")
    done = run_here(capfd, "select", "--embeddings=e.npz", *flags)
    assert done.code == 0, done.err
    largest = {"class": 30, "dataset": 60}[scope]
    line = f"select: kcenter at 0.3 of 60 examples, {largest} of them in the largest class; expected: "
    assert done.err.index(line) < done.err.index("select: kept 42 of 60")


def test_it_is_announced_before_the_selection_of_a_workdir(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(selections, "_LARGE", -1)
    write_digits("d.npz")
    flags = ("--config.dataset.name=d.npz", "--config.select.method=random", "--workdir=w")
    done = run_here(capfd, "select", "--config=digits", *flags)
    assert done.code == 0, done.err
    line = "select: random at 0.1 of 200 examples, "
    assert done.err.index(line) < done.err.index("select: 180 images kept")


def test_embeddings_without_a_direction_are_refused_by_every_method(tmp_path, monkeypatch):
    """The command embed writes what the model outputs, and behind a ReLU that may be nothing but zeros."""
    x = np.ones((5, 2), np.float32)
    x[3] = 0
    labels = np.zeros(5, np.int64)
    split = data.Split("train", np.zeros((5, 8, 8, 1), np.uint8), labels, None)
    dataset, config = data.Dataset("d", "", ("a",), split, split), default.get_config()
    of_workdir = pools.Pools(config, Workdir(str(tmp_path)), dataset, Fingerprints(config, dataset))
    monkeypatch.setattr(pools, "require", lambda *_: None)
    monkeypatch.setattr(artifacts, "read_embeddings", lambda _: (x, labels))
    message = "embeddings: must have finite vectors other than zero, but index 3 is a zero vector"
    for method in [name for name, of in METHODS.items() if {"embeddings", "dendrograms"} & set(of.needs)]:
        with pytest.raises(InputError, match=message):
            of_workdir.of_method(method)
