"""Errors about embeddings and labels in files; what they hold is tested with the command `select`."""

import numpy as np
import pytest

from data_redundancy.data import embedding_files
from data_redundancy.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("e.npy", np.eye(3))
    np.save("l.npy", np.arange(3))
    np.savez("two.npz", first=np.eye(3), second=np.eye(3))
    np.savez("beside.npz", embeddings=np.eye(3), labels=np.array(["b", "a", "b"]))
    np.save("latin.npy", np.array([b"a", b"\xe9", b"a"]))
    np.savez("mixed.npz", embedding=np.eye(2), label=np.array([b"a", b"\xe9"]))
    (tmp_path / "text.csv").write_text("a,b\n")


def test_labels_beside_the_embeddings():
    found = embedding_files.load("beside.npz", None, needs_labels=True)
    assert np.array_equal(found.embeddings, np.eye(3))
    assert found.labels.tolist() == [1, 0, 1]
    assert found.class_names == ("a", "b")
    assert found.labels_from == ("embeddings", "beside.npz:labels")


def test_labels_of_another_file():
    found = embedding_files.load("beside.npz", "l.npy", needs_labels=True)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.class_names is None
    assert found.labels_from == ("labels", "l.npy")


def test_labels_may_be_missing():
    found = embedding_files.load("e.npy", None, needs_labels=False)
    assert (found.labels, found.labels_from, found.class_names) == (None, None, None)


@pytest.mark.parametrize(
    ("embeddings", "labels", "parts"),
    [
        ("", None, ("embeddings", "", "must not be empty", None)),
        ("none.npy", None, ("embeddings", "none.npy", "does not exist", None)),
        ("e.npy", "none.npy:x", ("labels", "none.npy:x", "does not exist", None)),
        ("gs://b/e.npy", None, ("embeddings", "gs://b/e.npy", "must be a local path", None)),
        ("two.npz:frst", None, ("embeddings", "two.npz:frst", "must name one of first, second", "Did you mean first?")),
        (
            "two.npz",
            None,
            (
                "embeddings",
                "two.npz",
                "must name one of first, second, because none is called embedding or embeddings",
                "Give it as two.npz:NAME",
            ),
        ),
        (
            "e.npy:x",
            None,
            ("embeddings", "e.npy:x", "must be without a name, because the file has one array without a name", None),
        ),
        (
            "e.npy",
            None,
            (
                "labels",
                None,
                "must be given, because e.npy has no array or column label or labels: it has one array without a name",
                None,
            ),
        ),
        (
            "e.npy",
            "latin.npy",
            ("labels", "latin.npy", r"must be all integers or all UTF-8 strings, but row 1 has b'\xe9'", None),
        ),
        (
            "mixed.npz",
            None,
            (
                "embeddings",
                "mixed.npz:label",
                r"must be all integers or all UTF-8 strings, but row 1 has b'\xe9'",
                None,
            ),
        ),
    ],
)
def test_errors_name_the_argument_and_the_text(embeddings, labels, parts):
    with pytest.raises(InputError) as caught:
        embedding_files.load(embeddings, labels, needs_labels=True)
    error = caught.value
    assert (error.argument, error.value, error.requirement, error.fix) == parts


def test_other_formats_are_listed():
    with pytest.raises(InputError, match=r"^embeddings=text\.csv: must be an \.npy or \.npz file, a Parquet file or"):
        embedding_files.load("text.csv", None, needs_labels=True)
