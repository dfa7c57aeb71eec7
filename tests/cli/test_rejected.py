"""Every command line that version 0.1.0 rejected is still rejected, for the same reason, and leaves nothing behind."""

import json
import pathlib
import re

import numpy as np
import pytest

from helpers.command import error_line, run_here, tree, write_digits

REJECTED = json.loads((pathlib.Path(__file__).parent / "rejected_by_0_1_0.json").read_text())


@pytest.fixture(autouse=True)
def _in_a_folder_with_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    write_digits("d.npz")
    rng = np.random.default_rng(0)
    np.save("e.npy", rng.normal(size=(60, 5)).astype(np.float32))
    np.save("l.npy", np.arange(60) % 3)
    pathlib.Path("file").touch()


@pytest.mark.parametrize("row", REJECTED, ids=lambda row: " ".join(row["argv"])[:60])
def test_a_command_line_that_was_rejected(capfd, row):
    before = tree()
    line = error_line(run_here(capfd, *row["argv"]))
    assert tree() == before
    names = row["names"]
    if names.startswith("--"):
        assert re.match(rf"{re.escape(names)}[=:]", line), line
    else:
        assert names in line.partition(": ")[0], line

    done = run_here(capfd, *row["argv"], "--json")
    assert tree() == before
    assert (done.code, done.err.removeprefix("data-redundancy: ").strip()) == (2, line)
    assert done.out.count("\n") == 1
    error = json.loads(done.out)["error"]
    assert error["exit_code"] == 2
    assert error["message"] == line
    assert line.startswith(error["argument"])
    assert error["requirement"] in line
    assert error["fix"] is None or error["fix"] in line


def test_the_table_is_whole():
    assert len(REJECTED) == 126
