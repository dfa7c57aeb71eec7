"""The config that a workdir remembers: used, replaced, overridden, and written when a command succeeds."""

import json
import pathlib
import re

import pytest

from data_redundancy.cli import arguments, experiments
from data_redundancy.experiment import config_files
from data_redundancy.runtime import devices
from helpers.command import error_line, run_here, tree, unpack_old_workdir, write_digits

CONFIG = pathlib.Path("w/config.json")


@pytest.fixture(autouse=True)
def _a_workdir(tmp_path, monkeypatch):
    unpack_old_workdir(tmp_path)
    monkeypatch.chdir(tmp_path)


def remembered(path=CONFIG):
    return json.loads(path.read_text())


def succeed(capfd, *argv):
    done = run_here(capfd, *argv)
    assert done.code == 0, done.err
    return done


def test_later_commands_need_only_the_workdir(capfd):
    before = CONFIG.read_bytes(), CONFIG.stat().st_mtime_ns
    for command in ("prepare", "train", "embed", "cluster", "score", "select"):
        succeed(capfd, command, "--workdir=w")
    assert (CONFIG.read_bytes(), CONFIG.stat().st_mtime_ns) == before


def test_overrides_apply_on_top_and_are_remembered(capfd):
    before = remembered()
    succeed(capfd, "select", "--workdir=w", "--fraction=0.2", "--config.evidence.seed=7")
    after = remembered()
    assert (after["select"].pop("fraction"), after["evidence"].pop("seed")) == (0.2, 7)
    del before["select"]["fraction"], before["evidence"]["seed"]
    assert after == before
    assert "skipped (w/selections/agglomerative-0.2)" in succeed(capfd, "select", "--workdir=w").err


def test_a_given_config_replaces_the_remembered_one(capfd):
    write_digits("d.npz")
    succeed(capfd, "prepare", "--workdir=w", "--config=digits", "--config.dataset.name=d.npz")
    expected = config_files.load("digits")
    expected.dataset.name = "d.npz"
    assert remembered() == json.loads(expected.to_json())


def test_processes_take_the_config_that_the_main_process_remembers(monkeypatch):
    """Another job may replace config.json after one process has read it."""
    of_main, own = config_files.load("cifar10"), config_files.load("digits")
    monkeypatch.setattr(devices, "process_count", lambda: 2)
    monkeypatch.setattr(devices, "text_from_main", lambda text: of_main.to_json())
    found = experiments.same_on_all_processes(arguments.parse(["train", "--workdir=w"]), own)
    assert found.to_json() == of_main.to_json()
    assert experiments.same_on_all_processes(arguments.parse(["train", "--workdir=w", "--config=digits"]), own) is own


@pytest.mark.parametrize("home", [False, True])
def test_the_config_of_another_workdir(capfd, monkeypatch, tmp_path, home):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = "~/w/config.json" if home else "w/config.json"
    succeed(capfd, "prepare", f"--config={config}", "--workdir=v", "--config.train.pad=3")
    found, expected = remembered(pathlib.Path("v/config.json")), remembered()
    assert found["train"].pop("pad") == 3
    del expected["train"]["pad"]
    assert found == expected


@pytest.mark.parametrize(
    "argv",
    [
        ("train", "--config.train.learning_rate=0.2"),
        ("select", "--fraction=0.99"),
        ("sweep", "--config.sweep.seeds=9", "--shard=9/10"),
        ("report", "--veto=none.json"),
        ("export", "--selection=none", "--out=x"),
    ],
)
def test_a_command_that_fails_changes_nothing(capfd, argv):
    before = tree()
    assert run_here(capfd, *argv, "--workdir=w").code == 2
    assert tree() == before


def test_a_run_remembers_the_config_of_a_new_workdir_before_its_end(capfd):
    """So that an interrupted run goes on with --workdir alone; but a config that does not fit replaces none."""
    write_digits("d.npz")
    argv = ("run", "--config=digits", "--config.dataset.name=d.npz", "--workdir=v")
    assert run_here(capfd, *argv, "--config.train.batch_size=1000").code == 2
    assert not pathlib.Path("v").exists()
    before = tree()
    done = run_here(capfd, "run", "--workdir=w", "--config.sweep.equal=epochs")  # which finished trials do not fit
    assert done.code == 2
    assert "train.steps was 8 and is now 6" in done.err
    assert tree() == before


def test_commands_that_only_read_change_nothing(capfd):
    before = tree()
    succeed(capfd, "diff", "agglomerative-0.2", "random-0.2-seed0", "--workdir=w")
    assert "model.name = 'resnet8'" in succeed(capfd, "fields", "--workdir=w").out
    assert "model.width = 2" in succeed(capfd, "fields", "--workdir=w", "--config.model.width=2").out
    succeed(capfd, "select", "--workdir=w", "--fraction=0.2", "--dry_run")
    assert tree() == before


def test_a_config_without_a_field_has_its_default(capfd):
    content = remembered()
    whole = json.loads(json.dumps(content))
    del content["train"]["keep_checkpoints"], content["report"]
    CONFIG.write_text(json.dumps(content))
    succeed(capfd, "train", "--workdir=w")
    defaults = json.loads(config_files.load_default().to_json())
    whole["train"]["keep_checkpoints"] = defaults["train"]["keep_checkpoints"]
    whole["report"] = defaults["report"]
    assert remembered() == whole


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"is not a JSON file \(.*\)\. Restore it, or remove it and give --config\.$"),
        (b"{", r"is not a JSON file \(.*\)\. Restore it, "),
        (b"[" * 100_000, r"is not a JSON file \(too deeply nested\)\. Restore it, "),
        (b"\xff\xfe\x00", r"is not a text file \(invalid start byte\)\. Restore it, "),
        (b"[]", r"must be a JSON object of sections, each an object of fields\. Restore it, "),
        (b'{"train": {"epoch": 3}}', r"has the field train\.epoch, which does not exist\. Did you mean train\.epochs"),
    ],
)
@pytest.mark.parametrize("command", ["train", "fields"])
def test_a_damaged_config(capfd, tmp_path, content, told, command):
    CONFIG.write_bytes(content)
    before = tree()
    line = error_line(run_here(capfd, command, "--workdir=w"))
    assert re.match(rf"{tmp_path}/w/config\.json: {told}", line), line
    assert tree() == before
    succeed(capfd, "fields", "--workdir=w", "--config=digits")


def test_a_value_of_the_remembered_config_that_is_not_allowed(capfd, tmp_path):
    content = remembered()
    content["train"]["batch_size"] = 0
    CONFIG.write_text(json.dumps(content))
    line = error_line(run_here(capfd, "train", "--workdir=w"))
    told = "--config.train.batch_size=0: must be a whole number from 1 to 1,048,576."
    assert line == f"{told} It is set in {tmp_path}/w/config.json."


def test_a_config_that_is_a_directory(capfd, tmp_path):
    CONFIG.unlink()
    CONFIG.mkdir()
    line = error_line(run_here(capfd, "train", "--workdir=w"))
    assert line.startswith(f"{tmp_path}/w/config.json: cannot be read (Is a directory). Restore it, ")


def test_a_workdir_that_remembers_nothing(capfd):
    CONFIG.unlink()
    line = error_line(run_here(capfd, "train", "--workdir=w"))
    assert line.endswith(": w has no config.json of an earlier command. Give for example --config=digits.")
