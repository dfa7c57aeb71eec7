"""Turning digits, `.npz` files and folders of images into TFDS data sets."""

import io
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from data_redundancy.data import load, raw
from data_redundancy.data.tfds import builder, writer
from data_redundancy.errors import InputError


def assert_nothing_prepared(data_dir):
    assert not list(data_dir.rglob("dataset_info.json"))
    _, tfds = builder.import_tfds()
    assert not [path for path in data_dir.rglob("*") if tfds.core.Version.is_valid(path.name)]


def save_image(path, *, size=(5, 4), mode="RGB", seed=0, image_format=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path, format=image_format)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Two classes with awkward names, four images each, of one size; one file that is no image."""
    folder = tmp_path / "source"
    for number in range(4):
        save_image(folder / "žluťoučký kůň; $(x)" / f"{number}.png", seed=number)
        save_image(folder / "a 'b' \"c\" <d>" / f"{number} é.JPG", seed=10 + number, image_format="JPEG")
    (folder / "a 'b' \"c\" <d>" / "notes.txt").write_text("ignored")
    (folder / ".hidden").mkdir()
    return folder


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    test_fraction=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**32 - 1),
)
def test_stratified_split(counts, test_fraction, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    capacity = len(labels) - len(counts)
    wanted = min(round(test_fraction * len(labels)), capacity)
    try:
        train, test = raw.stratified_split(labels, test_fraction=test_fraction, seed=seed)
    except InputError:
        assert wanted == 0
        return
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(test) > 0)
    in_test = np.bincount(labels[test], minlength=len(counts))
    assert np.all(in_test < counts)
    assert len(test) <= wanted
    shares = test_fraction * np.array(counts)
    assert np.all(in_test <= shares + 1)
    # A class falls short of its share by one or more only where the rule about the last example holds it back.
    assert np.all((in_test > shares - 1) | (in_test == np.array(counts) - 1))
    if np.all(shares <= np.array(counts) - 1):
        assert len(test) == wanted
    again = raw.stratified_split(labels, test_fraction=test_fraction, seed=seed)
    np.testing.assert_array_equal(again[1], test)


def test_stratified_split_depends_on_the_seed():
    labels = np.repeat(np.arange(3), 50)
    first, second = (raw.stratified_split(labels, test_fraction=0.2, seed=seed)[1] for seed in (0, 1))
    assert first.tolist() != second.tolist()
    assert np.bincount(labels[first]).tolist() == [10, 10, 10]


@pytest.mark.parametrize("test_fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_bad_test_fraction(test_fraction):
    with pytest.raises(InputError, match=f"^test_fraction={test_fraction}: must be greater than 0 and less than 1$"):
        raw.read_source("digits", test_fraction=test_fraction, seed=0)


def test_digits_round_trip(tmp_path):
    prepared = writer.prepare("digits", name="digits", data_dir=tmp_path)
    assert not prepared.already_prepared
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]  # No folder for downloads.
    loaded = load("digits", data_dir=tmp_path)
    assert (len(loaded.train.labels), len(loaded.test.labels)) == (1438, 359)
    assert loaded.class_names == tuple("0123456789")
    assert loaded.train.images.max() == 255

    _, tfds = builder.import_tfds()
    with builder.silenced_tfds():
        examples, info = tfds.load("digits", data_dir=tmp_path, split="train", with_info=True)
        rows = list(examples.as_numpy_iterator())
        (first_image, first_label), *_ = tfds.load("digits", data_dir=tmp_path, split="test", as_supervised=True)
    assert "scikit-learn" in info.description
    assert "Alpaydin" in info.citation
    np.testing.assert_array_equal(loaded.test.images[0], first_image)
    assert first_label.numpy() == loaded.test.labels[0]
    # Images come from where source_index says, in that order.
    source = np.array([row["source_index"] for row in rows])
    assert np.all(np.diff(source) > 0)
    bunch = load_digits()
    np.testing.assert_array_equal(np.rint(loaded.train.images[..., 0] * (16 / 255)), bunch.images[source])
    np.testing.assert_array_equal(loaded.train.labels, bunch.target[source])


def test_existing_data_sets_are_left_alone(tmp_path):
    prepared = writer.prepare("digits", name="digits", data_dir=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert writer.prepare("digits", name="digits", data_dir=tmp_path).already_prepared
    with pytest.raises(
        InputError,
        match=r"1.0.0: exists already and has 1438 train and 359 test examples, but the source has 1258 train and",
    ):
        writer.prepare("digits", name="digits", data_dir=tmp_path, test_fraction=0.3)
    differs = "1.0.0: exists already and has as many examples as the source, but other images"
    with pytest.raises(InputError, match=differs):
        writer.prepare("digits", name="digits", data_dir=tmp_path, seed=1)
    with pytest.raises(InputError, match=differs):
        writer.prepare("digits", name="digits", data_dir=tmp_path, class_names=list("abcdefghij"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    (tmp_path / "digits/2.0.0").mkdir()
    with pytest.raises(
        InputError, match=r"2\.0\.0: must be a readable TFDS data set .*\. Remove it, or use another name or version\.$"
    ):
        writer.prepare("digits", name="digits", version="2.0.0", data_dir=tmp_path)
    assert prepared.directory == str(tmp_path / "digits/1.0.0")


def test_npz_with_and_without_a_test_split(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 5, 3), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez(
        tmp_path / "with.npz", image_train=images, label_train=labels, image_test=images[:3], label_test=labels[:3]
    )
    writer.prepare(str(tmp_path / "with.npz"), name="with_test", data_dir=tmp_path, class_names=["x", "y"])
    loaded = load("with_test", data_dir=tmp_path)
    np.testing.assert_array_equal(loaded.train.images, images)
    np.testing.assert_array_equal(loaded.test.images, images[:3])
    assert loaded.class_names == ("x", "y")

    np.savez(tmp_path / "without.npz", image_train=images, label_train=labels)
    writer.prepare(str(tmp_path / "without.npz"), name="without", data_dir=tmp_path, test_fraction=0.2, seed=5)
    loaded = load("without", data_dir=tmp_path)
    train, test = raw.stratified_split(labels, test_fraction=0.2, seed=5)
    np.testing.assert_array_equal(loaded.train.images, images[train])
    np.testing.assert_array_equal(loaded.test.images, images[test])

    np.savez(tmp_path / "half.npz", image_train=images, label_train=labels, image_test=images)
    with pytest.raises(InputError, match="but lacks label_test;"):
        writer.prepare(str(tmp_path / "half.npz"), name="half", data_dir=tmp_path)
    np.savez(tmp_path / "deep.npz", image_train=np.zeros((4, 2, 2, 5), np.uint8), label_train=np.zeros(4, int))
    with pytest.raises(InputError, match=r"must have images of 1 to 4 channels, as PNG files have, but they have 5$"):
        writer.prepare(str(tmp_path / "deep.npz"), name="deep", data_dir=tmp_path)


def test_folder_keeps_files_names_and_order(folder, tmp_path):
    writer.prepare(str(folder), name="pictures", data_dir=tmp_path, test_fraction=0.25)
    loaded = load("pictures", data_dir=tmp_path, train_split="train+test")
    assert loaded.class_names == ("a 'b' \"c\" <d>", "žluťoučký kůň; $(x)")
    assert (len(loaded.train.labels), len(loaded.test.labels)) == (8, 2)

    tf, tfds = builder.import_tfds()
    with builder.silenced_tfds():
        splits = tfds.load(
            "pictures", data_dir=tmp_path, split=["train", "test"], decoders={"image": tfds.decode.SkipDecoding()}
        )
        rows = [list(split.as_numpy_iterator()) for split in splits]
    assert loaded.train.file_names.tolist() == [row["file_name"].decode() for split in rows for row in split]
    assert loaded.test.file_names.tolist() == [row["file_name"].decode() for row in rows[1]]
    for split in rows:
        names = [row["file_name"].decode() for row in split]
        assert names == sorted(names)
        for row, name in zip(split, names, strict=True):
            assert row["image"] == (folder / name).read_bytes()
            assert loaded.class_names[row["label"]] == name.partition("/")[0]
    every_file = {str(path.relative_to(folder)) for path in folder.glob("*/*") if path.suffix != ".txt"}
    assert {row["file_name"].decode() for split in rows for row in split} == every_file
    for row, image in zip(rows[0] + rows[1], loaded.train.images, strict=True):
        np.testing.assert_array_equal(tf.io.decode_image(row["image"]), image)


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_folder_with_its_own_test_split(tmp_path, test_name):
    folder = tmp_path / "source"
    pixels = [save_image(folder / "train" / name / "1.png", seed=ord(name)) for name in "ba"]
    held_out = save_image(folder / test_name / "b" / "9.bmp", seed=9)
    writer.prepare(str(folder), name="pictures", data_dir=tmp_path)
    loaded = load("pictures", data_dir=tmp_path)
    np.testing.assert_array_equal(loaded.train.images, pixels[::-1])
    np.testing.assert_array_equal(loaded.test.images, [held_out])
    assert (loaded.train.labels.tolist(), loaded.test.labels.tolist()) == ([0, 1], [1])
    save_image(folder / test_name / "c" / "1.png")
    with pytest.raises(InputError, match=r"must have the class folders of the training split, a, b, not 'c'$"):
        raw.read_source(str(folder), test_fraction=0.2, seed=0)


def test_grey_and_mixed_folders(tmp_path):
    for number in range(4):
        save_image(tmp_path / "source/grey/c" / f"{number}.png", mode="L", seed=number)
        save_image(tmp_path / "source/mixed/c" / f"{number}.png", mode="L" if number else "RGB", seed=number)
    for name, channels in (("grey", 1), ("mixed", 3)):
        writer.prepare(str(tmp_path / "source" / name), name=name, data_dir=tmp_path, test_fraction=0.25)
        assert load(name, data_dir=tmp_path).train.images.shape == (3, 4, 5, channels)


def test_differing_sizes_are_written_but_not_loaded(folder, tmp_path):
    odd = next(path for path in sorted(folder.rglob("*.png")) if path.name == "2.png")
    save_image(odd, size=(7, 4))
    writer.prepare(str(folder), name="pictures", data_dir=tmp_path, test_fraction=0.25)
    with pytest.raises(InputError) as error:
        load("pictures", data_dir=tmp_path, train_split="train+test")
    message = str(error.value)
    index, shape = message.partition(" and example ")[2].partition(". ")[0].split(" is ")
    assert "must have images of one size to be read into memory, but example 0 is (4, 5, 3)" in message
    assert shape == "(4, 7, 3)"
    _, tfds = builder.import_tfds()
    with builder.silenced_tfds():
        examples = tfds.load("pictures", data_dir=tmp_path, split="train+test")
        shapes = [image["image"].shape for image in examples.as_numpy_iterator()]
    assert shapes[int(index)] == (4, 7, 3)
    assert set(shapes[: int(index)]) == {(4, 5, 3)}


def test_splits_of_differing_sizes(tmp_path):
    save_image(tmp_path / "source/train/a/1.png")
    save_image(tmp_path / "source/test/a/1.png", size=(9, 9))
    writer.prepare(str(tmp_path / "source"), name="pictures", data_dir=tmp_path)
    with pytest.raises(InputError, match=r"of one size .*, but they are \(4, 5, 3\) in train and \(9, 9, 3\) in test"):
        load("pictures", data_dir=tmp_path)


def test_a_truncated_image_leaves_nothing_behind(folder, tmp_path):
    # The header is valid, so that the error appears only when writing decodes the image.
    victim = sorted(folder.rglob("*.JPG"))[2]
    buffer = io.BytesIO()
    PIL.Image.effect_noise((64, 64), 80).convert("RGB").save(buffer, format="JPEG")
    victim.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    data_dir = tmp_path / "prepared"
    with pytest.raises(InputError) as error:
        writer.prepare(str(folder), name="pictures", data_dir=data_dir)
    assert str(error.value) == f"{victim}: must be an image file that can be read"
    assert_nothing_prepared(data_dir)
    assert not list((data_dir / "pictures").iterdir())


def test_a_killed_writer_leaves_nothing_that_looks_prepared(tmp_path):
    program = f"""
import os, signal
from data_redundancy.data import raw
from data_redundancy.data.tfds import writer
encode = writer._encoded_file
def die(path, channels):
    if path.name == "2.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(path, channels)
writer._encoded_file = die
writer.prepare({str(tmp_path / "source")!r}, name="pictures", data_dir={str(tmp_path / "prepared")!r})
"""
    for number in range(4):
        save_image(tmp_path / "source/a" / f"{number}.png", seed=number)
    killed = subprocess.run([sys.executable, "-c", program], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "prepared/pictures").iterdir())  # It was killed while writing, not before.
    assert_nothing_prepared(tmp_path / "prepared")
    with pytest.raises(InputError, match=r"^name=pictures: must be a prepared TFDS data set"):
        load("pictures", data_dir=tmp_path / "prepared")
    writer.prepare(str(tmp_path / "source"), name="pictures", data_dir=tmp_path / "prepared")
    assert len(load("pictures", data_dir=tmp_path / "prepared").train.labels) == 3


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Writing more than this to any file now fails, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=r"1\.0\.0: cannot be written \("):
            writer.prepare("digits", name="digits", data_dir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_nothing_prepared(tmp_path)


@pytest.mark.slow
def test_nothing_is_printed(tmp_path):
    program = (
        "from absl import app, logging\n"
        "from data_redundancy.data import load\n"
        "from data_redundancy.data.tfds import writer\n"
        "def main(argv):\n"
        "    logging.set_verbosity(logging.INFO)\n"
        f"    writer.prepare('digits', name='digits', data_dir={str(tmp_path)!r})\n"
        f"    writer.prepare('digits', name='digits', data_dir={str(tmp_path)!r})\n"
        f"    load('digits', data_dir={str(tmp_path)!r})\n"
        "    logging.info('done')\n"
        "app.run(main)\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("done")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (
            {"source": "nowhere"},
            "source=nowhere: does not exist. Use digits, the path of an .npz file, or a folder",
        ),
        ({"source": ""}, "source='': does not exist"),
        ({"source": "nowhere.npz"}, "nowhere.npz: does not exist"),
        ({"name": "My-Digits"}, "name=My-Digits: must consist of lower-case letters, digits and underscores"),
        ({"name": "../digits"}, "name=../digits: must consist of"),
        ({"version": "1.0"}, "version=1.0: must be three numbers, such as 1.0.0"),
        ({"version": "1.0.01"}, "version=1.0.01: must be three numbers"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"class_names": ["a"]}, "class_names: must have one name per class, but has 1 for 10 classes"),
        (
            {"class_names": [" 0", *"123456789"]},
            "class_names: must be UTF-8 names of one line, without spaces at the ends, unlike ' 0'",
        ),
        ({"class_names": ["0\n1", *"123456789"]}, "at the ends, unlike '0\\n1'"),
        ({"class_names": ["", *"123456789"]}, "at the ends, unlike ''"),
    ],
)
def test_bad_arguments(tmp_path, arguments, part):
    with pytest.raises(InputError) as error:
        writer.prepare(**({"source": "digits", "name": "digits", "data_dir": tmp_path} | arguments))
    assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_bad_folders(tmp_path):
    def message(folder):
        with pytest.raises(InputError) as error:
            raw.read_source(str(folder), test_fraction=0.2, seed=0)
        return str(error.value)

    (tmp_path / "empty").mkdir()
    assert message(tmp_path / "empty").startswith(f"{tmp_path / 'empty'}: has no images. Use digits, ")
    (tmp_path / "texts/a").mkdir(parents=True)
    (tmp_path / "texts/a/x.txt").write_text("x")
    assert message(tmp_path / "texts").startswith(f"{tmp_path / 'texts'}: has no images. Use digits, ")
    save_image(tmp_path / "half/a/1.png")
    (tmp_path / "half/b").mkdir()
    assert message(tmp_path / "half").startswith(f"{tmp_path / 'half/b'}: has no images. Use digits, ")
    (tmp_path / "half/b/fake.png").write_text("not an image")
    assert message(tmp_path / "half") == f"{tmp_path / 'half/b/fake.png'}: must be an image file that can be read"
    save_image(tmp_path / "single/a/1.png")
    assert message(tmp_path / "single") == (
        "test_fraction=0.2: must leave a test example, but leaves none of 1 examples in 1 classes"
    )


def test_the_source_folder_is_not_written_into(folder):
    with pytest.raises(
        InputError, match=r"^name=source: must not write into the source .*. Use another name or data_dir.$"
    ):
        writer.prepare(str(folder), name="source", data_dir=folder.parent)


def test_data_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file/digits/1\.0\.0: cannot be written \("):
        writer.prepare("digits", name="digits", data_dir=tmp_path / "file")
