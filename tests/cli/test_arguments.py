"""Command lines: flags in every form, overrides, repetitions, and where values come from."""

import pytest

from data_redundancy.cli import arguments, config
from data_redundancy.errors import InputError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def resolve(*argv, command="train"):
    return config.resolve(arguments.parse([command, "--config=default", *argv]))


def field(found, name):
    section, key = name.split(".")
    return found[section][key]


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
        ("dataset.version=None", None),
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
    name, _, text = override.partition("=")
    for argv in ([f"--config.{override}"], [f"--config.{name}", text], [f"-config.{name.replace('_', '-')}={text}"]):
        found = field(resolve(*argv), name)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    "argv",
    [
        ["--config=digits", "--config.train.pad=3", "--workdir=w"],
        ["--config.train.pad=3", "--workdir=w", "--config=digits"],
        ["--config", "digits", "--config.train.pad", "3", "--workdir", "w"],
        ["-config=digits", "-config.train.pad=3", "-workdir=w"],
        [
            "--config=default",
            "--config.train.pad=9",
            "--config=digits",
            "--config.train.pad=3",
            "--workdir=v",
            "--workdir=w",
        ],
    ],
)
def test_flags_in_any_order_and_form(argv):
    line = arguments.parse(["train", *argv])
    found = config.resolve(line)
    assert (found.train.pad, found.model.name) == (3, "resnet8")
    assert line.options["workdir"] == "w"
    assert line.positional == ()


def test_hyphens_are_underscores():
    line = arguments.parse(
        ["answer", "--max-trials=12", "--dry-run", "--start-timeout-s", "5", "--config.train.batch-size=8"]
    )
    assert (line.options["max_trials"], line.options["dry_run"], line.options["start_timeout_s"]) == (12, True, 5.0)
    assert line.overrides == {"train.batch_size": 8}


def test_of_a_field_given_twice_the_last_one_counts():
    found = resolve("--config.sweep.seeds=(1,2)", "--config.sweep.seeds=(3,4)", "--config.sweep.seeds", "5")
    assert found.sweep.seeds == (5,)


@pytest.mark.parametrize("argv", [["--config.train.flip"], ["--config.train.flip", "--workdir=w"]])
def test_a_bool_alone_is_true(argv):
    assert resolve("--config.train.flip=false", *argv).train.flip is True


@pytest.mark.parametrize("value", ["true", "1", "yes", "TRUE"])
def test_a_switch_with_a_value(value):
    assert arguments.parse(["train", f"--json={value}"]).options["json"] is True
    assert arguments.parse(["train", "--json=false"]).options["json"] is False


def test_negative_numbers_behind_a_space_are_values():
    with pytest.raises(InputError, match=r"^--fraction=-0\.1: must be a number "):
        arguments.parse(["select", "--fraction", "-0.1"])
    with pytest.raises(InputError, match=r"^--config\.train\.learning_rate=-1: must be a number "):
        arguments.parse(["train", "--config.train.learning_rate", "-1"])


def test_parsing_twice_gives_two_configs():
    first, second = resolve(), resolve()
    first.train.pad = 9
    assert second.train.pad == 4


@pytest.mark.parametrize(
    ("command", "flag", "name", "value"),
    [
        ("select", "--fraction=0.25", "select.fraction", 0.25),
        ("report", "--fraction=0.25", "select.fraction", 0.25),
        ("run", "--fraction=0.25", "select.fraction", 0.25),
        ("answer", "--fraction=0.25", "select.fraction", 0.25),
        ("sweep", "--fraction=0.25", "sweep.fractions", (0.25,)),
        ("answer", "--max_trials=30", "evidence.max_trials", 30),
    ],
)
def test_flags_that_set_fields(command, flag, name, value):
    assert field(resolve(flag, command=command), name) == value
    line = arguments.parse([command, flag])
    assert line.flag_of(name) == flag.partition("=")[0]
    assert arguments.parse([command]).flag_of(name) == f"--config.{name}"
    with pytest.raises(InputError, match=rf"must not be given with --config\.{name}\. Omit one\.$"):
        resolve(flag, f"--config.{name}=0.3" if "fraction" in name else f"--config.{name}=9", command=command)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["train", "--"], "arguments=--: must be a flag of the command train"),
        (["train", "-"], "arguments=-: must be a flag of the command train"),
        (["train", ""], "arguments='': must be a flag of the command train"),
        (["train", "-3"], "arguments=-3: must be a flag of the command train"),
        (["train", "--", "--workdir=w"], "arguments=--: must be a flag of the command train"),
        (["train", "--=x"], "arguments=--=x: must be a flag of the command train"),
        (["train", "a\nb"], r"arguments='a\\nb': must be a flag of the command train"),
        (["train", "--work dir=w"], "--work dir=w: no such flag"),
        (["train", "--work\ndir=w"], "--work dir=w: no such flag"),
        (["train", "--workdi=w"], r"--workdi=w: no such flag. Did you mean --workdir\?$"),
        (["train", "--help_me"], "--help_me: no such flag"),
        (["train", "--json=maybe"], "--json=maybe: must be true or false$"),
        (["train", "--json", "maybe"], "arguments=maybe: must be a flag of the command train"),
        (["train", "--config.train.flip", "maybe"], "--config.train.flip=maybe: must be true or false$"),
        (["train", "--config.train.steps"], "--config.train.steps: needs a value, a whole number from 1 to "),
        (["train", "--config.train.steps", "--json"], "--config.train.steps: needs a value, "),
        (["train", "--config.=1"], "--config.=1: no such field"),
        (["train", "--config..=1"], "--config..=1: no such field"),
        (["train", "--config.train=1"], "--config.train=1: is a section. "),
        (["train", "--config.train.=1"], "--config.train.=1: no such field"),
        (["train", "--config.train.steps.x=1"], "--config.train.steps.x=1: no such field. Did you mean train.steps"),
        (["train", "--flagfile=missing"], "--flagfile=missing: no such flag"),
        (["train", "--shard=0/2"], "--shard=0/2: is a flag of the command sweep only$"),
        (["sweep", "--shard=2/2"], "--shard=2/2: must be i/n with i from 0 to n-1"),
        (["sweep", "--shard=0/0"], "--shard=0/0: must be i/n "),
        (["sweep", "--shard=-1/2"], "--shard=-1/2: must be i/n "),
        (["sweep", "--shard=1"], "--shard=1: must be i/n "),
        (["sweep", "--shard=" + "1" * 20 + "/" + "9" * 20], "--shard=1+/9+: must be i/n "),
        (["sweep", "--shard=\u0661/\u0662"], "--shard=\u0661/\u0662: must be i/n "),
        (["diff", "a", "b", "--config=digits"], "--config=digits: has no effect on diff, which reads no config"),
        (["diff", "a", "b", "--config.train.pad=1"], "--config.train.pad=1: has no effect on diff"),
        (["diff", "a", "b", "--coordinator=h:1"], "--coordinator=h:1: no such flag"),
        (["trian"], r"command=trian: must be one of prepare, .*\. Did you mean train\?$"),
        ([""], "command='': must be one of "),
    ],
)
def test_what_is_not_understood(argv, told):
    with pytest.raises(InputError, match=f"^{told}") as raised:
        config.resolve(arguments.parse(argv))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [300, 100_000])
def test_long_names(length):
    for name in (f"--{'a' * length}=1", f"--config.{'a' * length}=1", f"--config.train.{'a' * length}=1", "a" * length):
        with pytest.raises(InputError):
            arguments.parse(["train", name])
