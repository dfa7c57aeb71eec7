"""A veto: how it is read, rejected and applied; by itself, in a workdir and on embeddings from files."""

import json
import os
import pathlib
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cosine
from sklearn.datasets import load_digits

import data_redundancy as dr
from data_redundancy.errors import InputError
from data_redundancy.selection.veto import Veto, apply, check_classes
from data_redundancy.selection.veto_file import parse
from helpers.cluster_workdir import CONFIG, write_workdir
from helpers.command import error_line, run_here

N = 60


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(n_class=3, return_X_y=True)
    return images[:N].astype(np.float32), labels[:N].astype(np.int64)


def agglomerative(digits, fraction=0.4, **options):
    return dr.select(dr.cluster(*digits), prune_fraction=fraction, **options)


def veto(keep=(), drop=()):
    return Veto(np.array(sorted(keep), np.int64), np.array(sorted(drop), np.int64))


def read_json(path):
    return json.loads(pathlib.Path(path).read_text())


def document(keep=(), drop=(), **replaced):
    return {"format": "data_redundancy veto", "version": 1, "keep": list(keep), "drop": list(drop), **replaced}


# How it changes a selection


def by_hand(selection, keep, drop, embeddings):
    """Kept, representative and distance, image by image, as the docstring of `apply` defines them."""
    n = selection.num_examples
    standing = {}
    for cluster in set(selection.cluster.tolist()):
        members = [i for i in range(n) if selection.cluster[i] == cluster]
        old = selection.representative[members[0]]
        left = [i for i in members if i not in drop]
        if old not in drop:
            standing[cluster] = old
        elif left:
            pool = [i for i in left if i in keep] or left
            standing[cluster] = min(pool, key=lambda i: (selection.distance[i], i))
        else:
            standing[cluster] = -1
    kept = sorted({r for r in standing.values() if r >= 0} | set(keep))
    representative = [i if i in kept else standing[selection.cluster[i]] for i in range(n)]
    distance = [np.nan if r < 0 else cosine(embeddings[i], embeddings[r]) for i, r in enumerate(representative)]
    return kept, representative, distance


@given(st.data())
def test_it_equals_what_one_does_by_hand(digits, data):
    selection = agglomerative(digits, data.draw(st.sampled_from([0.0, 0.4, 0.9])))
    marks = data.draw(st.lists(st.sampled_from("....kd"), min_size=N, max_size=N))
    # Drops every image of some clusters, because a whole cluster may be pruned.
    whole = data.draw(st.sets(st.sampled_from(sorted(set(selection.cluster.tolist()))), max_size=3))
    drop = {i for i in range(N) if marks[i] == "d" or selection.cluster[i] in whole}
    keep = {i for i in range(N) if marks[i] == "k"} - drop
    kept, representative, distance = by_hand(selection, keep, drop, digits[0])
    found = apply(selection, veto(keep, drop), digits[0])
    assert found.keep.tolist() == kept
    assert found.representative.tolist() == representative
    np.testing.assert_allclose(found.distance, distance, atol=1e-6)
    assert np.array_equal(found.cluster, selection.cluster)


@given(st.sets(st.integers(0, N - 1)), st.sets(st.integers(0, N - 1)))
def test_a_random_subset_has_no_substitutes(digits, keep, drop):
    selection = agglomerative(digits, method="random", seed=1)
    keep -= drop
    found = apply(selection, veto(keep, drop))
    assert set(found.keep.tolist()) == (set(selection.keep.tolist()) | keep) - drop
    indices = np.arange(N)
    assert np.array_equal(found.representative, np.where(found.kept, indices, -1))
    assert np.array_equal(np.isnan(found.distance), ~found.kept)


def test_an_empty_veto_changes_nothing(digits):
    selection = agglomerative(digits)
    found = apply(selection, veto())
    for name in ("keep", "cluster", "representative", "distance"):
        assert np.array_equal(getattr(found, name), getattr(selection, name)), name


def test_new_representatives_need_the_embeddings(digits):
    selection = agglomerative(digits)
    representative = selection.representative[selection.redundant[0]]
    with pytest.raises(
        InputError, match=r"^embeddings: must be given, since the veto drops representatives of clusters$"
    ):
        apply(selection, veto(drop=[representative]))


def test_a_class_without_an_image_is_named(digits):
    x, y = digits
    selection = agglomerative(digits)
    after = apply(selection, veto(drop=np.flatnonzero(y == 1)), x)
    with pytest.raises(
        InputError, match=r"^veto: drops every image of class 1\. Keep at least one image of every class\.$"
    ):
        check_classes(selection, after, y, None)
    with pytest.raises(InputError, match=r"^veto: drops every image of class 'b'\. "):
        check_classes(selection, after, y, ["a", "b", "c"])
    after = apply(selection, veto(drop=np.flatnonzero(y > 0)), x)
    with pytest.raises(InputError, match=r"^veto: drops every image of 2 classes \('b', 'c'\)\. "):
        check_classes(selection, after, y, ["a", "b", "c"])
    with pytest.raises(InputError, match=r"^veto: drops all images\. Keep at least one image\.$"):
        check_classes(selection, apply(selection, veto(drop=range(N)), x), None, None)


# How it is read


def read(document, **options):
    return parse(document, **{"num_examples": 5, "dataset": "abc", **options})


def test_indices_ids_and_file_names_are_the_same_images():
    ids, files = [f"t{i}" for i in range(5)], [f"{i}.png" for i in range(5)]
    found = read(document([3, "t1", 1], ["0.png", "t2"], dataset="abc", selection="s"), tfds_ids=ids, file_names=files)
    assert (found.keep.tolist(), found.drop.tolist()) == ([1, 3], [0, 2])
    assert found.digest == veto([1, 3], [0, 2]).digest != veto([0, 2], [1, 3]).digest


def test_a_list_that_is_left_out_is_empty():
    only_keep = {name: value for name, value in document([3]).items() if name != "drop"}
    assert read(only_keep).digest == veto([3], []).digest


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ([], 'veto: must be a JSON object with "format": "data_redundancy veto", '),
        ({"keep": [], "drop": []}, 'veto: must be a JSON object with "format": '),
        (document(version=2), "veto: must have version 1, but has version 2$"),
        (
            document() | {"drop": 3},
            "veto: must have a list of indices, tfds_ids or file names as 'drop', not 3$",
        ),
        (
            document() | {"dorp": [1]},
            r"veto: must have only the fields .*keep, drop, but has 'dorp'\. Did you mean drop\?$",
        ),
        (document([True]), "veto: must have only integers and strings in 'keep', not True$"),
        (document([1.0]), "veto: must have only integers and strings in 'keep', not 1.0$"),
        (document([], [None]), "veto: must have only integers and strings in 'drop', not None$"),
        (
            document([5, 2], [-1]),
            r"veto: has 2 entries \(5, -1\) not in the data set\. Use an index from 0 to 4, a tfds_id or a file_name",
        ),
        (
            document(["t9"]),
            r"veto: has 1 entry \('t9'\) not in the data set\. Use an index from 0 to 4, a tfds_id or a file_name\.$",
        ),
        (
            document(range(100, 200)),
            r"veto: has 100 entries \(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, \.\.\.\) not in the data set",
        ),
        (document(["same"]), r"veto: has 1 name \('same'\) of several images\. Give the indices of the images\.$"),
        (document([3, 1], ["t1", 3]), r"veto: has 2 images \(1, 3\) both in keep and in drop$"),
        (document(dataset="xyz"), "veto: must be made for the data set with digest 'abc', but was made for 'xyz'$"),
    ],
)
def test_what_is_refused(spoilt, told):
    ids, files = [f"t{i}" for i in range(5)], ["a", "b", "same", "same", "e"]
    with pytest.raises(InputError) as error:
        read(spoilt, tfds_ids=ids, file_names=files)
    assert re.match(told, str(error.value)), error.value


# In a workdir


@pytest.fixture(scope="module")
def workdir(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("veto")
    write_workdir(folder, *digits)
    return folder


@pytest.fixture
def clustered(workdir, capfd, monkeypatch):
    monkeypatch.chdir(workdir)
    assert run_here(capfd, "cluster", *CONFIG).code == 0
    return workdir


def write_veto(**lists):
    with open("veto.json", "w") as file:
        json.dump(document(**lists), file)


def test_select_obeys_and_records_it(clustered, digits, capfd):
    command = ("select", *CONFIG, "--config.select.fraction=0.4")
    assert run_here(capfd, *command).code == 0
    before = np.load("w/selections/agglomerative-0.4/keep.npy")
    selection = agglomerative(digits)
    assert np.array_equal(before, selection.keep)
    lone = next(i for i in selection.keep if np.sum(selection.cluster == selection.cluster[i]) == 1)
    keep, drop = selection.redundant[:3].tolist(), [int(selection.representative[selection.redundant[5]]), int(lone)]
    manifest = read_json("w/selections/agglomerative-0.4/manifest.json")
    write_veto(keep=keep, drop=drop, dataset=manifest["fingerprint"]["dataset.train_digest"])
    done = run_here(capfd, *command, "--veto=veto.json")
    assert (done.code, done.out) == (0, "")
    digest = veto(keep, drop).digest
    name = f"w/selections/agglomerative-0.4-veto-{digest[:8]}"
    said = [line for line in done.err.splitlines() if line.startswith("select")]
    assert said == [
        "select: applied a veto of 3 images to keep and 2 to drop: 2 more are kept than without it",
        f"select: {len(before) + 2} images kept ({name})",
    ]
    expected = apply(selection, veto(keep, drop), digits[0])
    assert np.array_equal(np.load(f"{name}/keep.npy"), expected.keep)
    rows = pq.read_table(f"{name}/examples.parquet").to_pydict()
    assert rows["kept"] == expected.kept.tolist()
    assert [-1 if r is None else r for r in rows["representative"]] == expected.representative.tolist()
    manifest = read_json(f"{name}/manifest.json")
    assert manifest["veto"] == {"keep": keep, "drop": sorted(drop), "digest": digest, "num_kept_without": len(before)}
    assert manifest["fingerprint"]["select.veto"] == digest
    assert manifest["num_kept"] == len(expected.keep)
    assert np.array_equal(np.load("w/selections/agglomerative-0.4/keep.npy"), before)
    assert f"select: already done, skipped ({name})" in run_here(capfd, *command, "--veto=veto.json").err


def test_a_random_subset_obeys_too(clustered, capfd):
    write_veto(keep=[0, 1], drop=[2])
    done = run_here(capfd, "select", *CONFIG, "--config.select.method=random", "--veto=veto.json")
    assert done.code == 0
    keep = np.load(f"w/selections/random-0.1-seed0-veto-{veto([0, 1], [2]).digest[:8]}/keep.npy")
    assert {0, 1} <= set(keep.tolist())
    assert 2 not in keep


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "--veto=veto.json: is not a JSON file "),
        (json.dumps(document([N])), rf"--veto=veto.json: has 1 entry \({N}\) not in the data set\. .* no ids\.$"),
        (json.dumps(document(["a/b.png"])), r"--veto=veto.json: has 1 entry \('a/b.png'\) not in the data set\. "),
        (
            json.dumps(document(dataset="0123")),
            "--veto=veto.json: must be made for the data set with digest '.*', but was made for '0123'$",
        ),
        (json.dumps(document(drop=range(N))), r"--veto=veto.json: drops every image of 3 classes \('0', '1', '2'\)\. "),
    ],
)
def test_mistaken_vetoes(clustered, capfd, content, told):
    with open("veto.json", "w") as file:
        file.write(content)
    before = sorted(os.listdir("w/selections")) if os.path.exists("w/selections") else []
    done = run_here(capfd, "select", *CONFIG, "--veto=veto.json")
    assert done.code == 2
    assert re.match(told, line := done.err.splitlines()[-1].removeprefix("data-redundancy: ")), line
    assert (sorted(os.listdir("w/selections")) if os.path.exists("w/selections") else []) == before


def test_a_veto_that_is_not_there(clustered, capfd):
    done = run_here(capfd, "select", *CONFIG, "--veto=none.json")
    assert done.err.splitlines()[-1] == (
        "data-redundancy: --veto=none.json: is not a file. Name a veto.json that the report's page saved."
    )
    line = error_line(run_here(capfd, "cluster", *CONFIG, "--veto=veto.json"))
    assert line == "--veto=veto.json: is a flag of the commands select and report only"


# On embeddings from files


def test_select_from_arrays_obeys_it_by_the_ids_of_the_source(digits, tmp_path, monkeypatch, capfd):
    import pyarrow as pa

    monkeypatch.chdir(tmp_path)
    x, y = digits
    selection = agglomerative(digits)
    files = [f"{i}.png" for i in range(N)]
    pq.write_table(pa.table({"embedding": list(x), "label": y, "file_name": files}), "e.parquet")
    keep, drop = selection.redundant[:4], selection.representative[selection.redundant[4:5]]
    write_veto(keep=[files[i] for i in keep], drop=drop.tolist())
    command = ["select", "--embeddings=e.parquet", "--fraction=0.4", "--out=kept"]
    done = run_here(capfd, *command, "--veto=veto.json")
    assert done.code == 0, done.err
    assert "select: applied a veto of 4 images to keep and 1 to drop: " in done.err
    assert np.array_equal(np.load("kept/keep.npy"), apply(selection, veto(keep, drop), x).keep)
    assert read_json("kept/manifest.json")["veto"]["keep"] == keep.tolist()
    write_veto(keep=["61.png"])
    line = error_line(run_here(capfd, *command[:-1], "--out=more", "--veto=veto.json"))
    assert line.startswith("--veto=veto.json: has 1 entry ('61.png') not in the data set. Use an index from 0 to 59")
    write_veto(drop=range(N))
    done = run_here(capfd, *command[:-1], "--out=more", "--veto=veto.json")
    assert done.code == 2
    assert "data-redundancy: --veto=veto.json: drops every image of 3 classes (0, 1, 2). " in done.err
    assert not os.path.exists("more")
