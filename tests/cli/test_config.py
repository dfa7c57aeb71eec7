import ast
import pathlib
import re
import types
from unittest import mock

import numpy as np
import pytest

import data_redundancy
from data_redundancy.cli import config as config_flags
from data_redundancy.errors import InputError
from data_redundancy.experiment import config_rules, fingerprints
from data_redundancy.experiment import dataset as common
from data_redundancy.selection import METHODS

PACKAGE = pathlib.Path(data_redundancy.__file__).parent
CONFIGS = PACKAGE.parent / "configs"
NAMES = ["cifar10", "cifar100", "default", "digits", "fashion_mnist", "imagenet"]


def parse(*argv):
    return config_flags.parse(["--config=default", *argv], {"workdir": "where"})[0]


def fields(config):
    return {f"{section}.{name}": value for section in config for name, value in config[section].items()}


def test_the_configs_that_ship():
    assert config_flags.shipped_configs() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_config_is_found_by_name_and_passes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, _, _ = config_flags.parse([f"--config={name}"], {})
    config_rules.check(config)
    assert fields(config).keys() == fields(parse()).keys()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "default"])
def test_a_shipped_config_says_how_it_is_run(name):
    assert f"data-redundancy run --config={name} " in ast.get_docstring(ast.parse((CONFIGS / f"{name}.py").read_text()))


def test_a_config_of_ones_own_is_found_by_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from data_redundancy.configs import digits\n"
        "def get_config():\n"
        "    config = digits.get_config()\n"
        "    config.select.fraction = 0.25\n"
        "    return config\n"
    )
    config, _, _ = config_flags.parse([f"--config={path}"], {})
    assert (config.select.fraction, config.model.name) == (0.25, "resnet8")


@pytest.mark.parametrize(
    "body",
    [
        "def get_config(:",
        "raise ZeroDivisionError('division')",
        "from data_redundancy.configs import default\n"
        "def get_config():\n"
        "    config = default.get_config()\n"
        "    config.train.epoch = 3\n"
        "    return config\n",
    ],
)
def test_a_config_that_cannot_be_loaded(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(body)
    with pytest.raises(InputError, match=rf"^--config={path}: cannot be loaded \("):
        config_flags.parse([f"--config={path}"], {})


# Every field is explained, and read


def test_every_field_has_a_comment():
    lines = (CONFIGS / "default.py").read_text().splitlines()
    uncommented = [line for line in lines if re.match(r" {4}config\.\w+\.\w+ = ", line) and "#" not in line]
    assert uncommented == []


def test_every_field_is_read():
    read = set().union(*(fields_read(path.read_text()) for path in PACKAGE.rglob("*.py")))
    assert {field for field in fields(parse()) if field not in read} == set()


def fields_read(source):
    """SECTION.FIELD for every `config.SECTION.FIELD` in a module, also where a name stands for `config.SECTION`."""
    tree = ast.parse(source)
    sections = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for name, value in _pairs(node.targets[0], node.value):
                if isinstance(value, ast.Attribute):
                    sections.setdefault(name, set()).add(value.attr)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            owners = {owner.attr} if isinstance(owner, ast.Attribute) else sections.get(getattr(owner, "id", None), ())
            found |= {f"{section}.{node.attr}" for section in owners}
    return found


def _pairs(target, value):
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for part in zip(target.elts, value.elts, strict=True):
            yield from _pairs(*part)
    elif isinstance(target, ast.Name):
        yield target.id, value


def test_the_search_for_fields_finds_and_misses():
    source = "def f(config):\n    a, train = 1, config.train\n    return train.epochs + config.embed.batch_size\n"
    assert {"train.epochs", "embed.batch_size"} <= fields_read(source)
    assert "train.batch_size" not in fields_read(source)


def test_every_rule_is_about_a_field():
    assert set(config_rules.RULES) <= set(fields(parse()))


@pytest.mark.parametrize("field", sorted(config_rules.RULES))
def test_every_rule_refuses_something(field):
    config = parse()
    section, name = field.split(".")
    with config.unlocked(), config.ignore_type():
        config[section][name] = -1 if not isinstance(config[section][name], tuple) else (-1,)
    with pytest.raises(InputError, match=rf"^--config\.{field}=.*-1.*: must be "):
        config_rules.check(config)


def test_a_selection_depends_only_on_what_its_method_looks_at():
    def options(method, seed, *argv):
        return fingerprints.selection_options(parse(*argv), method, seed)

    nested = "--config.select.representative=nested"
    assert options("random", 1, nested) == options("random", 1) != options("random", 2)
    assert options("agglomerative", 1, nested) != options("agglomerative", 1) == options("agglomerative", 2)
    for method in METHODS:
        assert options(method, 1, "--config.select.allocation=global") != options(method, 1)


def test_a_trial_depends_only_on_what_its_optimizer_looks_at():
    labels = np.zeros(1000, np.int32)
    dataset = types.SimpleNamespace(train=types.SimpleNamespace(labels=labels), fingerprint=dict)

    def trial(optimizer, *argv):
        with mock.patch.object(common, "load_dataset", return_value=dataset):
            return fingerprints.trial(parse(f"--config.train.optimizer={optimizer}", *argv), np.arange(1000), 0)

    trust, momentum = "--config.train.trust_coefficient=0.02", "--config.train.momentum=0.5"
    assert trial("sgd", trust) == trial("sgd") != trial("lars")
    assert trial("lars", trust) != trial("lars")
    assert trial("lars", trust)["train.trust_coefficient"] == 0.02
    for optimizer in ("sgd", "lars"):
        assert trial(optimizer, momentum) != trial(optimizer)


# Overrides


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.epochs=3", 3.0),
        ("train.epochs=1e-1", 0.1),
        ("train.steps=7", 7),
        ("train.steps=None", None),
        ("train.batch_size=64", 64),
        ("train.flip=false", False),
        ("train.flip=True", True),
        ("train.dtype=bfloat16", "bfloat16"),
        ("dataset.name=a=b c", "a=b c"),
        ("dataset.train_split=train[:90%]", "train[:90%]"),
        ("prepare.source=None", None),
        ("sweep.fractions=(0.1,0.3,0.5)", (0.1, 0.3, 0.5)),
        ("sweep.fractions=0.1,0.3", (0.1, 0.3)),
        ("sweep.fractions=0.1", (0.1,)),
        ("sweep.fractions=[0.1]", (0.1,)),
        ("sweep.seeds=4", (4,)),
        ("sweep.seeds=(4, 5)", (4, 5)),
        ("sweep.methods=random", ("random",)),
        ("sweep.methods=random,agglomerative", ("random", "agglomerative")),
        ("sweep.methods=(random,agglomerative)", ("random", "agglomerative")),
        ("sweep.methods=('random','agglomerative')", ("random", "agglomerative")),
        ("dataset.class_names=('cat','black dog')", ("cat", "black dog")),
        ("dataset.class_names=cat,dog", ("cat", "dog")),
    ],
)
def test_overrides(override, value):
    field = override.partition("=")[0]
    found = fields(parse(f"--config.{override}"))[field]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "argv",
    [
        ["--config=digits", "--config.train.pad=3", "--workdir=w"],
        ["--config.train.pad=3", "--workdir=w", "--config=digits"],
        ["--config", "digits", "--config.train.pad", "3", "--workdir", "w"],
        ["-config=digits", "-config.train.pad=3", "-workdir=w"],
    ],
)
def test_flags_in_any_order_and_form(argv):
    config, given, rest = config_flags.parse(argv, {"workdir": "where", "out": "where to"})
    assert (config.train.pad, config.model.name) == (3, "resnet8")
    assert (given, rest) == ({"workdir": "w", "out": None}, [])


def test_parsing_twice_gives_two_configs():
    first, second = parse(), parse()
    first.train.pad = 9
    assert second.train.pad == 4
