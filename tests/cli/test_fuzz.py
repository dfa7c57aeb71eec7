"""Random command lines and configs: each gives the right result, or one line that names what is wrong with it.

Every case is made from parts that are known to be valid or not, so that what must happen is known as well.
"""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import random
import re
import shutil
import signal
from collections.abc import Callable

import numpy as np
import pytest

from data_redundancy.cli.commands import COMMANDS, PROCESSES
from data_redundancy.experiment import config_files
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.experiment.rules import Choice, Flag, Number, Optional, Several, Text
from helpers.command import Done, run_here, run_process, tree, unpack_old_workdir, write_digits

SEED, NUM_CASES = 0, 300
AS_PROCESSES = range(0, NUM_CASES, 37)
LONGEST_S = 30
"""A command that takes longer hangs."""

INVALID = object()
ALPHABET = "ab7_-=:/.,()[]{}'\"\\%$#@!*? \t\n\x1b\x7f\u00e9\u56fe\u202e\U0001f600"


@dataclasses.dataclass(frozen=True)
class Case:
    """A command line, and what must come of it.

    Attributes:
        argv: of the command.
        wrong: what is wrong with it: flags, fields or paths, of which the error must name one; empty if it is valid.
        check: of what a valid command printed, as JSON.
        made: names of what a valid command may leave.
        files: to write before.
    """

    argv: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    check: Callable[[dict], None] = lambda result: None
    made: tuple[str, ...] = ()
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)


# Values of a rule, valid and not


def value_of(rng, rule):
    """A text, and the value that it stands for, or INVALID."""
    if isinstance(rule, Optional):
        found, value = (rng.choice(["None", "null"]), None) if rng.random() < 0.25 else value_of(rng, rule.rule)
        return found, None if found == "None" else value
    return {Number: number, Choice: choice, Text: text, Flag: flag, Several: several}[type(rule)](rng, rule)


def number(rng, rule):
    if rng.random() < 0.3:
        odd = [
            "",
            " ",
            "nan",
            "inf",
            "-inf",
            "-1e308",
            "five",
            "0x10",
            "1 2",
            "1,5",
            "\u0663",
            "\u00bd",
            "True",
            "1e-400",
        ]
        odd += ["(1)", "1e999", "9" * 5000, "--5", "1_000_000_000_000", "%d", "{}", "1;2", "1\n", "1e26", "-1"]
        if rule.kind is int:
            odd += ["3.5", "1e3", "1.0"]
        value = rng.choice(odd)
        valid = value == "1\n" and within(rule, 1)
        return value, rule.kind(1) if valid else INVALID
    step = 1 if rule.kind is int else (rule.high - rule.low) * 1e-9
    candidates = [rule.low, rule.high, rule.low - step, rule.high + step, rule.low + step, rule.high - step, 0, 1]
    value = rng.choice([*candidates, rng.uniform(rule.low, rule.high), rng.uniform(rule.low, min(rule.high, 10))])
    value = rule.kind(value)
    shown = repr(value)
    if rng.random() < 0.2:
        shown = f" {shown} " if rng.random() < 0.5 else shown.replace("e", "E")
    return shown, value if within(rule, value) else INVALID


def within(rule, value):
    low = value > rule.low if rule.above else value >= rule.low
    return low and (value < rule.high if rule.below else value <= rule.high)


def choice(rng, rule):
    names = list(rule.names())
    name = rng.choice(names)
    odd = rng.choice([name.upper(), name[::-1], f"{name}x", f" {name}", "", "None", garbage(rng), name[:-1] + "\u00e9"])
    found = name if rng.random() < 0.6 else odd
    return found, found if found in names else INVALID


def text(rng, rule):
    valid = ["a", "a=b c", "na\u00efve \u56fe", "--x", "None", "x" * 255, "train[:90%]", "'", '"', "(", "~", "{}", "%s"]
    invalid = ["\x7f", "a\tb", "a\nb", "\x1b[0m", "\u202e", "x" * 256, "\u56fe" * 86, "x/" * 3000]
    if not rule.may_be_empty:
        invalid += ["", "  "]
    return (value := rng.choice(valid), value) if rng.random() < 0.6 else (rng.choice(invalid), INVALID)


def flag(rng, rule):
    del rule
    found = rng.choice(
        ["true", "True", "1", "yes", "t", "false", "FALSE", "0", "no", "maybe", "2", "", "None", "tru e"]
    )
    return found, {"t": True, "1": True, "y": True, "f": False, "0": False}.get(found[:1].lower(), INVALID) if (
        found.lower() in ("true", "1", "yes", "t", "false", "0")
    ) else (False if found == "no" else INVALID)


def several(rng, rule):
    if rng.random() < 0.25:
        odd = ["(", ")", "(1", "1)", "[1)", "1,,2", ",", "([1],)", "((1,2),)", "{1: 2}", "1;2", "(None,)", "('',)"]
        return rng.choice(odd), INVALID
    length = rng.choice(rule.lengths) if rule.lengths else rng.randint(0, 4)
    parts = [plain_value_of(rng, rule.rule) for _ in range(length)]
    values = tuple(value for _, value in parts)
    valid = INVALID not in values and (not rule.distinct or len(set(values)) == len(values))
    valid &= length > 0 or rule.may_be_empty or bool(rule.lengths)
    inside = ",".join(rng.choice(["{}", " {} ", "'{}'"]).format(part) for part, _ in parts)
    shown = rng.choice(["({})", "[{}]", "{}", "({},)" if parts else "({})"]).format(inside)
    return shown, values if valid else INVALID


def plain_value_of(rng, rule):
    """A value without the characters that separate values of a tuple, and without outer spaces, which are removed."""
    while True:
        found, value = value_of(rng, rule)
        if found and found == found.strip() and not re.search(r"""[,'"()\[\]\\\n]""", found):
            return found, value


def garbage(rng):
    return "".join(rng.choice(ALPHABET) for _ in range(rng.choice([1, 3, 8, 40])))


# Command lines


def flag_tokens(rng, name, value):
    """A flag with its value, in one of the forms that are allowed."""
    if rng.random() < 0.3:
        name = name.replace("_", "-")
    dashes = rng.choice(["--", "--", "--", "-"])
    looks_like_flag = re.match(r"--?[A-Za-z_]", value)
    if rng.random() < 0.3 and not looks_like_flag:
        return (f"{dashes}{name}", value)
    return (f"{dashes}{name}={value}",)


def fields_case(rng):
    """Overrides of config fields: `fields` shows the values that they have."""
    defaults = {name: default_of(name) for name in FIELDS}
    expected, tokens, wrong = {}, [], []
    names = rng.sample(sorted(FIELDS), rng.randint(1, 3))
    if rng.random() < 0.2:
        names.append(names[0])  # the last one counts, but every one must be valid
    for name in names:
        found, value = value_of(rng, FIELDS[name].rule)
        tokens += flag_tokens(rng, f"config.{name}", found)
        if value is INVALID:
            wrong.append(f"--config.{name}")
        else:
            expected[name] = value
    config = {**defaults, **expected}
    if not wrong and len(config["input.mean"]) != len(config["input.std"]):
        wrong.append("--config.input.std")
    if not wrong and config["sweep.trials_per_device"] and config["input.mode"] == "stream":
        wrong.append("--config.sweep.trials_per_device")

    def check(result):
        found = {field["name"]: field["default"] for field in result["fields"]}
        assert found == {name: plain(value) for name, value in config.items()}

    return Case(("fields", *tokens), tuple(wrong), check)


@functools.cache
def default_of(name):
    section, key = name.split(".")
    return config_files.load_default()[section][key]


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def select_case(rng):
    """A selection of 60 embeddings in 3 classes."""
    scope = rng.choice(["class", "class", "dataset"])
    num_classes = 3 if scope == "class" else 1
    fractions = ["0", "0.1", "0.25", str(1 / 3), "0.5", "0.0083", "0.0084", ".95", "0.951", "0.9833", "0.9834", "0.99"]
    fractions += ["1", "-0.1", "nan", "1e-320", "1e-400", "1e400", "ten", "", "0.5.5", "0.99999999999999999999"]
    fraction = rng.choice(fractions)
    wrong = []
    fraction_flag = rng.choice(["--fraction", "--config.select.fraction"])
    if not is_prune_fraction(fraction, num_classes):
        wrong.append(fraction_flag)
    method = rng.choice(
        ["agglomerative", "random", "kcenter", "herding", "prototypes", "semdedup", "el2n", "ccs", "bst"]
    )
    if method in ("el2n", "ccs", "bst"):
        wrong.append("--config.select.method")
    labels = rng.choice(["l.npy"] * 6 + ["short.npy", "float.npy", "none.npy", "gs://b/l.npy", "e.npy", ""])
    if labels != "l.npy":
        wrong.append("--labels")
    embeddings = rng.choice(["e.npy"] * 8 + ["none.npy", "nan.npy", "text.npy", "file", "e.npy:x", "/", "x" * 300])
    if embeddings != "e.npy":
        wrong += ["--embeddings", "--labels"]
    out = rng.choice(["kept"] * 8 + ["file", "file/kept", "full", "", "s3://b/x", "x" * 300, "/proc/kept"])
    if out != "kept":
        wrong.append("--out")
    options = {
        "select.method": method,
        "select.allocation": rng.choice(["per_class", "global"]),
        "cluster.scope": scope,
        "cluster.linkage": rng.choice(["complete", "average", "single"]),
        "select.representative": rng.choice(["centroid", "medoid", "nested"]),
    }
    overrides = [(f"config.{name}", value) for name, value in options.items()]
    flags = [("embeddings", embeddings), ("labels", labels), ("out", out), (fraction_flag[2:], fraction), *overrides]
    rng.shuffle(flags)

    def check(result):
        count = round(60 * float(fraction))
        keep = np.load("kept/keep.npy")
        assert (result["num_kept"], len(keep)) == (60 - count, 60 - count)
        assert (np.diff(keep) > 0).all()
        assert len(np.unique(keep % 3)) == 3 or scope == "dataset"

    tokens = [token for name, value in flags for token in flag_tokens(rng, name, value)]
    return Case(("select", *tokens), tuple(wrong), check, made=("kept",))


def is_prune_fraction(text, num_classes):
    """Whether a text is a fraction of 60 examples that leaves one of every class, and prunes one unless it is 0."""
    try:
        fraction = float(text)
    except ValueError:
        return False
    if not 0 <= fraction < 1 or text == "1e-400":
        return False
    count = round(60 * fraction)
    return count <= 60 - num_classes and (count > 0 or fraction == 0)


def misspelt_case(rng):
    """A flag, field or command that does not exist, in a command line that is valid without it."""
    command = rng.choice([name for name in COMMANDS if name not in ("diff", "export")])
    valid = ["--config=digits", "--config.dataset.name=d.npz", "--workdir=new", "--dry_run"]
    known = ["workdir", "config", "fraction", "config.train.epochs", "config.sweep.seeds", "start_timeout_s"]
    name = rng.choice(known)
    at = rng.randrange(1, len(name))
    misspelt = rng.choice(
        [name[:at] + name[at + 1 :], name[:at] + "x" + name[at:], name.replace("config.", ""), f"{name}s", name.upper()]
    )
    odd = [
        misspelt,
        "a" * 300,
        "a" * 70_000,
        f"config.{'a' * 300}",
        "config.",
        "config..",
        "config.train",
        "config.train.",
    ]
    odd += [
        "\u56fe",
        "a\nb",
        "x\x1b[31m",
        "flagfile",
        "nojson",
        "helpme",
        "config.train.epochs.x",
        "config.dataset.name\u00e9",
    ]
    name = rng.choice(odd)
    taken = {option.name for option in (*COMMANDS[command].options, *COMMANDS[command].common, *PROCESSES)}
    if name in taken or name in {f"config.{field}" for field in FIELDS}:
        name = "xyzzy"
    token = rng.choice([f"--{name}=3", f"-{name}=3"])
    wrong = f"--{name}"
    if name.startswith("\u56fe"):  # which no name of a flag begins with
        wrong = "arguments"
    if rng.random() < 0.3:
        token, wrong = (
            rng.choice(["more", "", "-", "--", "-3", "--=", "\n", "=", "(", "\u56fe", "x" * 5000]),
            "arguments",
        )
        if command == "fields":
            wrong = "section"
        if command == "fields" and token in ("--", "--="):
            token = "more"
    argv = [command, *valid]
    argv.insert(rng.randint(1, len(argv)), token)
    if rng.random() < 0.15:
        argv[0] = rng.choice([command[:-1], command.upper(), "", "--", "\u56fe", f"{command} ", "x" * 300, "=", "-1"])
        wrong = "command"
    if command == "fields" and "--workdir=new" in argv:
        argv.remove("--workdir=new")
    return Case(tuple(argv), (re.sub(r"\s+", " ", wrong).replace("-", "_").replace("__", "--", 1),))


CONFIG_FILES = {
    "raises.py": (b"raise ZeroDivisionError('no')", "--config"),
    "exits.py": (b"import sys; sys.exit(0)", "--config"),
    "exits_late.py": (b"def get_config():\n    raise SystemExit('bye')", "--config"),
    "syntax.py": (b"def get_config(:", "--config"),
    "bytes.py": (b"\xff\xfe", "--config"),
    "empty.py": (b"", "--config"),
    "none.py": (b"def get_config(): return None", "--config"),
    "number.py": (b"def get_config(): return 3", "--config"),
    "class.py": (b"class get_config: pass", "--config"),
    "recursive.py": (b"def get_config(): return get_config()", "--config"),
    "flat.py": (
        b"from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'train': 3})",
        "--config",
    ),
    "unknown.py": (
        b"from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'train': {'x': 3}})",
        "--config",
    ),
    "wrong.py": (
        b"from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'train': {'pad': -1}})",
        "--config.train.pad",
    ),
    "prints.py": (b"print('{')\nfrom data_redundancy.configs.digits import get_config", None),
    "few.py": (
        b"from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'train': {'pad': 3}})",
        None,
    ),
    "a.json": (b"{", "--config"),
    "b.json": (b"[" * 50_000, "--config"),
    "c.json": (b"{}", None),
    "d.json": (b'{"train": {"pad": 1e400}}', "--config.train.pad"),
    "e.json": (b'{"train": {"pad": null, "pad": 2}}', None),
    "f.json": (b'{"train": {"pad": [2]}}', "--config.train.pad"),
    "g.json": (b'{"train": {"batchsize": 2}}', "--config"),
    "h.json": (b"\x00\xff", "--config"),
    "i.json": (b'{"sweep": {"seeds": [[1], 1]}}', "--config.sweep.seeds"),
    "j.json": (b'{"dataset": {"name": "\\ud800"}}', "--config.dataset.name"),
    "k.json": (b"null", "--config"),
    "l.json": (b'{"train": {"epochs": ' + b"9" * 400 + b"}}", "--config.train.epochs"),
}


def config_case(rng):
    """A config from a file, which may be broken or missing."""
    name = rng.choice(
        [*CONFIG_FILES, *CONFIG_FILES, "missing.py", "missing.json", "digit", "", "/", "x" * 300, "a\tb", "DIGITS"]
    )
    content, wrong = CONFIG_FILES.get(name, (None, "--config"))
    command = rng.choice(["fields", "prepare", "train"])
    argv = [command, *flag_tokens(rng, "config", name)]
    if command != "fields":
        argv += ["--config.dataset.name=d.npz", "--workdir=new", "--dry_run"]
        if wrong == "--config.dataset.name":
            argv.remove("--config.dataset.name=d.npz")
    return Case(tuple(argv), (wrong,) if wrong else (), files={} if content is None else {name: content})


def dry_case(rng):
    """A command that would train on 60 images, with odd shards, fractions, workdirs and processes."""
    command = rng.choice(["prepare", "train", "score", "select", "sweep", "report", "run", "answer"])
    tokens, wrong = ["--config=digits", "--config.dataset.name=d.npz"], []
    workdir = rng.choice(["new"] * 8 + ["file", "file/w", "", " ", "x" * 300, "http://x/y", "gs://", "a\x07", "s3://b"])
    tokens += flag_tokens(rng, "workdir", workdir)
    if workdir != "new":
        wrong.append("--workdir")
    fraction = rng.choice(["0.1", "0.5", "0.8", "0", "0.99", "0.85", "1", "-1", "1e-9", "1e-320", "nan", "", "1/3"])
    if command in ("select", "run", "report", "sweep", "answer") and rng.random() < 0.6:
        tokens += flag_tokens(rng, "fraction", fraction)
        zero = command in ("sweep", "answer") and fraction == "0"
        if fraction not in ("0.1", "0.5", "0.8", "0") or zero:
            wrong.append("--fraction")
        if command == "report" and fraction in ("0.99", "0.85", "1e-9", "1e-320"):
            wrong = [name for name in wrong if name != "--fraction"]  # it shows what there is
    if command == "sweep" and rng.random() < 0.7:
        shard = rng.choice(
            ["0/1", "2/3", "0/2", "3/3", "5/4", "0/0", "-1/2", "1", "a/b", "0/1/2", "", "400/500", "\u0660/\u0661"]
        )
        tokens += flag_tokens(rng, "shard", shard)
        if shard not in ("0/1", "2/3", "0/2"):
            wrong.append("--shard")
    if command == "answer" and rng.random() < 0.5:
        most = rng.choice(["9", "45", "3000", "8", "0", "3001", "-1", "9.5", "many", ""])
        tokens += flag_tokens(rng, "max_trials", most)
        if most not in ("9", "45", "3000"):
            wrong.append("--max_trials")
    for name, valid, invalid in (
        ("num_devices", ["8"], ["7", "0", "x", "1e1", "10000001"]),
        ("start_timeout_s", ["5", "0.5"], ["0", "-1", "nan", "1e6", "soon"]),
        ("barrier_timeout_s", ["5"], ["0", "inf", ""]),
    ):
        if rng.random() < 0.1:
            value = rng.choice(valid + invalid)
            tokens += flag_tokens(rng, name, value)
            if value in invalid:
                wrong.append(f"--{name}")
    if rng.random() < 0.1:
        tokens += flag_tokens(rng, "process_id", rng.choice(["0", "3", "-1", "x"]))
        wrong += ["--process_id", "--coordinator", "--num_processes"]
    overrides = {
        "train.batch_size": (["32"], ["0", "1e6", "2000000", "32.0"]),
        "sweep.fractions": (["(0.1,0.5)"], ["(0.1,0.99)", "(0.1,0.1)", "(0,)", "()", "1e-9"]),
        "evidence.seed": (["7"], ["4294967296", "-1", "x"]),
        "cluster.max_prune_fraction": (["0.9"], ["0", "1", "nan"]),
        "select.method": (["random", "agglomerative"], ["rand", "", "random "]),
    }
    for name in rng.sample(sorted(overrides), 2):
        if name == "sweep.fractions" and any("fraction" in token for token in tokens):
            continue
        valid, invalid = overrides[name]
        value = rng.choice(valid * 3 + invalid)
        if command not in ("prepare", "sweep", "run", "answer") and value in ("(0.1,0.99)", "1e-9"):
            value = "(0.1,0.5)"
        if command == "answer" and name == "sweep.fractions" and value in ("(0.1,0.99)", "1e-9"):
            value = "(0.1,0.5)"  # which it asks about with --largest only
        tokens += flag_tokens(rng, f"config.{name}", value)
        if value in invalid:
            wrong.append(f"--config.{name}")

    def check(result):
        assert {step["action"] for step in result["steps"]} <= {"run", "skip"}
        assert result["steps"]

    return Case((command, *tokens, "--dry_run"), tuple(wrong), check)


def old_workdir_case(rng):
    """diff and export on what version 0.1.0 made."""
    wrong = []
    if rng.random() < 0.4:
        known = ["agglomerative-0.1", "agglomerative-0.2", "random-0.2-seed0", "w/selections/random-0.2-seed1"]
        names = [
            rng.choice([*known * 4, "agglomerativ-0.2", "w", "", "file", "x" * 300, "\u56fe", "a\nb", "..", "gs:/b"])
            for _ in range(2)
        ]
        if not set(names) <= set(known):
            wrong.append("selections")
        if rng.random() < 0.15:
            names.append(names[0])
            wrong.append("selections")

        def check(result):
            kept = [108 if name.endswith("0.1") else 96 for name in names]
            assert (result["num_examples"], result["num_kept"]) == (120, kept)

        return Case(("diff", *names, *flag_tokens(rng, "workdir", "w")), tuple(wrong), check)
    selection = rng.choice(
        ["agglomerative-0.2"] * 6 + ["w/selections/agglomerative-0.2", "agglomerative-0.3", "", "/", "x" * 300, "help"]
    )
    if "agglomerative-0.2" not in selection:
        wrong.append("--selection")
    kind = rng.choice(["txt", "csv", "npy", "parquet", "imagefolder", "webdataset", "zip", "", "CSV"])
    if kind in ("zip", "", "CSV"):
        wrong.append("--format")
    out = rng.choice(["out"] * 6 + ["", "file/x", "w", ".", "gs://b/x", "x" * 300])
    if out != "out":
        wrong += ["--out", out]
    flags = [("selection", selection), ("format", kind), ("out", out)]
    if rng.random() < 0.3:
        shards = rng.choice(["1", "3", "0", "-1", "1.5", "1e9", "1000000000"])
        flags.append(("num_shards", shards))
        if shards not in ("1", "3") or kind not in ("imagefolder", "webdataset"):
            wrong.append("--num_shards")
    if rng.random() < 0.2:
        splits = rng.choice(["all", "none", "test", "tset", "", "test,test"])
        flags.append(("splits", splits))
        if splits not in ("all", "none", "test") or kind not in ("imagefolder", "webdataset"):
            wrong.append("--splits")
    rng.shuffle(flags)

    def check(result):
        assert result["num_examples"]["train"] == 96
        assert pathlib.Path("out").exists()

    tokens = [token for name, value in flags for token in flag_tokens(rng, name, value)]
    return Case(("export", "--workdir=w", *tokens), tuple(wrong), check, made=("out", "w/config.json"))


MAKERS = {fields_case: 9, select_case: 6, misspelt_case: 5, config_case: 4, dry_case: 6, old_workdir_case: 4}


def make_case(index):
    rng = random.Random(f"{SEED} {index}")
    (maker,) = rng.choices(list(MAKERS), weights=MAKERS.values())
    is_valid = maker is not misspelt_case and rng.random() < 0.5
    while bool((case := maker(rng)).wrong) == is_valid:
        pass
    return case


# Running them


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    unpack_old_workdir(folder)
    write_digits(folder / "d.npz", num_train=60, num_test=20)
    rng = np.random.default_rng(0)
    e = rng.normal(size=(60, 5)).astype(np.float32)
    np.save(folder / "e.npy", e)
    np.save(folder / "nan.npy", np.where(e > 1, np.nan, e))
    np.save(folder / "text.npy", e.astype(str))
    np.save(folder / "l.npy", np.arange(60) % 3)
    np.save(folder / "short.npy", np.arange(59) % 3)
    np.save(folder / "float.npy", np.arange(60) / 3)
    (folder / "file").touch()
    (folder / "full").mkdir()
    (folder / "full" / "x").touch()
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    return tmp_path


@contextlib.contextmanager
def limited_to(seconds):
    def stop(number, frame):
        raise AssertionError(f"takes longer than {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def judge(case, done: Done, before, after):
    if done.code == 0:
        assert not case.wrong, f"accepts {case.wrong}"
        assert done.err == ("{\n" if "prints.py" in str(case.argv) else "")
        assert done.out.count("\n") == 1
        case.check(json.loads(done.out)["result"])
        changed = {path for path in after if before.get(path, math.nan) != after[path]}
        assert {path for path in changed if not path.startswith(case.made)} == set()
        assert before.keys() <= after.keys()
        return
    assert done.code == 2
    assert case.wrong, "rejects what is valid"
    assert after == before
    line = done.err.removeprefix("data-redundancy: ").removesuffix("\n")
    assert "\n" not in line
    assert "Traceback" not in line
    error = json.loads(done.out)["error"]
    assert error["message"] == line
    head = line.partition(": ")[0]
    assert any(head.partition("=")[0] == name or head.endswith(f"/{name}") for name in case.wrong), line


@pytest.mark.parametrize("index", range(NUM_CASES))
def test_a_random_command_line(capfd, here, index):
    case = make_case(index)
    for name, content in case.files.items():
        (here / name).write_bytes(content)
    before = tree()
    with limited_to(LONGEST_S):
        done = run_here(capfd, *case.argv, "--quiet", "--json")
    judge(case, done, before, tree())


@pytest.mark.slow
@pytest.mark.parametrize("index", AS_PROCESSES)
def test_a_random_command_line_as_a_process(here, index):
    case = make_case(index)
    for name, content in case.files.items():
        (here / name).write_bytes(content)
    before = tree()
    done = run_process(*case.argv, "--quiet", "--json", cwd=here, devices=8)
    judge(case, done, before, tree())


def test_the_cases_are_many_and_of_all_kinds():
    cases = [make_case(index) for index in range(NUM_CASES)]
    valid = sum(not case.wrong for case in cases)
    assert NUM_CASES / 3 < valid < NUM_CASES * 2 / 3
    assert {case.argv[0] for case in cases} >= COMMANDS.keys() - {"embed", "cluster"}
    assert cases[0].argv == make_case(0).argv
