"""Configs: shipped ones, files of one's own, config.json, and the rules and comments of every field."""

import ast
import json
import math
import pathlib
import re
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

import data_redundancy
from data_redundancy.errors import InputError
from data_redundancy.experiment import config_fields, config_files, config_rules, fingerprints
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.experiment.rules import Flag
from data_redundancy.experiment.shipped_configs import shipped_names
from data_redundancy.selection import METHODS, OPTIONS

PACKAGE = pathlib.Path(data_redundancy.__file__).parent
CONFIGS = PACKAGE.parent / "configs"
NAMES = ["cifar10", "cifar100", "default", "digits", "fashion_mnist", "imagenet"]
OWN = """
from data_redundancy.configs import digits
def get_config():
    config = digits.get_config()
    {line}
    return config
"""


def configure(**overrides):
    config = config_files.load_default()
    for field, value in overrides.items():
        config_files.set_field(config, field.replace("__", "."), value)
    return config


def fields(config):
    return {f"{section}.{name}": value for section in config for name, value in config[section].items()}


# Shipped configs


def test_the_configs_that_ship():
    assert shipped_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_config_is_found_by_name_and_passes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_files.load(name)
    config_rules.check(config)
    assert set(fields(config)) == set(FIELDS)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "default"])
def test_a_shipped_config_says_how_it_is_run(name):
    assert f"data-redundancy run --config={name} " in ast.get_docstring(ast.parse((CONFIGS / f"{name}.py").read_text()))


# Files of one's own


def write_own(tmp_path, line="config.select.fraction = 0.25"):
    path = tmp_path / "mine.py"
    path.write_text(OWN.format(line=line))
    return path


def test_a_config_of_ones_own_is_found_by_path(tmp_path):
    config = config_files.load(str(write_own(tmp_path)))
    assert (config.select.fraction, config.model.name) == (0.25, "resnet8")


def test_fields_that_a_file_lacks_have_their_defaults(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        "    return ConfigDict({'train': {'epochs': 3, 'steps': 7}, 'sweep': {'seeds': [1, 2]}})\n"
    )
    expected = fields(config_files.load_default()) | {"train.epochs": 3.0, "train.steps": 7, "sweep.seeds": (1, 2)}
    found = fields(config_files.load(str(path)))
    assert found == expected
    assert type(found["train.epochs"]) is float


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def get_config(:", r"cannot be loaded \(invalid syntax, line 1\)$"),
        ("raise ZeroDivisionError('division')", r"cannot be loaded \(division\)$"),
        ("raise ZeroDivisionError", r"cannot be loaded \(ZeroDivisionError\)$"),
        ("raise BaseException('odd')", r"cannot be loaded \(odd\)$"),
        ("import sys; sys.exit(0)", r"cannot be loaded \(SystemExit 0\)$"),
        ("import sys; sys.exit('bye')", r"cannot be loaded \(SystemExit bye\)$"),
        ("def get_config():\n    return get_config()", r"cannot be loaded \(maximum recursion depth exceeded.*\)$"),
        ("get_config = 3", r"cannot be loaded \('int' object is not callable\)$"),
        ("def get_config(name):\n    pass", r"cannot be loaded \(.*missing 1 required positional argument: 'name'\)$"),
        ("x = 3", r"cannot be loaded \(it has no function get_config\)$"),
        ("", r"cannot be loaded \(it has no function get_config\)$"),
        ("\0", r"cannot be loaded \(source code string cannot contain null bytes"),
        ("def get_config():\n    return None", "returns a NoneType, but must return a ConfigDict. Configs start from "),
        ("def get_config():\n    return {'train': {}}", "returns a dict, but must return a ConfigDict. "),
        (OWN.format(line="config.train.epoch = 3"), r"cannot be loaded \(.*epoch.*\)$"),
        (OWN.format(line="config.train = 3"), r"cannot be loaded \("),
        (OWN.format(line="config.train.epochs = 'many'"), r"cannot be loaded \("),
        (OWN.format(line="config.unlock(); config.epochs = 3"), "has a field epochs outside of a section. "),
        (
            OWN.format(line="config.unlock(); config.train.epoch = 3"),
            r"has the field train.epoch, which does not exist. Did you mean train.epochs or ",
        ),
        (
            "from ml_collections import ConfigDict, config_dict\n"
            "def get_config():\n"
            "    return ConfigDict({'train': {'steps': config_dict.required_placeholder(int)}})\n",
            r"cannot be loaded \(",
        ),
    ],
)
def test_a_config_that_cannot_be_loaded(tmp_path, body, told):
    path = tmp_path / "mine.py"
    path.write_text(body)
    with pytest.raises(InputError, match=rf"^config={path}: {told}"):
        config_files.load(str(path))


def test_ctrl_c_while_a_config_is_loaded(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        config_files.load(str(path))


def test_a_value_of_a_file_that_is_not_allowed_names_the_field_and_the_file(tmp_path):
    path = write_own(tmp_path, "config.train.batch_size = 0")
    told = f"train.batch_size=0: must be a whole number from 1 to 1,048,576. It is set in {path}."
    with pytest.raises(InputError) as raised:
        config_files.load(str(path))
    assert str(raised.value) == told


def test_what_a_config_file_prints_is_not_a_result(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text("print('loading')\n" + OWN.format(line="print('made')"))
    config_files.load(str(path))
    assert capsys.readouterr() == ("", "loading\nmade\n")


@pytest.mark.parametrize("name", ["", "nowhere.py", "digits.py", "a\0b", "x" * 300, "/", ".", "DIGITS"])
def test_a_config_that_is_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="must be a file, or one of the shipped configs cifar10, ") as raised:
        config_files.load(name)
    assert raised.value.argument == "config"


def test_the_closest_shipped_config_is_named():
    with pytest.raises(InputError, match=r"Did you mean cifar100 or cifar10\?$"):
        config_files.load("cifar1000")


# config.json


def test_a_config_survives_its_json():
    config = config_files.load("imagenet")
    again = config_files.from_json(config.to_json(), "config.json")
    assert again == config
    assert {name: type(value) for name, value in fields(again).items()} == {
        name: type(value) for name, value in fields(config).items()
    }


def test_a_json_without_a_field_and_one_with_an_unknown_field(tmp_path):
    content = json.loads(config_files.load("digits").to_json())
    del content["train"]["pad"], content["report"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    assert fields(config_files.load(str(path))) == fields(config_files.load("digits")) | {"train.pad": 4}
    content["train"]["padd"] = 4
    path.write_text(json.dumps(content))
    told = rf"config={path}: has the field train.padd, which does not exist. Did you mean train.pad"
    with pytest.raises(InputError, match=told):
        config_files.load(str(path))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"is not a JSON file \(Expecting value: .*\)$"),
        (b"{", r"is not a JSON file \(Expecting property name .*\)$"),
        (b"[" * 100_000, r"is not a JSON file \(too deeply nested\)$"),
        (b'{"train": ' * 100_000, r"is not a JSON file \(too deeply nested\)$"),
        (b"1" * 10_000, r"is not a JSON file \(Exceeds the limit .*\)$"),
        (b"\xff\xfe", r"cannot be read \(invalid start byte\)$"),
        (b"[]", "must be a JSON object of sections, each an object of fields$"),
        (b'{"train": 3}', "must be a JSON object of sections, each an object of fields$"),
        (b'{"train": {"a.b": 3}}', "has the field train.a.b, which does not exist. "),
        (b'{"": {"": 3}}', "has the field ., which does not exist. "),
    ],
)
def test_a_damaged_json(tmp_path, content, told):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^config={path}: {told}"):
        config_files.load(str(path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.epochs", math.nan),
        ("train.epochs", math.inf),
        ("train.epochs", True),
        ("train.epochs", "3"),
        ("train.epochs", None),
        ("train.steps", 3.0),
        ("train.flip", 1),
        ("train.dtype", ["float32"]),
        ("dataset.name", {}),
        ("sweep.seeds", 1),
        ("sweep.seeds", [[1]]),
        ("sweep.seeds", [1, 1]),
        ("sweep.fractions", [0.1, "0.3"]),
        ("sweep.methods", "random"),
        ("input.mean", [1, 2]),
    ],
)
def test_a_value_of_a_json_that_is_not_allowed(field, value):
    section, name = field.split(".")
    with pytest.raises(InputError, match=rf"^{field}(=.*)?: must be .*It is set in config\.json\.$") as raised:
        config_files.from_json(json.dumps({section: {name: value}}), "config.json")
    assert raised.value.argument == field


# Every field is explained, checked, and read


def test_every_field_has_a_comment():
    comments = config_fields.comments()
    assert comments.keys() == FIELDS.keys()
    assert all(comments.values())
    lines = (CONFIGS / "default.py").read_text().splitlines()
    assigned = [i for i, line in enumerate(lines) if re.match(r" {4}config\.\w+\.\w+ = ", line)]
    assert [lines[i] for i in assigned if "  # " not in lines[i] and not lines[i - 1].startswith("    # ")] == []


def test_every_field_is_read():
    read = set().union(*(fields_read(path.read_text()) for path in PACKAGE.rglob("*.py")))
    read |= {f"select.{name}" for name in OPTIONS}  # which methods get by their names
    assert {field for field in FIELDS if field not in read} == set()


def fields_read(source):
    """SECTION.FIELD for every `config.SECTION.FIELD` in a module, also where a name stands for `config.SECTION`."""
    tree = ast.parse(source)
    sections = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for name, value in _pairs(node.targets[0], node.value):
                if isinstance(value, ast.Attribute):
                    sections.setdefault(name, set()).add(value.attr)
    # What is given as NAME to a function that reads section[NAME].
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    arguments = {arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            owners = {owner.attr} if isinstance(owner, ast.Attribute) else sections.get(getattr(owner, "id", None), ())
            found |= {f"{section}.{node.attr}" for section in owners}
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
            owners = {getattr(node.value, "attr", None)} | sections.get(getattr(node.value, "id", None), set())
            found |= {f"{section}.{text}" for section in owners for text in arguments}
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
    assert set(FIELDS) == set(fields(config_files.load_default()))


@pytest.mark.parametrize("field", FIELDS)
def test_every_rule_refuses_something(field):
    config = configure()
    section, name = field.split(".")
    with config.unlocked(), config.ignore_type():
        config[section][name] = -1 if not isinstance(config[section][name], tuple) else (-1,)
    with pytest.raises(InputError, match=rf"^{field}=.*-1.*: must be "):
        config_rules.check(config)


@pytest.mark.parametrize("field", FIELDS)
def test_every_rule_describes_itself(field):
    rule = FIELDS[field].rule
    assert re.fullmatch(r"(tuple of )?(str|int|float|bool)( or None)?", rule.type_name())
    assert rule.allowed()
    if not isinstance(rule, Flag):
        assert len(rule.allowed().split()) > 1


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"input__mean": (1.0, 2.0, 3.0)}, r"input.std=\(\): must have as many numbers as input.mean, which has 3$"),
        ({"input__std": (1.0,)}, r"input.std=\(1.0,\): must have as many numbers as input.mean, which has 0$"),
        (
            {"sweep__fractions": (0.1, 0.1000001)},
            r"sweep.fractions=\(0\.1, 0\.1000001\): must differ in the first six digits",
        ),
        (
            {"sweep__trials_per_device": 2, "input__mode": "stream"},
            "sweep.trials_per_device=2: must be 0 or None ",
        ),
    ],
)
def test_fields_that_do_not_fit_together(overrides, told):
    with pytest.raises(InputError, match=f"^{told}"):
        config_rules.check(configure(**overrides))


def test_describing_a_config_of_ones_own():
    config = ConfigDict(configure(train__epochs=3.0))
    (described,) = config_fields.describe_fields(config, ["train.epochs"])
    assert (described.name, described.type, described.default) == ("train.epochs", "float", 3.0)
    assert described.allowed == "a number greater than 0 and at most 100,000"
    assert described.comment.startswith("length of training in epochs of the full training split")


# What artifacts depend on


def test_a_selection_depends_only_on_what_its_method_looks_at():
    def options(method, seed, **overrides):
        return fingerprints.selection_options(configure(**overrides), method, seed)

    nested = {"select__representative": "nested"}
    assert options("random", 1, **nested) == options("random", 1) != options("random", 2)
    assert options("agglomerative", 1, **nested) != options("agglomerative", 1) == options("agglomerative", 2)
    for method in METHODS:
        assert options(method, 1, select__allocation="global") != options(method, 1)


def test_a_trial_depends_only_on_what_its_optimizer_looks_at():
    labels = np.zeros(1000, np.int32)
    dataset = types.SimpleNamespace(train=types.SimpleNamespace(labels=labels), fingerprint=dict)

    def trial(optimizer, **overrides):
        config = configure(train__optimizer=optimizer, **overrides)
        return fingerprints.Fingerprints(config, dataset).trial(np.arange(1000), 0)

    trust, momentum = {"train__trust_coefficient": 0.02}, {"train__momentum": 0.5}
    assert trial("sgd", **trust) == trial("sgd") != trial("lars")
    assert trial("lars", **trust) != trial("lars")
    assert trial("lars", **trust)["train.trust_coefficient"] == 0.02
    for optimizer in ("sgd", "lars"):
        assert trial(optimizer, **momentum) != trial(optimizer)
