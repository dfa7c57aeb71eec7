"""The selections of the Python API: groups, tables, plots, galleries, and the files that they save and load."""

import dataclasses
import json
import pathlib
import pickle
import sys
import tarfile

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import data_redundancy as dr
from data_redundancy.cli import main
from data_redundancy.selection import result
from data_redundancy.store import artifacts
from helpers import api_digits, page_content
from helpers.api_digits import NAMES, N, assert_equal

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def digits():
    return api_digits.digits()


def test_repr():
    chosen = dr.select(*load_digits(return_X_y=True))
    assert repr(chosen) == "Selection(agglomerative, keeps 1,617 of 1,797 (90%))"


def groups_by_brute_force(chosen):
    found = {}
    for index in range(chosen.num_examples):
        found.setdefault(chosen.representative[index], []).append(index)
    found = {int(head): members for head, members in found.items() if head >= 0 and len(members) > 1}
    return sorted(found.items(), key=lambda group: (-len(group[1]), group[0]))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.7])
def test_groups(digits, fraction):
    chosen = dr.select(*digits, prune_fraction=fraction)
    found = chosen.groups()
    assert [(head, members.tolist()) for head, members in found] == groups_by_brute_force(chosen)
    assert sum(len(members) - 1 for _, members in found) == len(chosen.redundant)
    assert all(type(head) is int and members.dtype == np.int64 for head, members in found)
    assert all(head in chosen.keep for head, _ in found)


def test_no_groups_without_representatives(digits):
    assert dr.select(*digits, method="random").groups() == []


@pytest.mark.parametrize("method", ["agglomerative", "random"])
@pytest.mark.parametrize("labelled", [True, False])
def test_to_pandas_is_the_table_that_is_saved(digits, tmp_path, method, labelled):
    chosen = dr.select(digits[0], NAMES[digits[1]] if labelled else None, method=method)
    names = np.array([f"{i:03}.png" for i in range(N)])
    for number, found in enumerate((chosen, dataclasses.replace(chosen, file_names=names, ids=names.tolist()))):
        found.save(tmp_path / str(number))
        expected = pd.read_parquet(tmp_path / str(number) / "examples.parquet")
        table = found.to_pandas()
        assert table.columns.tolist() == expected.columns.tolist()
        for name, column in expected.items():
            if column.isna().all():
                assert table[name].isna().all()
            else:
                pd.testing.assert_series_equal(table[name], column)
    assert table.file_name[table.kept].tolist() == names[chosen.keep].tolist()


def test_to_pandas_says_how_to_install_pandas(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(dr.InputError, match=r"^pandas: is not installed\. Install it with pip install pandas\.$"):
        dr.select(*digits).to_pandas()


@pytest.fixture
def pyplot():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    yield pyplot
    pyplot.close("all")


def test_plot_of_classes(digits, pyplot):
    chosen = dr.select(digits[0], NAMES[digits[1]], prune_fraction=0.3, allocation="global")
    axes = chosen.plot()
    kept = {name: chosen.kept[NAMES[digits[1]] == name].mean() for name in NAMES}
    shown = {text.get_text(): bar.get_width() for text, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)}
    assert shown == pytest.approx({name: 100 * share for name, share in kept.items()})
    assert (np.diff(list(shown.values())) < 0.5).all()
    assert axes.get_title() == "agglomerative, keeps 210 of 300 (70%)"
    assert axes.get_xlabel() == "kept [%]"
    of_many = dr.select(digits[0], np.arange(N) // 3, prune_fraction=0.3).plot()
    assert (len(of_many.patches), of_many.get_yticklabels()) == (100, [])


def test_plot_of_distances(digits, pyplot):
    _, axes = pyplot.subplots()
    chosen = dr.select(*digits, prune_fraction=0.3)
    assert chosen.plot(axes, kind="distances") is axes
    assert sum(bar.get_height() for bar in axes.patches) == 90
    assert axes.get_xlabel() == "cosine distance to the representative"
    without_labels = dr.select(digits[0], prune_fraction=0.3)
    assert sum(bar.get_height() for bar in without_labels.plot().patches) == 90
    axes = dr.select(digits[0], method="kcenter").plot()  # neither classes nor representatives
    assert [text.get_text() for text in axes.get_yticklabels()] == ["all"]
    for kind, other in (("bars", chosen), ("distances", dr.select(*digits, method="random"))):
        with pytest.raises(dr.InputError, match=rf"^kind={kind}: must be one of "):
            other.plot(kind=kind)


def test_pickles(digits):
    chosen = dr.select(digits[0], NAMES[digits[1]])
    again = pickle.loads(pickle.dumps(chosen))
    assert_equal(again, chosen)
    assert (again.class_names, again.made_from) == (chosen.class_names, chosen.made_from)


# Files


@pytest.mark.parametrize(
    ("options", "strings"),
    [
        ({}, False),
        ({}, True),
        ({"method": "random", "seed": 3}, True),
        ({"representative": "nested", "allocation": "global", "linkage": "average"}, False),
        ({"scope": "dataset"}, True),
        ({"method": "prototypes", "centre": "class", "end": "easy", "scope": "dataset"}, False),
        ({"method": "semdedup", "seed": 1}, False),
        ({"method": "facility_location"}, True),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_save_writes_what_the_command_line_writes(digits, tmp_path, monkeypatch, options, strings, dtype):
    monkeypatch.chdir(tmp_path)
    x, labels = digits[0].astype(dtype), NAMES[digits[1]] if strings else digits[1]
    np.savez("e.npz", embeddings=x.astype(np.float32), labels=labels)
    sections = {"linkage": "cluster", "scope": "cluster"}
    flags = [f"--config.{sections.get(name, 'select')}.{name}={value}" for name, value in options.items()]
    assert main.main(["select", "--embeddings=e.npz", "--fraction=0.3", "--out=expected", *flags]) == 0
    dr.select(x, labels, prune_fraction=0.3, **options).save("found")
    for name in ("keep.npy", "examples.parquet"):
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    found, expected = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("found", "expected"))
    digests = [expected["fingerprint"].pop(name) for name in ("embeddings", "labels")]
    assert [f"e.npz {found['fingerprint'].pop(name)}" for name in ("embeddings", "labels")] == digests
    assert found == expected


@pytest.mark.parametrize("options", [{}, {"method": "random"}, {"allocation": "global"}, {"prune_fraction": 0}])
@pytest.mark.parametrize("labelled", [True, False])
def test_save_and_load(digits, tmp_path, options, labelled):
    labels = NAMES[digits[1]] if labelled else None
    chosen = dr.select(digits[0], labels, **options)
    if "method" in options:
        chosen = dataclasses.replace(chosen, ids=[f"id-{i}" for i in range(N)], veto={"keep": [], "drop": [1]})
    (tmp_path / "empty").mkdir()
    chosen.save(str(tmp_path / "empty"))
    loaded = dr.load_selection(tmp_path / "empty")
    assert_equal(loaded, chosen)
    assert (loaded.class_names, loaded.made_from, loaded.veto) == (chosen.class_names, chosen.made_from, chosen.veto)
    for name in ("labels", "ids", "file_names"):
        assert np.array_equal(getattr(loaded, name), getattr(chosen, name))
    loaded.save(tmp_path / "again")
    for path in (tmp_path / "empty").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_labels_with_gaps_keep_their_names(digits, tmp_path):
    labels = digits[1] * 3
    names = tuple(f"class {label}" for label in range(30))
    chosen = dataclasses.replace(dr.select(digits[0], labels), class_names=names)
    chosen.save(tmp_path / "a")
    loaded = dr.load_selection(tmp_path / "a")
    assert len(loaded.class_names) == 28
    assert [loaded.class_names[label] for label in labels] == [names[label] for label in labels]
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a" / "examples.parquet").read_bytes() == (tmp_path / "b" / "examples.parquet").read_bytes()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir of version 0.1.0."""
    folder = tmp_path_factory.mktemp("workdir")
    with tarfile.open(ROOT / "tests" / "fixtures" / "workdir_0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "w"


def test_load_a_selection_of_a_workdir(workdir, tmp_path):
    directory = workdir / "selections" / "agglomerative-0.2"
    loaded = dr.load_selection(directory)
    assert repr(loaded) == "Selection(agglomerative, keeps 96 of 120 (80%))"
    assert np.array_equal(loaded.keep, np.load(directory / "keep.npy"))
    assert loaded.class_names == tuple("0123456789")
    embeddings, labels = artifacts.read_embeddings(artifacts.epath.Path(workdir / "embeddings"))
    assert_equal(loaded, dr.select(embeddings, labels, prune_fraction=0.2))
    loaded.save(tmp_path / "copy")
    assert (tmp_path / "copy" / "keep.npy").read_bytes() == (directory / "keep.npy").read_bytes()
    found, expected = (pd.read_parquet(folder / "examples.parquet") for folder in (tmp_path / "copy", directory))
    pd.testing.assert_frame_equal(found, expected)
    random = dr.load_selection(workdir / "selections" / "random-0.2-seed0")
    assert_equal(random, dr.select(labels=labels, method="random", prune_fraction=0.2))


def test_only_directories_of_selections_are_loaded(workdir, tmp_path):
    with pytest.raises(
        dr.InputError, match=r"^directory=\S+w: must be the directory of a selection\. Name one of "
    ) as e:
        dr.load_selection(workdir)
    assert e.value.fix.endswith("w/selections/random-0.2-seed1")
    for directory in (tmp_path / "none", tmp_path, workdir / "embeddings"):
        with pytest.raises(dr.InputError, match=r"^directory=\S+: must be the directory of a selection$"):
            dr.load_selection(directory)


def test_a_damaged_selection_is_named(digits, tmp_path):
    dr.select(*digits).save(tmp_path / "s")
    (tmp_path / "s" / "examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(dr.InputError, match=r"s/examples\.parquet: must be a Parquet file"):
        dr.load_selection(tmp_path / "s")


def test_save_overwrites_nothing(digits, tmp_path):
    chosen = dr.select(*digits)
    chosen.save(tmp_path / "s")
    (tmp_path / "file").write_text("mine")
    for name in ("s", "file"):
        message = rf"^directory=\S+{name}: exists and is not empty\. Name another directory\.$"
        with pytest.raises(dr.InputError, match=message):
            chosen.save(tmp_path / name)
    with pytest.raises(dr.InputError, match=r"file/below: cannot be written"):
        chosen.save(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


# The gallery


def test_the_gallery_takes_labels_and_names_from_the_selection(digits, tmp_path):
    x, labels = digits
    texts = NAMES[labels]
    images = (x.reshape(N, 8, 8) * 15).astype(np.uint8)
    files = np.array([f"{i}.png" for i in range(N)])
    chosen = dataclasses.replace(dr.select(x, texts, prune_fraction=0.4), file_names=files)
    path = dr.write_gallery(tmp_path / "a", chosen, embeddings=x.astype(ml_dtypes.bfloat16), images=images)
    assert path == tmp_path / "a" / "index.html"
    found = page_content.read(tmp_path / "a")
    assert found["dataset"]["class_names"] == sorted(NAMES)
    assert [found["dataset"]["class_names"][i] for i in found["images"]["label"]] == [
        texts[i] for i in found["images"]["index"]
    ]
    assert found["images"]["id"] == [files[i] for i in found["images"]["index"]]
    assert "cosine distance" in found["warnings"]["notes"][0]
    # The selection of the library has neither labels nor names.
    bare = result.SelectionArrays(
        **{f.name: getattr(chosen, f.name) for f in dataclasses.fields(result.SelectionArrays)}
    )
    given = {"embeddings": x.astype(ml_dtypes.bfloat16), "images": images, "labels": texts, "ids": files}
    dr.write_gallery(str(tmp_path / "b"), bare, **given)
    assert (tmp_path / "b" / "index.html").read_bytes() == path.read_bytes()
    dr.write_gallery(tmp_path / "c", bare, embeddings=x)
    assert page_content.read(tmp_path / "c")["dataset"]["class_names"] == ["0"]
    names = np.array(sorted(set(texts)))
    dr.write_gallery(tmp_path / "d", bare, embeddings=x, labels=np.searchsorted(names, texts), class_names=names)
    assert page_content.read(tmp_path / "d")["dataset"]["class_names"] == names.tolist()
    for max_warnings in ("3", 2.5, None, -1):
        with pytest.raises(dr.InputError, match=r"^max_warnings"):
            dr.write_gallery(tmp_path / "e", bare, embeddings=x, max_warnings=max_warnings)
