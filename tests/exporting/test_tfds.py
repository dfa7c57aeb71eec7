"""What a TFDS export holds, read by TFDS alone."""

import functools
import io
import json
import pickle
import subprocess
import sys

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
from etils import epath

from data_redundancy.data.tfds.builder import import_tfds, open_directory
from data_redundancy.exporting import formats, records
from data_redundancy.exporting.source import TfdsSource
from helpers import rich_tfds
from helpers.command import run_here, write_digits

NO_PROJECT = """
import os, pickle, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.modules["data_redundancy"] = None  # importing it raises ImportError
import tensorflow_datasets as tfds
place, out, name = sys.argv[1:]
builders = [tfds.builder_from_directory(place), tfds.builder(name, data_dir=out)]
images = {"image": tfds.decode.SkipDecoding()}
found = []
for builder in builders:
    splits = {}
    for split in builder.info.splits:
        if builder.info.file_format.value == "array_record":
            splits[split] = list(builder.as_data_source(split, decoders=images))
        else:
            config = tfds.ReadConfig(interleave_cycle_length=1)
            read = builder.as_dataset(split=split, decoders=images, read_config=config)
            splits[split] = list(tfds.as_numpy(read))
    found.append((builder.info.name, builder.info.description, builder.info.citation, builder.info.homepage,
                  builder.info.features["label"].names, builder.info.redistribution_info.license, splits))
assert pickle.dumps(found[0][:-1]) == pickle.dumps(found[1][:-1])
if builder.info.file_format.value == "tfrecord":
    loaded = tfds.load(name, data_dir=out, split="train", decoders=images)
    assert len(loaded) == len(found[0][-1]["train"])
pickle.dump(found[0], sys.stdout.buffer)
"""


def read_with_tfds_alone(out, name, version):
    """Name, description, citation, homepage, class names, license, and all examples by split."""
    done = subprocess.run(
        [sys.executable, "-c", NO_PROJECT, str(out / name / version), str(out), name], capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


def flags(folder, name, data_dir, *more):
    where = f"--config.dataset.data_dir={folder / data_dir}"
    return ("--config=default", f"--workdir={folder / 'w'}", f"--config.dataset.name={name}", where, *more)


def as_plain(value):
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def stored(directory, file_format, split):
    """The serialised examples of a split, in order."""
    files = sorted(directory.glob(f"*-{split}.*"))
    return [r.content for f in files for r in records.read(f, file_format, range(count(f, file_format)))]


def count(file, file_format):
    tf, _ = import_tfds()
    if file_format == "tfrecord":
        return sum(1 for _ in tf.data.TFRecordDataset(str(file)))
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    with ArrayRecordDataSource([str(file)]) as source:
        return len(source)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """The rich data set as TFRecord and as ArrayRecord, and selections of it."""
    folder = tmp_path_factory.mktemp("rich")
    for file_format in formats.FILE_FORMATS:
        rich_tfds.write(folder / file_format, file_format=file_format)
    return folder


@functools.cache
def source_of(rich, file_format):
    """All examples of the source, by split."""
    return read_with_tfds_alone(rich / file_format, "rich", "2.0.1")[-1]


@pytest.fixture
def selected(rich, capfd):
    """A function that selects from one of them and gives the keep list."""

    def select(file_format, *more, fraction=0.3):
        own = (*flags(rich, "rich", file_format, *more), "--config.select.method=random")
        workdir = rich / f"w-{file_format}{len(more)}"
        own = (*own, f"--workdir={workdir}", f"--config.select.fraction={fraction}")
        assert run_here(capfd, "select", *own).code == 0
        return own, np.load(workdir / "selections" / f"random-{fraction}-seed0" / "keep.npy")

    return select


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target"),
    [("tfrecord", None), ("tfrecord", "array_record"), ("array_record", None), ("array_record", "tfrecord")],
)
def test_all_features_of_what_is_kept(rich, selected, capfd, tmp_path, source, target):
    own, keep = selected(source)
    out = tmp_path / "out"
    wanted = [] if target is None else [f"--file_format={target}"]
    done = run_here(capfd, "export", *own, "--selection=random-0.3-seed0", f"--out={out}", "--num_shards=4", *wanted)
    assert done.code == 0, done.err
    assert """tfds.load("rich:2.0.1", data_dir=""" in done.err

    *about, splits = read_with_tfds_alone(out, "rich", "2.0.1")
    before = source_of(rich, source)
    assert about[0] == "rich"
    assert about[1].startswith("All kinds of features.\n\nPruned by data-redundancy: the selection random-0.3-seed0 ")
    assert f"keeps {len(keep)} of 60 examples of train (fraction removed: 0.3" in about[1]
    assert about[2:] == [
        rich_tfds.CITATION,
        "https://example.org/rich",
        rich_tfds.CLASS_NAMES,
        "CC BY 4.0",
    ]
    assert {split: len(found) for split, found in splits.items()} == {"train": len(keep), "test": 20, "extra": 7}
    added = [(example.pop("source_index"), example.pop("source_tfds_id")) for example in splits["train"]]
    assert [index for index, _ in added] == keep.tolist()
    names = [f"rich-train.{source}-{i // 20:05d}-of-00003__{i % 20}".encode() for i in keep]
    assert [name for _, name in added] == names
    for example in splits["test"] + splits["extra"]:
        assert example.pop("source_index", None) in (None, np.iinfo(np.int64).min)
        assert example.pop("source_tfds_id", None) in (None, b"")
    # Images are bytes here: they are equal to the last.
    assert as_plain(splits) == as_plain({**before, "train": [before["train"][i] for i in keep]})


@pytest.mark.slow
def test_files_and_metadata(rich, selected, capfd, tmp_path):
    """Untouched splits byte for byte; a kept record is its source's, with something behind it."""
    own, keep = selected("tfrecord")
    done = run_here(capfd, "export", *own, "--selection=random-0.3-seed0", f"--out={tmp_path}", "--num_shards=2")
    assert done.code == 0, done.err
    there, here = rich / "tfrecord" / "rich" / "2.0.1", tmp_path / "rich" / "2.0.1"
    for split in ("test", "extra"):
        files = sorted(path.name for path in there.glob(f"*-{split}.*"))
        assert len(files) == 3
        assert [(here / name).read_bytes() for name in files] == [(there / name).read_bytes() for name in files]
    before, after = stored(there, "tfrecord", "train"), stored(here, "tfrecord", "train")
    assert len(after) == len(keep)
    assert all(new.startswith(before[index]) for new, index in zip(after, keep, strict=True))
    tf, _ = import_tfds()
    for file in here.glob("*tfrecord*"):  # TensorFlow checks the checksums
        assert sum(1 for _ in tf.data.TFRecordDataset(str(file)))
    metadata = json.loads((here / "metadata.json").read_text())
    assert metadata["kept"] == "as it is"
    told = metadata["data_redundancy"]
    manifest = json.loads((rich / "w-tfrecord0/selections/random-0.3-seed0/manifest.json").read_text())
    assert (told["selection"], told["fraction"], told["num_kept"]) == ("random-0.3-seed0", 0.3, len(keep))
    assert {name: told[name] for name in manifest["fingerprint"]} == manifest["fingerprint"]
    assert (here / "LICENSE").read_text() == "CC BY 4.0"
    assert [path.name for path in tmp_path.iterdir()] == ["rich"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("splits", "expected"),
    [("none", {"train"}), ("extra", {"train", "extra"}), ("test,extra", {"train", "test", "extra"})],
)
def test_other_splits_by_choice(selected, capfd, tmp_path, splits, expected):
    own, _ = selected("tfrecord")
    out = f"--out={tmp_path / 'out'}"
    done = run_here(capfd, "export", *own, "--selection=random-0.3-seed0", out, f"--splits={splits}")
    assert done.code == 0, done.err
    info = json.loads((tmp_path / "out/rich/2.0.1/dataset_info.json").read_text())
    assert {split["name"] for split in info["splits"]} == expected


@pytest.mark.slow
def test_slices_and_sums(rich, selected, capfd, tmp_path):
    """What is kept of an expression is the split `train`; others are whole, and none that was selected from."""
    own, keep = selected("tfrecord", "--config.dataset.train_split=extra+train[30:50]")
    assert run_here(capfd, "export", *own, "--selection=random-0.3-seed0", f"--out={tmp_path}").code == 0
    *_, splits = read_with_tfds_alone(tmp_path, "rich", "2.0.1")
    before = source_of(rich, "tfrecord")
    assert set(splits) == {"train", "test"}
    whole = before["extra"] + before["train"][30:50]
    assert [example["source_index"] for example in splits["train"]] == keep.tolist()
    assert [e["image"] for e in splits["train"]] == [whole[i]["image"] for i in keep]
    assert [e["file_name"] for e in splits["train"]] == [whole[i]["file_name"] for i in keep]


@pytest.mark.slow
def test_an_export_of_an_export(rich, selected, capfd, tmp_path):
    """What the source calls `source_index` is still there, by another name."""
    own, keep = selected("tfrecord")
    assert run_here(capfd, "export", *own, "--selection=random-0.3-seed0", f"--out={tmp_path / '1'}").code == 0
    own = (*flags(tmp_path, "rich", "1"), "--config.select.method=random", "--config.select.fraction=0.2")
    assert run_here(capfd, "select", *own).code == 0
    second = np.load(tmp_path / "w/selections/random-0.2-seed0/keep.npy")
    assert run_here(capfd, "export", *own, "--selection=random-0.2-seed0", f"--out={tmp_path / '2'}").code == 0
    *_, splits = read_with_tfds_alone(tmp_path / "2", "rich", "2.0.1")
    before = source_of(rich, "tfrecord")
    assert [example["source_index"] for example in splits["train"]] == second.tolist()
    assert [example["source_source_index"] for example in splits["train"]] == keep[second].tolist()
    assert (
        splits["train"][0]["source_source_tfds_id"] == f"rich-train.tfrecord-00000-of-00003__{keep[second[0]]}".encode()
    )
    assert [example["image"] for example in splits["train"]] == [before["train"][i]["image"] for i in keep[second]]
    assert len(splits["test"]) == 20


@pytest.mark.slow
def test_from_npz(capfd, tmp_path):
    write_digits(tmp_path / "Digits 1.npz", 100, 30)
    arrays = np.load(tmp_path / "Digits 1.npz")
    own = ("--config=default", f"--workdir={tmp_path / 'w'}", f"--config.dataset.name={tmp_path / 'Digits 1.npz'}")
    own = (*own, "--config.select.method=random", "--config.select.fraction=0.4")
    assert run_here(capfd, "select", *own).code == 0
    keep = np.load(tmp_path / "w/selections/random-0.4-seed0/keep.npy")
    for file_format in formats.FILE_FORMATS:
        out = tmp_path / file_format
        more = (f"--out={out}", f"--file_format={file_format}", "--num_shards=3")
        done = run_here(capfd, "export", *own, "--selection=random-0.4-seed0", *more)
        assert done.code == 0, done.err
        *_, splits = read_with_tfds_alone(out, "digits_1", "1.0.0")
        tf, _ = import_tfds()
        for split, rows in (("train", keep), ("test", np.arange(30))):
            assert [example["source_index"] for example in splits[split]] == rows.tolist()
            assert [example["label"] for example in splits[split]] == arrays[f"label_{split}"][rows].tolist()
            pixels = [tf.io.decode_png(example["image"]).numpy()[..., 0] for example in splits[split]]
            np.testing.assert_array_equal(pixels, arrays[f"image_{split}"][rows])


@pytest.mark.slow
def test_a_registered_name(capfd, tmp_path):
    """TFDS uses its own code for `cifar10`, which lacks the added features; with a version it reads the files."""
    _, tfds = import_tfds()
    rng = np.random.default_rng(0)
    arrays = {f"image_{s}": rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for s, n in (("train", 20), ("test", 10))}
    labels = {f"label_{s}": np.arange(n) % 10 for s, n in (("train", 20), ("test", 10))}
    names = tfds.builder_cls("cifar10")
    version = str(names.VERSION)
    np.savez(tmp_path / "c.npz", **arrays, **labels)
    own = ("--config=default", f"--workdir={tmp_path / 'w'}", f"--config.prepare.source={tmp_path / 'c.npz'}")
    own = (*own, "--config.dataset.name=cifar10", f"--config.dataset.version={version}")
    own = (*own, f"--config.dataset.data_dir={tmp_path / 'data'}", "--config.select.method=random")
    own = (*own, "--config.select.fraction=0.2")
    assert run_here(capfd, "prepare", *own).code == 0
    assert run_here(capfd, "select", *own).code == 0
    done = run_here(capfd, "export", *own, "--selection=random-0.2-seed0", f"--out={tmp_path / 'out'}")
    assert done.code == 0, done.err
    code = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow_datasets as tfds
for name in sys.argv[2:]:
    read = tfds.load(name, data_dir=sys.argv[1], split="train", download=False)
    print(len(read), *sorted(read.element_spec))
"""
    command = [sys.executable, "-c", code, tmp_path / "out", "cifar10", f"cifar10:{version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    own, by_files = done.stdout.splitlines()
    assert own == "16 id image label" or own.startswith("16 image"), own
    assert by_files == "16 image label source_index source_source_index source_tfds_id"


@pytest.mark.slow
def test_what_tfds_cannot_read_is_refused(rich, selected, capfd, tmp_path):
    _, tfds = import_tfds()
    feature = (tfds.features.Text(), str)
    rich_tfds.write(tmp_path / "data", source_index=feature)
    own = (*flags(tmp_path, "rich", "data"), "--config.select.method=random", "--config.select.fraction=0.3")
    assert run_here(capfd, "select", *own).code == 0
    done = run_here(capfd, "export", *own, "--selection=random-0.3-seed0", f"--out={tmp_path / 'out'}")
    message = done.err.splitlines()[-1]
    found = "must have an integer as feature source_index, or no such feature, but it is Text"
    assert message.startswith(f"data-redundancy: --config.dataset.name: {found}"), done
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_named(tmp_path):
    tf, _ = import_tfds()
    path = tmp_path / "file"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in range(5):
            writer.write(bytes([i]) * 100 * i)
    whole = path.read_bytes()
    assert [len(r.content) for r in records.read(path, "tfrecord", [0, 2, 4])] == [0, 200, 400]
    for damaged in (whole[:-1], whole[:200], b"x" + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path}: is damaged"):
            list(records.read(path, "tfrecord", [0, 2, 4]))
    (tmp_path / "array").write_bytes(whole)
    with pytest.raises(ValueError, match="array: is damaged"):
        list(records.read(tmp_path / "array", "array_record", [0]))
    with pytest.raises(ValueError, match="missing: cannot be read"):
        list(records.read(tmp_path / "missing", "tfrecord", [0]))


def test_a_damaged_image_is_not_copied(tmp_path):
    """Its checksum says so; others of its file are read all the same."""
    tf, _ = import_tfds()
    path = tmp_path / "a"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(3):
            writer.write(b"x" * 100)
    damaged = bytearray(path.read_bytes())
    damaged[116 + 50] ^= 1
    path.write_bytes(damaged)
    assert [record.content for record in records.read(path, "tfrecord", [0, 2])] == [b"x" * 100] * 2
    with pytest.raises(ValueError, match=f"{path}: is damaged"):
        list(records.read(path, "tfrecord", [0, 1]))


def test_what_is_appended_is_part_of_the_record(tmp_path):
    tf, _ = import_tfds()
    given = [records.Record(b"x" * n, appended=b"more" * n) for n in (0, 1, 3_000_000, 7)]
    records.write(tmp_path / "a", "tfrecord", given)
    records.write(tmp_path / "b", "tfrecord", records.read(tmp_path / "a", "tfrecord", range(4)))
    for name in ("a", "b"):
        found = list(tf.data.TFRecordDataset(str(tmp_path / name)).as_numpy_iterator())
        assert found == [record.content + record.appended for record in given]


@pytest.mark.slow
@pytest.mark.parametrize("file_format", formats.FILE_FORMATS)
def test_examples_for_other_formats(rich, file_format):
    """Image files as they are, and everything else in plain types."""
    builder = open_directory(epath.Path(rich / file_format / "rich" / "2.0.1"))
    source = TfdsSource(builder, class_names=rich_tfds.CLASS_NAMES)
    indices = np.array([0, 3, 19, 20, 59])
    found = list(source.examples("train", indices))
    before = [source_of(rich, file_format)["train"][i] for i in indices]
    assert [e.index for e in found] == indices.tolist()
    assert [e.tfds_id for e in found] == [f"rich-train.{file_format}-{i // 20:05d}-of-00003__{i % 20}" for i in indices]
    assert [e.file_name for e in found] == [f"../../{i}<script>.JPEG" for i in indices]
    assert [(e.encoded, e.label, e.extension) for e in found] == [(b["image"], b["label"], "jpg") for b in before]
    for example, index in zip(found, indices, strict=True):
        features = dict(example.features)
        thumbnail = np.asarray(PIL.Image.open(io.BytesIO(features.pop("thumbnail"))))
        np.testing.assert_array_equal(thumbnail, np.full((4, 4), index))
        assert as_plain(features) == {
            "bbox": pytest.approx([0.1, 0.2, 0.3, 0.5 + index / 1000]),
            "objects/area": list(range(index % 4)),
            "objects/kind": [f"größe {k}" for k in range(index % 4)],
            "tags": [0, 1, 1][: index % 4],
            "words": ["ä", "b", "\ufffd"][: index % 4],
            "weights": [[index] * 3] * 2,
            "inner/deep": -index,
        }
        assert {name: features[name].dtype for name in ("tags", "words")} == {"tags": np.int64, "words": object}
    part = list(source.examples("extra+train[30:50]", np.array([2, 7, 26])))
    assert [e.file_name for e in part] == [f"../../{i}<script>.JPEG" for i in (82, 30, 49)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["webdataset", "huggingface", "imagefolder"])
def test_other_formats_by_command(rich, selected, capfd, tmp_path, name):
    own, keep = selected("array_record")
    out = tmp_path / "a" / "out"
    more = (f"--out={out}", f"--format={name}", "--num_shards=3", "--splits=extra")
    done = run_here(capfd, "export", *own, "--selection=random-0.3-seed0", *more)
    assert done.code == 0, done.err
    assert f"export: {len(keep)} train, 7 extra examples written ({out})" in done.err
    assert [path.name for path in tmp_path.rglob("*") if not path.is_relative_to(out)] == ["a"]
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    for path in out.rglob("*.parquet"):  # they are compressed
        written += b"".join(image["bytes"] for image in pq.read_table(path)["image"].to_pylist())
    before = source_of(rich, "array_record")
    kept = set(keep.tolist())
    assert [before["train"][i]["image"] in written for i in range(60)] == [i in kept for i in range(60)]
    assert all(example["image"] in written for example in before["extra"])
    assert not any(example["image"] in written for example in before["test"])
