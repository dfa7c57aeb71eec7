import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_redundancy as dr
from data_redundancy.errors import InputError
from data_redundancy.store import artifacts, workdir
from data_redundancy.store.workdir import Workdir


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


# Files


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    with workdir.atomic_file(path) as partial:
        assert partial.suffix == ".json"
        assert partial.parent == path.parent
        partial.write_text("one")
        assert not path.exists()
    assert files_below(tmp_path) == ["new", "new/a.json"]
    assert path.read_text() == "one"


def test_a_file_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with contextlib.suppress(ZeroDivisionError), workdir.atomic_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert files_below(tmp_path) == ["a.json"]
    assert path.read_text() == "old"


def test_a_file_is_left_alone_if_nothing_changes(tmp_path):
    path = tmp_path / "a"
    assert workdir.write_if_changed(path, b"one")
    os.utime(path, ns=(1, 1))
    assert not workdir.write_if_changed(path, b"one")
    assert path.stat().st_mtime_ns == 1
    assert workdir.write_if_changed(path, b"two")
    assert path.read_bytes() == b"two"


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()))
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    workdir.write_json(path, value)
    assert workdir.read_json(path) == value


def test_json_that_is_missing_or_broken(tmp_path):
    assert workdir.read_json(tmp_path / "a.json") is None
    (tmp_path / "a.json").write_text('{"a": 1')
    with pytest.raises(InputError, match=r"a\.json: not a JSON file .*; remove it and run the stage again$"):
        workdir.read_json(tmp_path / "a.json")


# Directories


def test_a_directory_replaces_the_old_one(tmp_path):
    path = tmp_path / "artifact"
    for name in ("old", "new"):
        with workdir.atomic_directory(path) as partial:
            (partial / name).write_text(name)
            assert not (path / name).exists()
    assert files_below(tmp_path) == ["artifact", "artifact/new"]


def test_a_directory_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "artifact"
    with workdir.atomic_directory(path) as partial:
        (partial / "old").write_text("old")
    with contextlib.suppress(ZeroDivisionError), workdir.atomic_directory(path) as partial:
        (partial / "new").write_text("half")
        raise ZeroDivisionError
    assert files_below(tmp_path) == ["artifact", "artifact/old"]


def test_a_directory_of_a_killed_process_is_forgotten(tmp_path):
    path = tmp_path / "artifact"
    code = f"""
import os, pathlib, signal
from data_redundancy.store import workdir
path = pathlib.Path({str(path)!r})
with workdir.atomic_directory(path) as partial:
    (partial / "old").write_text("old")
with workdir.atomic_directory(path) as partial:
    (partial / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert (path / "old").read_text() == "old"
    assert not (path / "half").exists()
    with workdir.atomic_directory(path) as partial:
        (partial / "new").write_text("new")
    assert files_below(tmp_path) == ["artifact", "artifact/new"]


OTHER_JOB = """
import os, pathlib, signal, sys
from data_redundancy.runtime import devices
from data_redundancy.store import workdir
devices.os.getpid = lambda: int(sys.argv[2])
devices._host = lambda: sys.argv[3]
with workdir.atomic_directory(pathlib.Path(sys.argv[1])) as partial:
    print(partial.name, flush=True)
    sys.stdin.readline()
"""


def other_job(path, number, host):
    """Another process that has begun to write a directory, and the name it gave it."""
    command = [sys.executable, "-c", OTHER_JOB, str(path), str(number), host]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return job, job.stdout.readline().strip()


def test_jobs_whose_hosts_begin_alike_leave_each_other_alone(tmp_path, monkeypatch):
    """As in containers, where every job is process 1."""
    path, host = tmp_path / "artifact", "a-long-name-of-a-pod-in-a-cluster-of-many-"
    monkeypatch.setattr(workdir.devices, "_host", lambda: f"{host}0")
    job, name = other_job(path, os.getpid(), f"{host}1")
    with workdir.atomic_directory(path) as partial:
        assert partial.name != name
        assert (tmp_path / name).is_dir()
    job.kill()
    job.communicate()


def test_two_jobs_never_have_one_name(tmp_path):
    jobs = [other_job(tmp_path / directory, 1, "host") for directory in "ab"]
    assert jobs[0][1].removeprefix("a.") != jobs[1][1].removeprefix("b.")
    for job, _ in jobs:
        job.kill()
        job.communicate()


def test_a_restarted_container_removes_what_it_left(tmp_path):
    """The same host, and the number of this process again."""
    job, name = other_job(tmp_path / "artifact", os.getpid(), workdir.devices._host())
    job.kill()
    job.communicate()
    assert os.listdir(tmp_path) == [name]
    with workdir.atomic_directory(tmp_path / "artifact"):
        assert name not in os.listdir(tmp_path)


# Directories that several jobs make


def write_shared(path, content, fingerprint=("x", 1)):
    with workdir.shared_directory(path, dict([fingerprint])) as partial:
        (partial / "content").write_text(content)
        workdir.write_json(partial / workdir.MANIFEST, {"fingerprint": dict([fingerprint])})


def test_the_first_that_is_done_stays(tmp_path):
    path = tmp_path / "s"
    with workdir.shared_directory(path, {"x": 1}) as partial:
        write_fully = [
            sys.executable,
            "-c",
            f"""
import pathlib, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import test_workdir
test_workdir.write_shared(pathlib.Path({str(path)!r}), "first")
""",
        ]
        subprocess.run(write_fully, check=True, timeout=120)
        there = (path / "content").stat()
        (partial / "content").write_text("second")
        workdir.write_json(partial / workdir.MANIFEST, {"fingerprint": {"x": 1}})
    assert files_below(tmp_path) == ["s", "s/content", "s/manifest.json"]
    assert (path / "content").read_text() == "first"
    assert ((path / "content").stat().st_ino, path.stat().st_nlink) == (there.st_ino, path.stat().st_nlink)


def test_what_is_not_whole_or_of_something_else(tmp_path):
    path = tmp_path / "s"
    path.mkdir()
    (path / "half").write_text("half")
    write_shared(path, "whole")
    with pytest.raises(InputError, match="s was made from something else: x: 1 there, 2 now"):
        write_shared(path, "other", ("x", 2))
    assert files_below(tmp_path) == ["s", "s/content", "s/manifest.json"]
    assert (path / "content").read_text() == "whole"


RACE = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import test_workdir
for number in range(200):
    path = pathlib.Path(sys.argv[2]) / str(number)
    while time.time() < float(sys.argv[3]) + number / 100:
        pass
    test_workdir.write_shared(path, "content")
"""


def test_jobs_that_race_leave_no_gap(tmp_path):
    command = [sys.executable, "-c", RACE, str(pathlib.Path(__file__).parent), str(tmp_path), str(time.time() + 8)]
    jobs = [subprocess.Popen(command) for _ in range(2)]
    first_seen = {}
    while any(job.poll() is None for job in jobs):
        for path in [path for path in tmp_path.iterdir() if path.name.isdecimal()]:
            node = (path / "content").stat().st_ino  # raises where there is a gap
            assert first_seen.setdefault(path.name, node) == node
    assert [job.returncode for job in jobs] == [0, 0]
    assert sorted(os.listdir(tmp_path), key=int) == [str(number) for number in range(200)]


# What the system refuses


@pytest.mark.parametrize("writer", [workdir.atomic_file, workdir.atomic_directory])
def test_what_cannot_be_written_is_told(tmp_path, writer):
    (tmp_path / "file").write_text("not a directory")
    told = r"file/a: cannot be written \((Not a directory|File exists)\)"
    with pytest.raises(InputError, match=told), writer(tmp_path / "file" / "a"):
        pytest.fail("the block must not start")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("3600 requested and 2484 written"), "3600 requested and 2484 written"),  # NumPy
        (ValueError("Error writing \"a\": Failed to write [os_error_code='28']"), "No space left on device"),
        (RuntimeError("INTERNAL: [os_error_code='122']"), "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_told_and_the_old_artifact_survives(tmp_path, error, reason):
    path = tmp_path / "artifact"
    with workdir.atomic_directory(path) as partial:
        (partial / "old").write_text("old")
    with pytest.raises(InputError) as caught, workdir.atomic_directory(path):
        raise error
    assert str(caught.value) == f"{path}: cannot be written ({reason}); what was there before is unchanged"
    assert files_below(tmp_path) == ["artifact", "artifact/old"]


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ValueError, match=r"^shapes differ$"), workdir.writing(tmp_path):
        raise ValueError("shapes differ")


# Fingerprints and names


def test_fingerprints_that_agree():
    workdir.check_fingerprint(pathlib.Path("a"), {"f": [1, 2], "g": None}, {"g": None, "f": (1, 2)})


def test_fingerprints_that_differ_are_told_with_both_values():
    with pytest.raises(InputError) as caught:
        workdir.check_fingerprint(pathlib.Path("w/a"), {"x": 1, "y": "a", "z": 3}, {"x": 2, "y": "b", "z": 3})
    assert str(caught.value).startswith("w/a was made from something else: x: 1 there, 2 now; y: 'a' there, 'b' now. ")


def test_fingerprints_that_differ_in_much():
    with pytest.raises(InputError, match=r"c: 0 there, 1 now \(and 2 more fields\)\. "):
        workdir.check_fingerprint(pathlib.Path("a"), dict.fromkeys("abcde", 0), dict.fromkeys("abcde", 1))


def test_a_field_that_one_side_lacks_differs():
    with pytest.raises(InputError, match="x: None there, 1 now"):
        workdir.check_fingerprint(pathlib.Path("a"), {}, {"x": 1})


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
        with pytest.raises(InputError, match=rf"^--workdir={path}: must be a directory that can be written \("):
            Workdir(path)


# Artifacts


def test_embeddings_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 4 * 5 * 7)  # 7 rows of 5 dimensions: three chunks
    embeddings = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    labels = np.arange(20) % 3
    with artifacts.write_embeddings(tmp_path / "e", labels, num_dimensions=5, fingerprint={"a": 1}) as store:
        for first in range(0, 20, 5):  # blocks that do not fit the chunks
            store[first : first + 5] = embeddings[first : first + 5]
        assert artifacts.read_manifest(tmp_path / "e") is None
    read, read_labels = artifacts.read_embeddings(tmp_path / "e")
    assert read.dtype == np.float32
    assert read_labels.dtype == np.int32
    assert np.array_equal(read, embeddings)
    assert np.array_equal(read_labels, labels)
    assert artifacts.read_manifest(tmp_path / "e") == {
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
    assert artifacts.read_manifest(tmp_path) is None
    with pytest.raises(InputError, match=r"embedding: not a Zarr array"):
        artifacts.read_embeddings(tmp_path)


def test_dendrograms_come_back(tmp_path):
    tree = dr.cluster_classes(np.random.default_rng(0).normal(size=(9, 3)), np.zeros(9, int)).trees[0]
    path = artifacts.dendrogram_path(tmp_path, 7, "class")
    artifacts.write_dendrogram(path, members=tree.members, linkage=tree.linkage)
    members, linkage = artifacts.read_dendrogram(path)
    assert files_below(tmp_path) == ["class_7.npz"]
    assert artifacts.dendrogram_path(tmp_path, 0, "dataset").name == "dataset.npz"
    assert (members.dtype, linkage.dtype) == (np.int64, np.float64)
    assert np.array_equal(members, tree.members)
    assert np.array_equal(linkage, tree.linkage)


@pytest.mark.parametrize("method", ["agglomerative", "random"])
def test_selections_come_back(tmp_path, method):
    labels = np.repeat([0, 2], [12, 8])
    dendrograms = dr.cluster_classes(np.random.default_rng(0).normal(size=(20, 4)), labels)
    selection = dr.select(dendrograms, 0.25, method=method)
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
    assert artifacts.read_manifest(tmp_path / "s") == {
        "method": method,
        "prune_fraction": 0.25,
        "num_examples": 20,
        "num_kept": 15,
        "code_version": dr.__version__,
        "fingerprint": {"a": 1},
    }


def test_selections_without_ids_and_names(tmp_path):
    dendrograms = dr.cluster_classes(np.eye(3), np.zeros(3, int))
    artifacts.write_selection(
        tmp_path / "s",
        dr.select(dendrograms, 0),
        labels=np.zeros(3),
        class_names=None,
        tfds_ids=None,
        file_names=None,
        fingerprint={},
    )
    rows = pq.read_table(tmp_path / "s" / "examples.parquet").to_pydict()
    assert rows["tfds_id"] == rows["file_name"] == rows["class_name"] == [None] * 3
