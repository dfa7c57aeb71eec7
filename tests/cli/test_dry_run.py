"""--dry_run: what would run and what would be skipped, how long it takes, and that nothing is written."""

import json
import pathlib
import re

import numpy as np
import pytest

from data_redundancy.cli.commands import COMMANDS
from data_redundancy.stages import run
from helpers import imagenet_like
from helpers.command import error_line, run_here, tree, unpack_old_workdir, write_digits

FLAGS = {
    "export": ("--selection=agglomerative-0.2", "--out=exported"),
    "diff": ("agglomerative-0.2", "random-0.2-seed0"),
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))


def steps(capfd, command, *argv):
    """(command, action, seconds) of every step; nothing is written."""
    before = tree()
    done = run_here(capfd, command, *argv, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert tree() == before
    found = [(s["command"], s["action"], s["seconds"]) for s in json.loads(done.out)["result"]["steps"]]
    text = run_here(capfd, command, *argv, "--dry_run")
    assert (text.code, tree()) == (0, before)
    rows = [re.split(r"\s{2,}", line)[:2] for line in text.out.splitlines()[2:]]
    assert rows == [[name, action] for name, action, _ in found]
    return found


def actions(found):
    return [(command, action) for command, action, _ in found]


@pytest.mark.parametrize("command", [name for name in COMMANDS if COMMANDS[name].has_experiment and name != "export"])
def test_nothing_is_done_yet(capfd, command):
    found = steps(capfd, command, "--config=digits", "--workdir=w")
    # No method of this config needs scores.
    assert actions(found) == [(name, "skip" if name == "score" else "run") for name, _, _ in found]
    assert {seconds for _, action, seconds in found if action == "run"} <= {None}
    if command == "run":
        assert list(dict.fromkeys(name for name, _, _ in found)) == list(run.STAGES)


@pytest.mark.parametrize("command", COMMANDS)
def test_almost_all_is_done(capfd, tmp_path, command):
    unpack_old_workdir(tmp_path)
    found = steps(capfd, command, *FLAGS.get(command, ()), "--workdir=w")
    unfinished = {"sweep", "report", "export", "diff", "fields", "answer"}
    assert actions(found) == [(name, "run" if name in unfinished else "skip") for name, _, _ in found]
    assert all((seconds is not None) == (name not in unfinished - {"sweep", "answer"}) for name, _, seconds in found)
    assert {seconds for _, action, seconds in found if action == "skip"} <= {0}


def test_the_time_of_trials_is_that_of_finished_ones(capfd, tmp_path):
    workdir = unpack_old_workdir(tmp_path)
    results = [json.loads(path.read_text()) for path in workdir.glob("trials/*/seed*/result.json")]
    speed = np.median([result["train_seconds"] / result["steps"] for result in results if result["seed"] < 2])
    ((*_, seconds),) = steps(capfd, "sweep", "--workdir=w")
    assert seconds == pytest.approx(8 * speed)
    ((*_, seconds),) = steps(capfd, "sweep", "--workdir=w", "--config.sweep.seeds=(0,1,2,3)")
    assert seconds == pytest.approx(7 * 8 * speed)
    ((*_, seconds),) = steps(capfd, "train", "--workdir=w", "--config.train.seed=7")
    assert seconds > 0
    scores = ("--config.sweep.methods=(el2n,random)", "--config.score.seeds=(4,5,6)", "--config.score.epochs=1")
    ((*_, seconds),) = steps(capfd, "score", "--workdir=w", *scores)
    assert seconds > 0


def test_shards(capfd, tmp_path):
    unpack_old_workdir(tmp_path)
    found = [actions(steps(capfd, "sweep", "--workdir=w", f"--shard={i}/6")) for i in range(6)]
    assert sorted(action for ((_, action),) in found) == ["run", "skip", "skip", "skip", "skip", "skip"]


def test_a_settled_answer(capfd, tmp_path):
    unpack_old_workdir(tmp_path)
    found = actions(steps(capfd, "answer", "--workdir=w", "--fraction=0.2"))
    assert ("answer", "skip") in found
    assert found[-1] == ("report", "run")


def test_records_that_are_not_listed_yet(capfd, tmp_path):
    """A command that streams images lists the records first; its dry run does not, whatever other lists exist."""
    imagenet_like.write(tmp_path / "data")
    data = ("--config.dataset.name=imagenet_like", f"--config.dataset.data_dir={tmp_path / 'data'}")
    argv = ("--config=digits", "--config.prepare.source=none", "--workdir=w", *data, "--config.input.mode=stream")
    argv += (
        "--config.dataset.test_split=validation",
        "--config.input.catalog_dir=lists",
        "--config.input.image_size=32",
    )
    assert actions(steps(capfd, "prepare", *argv)) == [("prepare", "run")]
    assert run_here(capfd, "prepare", *argv).code == 0
    assert actions(steps(capfd, "prepare", *argv)) == [("prepare", "skip")]
    listed = pathlib.Path("lists/imagenet_like/5.1.0/train.npz")
    listed.unlink()
    assert actions(steps(capfd, "prepare", *argv)) == [("prepare", "run")]
    assert actions(steps(capfd, "train", *argv)) == [("train", "run")]


def test_a_selection_of_embeddings(capfd):
    np.save("e.npy", np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    argv = ("--embeddings=e.npy", "--fraction=0.1", "--out=kept")
    assert actions(steps(capfd, "select", *argv)) == [("select", "run")]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["run", "--fraction=0.99"], "--fraction=0.99: must be at most 0.95, "),
        (["run", "--config.sweep.fractions=1e-9"], "--config.sweep.fractions=1e-09: must be more than 0.0025, "),
        (["run", "--config.dataset.name=none.npz"], "none.npz: does not exist"),
        (
            ["run", "--config.dataset.name=photos", "--config.prepare.source=photos"],
            "--config.prepare.source=photos: does not exist",
        ),
        (["sweep", "--shard=40/50"], "--shard=40/50: has no trial"),
        (["answer", "--fraction=0.9999999"], "--fraction=0.9999999: must be at most 0.95, "),
        (["answer", "--max_trials=3"], "--max_trials=3: must be at least 9, "),
        (["export", "--selection=none", "--out=x"], "--selection=none: must be the directory of a selection"),
    ],
)
def test_what_a_command_rejects_its_dry_run_rejects(capfd, argv, told):
    write_digits("d.npz")
    before = tree()
    argv = [*argv, "--config=digits", "--workdir=w", "--dry_run"]
    if not any("dataset.name" in argument for argument in argv):
        argv.append("--config.dataset.name=d.npz")
    done = run_here(capfd, *argv, "--quiet")
    assert re.match(told, line := error_line(done)), line
    assert tree() == before
