"""Exports for other software, read back with that software."""

import contextlib
import csv
import gc
import io
import json
import os
import pathlib
import tarfile
import unicodedata
import warnings

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from data_redundancy.errors import InputError
from data_redundancy.exporting import driver, huggingface, keep_lists
from data_redundancy.exporting.format import Description, Example, Shard
from data_redundancy.exporting.huggingface import HuggingFace
from data_redundancy.exporting.imagefolder import ImageFolder
from data_redundancy.exporting.paths import image_name, safe_name, unique_names
from data_redundancy.exporting.source import extension_of
from data_redundancy.exporting.webdataset import WebDataset
from helpers import rich_tfds
from helpers.command import run_here, write_digits
from helpers.imagenet_like import images, jpeg

CLASSES = ("../x", "a/b", "A/b", "<b>&amp;\"',</b>", "größe\n", "CON", "..", "", "test tube", "=1+2")
FILE_NAMES = (
    "../../etc/x.JPEG",
    "C:\\x.jpg",
    "/abs.png",
    'a\0b\n,".png',
    "..",
    "=cmd()",
    "x.JPEG",
    "X.jpeg",
    "日本.png",
)
INDICES = {"train": range(0, 60, 2), "test": range(8)}
"""What is written: of `train` only some; two shards, and one."""
SHARDS = [Shard("train", 0, 2, 0, 17), Shard("train", 1, 2, 17, 13), Shard("test", 0, 1, 0, 8)]
ABOUT = Description(
    name="nasty",
    version="1.2.3",
    class_names=CLASSES,
    description="Of <all> kinds.\n\n---\n```",
    citation="@misc{nasty, title={Größe \U0001f600}}",
    provenance={"selection": "agglomerative-0.5", "fraction": 0.5, "dataset": "nasty\x85"},
    num_examples={split: len(indices) for split, indices in INDICES.items()},
)


def png(image):
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def one(split, index):
    pixels, labels = images()
    at = index + 100 * (split == "test")
    encoded = png(pixels[at]) if index % 4 else jpeg(pixels[at])
    features = {
        "weights": np.full((2, 3), index / 4, np.float32),
        "words": np.array(["größe", str(index)], object),
        "half": np.float16(index / 2),
        "flag": index % 3 == 0,
        "number": index,
        "note": f"<script>{index}</script>",
        "inner/objects": [{"area": np.int64(k)} for k in range(index % 3)],
        "thumbnail": png(pixels[at][:4, :4]),
        "label": -index,
    }
    name = FILE_NAMES[index // 2 % len(FILE_NAMES)] if index % 10 else None
    return Example(index, f"{split}__{index}", name, int(labels[at]), encoded, extension_of(encoded), features)


def examples(split):
    return [one(split, index) for index in INDICES[split]]


def of_shard(shard):
    return iter(examples(shard.split)[shard.first : shard.first + shard.length])


def export(writer, out):
    driver.export(out, writer, SHARDS, of_shard, ABOUT, plan={}, overwrite=False)
    return out


def files_below(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """`datasets` without a network, and with a separate cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    with silenced():
        yield lambda *what, **more: datasets.load_dataset(*what, cache_dir=str(tmp_path / "cache"), **more)


@contextlib.contextmanager
def silenced():
    """Both `datasets` and `webdataset` leave files to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def undecoded(split):
    import datasets

    return split.cast_column("image", datasets.Image(decode=False))


# WebDataset


def tar_samples(urls, *decode):
    import webdataset

    with silenced():
        read = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
        return list(read.decode(*decode) if decode else read)


def test_webdataset(tmp_path):
    out = export(WebDataset(), tmp_path / "out")
    assert files_below(out) == ["dataset.json", "test-000000.tar", "train-000000.tar", "train-000001.tar"]
    for split, pattern in (("train", "train-{000000..000001}.tar"), ("test", "test-000000.tar")):
        read, decoded = tar_samples(str(out / pattern)), tar_samples(str(out / pattern), "rgb8")
        for wanted, sample, image in zip(examples(split), read, decoded, strict=True):
            assert sample["__key__"] == f"{wanted.index:09d}"
            assert sample[wanted.extension] == wanted.encoded
            assert sample["thumbnail.png"] == wanted.features["thumbnail"]
            assert image["cls"] == wanted.label
            np.testing.assert_array_equal(
                image[wanted.extension], np.asarray(PIL.Image.open(io.BytesIO(wanted.encoded)))
            )
            told = image["json"]
            assert [told[name] for name in ("index", "tfds_id", "file_name", "label", "class_name")] == [
                wanted.index, wanted.tfds_id, wanted.file_name, wanted.label, CLASSES[wanted.label],
            ]  # fmt: skip
            assert told["features"] == {
                "weights": wanted.features["weights"].tolist(),
                "words": ["größe", str(wanted.index)],
                "half": wanted.index / 2,
                "flag": wanted.index % 3 == 0,
                "number": wanted.index,
                "note": f"<script>{wanted.index}</script>",
                "inner/objects": [{"area": k} for k in range(wanted.index % 3)],
                "label": -wanted.index,
            }
    told = json.loads((out / "dataset.json").read_text())
    assert told["classes"] == list(CLASSES)
    assert told["provenance"] == ABOUT.provenance
    assert told["num_examples"] == {"train": 30, "test": 8}
    assert [(shard["file"], shard["num_examples"]) for shard in told["shards"]] == [
        ("train-000000.tar", 17), ("train-000001.tar", 13), ("test-000000.tar", 8),
    ]  # fmt: skip


def test_tar_files_are_the_same_always(tmp_path):
    for name in ("a", "b"):
        WebDataset().write_shard(tmp_path / name, SHARDS[0], of_shard(SHARDS[0]), ABOUT)
    a, b = (tmp_path / name / "train-000000.tar" for name in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()
    with tarfile.open(a) as tar:
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in tar} == {(0, 0, 0, "")}


# Hugging Face


def test_hugging_face(tmp_path, hugging_face):
    import datasets

    out = export(HuggingFace(), tmp_path / "out")
    assert files_below(out) == [
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ]
    loaded = hugging_face(str(out))
    assert {split: len(found) for split, found in loaded.items()} == {"train": 30, "test": 8}
    features = loaded["train"].features
    assert isinstance(features["image"], datasets.Image)
    assert isinstance(features["thumbnail"], datasets.Image)
    assert features["label"] == datasets.ClassLabel(names=list(CLASSES))
    assert {name: features[name].dtype for name in ("half", "flag", "number", "note", "source_label")} == {
        "half": "float16", "flag": "bool", "number": "int64", "note": "string", "source_label": "int64",
    }  # fmt: skip
    for split, found in loaded.items():
        for wanted, row, shown in zip(examples(split), undecoded(found), found, strict=True):
            assert row["image"]["bytes"] == wanted.encoded
            assert row["image"]["path"] == image_name(wanted.file_name, wanted.index, wanted.extension)
            np.testing.assert_array_equal(shown["image"], PIL.Image.open(io.BytesIO(wanted.encoded)))
            assert shown["thumbnail"].size == (4, 4)
            assert (row["label"], row["source_index"]) == (wanted.label, wanted.index)
            assert (row["source_tfds_id"], row["file_name"]) == (wanted.tfds_id, wanted.file_name)
            assert row["weights"] == wanted.features["weights"].tolist()
            assert row["words"] == ["größe", str(wanted.index)]
            assert (row["half"], row["flag"]) == (wanted.index / 2, wanted.index % 3 == 0)
            assert (row["number"], row["source_label"]) == (wanted.index, -wanted.index)
            assert row["note"] == f"<script>{wanted.index}</script>"
            assert json.loads(row["inner/objects"]) == [{"area": k} for k in range(wanted.index % 3)]


def test_card(tmp_path):
    out = export(HuggingFace(), tmp_path / "out")
    _, front, body = (out / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["configs"][0]["data_files"][0]["split"] == "train"
    splits = {split["name"]: split for split in told["dataset_info"]["splits"]}
    assert {name: split["num_examples"] for name, split in splits.items()} == {"train": 30, "test": 8}
    assert splits["test"]["num_bytes"] == (out / "data/test-00000-of-00001.parquet").stat().st_size
    assert json.loads(body.split("```json\n")[1].split("```")[0]) == ABOUT.provenance
    assert ABOUT.citation in body
    assert ABOUT.description in body


def test_row_groups_bound_what_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface, "_GROUP_ROWS", 5)
    begun = []

    def watched():
        for found in of_shard(SHARDS[0]):
            begun.append(bool(list(tmp_path.rglob(".*.partial"))))
            yield found

    HuggingFace().write_shard(tmp_path, SHARDS[0], watched(), ABOUT)
    with pq.ParquetFile(tmp_path / "data/train-00000-of-00002.parquet") as file:
        assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [5, 5, 5, 2]
    assert begun == [False] * 5 + [True] * 12


# Folders of images


def test_imagefolder(tmp_path, hugging_face):
    out = export(ImageFolder(), tmp_path / "out")
    told = json.loads((out / "dataset.json").read_text())
    folders = told["folders"]
    assert len({folder.casefold() for folder in folders}) == len(CLASSES)
    assert told["classes"] == list(CLASSES)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "dataset.json", "examples.csv", "test", "train"]
    for split in INDICES:
        assert {path.name for path in (out / split).iterdir()} == set(folders)
    rows = pd.read_csv(out / "examples.csv", keep_default_na=False, dtype={"file_name": str})
    assert list(rows.columns) == ["split", "path", "index", "tfds_id", "file_name", "label", "class_name"]
    wanted = [(split, found) for split in INDICES for found in examples(split)]
    assert len(files_below(out)) == len(wanted) + 3
    for (split, found), row in zip(wanted, rows.to_dict("records"), strict=True):
        assert (out / row["path"]).read_bytes() == found.encoded
        assert pathlib.PurePath(row["path"]).parts[:2] == (split, folders[found.label])
        assert (row["split"], row["index"], row["tfds_id"]) == (split, found.index, found.tfds_id)
        assert (row["label"], row["class_name"]) == (found.label, CLASSES[found.label])
        assert row["file_name"] == (found.file_name or "")

    # `test tube` is a class, no split.
    loaded = hugging_face(str(out))
    assert {split: len(found) for split, found in loaded.items()} == {"train": 30, "test": 8}
    by_name = {pathlib.Path(row["path"]).name + row["split"]: row for row in rows.to_dict("records")}
    for split, found in loaded.items():
        names = found.features["label"].names
        for shown in undecoded(found):
            path = pathlib.Path(shown["image"]["path"])
            row = by_name[path.name + split]
            assert path.read_bytes() == (out / row["path"]).read_bytes()
            assert names[shown["label"]] == folders[row["label"]]


def test_imagefolder_by_the_name_of_the_builder(tmp_path, hugging_face):
    about = Description(**{**vars(ABOUT), "class_names": tuple("0123456789")})
    driver.export(tmp_path / "out", ImageFolder(), SHARDS, of_shard, about, plan={}, overwrite=False)
    loaded = hugging_face("imagefolder", data_dir=str(tmp_path / "out"))
    assert {split: len(found) for split, found in loaded.items()} == {"train": 30, "test": 8}
    for split, found in loaded.items():  # classes without images have no number there
        names = found.features["label"].names
        assert sorted(int(names[label]) for label in found["label"]) == sorted(e.label for e in examples(split))


def test_imagefolder_of_one_class(tmp_path, hugging_face):
    about = Description(**{**vars(ABOUT), "num_examples": {"train": 17}})
    alone = Shard("train", 0, 1, 0, 17)
    shown = [Example(**{**vars(found), "label": 3}) for found in of_shard(alone)]
    driver.export(tmp_path / "out", ImageFolder(), [alone], lambda _: shown, about, plan={}, overwrite=False)
    assert hugging_face(str(tmp_path / "out"))["train"].features["label"].names == [unique_names(CLASSES)[3]]


@pytest.mark.slow
def test_imagefolder_with_keras(tmp_path):
    import tensorflow as tf

    out = export(ImageFolder(), tmp_path / "out")
    folders = json.loads((out / "dataset.json").read_text())["folders"]
    read = tf.keras.utils.image_dataset_from_directory(
        str(out / "train"), class_names=folders, image_size=(40, 40), batch_size=None, shuffle=False, verbose=False
    )
    labels = [int(label) for _, label in read]
    assert labels == sorted(found.label for found in examples("train"))  # the source's own numbers
    assert len({os.path.basename(path) for path in read.file_paths}) == 30


# All formats


@pytest.mark.parametrize("writer", [WebDataset, HuggingFace, ImageFolder])
def test_killed_runs_leave_nothing_of_theirs(tmp_path, writer):
    """Whatever was there when a run was killed, writing again gives what an uninterrupted one does."""

    class Killed(BaseException):
        pass

    def cut_off(shard, after):
        for number, found in enumerate(of_shard(shard)):
            if number == after:
                raise Killed
            yield found

    whole, again = tmp_path / "whole", tmp_path / "again"
    for shard in SHARDS:
        writer().write_shard(whole, shard, of_shard(shard), ABOUT)
        with pytest.raises(Killed):
            writer().write_shard(again, shard, cut_off(shard, 6), ABOUT)
        writer().write_shard(again, shard, of_shard(shard), ABOUT)
        writer().write_shard(again, shard, of_shard(shard), ABOUT)
    for path in whole.rglob("*"):  # a process that is killed at once cannot tidy up
        if path.is_file() and path.parent.name != ".examples":
            (again / path.relative_to(whole)).with_name(f".{path.name}.partial").write_bytes(b"half")
    for shard in SHARDS:
        writer().write_shard(again, shard, of_shard(shard), ABOUT)
    writer().finish(whole, SHARDS, ABOUT)
    writer().finish(again, SHARDS, ABOUT)
    writer().finish(again, SHARDS, ABOUT)
    assert files_below(whole) == files_below(again)
    assert [(whole / name).read_bytes() for name in files_below(whole)] == [
        (again / name).read_bytes() for name in files_below(again)
    ]


@pytest.mark.parametrize("writer", [WebDataset, HuggingFace, ImageFolder])
def test_a_split_of_nothing(tmp_path, writer, hugging_face):
    about = Description(**{**vars(ABOUT), "num_examples": {"train": 30, "test": 0}})
    driver.export(tmp_path / "out", writer(), SHARDS[:2], of_shard, about, plan={}, overwrite=False)
    if writer is not WebDataset:
        assert {split: len(found) for split, found in hugging_face(str(tmp_path / "out")).items()} == {"train": 30}
    if writer is ImageFolder:
        assert len(list((tmp_path / "out/test").iterdir())) == len(CLASSES)


# Through the command line


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rich")
    rich_tfds.write(folder / "data")
    return folder


@pytest.fixture
def selected(rich, capfd):
    """Flags of a selection, and its keep list."""
    own = (
        "--config=default",
        f"--workdir={rich / 'w'}",
        "--config.dataset.name=rich",
        f"--config.dataset.data_dir={rich / 'data'}",
        "--config.select.method=random",
        "--config.select.fraction=0.3",
    )
    assert run_here(capfd, "select", *own).code == 0
    return own, np.load(rich / "w/selections/random-0.3-seed0/keep.npy")


@pytest.fixture(scope="module")
def stored(rich):
    """The source's encoded images and labels, by split, as TFDS has them."""
    import tensorflow_datasets as tfds

    read = tfds.ReadConfig(interleave_cycle_length=1)
    builder = tfds.builder_from_directory(rich / "data/rich/2.0.1")
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = {split: builder.as_dataset(split=split, decoders=decoders, read_config=read) for split in rich_tfds.NUM}
    return {split: [(row["image"], int(row["label"])) for row in tfds.as_numpy(rows)] for split, rows in found.items()}


def read_webdataset(out, split):
    found = tar_samples([str(path) for path in sorted(out.glob(f"{split}-*.tar"))])
    return [(row["jpg"], int(row["cls"])) for row in found]


def read_hugging_face(out, split, load):
    return [(row["image"]["bytes"], row["label"]) for row in undecoded(load(str(out), split=split))]


def read_folder(out, split):
    with (out / "examples.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [((out / row["path"]).read_bytes(), int(row["label"])) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["webdataset", "huggingface", "imagefolder"])
def test_export_of_a_tfds_data_set(selected, stored, hugging_face, capfd, tmp_path, name):
    own, keep = selected
    out = tmp_path / "out"
    flags = ("--selection=random-0.3-seed0", f"--out={out}", f"--format={name}", "--num_shards=3")
    done = run_here(capfd, "export", *own, *flags)
    assert done.code == 0, done.err
    read = {
        "webdataset": read_webdataset,
        "huggingface": lambda *where: read_hugging_face(*where, hugging_face),
        "imagefolder": read_folder,
    }[name]
    expected = {**stored, "train": [stored["train"][index] for index in keep]}
    assert {split: read(out, split) for split in stored} == expected
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "cache"}


@pytest.mark.parametrize("name", ["txt", "csv", "parquet", "npy"])
def test_list_of_a_tfds_data_set(selected, capfd, tmp_path, name):
    own, keep = selected
    out = tmp_path / f"kept.{name}"
    done = run_here(capfd, "export", *own, "--selection=random-0.3-seed0", f"--out={out}", f"--format={name}")
    assert done.code == 0, done.err
    file_names = [f"../../{index}<script>.JPEG" for index in keep]
    if name == "txt":
        assert out.read_text().splitlines() == file_names
    elif name == "npy":
        np.testing.assert_array_equal(np.load(out), keep)
    else:
        read = pd.read_csv(out) if name == "csv" else pd.read_parquet(out)
        assert list(read.columns) == list(keep_lists.COLUMNS)
        assert read["index"].tolist() == keep.tolist()
        assert read["file_name"].tolist() == file_names
        assert set(read["class_name"]) <= set(rich_tfds.CLASS_NAMES)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_webdataset_of_an_npz(capfd, tmp_path):
    data = write_digits(tmp_path / "digits.npz", num_train=40, num_test=10)
    own = (
        "--config=default",
        f"--workdir={tmp_path / 'w'}",
        f"--config.dataset.name={data}",
        "--config.select.method=random",
        "--config.select.fraction=0.5",
    )
    assert run_here(capfd, "select", *own).code == 0
    flags = ("--selection=random-0.5-seed0", f"--out={tmp_path / 'out'}", "--format=webdataset")
    assert run_here(capfd, "export", *own, *flags).code == 0
    keep = np.load(tmp_path / "w/selections/random-0.5-seed0/keep.npy")
    with tarfile.open(tmp_path / "out/train-000000.tar") as tar:
        names = [member.name for member in tar]
        found = {name: tar.extractfile(name).read() for name in names}
    arrays = np.load(data)
    assert [name for name in names if name.endswith(".png")] == [f"{index:09d}.png" for index in keep]
    for index in keep:
        shown = np.asarray(PIL.Image.open(io.BytesIO(found[f"{index:09d}.png"])))
        np.testing.assert_array_equal(shown, arrays["image_train"][index])
        assert int(found[f"{index:09d}.cls"]) == arrays["label_train"][index]


# Keep lists


def table(**replaced):
    """A selection of six, of which four are kept."""
    columns = {
        "index": pa.array(range(6), pa.int64()),
        "tfds_id": pa.array([f"t__{k}" for k in range(6)]),
        "file_name": pa.array(["=1+2", 'a,"b"', "größe", "d", "-e", "f"]),
        "label": pa.array([0, 0, 1, 1, 2, 2], pa.int64()),
        "class_name": pa.array(["x", "x", "y", "y", None, None], pa.string()),
        "cluster": pa.array(range(6), pa.int64()),
        "kept": pa.array([True, True, True, False, True, False]),
        "representative": pa.array([0, 1, 2, 2, 4, 4], pa.int64()),
        "distance": pa.array([0.0] * 6),
    }
    return pa.table({**columns, **replaced})


NOTHING = pa.nulls(6, pa.string())


@pytest.mark.parametrize(
    ("replaced", "lines"),
    [
        ({}, ["=1+2", 'a,"b"', "größe", "-e"]),
        ({"file_name": NOTHING}, ["t__0", "t__1", "t__2", "t__4"]),
        ({"file_name": pa.array(["a", "", "c", "d", "e", "f"])}, ["t__0", "t__1", "t__2", "t__4"]),
        ({"file_name": NOTHING, "tfds_id": NOTHING}, ["0", "1", "2", "4"]),
        ({"file_name": pa.array(["a", "b", "c", "new\nline", "e", "f"])}, ["a", "b", "c", "e"]),
    ],
)
def test_lines(tmp_path, replaced, lines):
    keep_lists.write(tmp_path / "kept.txt", "txt", table(**replaced))
    assert (tmp_path / "kept.txt").read_bytes().decode() == "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a", "b\nc", "c", "d", "e", "f"], r"^format=txt: cannot .* the file_name 'b\\nc' has a line break\. Use csv"),
        (["a\r", "b", "c", "d", "e", "f"], r"^format=txt: cannot .* the file_name 'a\\r' has a line break"),
        (
            ["a", "b", "c", "a", "e", "f"],
            r"^format=txt: cannot list the images, because several of them have the file_name 'a'\. Use csv",
        ),
    ],
)
def test_lines_that_tell_nothing_apart_are_refused(tmp_path, names, complaint):
    (tmp_path / "kept.txt").write_text("before\n")
    with pytest.raises(InputError, match=complaint):
        keep_lists.write(tmp_path / "kept.txt", "txt", table(file_name=pa.array(names)))
    assert (tmp_path / "kept.txt").read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize("name", ["csv", "parquet"])
@pytest.mark.parametrize("replaced", [{}, {"file_name": pa.array(["a\n\r", '"', ",", "d", "\te", "f"])}])
def test_rows(tmp_path, name, replaced):
    given_table = table(**replaced)
    keep_lists.write(tmp_path / f"kept.{name}", name, given_table)
    if name == "parquet":
        found = pq.read_table(tmp_path / "kept.parquet")
        assert found.equals(given_table.select(keep_lists.COLUMNS).take([0, 1, 2, 4]))
    with (tmp_path / f"kept.{name}").open("rb") as file:
        found = pd.read_csv(file, lineterminator="\n") if name == "csv" else pd.read_parquet(file)
    assert list(found.columns) == ["index", "tfds_id", "file_name", "label", "class_name"]
    assert found["index"].tolist() == [0, 1, 2, 4]
    assert found["file_name"].tolist() == given_table["file_name"].take([0, 1, 2, 4]).to_pylist()
    assert found["class_name"].isna().tolist() == [False, False, False, True]


def test_columns_are_there_where_the_source_says_nothing(tmp_path):
    keep_lists.write(tmp_path / "kept.csv", "csv", table(file_name=NOTHING, tfds_id=NOTHING, class_name=NOTHING))
    assert (tmp_path / "kept.csv").read_text().splitlines()[:2] == [
        '"index","tfds_id","file_name","label","class_name"',
        "0,,,0,",
    ]


def test_numbers(tmp_path):
    keep_lists.write(tmp_path / "kept.list", "npy", table())  # whatever its name
    found = np.load(tmp_path / "kept.list")
    assert (found.dtype, found.tolist()) == (np.int64, [0, 1, 2, 4])


def test_a_line_end_in_a_file_name_on_the_command_line(capfd, tmp_path):
    rich_tfds.write(tmp_path / "data", file_name=(text_feature(), lambda index: f"{index}\n.JPEG"))
    own = (
        "--config=default",
        f"--workdir={tmp_path / 'w'}",
        "--config.dataset.name=rich",
        f"--config.dataset.data_dir={tmp_path / 'data'}",
        "--config.select.method=random",
        "--config.select.fraction=0.5",
    )
    assert run_here(capfd, "select", *own).code == 0
    flags = ("--selection=random-0.5-seed0", f"--out={tmp_path / 'kept.txt'}", "--format=txt")
    done = run_here(capfd, "export", *own, *flags)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith(
        "data-redundancy: --format=txt: cannot list the images, because the file_name "
    )
    assert "Traceback" not in done.err
    assert not (tmp_path / "kept.txt").exists()


def text_feature():
    import tensorflow_datasets as tfds

    return tfds.features.Text()


# Safe names

NASTY = st.text(
    st.sampled_from("aAßİ.. /\\:*\0\x1b\u202e\ue000\ud800é\u0301\u3000日\U0001f600-_0123") | st.characters()
)
DEVICES = {"con", "prn", "aux", "nul", "com1", "lpt9"}


@given(NASTY)
@example("../x")
@example("/etc/passwd")
@example("C:\\x")
@example("x\0y")
@example("..")
@example(".hidden")
@example("__pycache__")
@example("dots and spaces. . ")
@example("con")
@example("NUL.tar.gz")
@example("Lpt9 .txt")
@example("é" * 300)
@example("a" * 179 + "..b")
@example("\ud800")
def test_safe_names_are_safe(text):
    name = safe_name(text)
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\:*?"<>|')
    assert all(unicodedata.category(char)[0] != "C" for char in name)
    assert name.rstrip(". ") == name
    assert not name.startswith((".", " ", "__"))
    assert name.partition(".")[0].rstrip().lower() not in DEVICES
    assert len(name.encode()) <= 181
    assert safe_name(name) == name
    assert pathlib.PurePosixPath(name).parts == (name,)
    assert pathlib.PureWindowsPath(name).parts == (name,)
    if hasattr(pathlib.PureWindowsPath, "is_reserved"):
        assert not pathlib.PureWindowsPath(name).is_reserved()


@pytest.mark.parametrize(
    "text", ["cat", "Größe 1", "日本語", "a.b-c_d", "n01440764", "naïve café", "Ж", "🐈 cat", "हिन्दी"]
)
def test_harmless_names_stay(text):
    assert safe_name(text) == text


@given(st.lists(NASTY | st.sampled_from(["a", "A", "a-2", "A-2", "a-3", "ß", "ss", "ﬁ", "fi", "é", "e\u0301"])))
@example(["a", "A", "a-2", "a"])
def test_unique_names_differ_on_every_file_system(texts):
    names = unique_names(texts)
    folded = [unicodedata.normalize("NFC", name.casefold()) for name in names]
    assert len(set(folded)) == len(texts)
    assert len({unicodedata.normalize("NFD", name.upper()) for name in names}) == len(texts)
    assert [safe_name(name) for name in names] == names
    assert unique_names(texts) == names


def test_names_that_are_taken_get_numbers():
    assert unique_names(["cat", "Cat", "cat-2", "dog", "CAT", "a/b", "a_b"]) == [
        "cat", "Cat-3", "cat-2", "dog", "CAT-4", "a_b", "a_b-2",
    ]  # fmt: skip


@given(st.lists(st.none() | NASTY | st.sampled_from(["x", "X.jpg", "x-00000001", "00000001"]), max_size=8))
def test_image_names_differ(file_names):
    names = [image_name(name, index, "jpg") for index, name in enumerate(file_names)]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(safe_name(name) == name and len(name.encode()) < 240 for name in names)


def test_images_are_called_as_they_were():
    assert image_name("train/cat/IMG_1.JPEG", 7, "jpg") == "IMG_1-00000007.jpg"
    assert image_name("..\\x.png", 7, "png") == "x-00000007.png"
    assert image_name("v1.0", 7, "png") == "v1.0-00000007.png"
    assert image_name(None, 7, "png") == "00000007.png"
    assert image_name("", 7, "png") == "00000007.png"
