"""Random command lines and configs: each gives the right result, or one line that names what is wrong with it."""

import contextlib
import json
import math
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest

from data_redundancy.cli.commands import COMMANDS
from helpers.command import Done, run_here, run_process, tree, unpack_old_workdir, write_digits
from helpers.random_command_lines import make_case

SEED, NUM_CASES = 0, 300
AS_PROCESSES = range(0, NUM_CASES, 37)
LONGEST_S = 30
"""A command that takes longer hangs."""


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
def prepare(files, tmp_path, monkeypatch):
    """Copies the files that a case needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))

    def copy(case):
        old_workdir = ("data.npz", "w", "file")
        others = [name for name in os.listdir(files) if name != "w"]
        for name in old_workdir if case.argv[0] in ("diff", "export") else others:
            copy_one = shutil.copytree if (files / name).is_dir() else shutil.copy2
            copy_one(files / name, name)
        for name, content in case.files.items():
            pathlib.Path(name).write_bytes(content)

    return copy


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
def test_a_random_command_line(capfd, prepare, index):
    case = make_case(SEED, index)
    prepare(case)
    before = tree()
    with limited_to(LONGEST_S):
        done = run_here(capfd, *case.argv, "--quiet", "--json")
    judge(case, done, before, tree())


@pytest.mark.slow
@pytest.mark.parametrize("index", AS_PROCESSES)
def test_a_random_command_line_as_a_process(prepare, index):
    case = make_case(SEED, index)
    prepare(case)
    before = tree()
    done = run_process(*case.argv, "--quiet", "--json", cwd=".", devices=8)
    judge(case, done, before, tree())


def test_the_cases_are_many_and_of_all_kinds():
    cases = [make_case(SEED, index) for index in range(NUM_CASES)]
    valid = sum(not case.wrong for case in cases)
    assert NUM_CASES / 3 < valid < NUM_CASES * 2 / 3
    assert {case.argv[0] for case in cases} >= COMMANDS.keys() - {"embed", "cluster"}
    assert cases[0].argv == make_case(SEED, 0).argv
