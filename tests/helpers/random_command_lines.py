"""Random command lines: each is made from parts that are known to be valid or not, so that its outcome is known too."""

import dataclasses
import functools
import pathlib
import random
import re
from collections.abc import Callable

import numpy as np

from data_redundancy.cli.commands import COMMANDS, PROCESSES
from data_redundancy.experiment import config_files
from data_redundancy.experiment.config_rules import FIELDS
from helpers.random_values import INVALID, value_of


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
    if len({f"{fraction:g}" for fraction in config["sweep.fractions"]}) < len(config["sweep.fractions"]):
        wrong.append("--config.sweep.fractions")
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
    embeddings = rng.choice(["e.npy"] * 8 + ["none.npy", "nan.npy", "text.npy", "file", "e.npy:x", "full", "x" * 300])
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


def make_case(seed: int, index: int) -> Case:
    """The case of a number; half of them are valid, but for those that are about misspelt words."""
    rng = random.Random(f"{seed} {index}")
    (maker,) = rng.choices(list(MAKERS), weights=MAKERS.values())
    is_valid = maker is not misspelt_case and rng.random() < 0.5
    while bool((case := maker(rng)).wrong) == is_valid:
        pass
    return case
