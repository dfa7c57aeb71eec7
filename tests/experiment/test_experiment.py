"""One experiment behind a command: what its variations share, and that nothing outlives it."""

import contextlib
import gc
import importlib
import pkgutil
import re
from unittest import mock

import numpy as np
import pytest

from data_redundancy import data, experiment, stages, training
from data_redundancy.cli import arguments, experiments, main
from data_redundancy.experiment import experiment as experiment_module
from data_redundancy.stages import sweep
from helpers import training_runs
from helpers.command import TINY, run_here, write_digits
from helpers.quick_net import quick_net

FLAGS = (*TINY, "--config.dataset.name=d.npz", "--workdir=w")

without_tensorboard = pytest.fixture(autouse=True)(training_runs.without_tensorboard)
cache = pytest.fixture(scope="module", autouse=True)(training_runs.shared_compilations)


@contextlib.contextmanager
def counting():
    """Counts how many times the data set is loaded and a trainer is built."""
    counts = {"load": 0, "make_trainer": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for name in counts:
            function = counted(name, getattr(experiment_module, name))
            stack.enter_context(mock.patch.object(experiment_module, name, function))
        yield counts


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with a data set d.npz."""
    write_digits(tmp_path / "d.npz")
    monkeypatch.chdir(tmp_path)
    with quick_net():
        yield tmp_path


@pytest.fixture
def counted(folder):
    """The counts of a test, which runs in an empty folder."""
    with counting() as counts:
        yield counts


def objects_alive():
    gc.collect()
    return [x for x in gc.get_objects() if isinstance(x, data.Dataset | training.Trainer)]


@pytest.fixture(scope="module")
def after_run(tmp_path_factory):
    """After the command `run`: the counts, and the data sets and trainers that it left in memory."""
    folder, before = tmp_path_factory.mktemp("run"), {id(x) for x in objects_alive()}
    write_digits(folder / "d.npz")
    with contextlib.chdir(folder), quick_net(), counting() as counts:
        assert main.main(["run", *FLAGS, "--config.sweep.seeds=(0,)"]) == 0
    return counts, [type(x) for x in objects_alive() if id(x) not in before]


def make(*flags):
    line = arguments.parse(["sweep", *FLAGS, *flags])
    return experiments.make(line, experiments.check(line))


def fields(config):
    return {f"{section}.{name}": value for section in config for name, value in config[section].items()}


# Variations


def test_a_variation_shares_all_but_the_sweep(counted):
    whole = make()
    before = fields(whole.config)
    varied = whole.vary(fraction=0.3, seed=7, fractions=[0.3, 0.5], methods=["random"], seeds=range(4))
    assert fields(whole.config) == before
    assert {name: value for name, value in fields(varied.config).items() if value != before[name]} == {
        "select.fraction": 0.3,
        "select.seed": 7,
        "sweep.fractions": (0.3, 0.5),
        "sweep.methods": ("random",),
        "sweep.seeds": (0, 1, 2, 3),
    }
    assert counted == {"load": 0, "make_trainer": 0}
    # Whichever is the first to need them.
    assert varied.dataset is whole.dataset
    assert whole.trainer is varied.trainer
    again = varied.vary(seeds=[9])
    for name in ("dataset", "trainer", "fingerprints", "selections", "trials", "answers"):
        assert getattr(again, name) is getattr(whole, name), name
    assert (again.config.sweep.seeds, again.config.sweep.fractions) == ((9,), (0.3, 0.5))
    assert counted == {"load": 1, "make_trainer": 1}


@pytest.mark.usefixtures("folder")
def test_a_variation_of_nothing_is_the_same_config():
    whole = make()
    assert fields(whole.vary().config) == fields(whole.config)


def test_the_compiled_functions_serve_all_variations(counted):
    whole = make("--config.sweep.methods=random")
    with mock.patch.object(training.Trainer, "train", autospec=True, side_effect=training.Trainer.train) as train:
        for seed in (0, 1):
            sweep.run(whole.vary(seeds=[seed]), sweep.Options())
    assert train.call_count == 4
    assert {id(call.args[0]) for call in train.call_args_list} == {id(whole.trainer)}
    assert counted == {"load": 1, "make_trainer": 1}


# Commands that run others


def test_run_loads_the_data_set_once_and_builds_one_trainer(after_run):
    assert after_run[0] == {"load": 1, "make_trainer": 1}


@pytest.mark.slow
def test_answer_loads_the_data_set_once_and_builds_one_trainer(capfd, counted):
    """Runs all commands before it, two looks, each with another sweep, and the report."""
    done = run_here(capfd, "answer", *FLAGS, "--fraction=0.2", "--max_trials=15")
    assert done.code == 0, done.err
    assert re.findall(r"^answer: look (\d) of", done.err, re.MULTILINE) == ["1", "2"]
    runs = re.findall(r"^(\w+: \d+ training runs? to do)$", done.err, re.MULTILINE)
    assert runs == ["train: 1 training run to do", "answer: 8 training runs to do"]
    for stage in ("prepare", "train", "embed", "cluster"):
        assert re.search(rf"^{stage}: ", done.err, re.MULTILINE), stage
    assert counted == {"load": 1, "make_trainer": 1}


@pytest.mark.slow
def test_an_answer_that_is_known_needs_no_trainer(capfd, counted):
    flags = ("answer", *FLAGS, "--config.select.method=random", "--fraction=0.2", "--max_trials=4")
    flags += ("--config.evidence.first_look=2",)
    first = run_here(capfd, *flags)
    assert first.code == 0, first.err
    counted.update(load=0, make_trainer=0)
    again = run_here(capfd, *flags)
    assert (again.code, again.out) == (0, first.out)
    assert counted == {"load": 1, "make_trainer": 0}


# Nothing outlives a command


def modules():
    for package in (experiment, stages):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def held_by(module):
    """The values of a module's globals, and of the containers among them."""
    for value in vars(module).values():
        yield value
        if isinstance(value, dict | list | tuple | set) and value is not vars(module).get("__builtins__"):
            yield from value.values() if isinstance(value, dict) else value


@pytest.mark.usefixtures("after_run")
def test_no_module_caches_what_belongs_to_an_experiment():
    """Comments of config fields are read from a file of the package once; modules hold nothing else."""
    cached = []
    for module in modules():
        for value in held_by(module):
            assert not isinstance(value, data.Dataset | data.Split | training.Trainer | np.ndarray), (module, value)
        wrappers = [value for value in vars(module).values() if hasattr(value, "cache_info")]
        cached += [(value.__module__, value.__name__) for value in wrappers]
    assert set(cached) == {("data_redundancy.experiment.config_fields", "comments")}


def test_a_command_leaves_no_data_set_and_no_trainer(after_run):
    assert after_run[1] == []


@pytest.mark.usefixtures("folder")
def test_another_data_set_of_the_same_name_is_read_by_the_next_command(capfd):
    assert run_here(capfd, "prepare", *FLAGS).code == 0
    write_digits("d.npz", num_train=150)
    assert "data set d.npz: 150 training and " in run_here(capfd, "prepare", *FLAGS).err
