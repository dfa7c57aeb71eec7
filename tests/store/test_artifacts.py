import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import data_redundancy as dr
from data_redundancy.errors import InputError
from data_redundancy.store import artifacts, manifests


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_embeddings_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 4 * 5 * 7)  # 7 rows of 5 dimensions: three chunks
    embeddings = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    labels = np.arange(20) % 3
    with artifacts.write_embeddings(tmp_path / "e", labels, num_dimensions=5, fingerprint={"a": 1}) as store:
        for first in range(0, 20, 5):  # blocks that do not fit the chunks
            store[first : first + 5] = embeddings[first : first + 5]
        assert manifests.read(tmp_path / "e") is None
    read, read_labels = artifacts.read_embeddings(tmp_path / "e")
    assert read.dtype == np.float32
    assert read_labels.dtype == np.int32
    assert np.array_equal(read, embeddings)
    assert np.array_equal(read_labels, labels)
    assert manifests.read(tmp_path / "e") == {
        "num_examples": 20,
        "num_dimensions": 5,
        "code_version": dr.__version__,
        "fingerprint": {"a": 1},
    }


def test_the_embedding_store_is_zarr_version_3(tmp_path):
    with artifacts.write_embeddings(tmp_path, np.zeros(4, int), num_dimensions=2, fingerprint={}) as store:
        store[:] = np.ones((4, 2), np.float32)
    group = json.loads((tmp_path / "zarr.json").read_text())
    array = json.loads((tmp_path / "embedding" / "zarr.json").read_text())
    assert (group["zarr_format"], group["node_type"]) == (3, "group")
    assert (array["zarr_format"], array["data_type"], array["shape"]) == (3, "float32", [4, 2])


def test_embeddings_that_are_not_there(tmp_path):
    assert manifests.read(tmp_path) is None
    with pytest.raises(InputError, match=r"embedding: must be a Zarr array \("):
        artifacts.read_embeddings(tmp_path)


def test_dendrograms_come_back(tmp_path):
    tree = dr.cluster(np.random.default_rng(0).normal(size=(9, 3)), np.zeros(9, int)).trees[0]
    path = artifacts.dendrogram_path(tmp_path, 7, "class")
    artifacts.write_dendrogram(path, members=tree.members, merges=tree.merges)
    with np.load(path) as arrays:
        members, linkage = arrays["members"], arrays["linkage"]
    assert files_below(tmp_path) == ["class_7.npz"]
    assert artifacts.dendrogram_path(tmp_path, 0, "dataset").name == "dataset.npz"
    assert (members.dtype, linkage.dtype) == (np.int64, np.float64)
    assert np.array_equal(members, tree.members)
    assert np.array_equal(linkage, tree.merges)


@pytest.mark.parametrize("method", ["agglomerative", "random"])
def test_selections_come_back(tmp_path, method):
    labels = np.repeat([0, 2], [12, 8])
    dendrograms = dr.cluster(np.random.default_rng(0).normal(size=(20, 4)), labels)
    selection = dr.select(dendrograms, prune_fraction=0.25, method=method)
    ids = np.array([f"shard__{i}" for i in range(20)], object)
    artifacts.write_selection(
        tmp_path / "s",
        selection,
        labels=labels,
        class_names=("cat", "dog", "eel"),
        tfds_ids=ids,
        file_names=np.array([f"{i}.png" for i in range(20)], object),
        fingerprint={"a": 1},
    )
    assert files_below(tmp_path / "s") == ["examples.parquet", "keep.npy", "manifest.json"]
    assert np.array_equal(np.load(tmp_path / "s" / "keep.npy"), selection.keep)
    rows = pq.read_table(tmp_path / "s" / "examples.parquet").to_pydict()
    assert rows["index"] == list(range(20))
    assert rows["tfds_id"] == ids.tolist()
    assert rows["file_name"] == [f"{i}.png" for i in range(20)]
    assert rows["label"] == labels.tolist()
    assert rows["class_name"] == [("cat", "dog", "eel")[label] for label in labels]
    assert rows["kept"] == selection.kept.tolist()
    for name in ("cluster", "representative"):
        array = getattr(selection, name)
        assert rows[name] == [None if value < 0 else value for value in array.tolist()]
    assert rows["distance"] == [None if np.isnan(value) else value for value in selection.distance.tolist()]
    assert manifests.read(tmp_path / "s") == {
        "method": method,
        "prune_fraction": 0.25,
        "num_examples": 20,
        "num_kept": 15,
        "code_version": dr.__version__,
        "fingerprint": {"a": 1},
    }


def test_selections_without_ids_and_names(tmp_path):
    dendrograms = dr.cluster(np.eye(3), np.zeros(3, int))
    artifacts.write_selection(
        tmp_path / "s",
        dr.select(dendrograms, prune_fraction=0),
        labels=np.zeros(3),
        class_names=None,
        tfds_ids=None,
        file_names=None,
        fingerprint={},
    )
    rows = pq.read_table(tmp_path / "s" / "examples.parquet").to_pydict()
    assert rows["tfds_id"] == rows["file_name"] == rows["class_name"] == [None] * 3


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"PK\x03\x04"])
def test_damaged_files_are_named(tmp_path, content):
    for name in ("keep.npy", "scores.npy", "class_0.npz"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    for read, name in ((artifacts.read_keep, "keep.npy"), (artifacts.read_scores, "scores.npy")):
        with pytest.raises(InputError, match=f"{name}: is missing or damaged"):
            read(tmp_path)
    if content is not None:
        with pytest.raises(InputError, match=r"class_0\.npz: is missing or damaged"):
            artifacts.read_dendrograms(tmp_path, [0], "class")


@pytest.mark.parametrize("content", ["[]", "3", '{"fingerprint": 1}', "{", b"\xff\xfe"])
def test_damaged_manifests_are_named(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"manifest\.json: must be a JSON"):
        manifests.read(tmp_path)
