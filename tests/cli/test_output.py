"""What commands print: the version, results as text or JSON, and log lines, or none of them with --quiet."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from data_redundancy.cli import failure, main, output
from data_redundancy.cli.commands import COMMANDS
from data_redundancy.version import __version__
from helpers.command import (
    LIMITED,
    Done,
    environment,
    error_line,
    run_here,
    run_process,
    tree,
    unpack_old_workdir,
    write_digits,
)

SKIPPING = ("prepare", "train", "embed", "cluster", "score", "select")
COMMAND_LINES = {
    **{name: (name, "--workdir=w") for name in SKIPPING},
    "report": ("report", "--workdir=w"),
    "sweep": ("sweep", "--workdir=w", "--config.sweep.methods=random"),  # whose trials are all finished
    "export": ("export", "--workdir=w", "--selection=agglomerative-0.2", "--out=list.csv", "--format=csv"),
    "diff": ("diff", "agglomerative-0.2", "random-0.2-seed0", "--workdir=w"),
    "fields": ("fields", "train"),
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def workdir(tmp_path):
    return unpack_old_workdir(tmp_path)


def result_of(capfd, *argv):
    """What a command prints with --json: one object on one line."""
    done = run_here(capfd, *argv, "--json")
    assert done.code == 0, done.err
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    assert (found["command"], found["version"]) == (argv[0], __version__)
    return found


@pytest.mark.parametrize("argv", [["--version"], ["-version"], ["--version", "train"]])
def test_the_version(capfd, argv):
    assert run_here(capfd, *argv) == Done(0, f"data-redundancy {__version__}\n", "")


# --json


def test_every_command_is_tested_here():
    assert {*COMMAND_LINES, "run", "answer"} == COMMANDS.keys()  # these two train; see test_old_workdir.py


@pytest.mark.parametrize("argv", COMMAND_LINES.values(), ids=COMMAND_LINES)
def test_json_of_a_command(capfd, workdir, argv):
    found = result_of(capfd, *argv)
    assert found["workdir"] == (None if argv[0] == "fields" else "w")
    result, out = found["result"], "\n".join(argv)
    if argv[0] in SKIPPING:
        skipped = [store["skipped"] for store in result["stores"]] if argv[0] == "embed" else [result["skipped"]]
        assert all(skipped)
    expected = {
        "prepare": {"dataset": "data.npz", "num_train": 120, "num_test": 60},
        "train": {"directory": "w/trials/full/seed0", "seed": 0, "steps": 8},
        "cluster": {"directory": "w/dendrograms", "num_classes": 10, "num_clustered": 0},
        "score": {"directory": "w/scores", "scores": [], "num_runs": 0},
        "select": {"directory": "w/selections/agglomerative-0.1", "num_kept": 108, "num_examples": 120},
        "sweep": {"directory": "w/trials", "num_trials": 4},
        "report": {"num_trials": 5},
        "export": {"format": "csv", "num_examples": {"train": 96}},
        "diff": {"num_examples": 120, "num_kept": [96, 96]},
    }.get(argv[0], {})
    assert expected.items() <= result.items(), out
    if argv[0] == "embed":
        assert [store["directory"] for store in result["stores"]] == ["w/embeddings", "w/embeddings_test"]
    if argv[0] == "fields":
        assert {field["name"].partition(".")[0] for field in result["fields"]} == {"train"}
    if argv[0] == "export":
        assert result["out"].endswith("list.csv")
        assert len((workdir.parent / "list.csv").read_text().splitlines()) == 97
    if argv[0] == "report":
        assert "w/report/index.html" in result["files"]


def test_json_of_a_selection_of_embeddings(capfd):
    np.save("e.npy", np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    np.save("l.npy", np.arange(60) % 3)
    argv = ("select", "--embeddings=e.npy", "--labels=l.npy", "--fraction=0.25", "--out=kept")
    assert result_of(capfd, *argv)["result"] == {
        "selection": None,
        "directory": "kept",
        "method": "agglomerative",
        "prune_fraction": 0.25,
        "num_kept": 45,
        "num_examples": 60,
        "skipped": False,
    }


def test_json_has_no_nan(capfd):
    output.print_json({"a": float("nan"), "b": [float("inf"), (1.5, True, None)]})
    assert json.loads(capfd.readouterr().out) == {"a": None, "b": [None, [1.5, True, None]]}


@pytest.mark.parametrize(
    ("argv", "argument", "value"),
    [
        (["train", "--config.train.steps=0"], "--config.train.steps", "0"),
        (["train", "--workdri=w"], "--workdri", "w"),
        (["trian"], "command", "trian"),
        (["train", "--config=digit", "--workdir=w"], "--config", "digit"),
        (["select", "--embeddings=none.npy", "--fraction=0.1", "--out=kept"], "--embeddings", "none.npy"),
        (["fields", "trian"], "section", "trian"),
    ],
)
@pytest.mark.parametrize("flag", ["--json", "-json", "--json=true"])
def test_json_of_an_error(capfd, argv, argument, value, flag):
    for line in ([*argv, flag], [argv[0], flag, *argv[1:]]):
        done = run_here(capfd, *line)
        error = json.loads(done.out)["error"]
        assert (done.code, error["exit_code"], error["argument"], error["value"]) == (2, 2, argument, value)
        assert done.err == f"data-redundancy: {error['message']}\n"
    assert error_line(run_here(capfd, *argv, "--json=false")) == error["message"]


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (MemoryError("too much"), 2), (PermissionError(13, "no", "f"), 2)]
)
def test_json_of_other_failures(capfd, monkeypatch, error, code):
    def fail(line):
        raise error

    monkeypatch.setattr(main, "_run_command", fail)
    done = run_here(capfd, "fields", "--json")
    found = json.loads(done.out)["error"]
    assert (done.code, found["exit_code"]) == (code, code)
    assert done.err == f"data-redundancy: {found['message']}\n"


def test_json_of_a_bug(capfd, monkeypatch):
    """Its traceback is the best description, but programs that read stdout get an object as well."""

    def fail(line):
        raise ZeroDivisionError("a\nbug")

    monkeypatch.setattr(main, "_run_command", fail)
    with pytest.raises(ZeroDivisionError):
        run_here(capfd, "fields", "--json")
    error = json.loads(capfd.readouterr().out)["error"]
    assert error == {"message": "ZeroDivisionError: a bug", "exit_code": failure.OTHER}


# --quiet


def test_quiet(capfd, workdir):
    """Results are on stdout, warnings on stderr, and nothing else."""
    for argv in COMMAND_LINES.values():
        done = run_here(capfd, *argv, "--quiet")
        assert done.code == 0
        warned = [line for line in done.err.splitlines() if line.startswith("warning: ")]
        assert done.err.splitlines() == warned
        assert bool(warned) == (argv[0] == "report")
        assert bool(done.out) == (argv[0] in ("report", "diff", "fields"))
    assert logging.getLogger(output.LOG).level == logging.WARNING
    run_here(capfd, "fields", "embed")
    assert logging.getLogger(output.LOG).level == logging.INFO


def test_text_is_on_stdout_and_the_log_on_stderr(capfd, workdir):
    done = run_here(capfd, *COMMAND_LINES["select"])
    assert done.out == ""
    assert done.err.splitlines()[-1] == "select: already done, skipped (w/selections/agglomerative-0.1)"


# As processes


@pytest.mark.parametrize("arguments", ["fields", "fields --json"])
def test_a_reader_that_has_seen_enough(tmp_path, arguments):
    pipe = f"set -o pipefail; {sys.executable} -m data_redundancy {arguments} | head -c 1 > first"
    done = subprocess.run(
        ["bash", "-c", pipe], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_where_the_disk_is_full(tmp_path):
    write_digits(tmp_path / "d.npz")
    before = tree(tmp_path)
    argv = ["train", "--config=digits", "--config.dataset.name=d.npz", "--workdir=w", "--json"]
    done = run_process(0, *argv, cwd=tmp_path, code=LIMITED)
    assert done.code == 2
    assert json.loads(done.out)["error"]["exit_code"] == 2
    assert before.items() <= tree(tmp_path).items()
