"""Faults of version 0.1.0: values changed or ignored without a word, tracebacks, hangs, and unclear errors."""

import json
import os
import pathlib
import re

import numpy as np
import pytest

from helpers.command import TINY, error_line, run_here, tree, unpack_old_workdir, write_digits

NPZ = ("--config.dataset.name=d.npz", "--workdir=w")


@pytest.fixture(autouse=True)
def _in_a_folder_with_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    write_digits("d.npz")
    np.save("e.npy", np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    np.save("l.npy", np.arange(60) % 3)


def fields(capfd, *argv):
    """The values of all fields that a command line gives."""
    done = run_here(capfd, "fields", *argv, "--json")
    assert done.code == 0, done.err
    return {field["name"]: field["default"] for field in json.loads(done.out)["result"]["fields"]}


def rejected(capfd, told, *argv):
    """A command is rejected in one line, before it writes anything."""
    before = tree()
    line = error_line(run_here(capfd, *argv, "--quiet"))
    assert re.match(told, line), line
    assert tree() == before


def select(*argv, out="kept"):
    return ("select", "--embeddings=e.npy", "--labels=l.npy", f"--out={out}", *argv)


# Values


@pytest.mark.parametrize("form", ["--config.dataset.version None", "--config.dataset.version=None"])
def test_none_behind_a_space(capfd, form):
    assert fields(capfd, "--config.dataset.version=1.0.0")["dataset.version"] == "1.0.0"
    assert fields(capfd, "--config.dataset.version=1.0.0", *form.split())["dataset.version"] is None


@pytest.mark.parametrize("form", ["--config.train.batch_size 3.5", "--config.train.batch_size=3.5"])
def test_a_number_of_the_wrong_kind(capfd, form):
    told = r"--config\.train\.batch_size=3\.5: must be a whole number from 1 to 1,048,576$"
    rejected(capfd, told, "train", *TINY, *form.split(), *NPZ)


def test_a_tuple_given_twice(capfd):
    found = fields(capfd, "--config.sweep.fractions=(0.1,0.2)", "--config.sweep.fractions=(0.3,)")
    assert found["sweep.fractions"] == [0.3]


@pytest.mark.parametrize("value", ["0", "(0,)", "(0,0,0)", "1e-9"])
def test_a_standard_deviation_of_zero(capfd, value):
    told = (
        rf"--config\.input\.std={re.escape(value)}: must be 0, 1, 3 or 4 values in brackets, each a number from 0.001"
    )
    rejected(capfd, told, "train", *TINY, "--config.input.mean=1", f"--config.input.std={value}", *NPZ)


@pytest.mark.parametrize("fraction", ["1e-320", "1e-9", "0.002"])
def test_a_fraction_that_keeps_everything(capfd, fraction):
    told = (
        rf"--(config\.select\.)?fraction={float(fraction)}: must be more than 0\.00833333, to prune one of 60 examples$"
    )
    rejected(capfd, told, *select(f"--fraction={fraction}"))
    rejected(capfd, told, *select(f"--config.select.fraction={fraction}"))
    told = told.replace("0\\.00833333", "0\\.0025").replace("60", "200")
    for command in ("prepare", "run"):
        rejected(capfd, told, command, *TINY, f"--config.select.fraction={fraction}", *NPZ)


def test_a_fraction_that_underflows(capfd):
    rejected(capfd, "--fraction=1e-400: must be a number at least 0 and less than 1, ", *select("--fraction=1e-400"))


def test_a_fraction_of_embeddings_in_the_config(capfd):
    assert run_here(capfd, *select("--config.select.fraction=0.5")).code == 0
    assert len(np.load("kept/keep.npy")) == 30
    told = r"--config\.cluster\.max_prune_fraction=0\.3: has no effect with --embeddings"
    rejected(capfd, told, *select("--fraction=0.1", "--config.cluster.max_prune_fraction=0.3", out="other"))


@pytest.mark.parametrize("command", ["run", "answer", "select", "sweep"])
def test_a_fraction_that_empties_a_class_names_what_was_given(capfd, command):
    unpack_old_workdir(pathlib.Path())
    rejected(capfd, r"--fraction=0\.9999999: must be at most 0\.9", command, "--workdir=w", "--fraction=0.9999999")


@pytest.mark.parametrize("value", ["2/3", "8/9"])
def test_a_shard_beyond_the_trials(capfd, value):
    flags = ("--config.sweep.methods=random", "--config.sweep.seeds=0", "--config.sweep.fractions=0.2")
    rejected(
        capfd, rf"--shard={value}: has no trial: there are only 2\. ", "sweep", *TINY, *flags, f"--shard={value}", *NPZ
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sweep.seeds=([1],)", "must be one or more different values in brackets, "),
        ("cluster.memory_limit_gb=1e308", "must be a number greater than 0 and at most 1,000,000"),
        ("train.epochs=1e308", "must be a number greater than 0 and at most 100,000"),
        ("train.warmup_epochs=1e308", "must be a number from 0 to 100,000"),
        ("score.epochs=1e308", "must be a number greater than 0 and at most 100,000"),
        ("train.steps=" + "1" + "0" * 26, "must be a whole number from 1 to 10,000,000"),
        ("train.steps=1e26", "must be a whole number from 1 to 10,000,000"),
        ("train.batch_size=" + "1" + "0" * 26, "must be a whole number from 1 to 1,048,576"),
        ("embed.batch_size=" + "1" + "0" * 26, "must be a whole number from 1 to 1,048,576"),
        ("train.pad=100000", "must be a whole number from 0 to 256"),
        ("train.cutout=100000", "must be a whole number from 0 to 4,096"),
        ("model.width=100000", "must be a whole number from 1 to 64"),
        ("input.image_size=100000", "must be a whole number from 1 to 4,096"),
        ("input.threads=100000", "must be a whole number from 1 to 1,024"),
        ("input.prefetch=100000", "must be a whole number from 1 to 256"),
        ("train.log_every_steps=" + "1" + "0" * 26, "must be a whole number from 1 to 10,000,000"),
        ("train.keep_checkpoints=100000", "must be a whole number from 1 to 1,000"),
        ("train.steps_per_call=100000", "must be a whole number from 1 to 10,000"),
        ("sweep.seeds=" + ",".join(map(str, range(10_001))), "must be one or more different values in brackets, "),
        ("evidence.max_trials=100000", "must be a whole number from 1 to 3,000"),
    ],
)
def test_values_without_bounds(capfd, override, told):
    field, _, value = override.partition("=")
    shown = re.escape(value) if len(value) < 100 else r"\S+"
    rejected(capfd, rf"--config\.{field}={shown}: {told}", "run", *TINY, f"--config.{override}", *NPZ)


@pytest.mark.parametrize("command", ["train", "run"])
def test_a_batch_larger_than_the_data(capfd, command):
    told = r"--config\.train\.batch_size=1000000: must be at most 200, the number of training images$"
    rejected(capfd, told, command, *TINY, "--config.train.batch_size=1000000", *NPZ)


def test_a_model_that_exceeds_the_memory(capfd):
    told = r"--config\.model\.width=64: makes a model of 149,\d{3},\d{3},\d{3} parameters, which take .* GB in training"
    rejected(capfd, told, "train", *TINY, "--config.model.name=wrn28_10", "--config.model.width=64", *NPZ)


def test_epochs_that_make_too_many_steps(capfd):
    told = r"--config\.train\.epochs=100000\.0: .* 20,000,000 steps, .* at most 10,000,000 "
    flags = ("--config.train.epochs=1e5", "--config.train.steps=None", "--config.train.batch_size=1")
    rejected(capfd, told, "train", *TINY, *flags, *NPZ)


# Paths


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_path(capfd, value):
    shown = re.escape(repr(value))
    before = os.stat(".").st_ino
    rejected(capfd, rf"--workdir={shown}: must not be empty$", "train", *TINY, f"--workdir={value}")
    rejected(capfd, rf"--workdir={shown}: must not be empty$", "diff", "a", "b", f"--workdir={value}")
    rejected(capfd, rf"--out={shown}: must not be empty$", *select("--fraction=0.1", out=value))
    rejected(capfd, rf"--out={shown}: must not be empty$", "export", *TINY, *NPZ, "--selection=a", f"--out={value}")
    assert os.stat(".").st_ino == before


def test_an_out_that_cannot_be_a_bucket(capfd):
    rejected(capfd, r"--out=gs://b/x: must name a bucket of 3 to 222 ", *select("--fraction=0.1", out="gs://b/x"))
    rejected(capfd, r"--out=gs://: must name a bucket, as in ", *select("--fraction=0.1", out="gs://"))
    unpack_old_workdir(pathlib.Path())
    export = ("export", "--workdir=w", "--selection=agglomerative-0.2")
    rejected(capfd, r"--out=gs://bucket/x: must be a local path", *export, "--out=gs://bucket/x")


@pytest.mark.parametrize(
    "flag", ["workdir", "config", "config.dataset.name", "veto", "embeddings", "config.prepare.source"]
)
def test_names_of_300_characters(capfd, flag):
    argv = {
        "veto": select("--fraction=0.1"),
        "embeddings": ("select", "--fraction=0.1", "--out=kept"),
    }.get(flag, ("train", *TINY, *NPZ))
    rejected(capfd, rf"--{flag}=x+\.\.\.x+: must ", *argv, f"--{flag}={'x' * 300}")


# Files


@pytest.mark.parametrize("content", ["[" * 100_000, '{"keep":' * 100_000])
def test_a_veto_of_many_brackets(capfd, content):
    pathlib.Path("veto.json").write_text(content)
    told = r"--veto=veto\.json: is not a JSON file \(too deeply nested\)$"
    rejected(capfd, told, *select("--fraction=0.1", "--veto=veto.json"))


@pytest.mark.parametrize("code", ["0", "1", "'bye'", ""])
def test_a_config_that_exits(capfd, code):
    pathlib.Path("mine.py").write_text(f"import sys; sys.exit({code})")
    rejected(capfd, r"--config=mine\.py: cannot be loaded \(SystemExit", "train", "--config=mine.py", "--workdir=w")


# Flags


def test_a_config_given_twice(capfd):
    assert fields(capfd, "--config=cifar10", "--config=digits") == fields(capfd, "--config=digits")


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--config.=1", r"--config\.=1: no such field"),
        ("--flagfile=missing", r"--flagfile=missing: no such flag"),
        (f"--{'x' * 300}=1", r"--x{300}=1: no such flag"),
        (f"--config.{'x' * 300}=1", r"--config\.x{300}=1: no such field"),
    ],
)
def test_flags_that_ended_in_a_traceback(capfd, flag, told):
    rejected(capfd, told, "train", *TINY, *NPZ, flag)


def test_a_selection_called_help(capfd):
    unpack_old_workdir(pathlib.Path())
    told = (
        r"--selection=help: must be the directory of a selection, or a selection of this workdir: agglomerative-0\.1, "
    )
    for form in ("--selection help", "--selection=help"):
        rejected(capfd, told, "export", "--workdir=w", "--out=x", *form.split())


def test_help_about_run(capfd):
    done = run_here(capfd, "run", "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("usage: data-redundancy run ")


@pytest.mark.parametrize("command", ["select", "sweep", "report", "run", "answer"])
def test_every_command_that_selects_takes_a_fraction(capfd, command):
    rejected(
        capfd, r"--fraction=1: must be a number at least 0 and less than 1$", command, "--fraction=1", "--workdir=w"
    )


@pytest.mark.parametrize(
    ("argv", "closest"),
    [
        (("trian",), "train"),
        (("train", "--config=digit"), "digits"),
        (("train", "--config.train.epoch=1"), "train.epochs"),
        (("train", "--workdri=w"), "--workdir"),
        (("select", "--config.select.method=aglomerative"), "agglomerative"),
        (("sweep", "--config.sweep.methods=random,kcentre"), "kcenter"),
        (("train", "--config.model.name=resnet9"), "resnet8"),
        (("train", "--config.train.optimizer=lar"), "lars"),
        (("export", "--format=webdatset"), "webdataset"),
        (("export", "--file_format=tfrecords"), "tfrecord"),
        (("export", "--workdir=w", "--selection=aglomerative-0.2", "--out=x"), "agglomerative-0.2"),
        (("diff", "agglomerative-0.1", "random-0.2-sed0", "--workdir=w"), "random-0.2-seed0"),
        (("fields", "evidense"), "evidence"),
        (("--print_completion=bsh",), "bash"),
    ],
)
def test_the_closest_name(capfd, argv, closest):
    unpack_old_workdir(pathlib.Path())
    rejected(capfd, rf".*\. Did you mean ({re.escape(closest)}|\S+ or {re.escape(closest)})( or \S+)?\?$", *argv)
