"""The command `report`: its text, its page and its warnings, in workdirs of whole jobs."""

import csv
import json
import pathlib
import re
import shutil
import sys

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
from scipy.spatial.distance import cdist

from data_redundancy import data
from data_redundancy.data.tfds.image_stream import ImageStream
from data_redundancy.store import artifacts
from helpers import imagenet_like, page_content
from helpers.cluster_workdir import read_tree
from helpers.command import (
    NO_TENSORFLOW,
    TINY,
    ends,
    error_line,
    mtimes,
    run_here,
    run_process,
    start_all,
    write_digits,
)

pytestmark = pytest.mark.slow

NUM_TRAIN, NUM_TEST = 300, 60
TWICE, LABELS_OF_TWICE = (17, 230), (3, 8)
TRAINED_ON, LEAK = 99, 31
FLAGS = (*TINY, "--config.dataset.name=d.npz", "--config.select.fraction=0.2", "--workdir=w")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """`run` on digits without TensorFlow: one image occurs twice with different labels, one is in both splits."""
    folder = tmp_path_factory.mktemp("job")
    with np.load(write_digits(folder / "d.npz", NUM_TRAIN, NUM_TEST)) as arrays:
        planted = dict(arrays)
    planted["image_train"][TWICE[1]] = planted["image_train"][TWICE[0]]
    planted["label_train"][list(TWICE)] = LABELS_OF_TWICE
    planted["image_test"][LEAK] = planted["image_train"][TRAINED_ON]
    np.savez(folder / "d.npz", **planted)
    done = run_process("run", *FLAGS, cwd=folder, code=NO_TENSORFLOW)
    assert done.code == 0, done.err
    return folder, done, planted


@pytest.fixture
def own_copy(job, tmp_path, monkeypatch):
    shutil.copytree(job[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy" / "w"


# The page of a whole job


def test_the_page_is_named_with_the_rest(job):
    folder, done, _ = job
    names = [
        f"w/report/{name}" for name in ("results.csv", "results.md", "accuracy.png", "difference.png", "index.html")
    ]
    assert [line for line in done.out.splitlines() if line.startswith("w/")] == names
    assert sorted(path.name for path in (folder / "w" / "report").iterdir()) == sorted(
        pathlib.Path(n).name for n in names
    )


def test_it_shows_the_groups_of_the_selection(job):
    folder, _, planted = job
    found = page_content.read(folder / "w" / "report")
    rows = pq.read_table(folder / "w" / "selections" / "agglomerative-0.2" / "examples.parquet").to_pydict()
    expected = {}
    for index, representative, kept, distance in zip(
        rows["index"], rows["representative"], rows["kept"], rows["distance"], strict=True
    ):
        if not kept:
            expected.setdefault(representative, []).append((distance, index))
    expected = [[head, *(i for _, i in sorted(others))] for head, others in expected.items()]
    assert sorted(page_content.groups(found)) == sorted(expected)
    assert found["groups"]["tightness"] == sorted(found["groups"]["tightness"])
    assert found["selection"] | {"name": "agglomerative-0.2", "num_kept": 240, "num_pruned": 60} == found["selection"]
    assert found["classes"]["size"] == np.bincount(planted["label_train"]).tolist()
    assert sum(found["classes"]["pruned"]) == 60


def test_thumbnails_are_the_images(job):
    folder, _, planted = job
    directory = folder / "w" / "report"
    found = page_content.read(directory)
    images = found["images"]
    assert 1 in images["split"]
    for row, (index, is_test, label) in enumerate(zip(images["index"], images["split"], images["label"], strict=True)):
        split = "test" if is_test else "train"
        expected = np.repeat(planted[f"image_{split}"][index][..., None], 3, 2)
        np.testing.assert_array_equal(page_content.thumbnail(directory, found, row), expected)
        assert label == planted[f"label_{split}"][index]


def test_warnings_are_those_of_brute_force(job):
    folder, _, planted = job
    found = page_content.read(folder / "w" / "report")
    train, test = (
        artifacts.read_embeddings(folder / "w" / name)[0].astype(np.float64)
        for name in ("embeddings", "embeddings_test")
    )
    selection = pq.read_table(folder / "w" / "selections" / "agglomerative-0.2" / "examples.parquet")
    height = np.quantile(selection["distance"].to_numpy()[~selection["kept"].to_numpy()], 0.1)
    between, to_train, labels = cdist(train, train, "cosine"), cdist(test, train, "cosine"), planted["label_train"]
    errors = [
        (a, b) for a, b in zip(*np.triu_indices(NUM_TRAIN, 1), strict=True)
        if labels[a] != labels[b] and between[a, b] <= height
    ]  # fmt: skip
    errors.sort(key=lambda pair: between[pair])
    leaks = [(t, n) for t, n in enumerate(to_train.argmin(1)) if to_train[t, n] <= height]
    leaks.sort(key=lambda pair: to_train[pair])
    shown = page_content.warning_pairs(found, "label_errors", ("a", "b"))
    assert [pair[:2] for pair in shown] == errors[:200]
    assert shown[0][:2] == TWICE
    shown = page_content.warning_pairs(found, "leaks", ("test", "train"))
    assert [pair[:2] for pair in shown] == leaks[:200]
    assert shown[0][:2] == (LEAK, TRAINED_ON)
    for kind, images in (("label_errors", ("train", "train")), ("leaks", ("test", "train"))):
        names = ("a", "b") if kind == "label_errors" else ("test", "train")
        for warning in found["warnings"][kind]:
            one, other = (
                planted[f"image_{split}"][found["images"]["index"][warning[name]]]
                for split, name in zip(images, names, strict=True)
            )
            assert warning["identical"] == np.array_equal(one, other)
        assert found["warnings"][kind][0]["identical"]


def test_the_curve_of_heights_and_the_cut(job):
    folder, _, _planted = job
    heights = page_content.read(folder / "w" / "report")["heights"]
    trees = [read_tree(path)[1][:, 2] for path in (folder / "w" / "dendrograms").glob("class_*.npz")]
    expected = np.median([tree[round(0.2 * (len(tree) + 1)) - 1] for tree in trees])
    assert heights["cut"] == pytest.approx(expected, rel=1e-5)
    assert heights["height"] == sorted(heights["height"])
    assert len(heights["share"]) > 400


def test_the_answer_and_the_numbers_are_those_of_the_trials(job):
    folder, _, _ = job
    found = page_content.read(folder / "w" / "report")
    with (folder / "w" / "report" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, shown in zip(rows, found["accuracy"], strict=True):
        assert (shown["method"], shown["num_kept"]) == (row["method"], int(row["num_kept"]))
        assert shown["mean"] == float(row["accuracy_mean"])
        if row["difference_from_full_mean"]:
            assert list(shown["full"].values()) == [
                float(row[f"difference_from_full_{x}"]) for x in ("mean", "low", "high")
            ]
    results = [json.loads(path.read_text()) for path in (folder / "w" / "trials").glob("*/seed*/result.json")]
    lines = found["answer"]["lines"]
    assert (
        found["answer"]["headline"].partition(" (")[2].startswith("difference ") or "20%" in found["answer"]["headline"]
    )
    assert lines[0] == "Pruned: 60 of 300 training images (20%); 240 are kept."
    mean = {
        method: 100 * np.mean([r["accuracy"] for r in results if r["method"] == method])
        for method in ("agglomerative", "full")
    }
    assert lines[1] == (
        f"Test accuracy is {mean['agglomerative']:.2f}% (mean of 2 seeds) after training on the kept images, and "
        f"{mean['full']:.2f}% (mean of 2 seeds) after training on all images."
    )
    assert lines[2].startswith("Against random subsets of the same size: ")
    seconds = np.median([r["train_seconds"] for r in results if r["method"] == "full"])
    assert lines[3] == (
        "All trials took 8 steps, so that pruning saved no time; at an equal number of epochs, training on the kept "
        f"images would save 20% of the training time, about {0.2 * seconds:.3g} of the {seconds:.3g} s of a trial "
        "(median)."
    )
    assert len(lines) == 4
    (other,) = found["answer"]["others"]
    assert other.startswith("random: ")
    changes = {
        label: np.mean([
            r["class_accuracy"][label] - full["class_accuracy"][label]
            for r in results for full in results
            if r["method"] == "agglomerative" and full["method"] == "full" and r["seed"] == full["seed"]
        ])
        for label in range(10)
    }  # fmt: skip
    expected = sorted((change, label) for label, change in changes.items() if change < 0)
    shown = [(entry["change"], entry["label"]) for entry in found["warnings"]["losing_classes"]]
    assert [change for change, _ in shown] == pytest.approx([change for change, _ in expected])
    assert {label for _, label in shown} == {label for _, label in expected}
    assert all(entry["low"] < entry["change"] < entry["high"] for entry in found["warnings"]["losing_classes"])


def test_the_map_marks_what_goes(job):
    folder, _, planted = job
    found = page_content.read(folder / "w" / "report")["map"]
    keep = np.load(folder / "w" / "selections" / "agglomerative-0.2" / "keep.npy")
    assert found["index"] == list(range(NUM_TRAIN))
    assert np.flatnonzero(found["kept"]).tolist() == keep.tolist()
    assert found["label"] == planted["label_train"].tolist()


def test_a_rerun_leaves_it_as_it_is(own_copy, capfd):
    before = mtimes(own_copy)
    assert run_here(capfd, "report", *FLAGS).code == 0
    assert mtimes(own_copy) == before


# Missing artifacts


def test_without_trials_there_is_the_gallery_still(own_copy, capfd):
    whole = page_content.read(own_copy / "report")
    shutil.rmtree(own_copy / "report")
    for trial in own_copy.glob("trials/[!f]*"):
        shutil.rmtree(trial)
    done = run_here(capfd, "report", *FLAGS)
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["w/report/index.html"]
    assert [path.name for path in (own_copy / "report").iterdir()] == ["index.html"]
    found = page_content.read(own_copy / "report")
    assert found["answer"]["headline"] == "No trial was run: the accuracy after pruning 20% is not known yet"
    assert (found["accuracy"], found["warnings"]["losing_classes"]) == ([], [])
    for part in ("groups", "images", "map", "heights", "classes", "thumbnails"):
        assert found[part] == whole[part]


def test_a_selection_of_which_there_is_no_trial(own_copy, capfd):
    flags = [*FLAGS, "--config.select.fraction=0.1"]
    assert run_here(capfd, "select", *flags).code == 0
    assert run_here(capfd, "report", *flags).code == 0
    found = page_content.read(own_copy / "report")
    assert found["selection"]["name"] == "agglomerative-0.1"
    assert found["answer"]["headline"] == "No trial of agglomerative-0.1 is finished: its accuracy is not known yet"
    assert [line.partition(":")[0] for line in found["answer"]["others"]] == ["agglomerative", "random"]


def test_without_the_selection_asked_for_there_is_one_of_the_sweep(own_copy, capfd):
    assert run_here(capfd, "report", *FLAGS, "--config.select.fraction=0.7").code == 0
    assert page_content.read(own_copy / "report")["selection"]["name"] == "agglomerative-0.2"


def test_random_subsets_need_neither_embeddings_nor_trees(own_copy, capfd):
    for name in ("embeddings", "embeddings_test", "dendrograms"):
        shutil.rmtree(own_copy / name)
    flags = [*FLAGS, "--config.select.method=random", "--config.sweep.methods=('random',)"]
    done = run_here(capfd, "report", *flags)
    assert done.code == 0, done.err
    found = page_content.read(own_copy / "report")
    assert (found["groups"]["size"], found["heights"]["height"], found["map"]) == ([], [], None)
    assert found["selection"]["name"] == "random-0.2-seed0"
    assert [row["method"] for row in found["accuracy"]] == ["full", "random"]
    assert (
        "The page has no map and no near-duplicates: embeddings are missing. Run 'data-redundancy embed'."
        in (found["warnings"]["notes"])
    )


def test_what_nothing_stands_for_gives_no_measure_of_near_duplicates(own_copy, capfd):
    flags = [*FLAGS, "--config.select.method=random"]
    assert run_here(capfd, "report", *flags).code == 0
    found = page_content.read(own_copy / "report")
    assert any("set report.near_duplicate" in note for note in found["warnings"]["notes"])
    assert run_here(capfd, "report", *flags, "--config.report.near_duplicate=1e-6").code == 0
    found = page_content.read(own_copy / "report")
    assert [pair[:2] for pair in page_content.warning_pairs(found, "label_errors", ("a", "b"))] == [TWICE]


def test_embeddings_of_the_test_split_are_added_where_they_are_missing(own_copy, capfd):
    """Workdirs of older versions lack them."""
    before = artifacts.read_embeddings(own_copy / "embeddings_test")
    untouched = mtimes(own_copy / "embeddings")
    shutil.rmtree(own_copy / "embeddings_test")
    assert run_here(capfd, "report", *FLAGS).code == 0
    found = page_content.read(own_copy / "report")
    assert found["warnings"]["leaks"] == []
    assert any("Test images were not searched" in note for note in found["warnings"]["notes"])
    done = run_here(capfd, "embed", *FLAGS)
    assert done.code == 0, done.err
    assert "embed: already done, skipped (w/embeddings)" in done.err
    for found, expected in zip(artifacts.read_embeddings(own_copy / "embeddings_test"), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert before[0].shape == (NUM_TEST, 64)
    assert mtimes(own_copy / "embeddings") == untouched


def test_embeddings_of_another_test_split_are_refused(own_copy, capfd):
    done = run_here(capfd, "embed", *FLAGS, "--config.dataset.test_split=test[:50]")
    assert done.code == 2
    assert "w/embeddings_test: was made with different inputs: dataset.num_test was 60 and is now 50;" in done.err


# Options


def test_what_is_not_wanted_is_left_out(own_copy, capfd):
    shutil.rmtree(own_copy / "embeddings" / "embedding")  # reading it would fail
    options = ["--config.report.map=none", "--config.report.max_warnings=0", "--config.report.max_groups=5"]
    done = run_here(capfd, "report", *FLAGS, *options)
    assert done.code == 0, done.err
    found = page_content.read(own_copy / "report")
    assert (found["map"], found["warnings"]["label_errors"], found["warnings"]["leaks"]) == (None, [], [])
    notes = " ".join(found["warnings"]["notes"])
    assert "report.max_warnings is 0" in notes
    assert len(found["groups"]["size"]) == 5
    assert "shows the 5 tightest groups, which is the most that it may show; " in notes


def test_at_most_so_many_warnings_and_points(own_copy, capfd):
    whole = page_content.read(own_copy / "report")
    options = ["--config.report.max_warnings=2", "--config.report.max_points=50", "--config.report.near_duplicate=0.5"]
    assert run_here(capfd, "report", *FLAGS, *options).code == 0
    found = page_content.read(own_copy / "report")
    for kind, names in (("label_errors", ("a", "b")), ("leaks", ("test", "train"))):
        shown = page_content.warning_pairs(found, kind, names)
        assert len(shown) == 2
        assert shown[0] == page_content.warning_pairs(whole, kind, names)[0]
    assert len(found["map"]["x"]) == 50


def test_a_map_without_its_package(own_copy, capfd, monkeypatch):
    before = mtimes(own_copy)
    monkeypatch.setitem(sys.modules, "umap", None)
    done = run_here(capfd, "report", *FLAGS, "--config.report.map=umap")
    assert error_line(done) == (
        "--config.report.map=umap: needs the package umap-learn, which is not installed. Install it with pip install "
        "'data_redundancy[umap]'."
    )
    assert mtimes(own_copy) == before


# Streams and processes


def test_streamed_images_are_shown_as_they_are_decoded(tmp_path, monkeypatch, capfd):
    """The images are JPEGs of several sizes; one of them is in both splits."""
    monkeypatch.chdir(tmp_path)
    images, _ = imagenet_like.images()
    leak = imagenet_like.jpeg(images[7])
    imagenet_like.write(tmp_path / "tfds", replace={imagenet_like.NUM_TRAIN + 3: leak})
    flags = [
        *TINY,
        f"--config.dataset.name={imagenet_like.NAME}",
        "--config.dataset.data_dir=tfds",
        "--config.dataset.test_split=validation",
        "--config.dataset.version=5.1.0",
        "--config.input.mode=stream",
        "--config.input.image_size=32",
        "--workdir=w",
    ]
    for stage in ("train", "embed", "cluster", "select", "report"):
        done = run_here(capfd, stage, *flags)
        assert done.code == 0, done.err
    found = page_content.read("w/report")
    names = page_content.groups(found)
    assert sum(map(len, names)) - len(names) == 23
    assert (found["thumbnails"]["width"], found["thumbnails"]["height"]) == (96, 96)
    dataset = data.load(imagenet_like.NAME, data_dir="tfds", test_split="validation", stream=True)
    for row in (0, 5, len(found["images"]["index"]) - 1):
        index, is_test = found["images"]["index"][row], found["images"]["split"][row]
        split = dataset.test if is_test else dataset.train
        pixels = next(ImageStream(split, image_size=96).inference([np.array([index])], central_fraction=1.0)).image[0]
        shown = page_content.thumbnail("w/report", found, row)
        assert np.abs(shown.astype(int) - pixels).mean() < 4
        assert found["images"]["id"][row] == split.tfds_id(index)
        assert found["images"]["file"][row].endswith(".JPEG")
        original = images[index + (imagenet_like.NUM_TRAIN if is_test else 0)]
        if not (is_test and index == 3):
            side = min(original.shape[:2])
            top, left = ((size - side) // 2 for size in original.shape[:2])
            square = PIL.Image.fromarray(original[top : top + side, left : left + side]).resize((96, 96))
            assert np.abs(shown.astype(int) - np.asarray(square)).mean() < 8
    first = found["warnings"]["leaks"][0]
    assert (found["images"]["index"][first["test"]], found["images"]["index"][first["train"]]) == (3, 7)
    assert first["identical"]
    assert [warning["identical"] for warning in found["warnings"]["leaks"][1:]].count(True) == 0


def test_two_processes_write_it_once(own_copy, tmp_path):
    expected = mtimes(own_copy)
    (own_copy / "report" / "index.html").unlink()
    done = ends(start_all(["-m", "data_redundancy", "report", *FLAGS], cwd=own_copy.parent, devices=1))
    assert [code for code, *_ in done] == [0, 0], done
    assert [out.count("index.html") for _, out, _ in done] == [1, 0]
    assert mtimes(own_copy).keys() == expected.keys()


def test_it_shows_what_a_veto_leaves(own_copy, capfd):
    keep = np.load("w/selections/agglomerative-0.2/keep.npy").tolist()
    pathlib.Path("veto.json").write_text(
        json.dumps({"format": "data_redundancy veto", "version": 1, "drop": keep[:1], "keep": []})
    )
    done = run_here(capfd, "report", *FLAGS, "--veto=veto.json")
    told = r"--veto=veto\.json: has no selection agglomerative-0\.2-veto-\w{8} yet\. Run 'data-redundancy select'"
    assert done.code == 2
    assert re.search(told, done.err.strip())
    for stage in ("select", "report"):
        done = run_here(capfd, stage, *FLAGS, "--veto=veto.json")
        assert done.code == 0, done.err
    found = page_content.read(own_copy / "report")
    assert found["selection"]["name"].startswith("agglomerative-0.2-veto-")
    assert found["selection"]["num_kept"] == len(keep) - 1
    assert not any(group[0] == keep[0] for group in page_content.groups(found))
    assert found["answer"]["headline"].startswith("Before the veto: ")
    assert found["answer"]["lines"][0].startswith("No trial was run on the selection after the veto: ")
