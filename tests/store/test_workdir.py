import os
import pathlib

import pytest

from data_redundancy.errors import InputError
from data_redundancy.store import filesystems, workdir
from data_redundancy.store.workdir import Workdir


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_selection_names():
    assert workdir.selection_name("agglomerative", 0.1) == "agglomerative-0.1"
    assert workdir.selection_name("random", 0.25, 3) == "random-0.25-seed3"
    assert workdir.selection_name("random", 0.0, 3) == "full"


def test_a_workdir_is_absolute_and_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = Workdir("a/b")
    assert directory.root == tmp_path / "a" / "b"
    assert files_below(tmp_path) == ["a", "a/b"]
    assert directory.show(directory.embeddings) == os.path.join("a", "b", "embeddings")
    assert directory.show(pathlib.Path("/elsewhere")) == "/elsewhere"
    assert directory.trial("random-0.1-seed2", 2) == directory.root / "trials" / "random-0.1-seed2" / "seed2"


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "w", "/proc/w"):
        with pytest.raises(InputError, match=rf"^workdir={path}: must be a writable directory \("):
            Workdir(path)


@pytest.mark.parametrize("root", ["w", "/proc/w", "gs://no-such-bucket/w"])
def test_a_workdir_of_a_dry_run_is_neither_made_nor_probed(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(filesystems, "check_bucket", lambda *_: pytest.fail("it must not be probed"))
    monkeypatch.setattr(filesystems, "_set_up_gcsfs", lambda *_: None)
    directory = Workdir(root, create=False)
    assert str(directory.root) == (str(tmp_path / "w") if root == "w" else root)
    assert files_below(tmp_path) == []


def test_a_workdir_needs_a_name(tmp_path, monkeypatch):
    """An empty path would mean the current directory."""
    monkeypatch.chdir(tmp_path)
    for create in (True, False):
        with pytest.raises(InputError) as caught:
            Workdir("", create=create)
        assert str(caught.value) == "workdir='': must not be empty. Name a directory, such as runs/digits."
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("argument", ["out", "veto", "selection"])
def test_other_paths_need_a_name_too(argument):
    with pytest.raises(InputError, match=f"^{argument}='': must not be empty$"):
        filesystems.locate("", argument)
