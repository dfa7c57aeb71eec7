"""Reading data sets: the same arrays from `.npz` and TFDS, ids, split expressions, and bad input."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_redundancy.data import Split, load, npz, raw
from data_redundancy.data.tfds import builder, writer
from data_redundancy.errors import InputError

SPLITS = [
    "train",
    "test",
    "train[:90%]",
    "train[100:200]",
    "train[-7:]",
    "train[10%:]+test",
    "test[5:9]+train[40%:41%]",
]


@pytest.fixture(scope="module")
def digits():
    return raw.read_source("digits", test_fraction=0.2, seed=0)


@pytest.fixture(scope="module")
def data_dir(digits, tmp_path_factory):
    """Digits in two versions: in five and in one shard per split."""
    path = tmp_path_factory.mktemp("tfds")
    writer.write_tfds(digits, name="digits", version="1.0.0", data_dir=path, num_shards=5)
    writer.write_tfds(digits, name="digits", version="0.9.0", data_dir=path)
    return path


@pytest.fixture(scope="module")
def npz_file(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "digits.npz"
    np.savez(path, **arrays_of(digits))
    return str(path)


def arrays_of(digits):
    train, test = digits.splits["train"], digits.splits["test"]
    return {
        "image_train": train.images,
        "label_train": train.labels,
        "image_test": test.images,
        "label_test": test.labels,
    }


def small_arrays():
    images = np.arange(6 * 2 * 2, dtype=np.uint8).reshape(6, 2, 2)
    labels = np.array([0, 1, 2, 0, 1, 2])
    return {"image_train": images, "label_train": labels, "image_test": images[:2], "label_test": labels[:2]}


def write_npz(folder, **changes):
    arrays = {key: value for key, value in (small_arrays() | changes).items() if value is not None}
    np.savez(folder / "small.npz", **arrays)
    return str(folder / "small.npz")


def assert_one_line(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("expression", SPLITS)
def test_npz_and_tfds_give_identical_splits(npz_file, data_dir, expression):
    from_npz = load(npz_file, train_split=expression)
    from_tfds = load("digits", data_dir=data_dir, train_split=expression)
    assert from_npz.class_names == from_tfds.class_names == tuple("0123456789")
    for mine, other in ((from_npz.train, from_tfds.train), (from_npz.test, from_tfds.test)):
        assert mine.name == other.name
        assert mine.images.dtype == other.images.dtype == np.uint8
        assert mine.labels.dtype == other.labels.dtype == np.int32
        np.testing.assert_array_equal(mine.images, other.images)
        np.testing.assert_array_equal(mine.labels, other.labels)
    assert from_npz.train.tfds_ids is None


@pytest.mark.parametrize("expression", SPLITS)
def test_tfds_ids_of_indices_are_found_without_reading(data_dir, expression):
    read = load("digits", data_dir=data_dir, train_split=expression).train.tfds_ids
    assert len(set(read)) == len(read)
    shards = builder.split_shards(builder.open_prepared("digits", data_dir=data_dir), expression)
    indices = np.arange(len(read))
    np.testing.assert_array_equal(builder.index_to_tfds_id(shards, indices), read)
    scattered = np.random.default_rng(0).permutation(indices)[:20]
    np.testing.assert_array_equal(builder.index_to_tfds_id(shards, scattered), read[scattered])


def test_tfds_ids_outside_the_split(data_dir):
    prepared = builder.open_prepared("digits", data_dir=data_dir)
    shards = builder.split_shards(prepared, "train[:100]")
    with pytest.raises(InputError, match=r"^indices: must be from 0 to 99, but indices\[1\] is 100$"):
        builder.index_to_tfds_id(shards, [0, 100])
    with pytest.raises(InputError, match=r"^indices: must be from 0 to 99, but indices\[0\] is -1$"):
        builder.index_to_tfds_id(shards, [-1])


def test_canonical_order_is_the_order_of_the_source_over_shards(digits, data_dir):
    five_shards = load("digits", data_dir=data_dir)
    one_shard = load("digits", version="0.9.0", data_dir=data_dir)
    np.testing.assert_array_equal(five_shards.train.images, digits.splits["train"].images)
    np.testing.assert_array_equal(five_shards.train.images, one_shard.train.images)
    assert len({tfds_id.partition("__")[0] for tfds_id in five_shards.train.tfds_ids}) == 5
    assert (five_shards.version, one_shard.version) == ("1.0.0", "0.9.0")


def test_fingerprint_names_the_data(data_dir):
    fingerprint = load("digits", data_dir=data_dir).fingerprint()
    assert fingerprint == load("digits", data_dir=data_dir).fingerprint()
    digests = [fingerprint.pop(f"dataset.{split}_digest") for split in ("train", "test")]
    assert [len(digest) for digest in digests] == [16, 16]
    assert fingerprint == {
        "dataset.name": "digits",
        "dataset.version": "1.0.0",
        "dataset.class_names": list("0123456789"),
        "dataset.train_split": "train",
        "dataset.test_split": "test",
        "dataset.num_train": 1438,
        "dataset.num_test": 359,
    }


@pytest.mark.parametrize("split", ["train", "test"])
def test_fingerprint_tells_data_apart(tmp_path, split):
    arrays = small_arrays()
    original = load(write_npz(tmp_path)).fingerprint()
    assert original["dataset.name"] == "small.npz"
    changed_image, changed_label = arrays[f"image_{split}"].copy(), arrays[f"label_{split}"].copy()
    changed_image[1, 1, 1] += 1
    changed_label[0] = 1 - changed_label[0]
    for change in ({f"image_{split}": changed_image}, {f"label_{split}": changed_label}):
        fingerprint = load(write_npz(tmp_path, **change)).fingerprint()
        differing = [name for name in original if fingerprint[name] != original[name]]
        assert differing == [f"dataset.{split}_digest"]
    (tmp_path / "elsewhere").mkdir()
    assert load(write_npz(tmp_path / "elsewhere")).fingerprint() == original


def test_fingerprint_tells_ids_and_shapes_apart():
    images, labels = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1), np.zeros(6, np.int32)
    ids = np.array(list("abcdef"), object)
    splits = [
        Split("train", images, labels, None),
        Split("train", images, labels, ids),
        Split("train", images, labels, ids[::-1]),
        Split("train", images.reshape(6, 4, 1, 1), labels, None),
    ]
    assert len({split.digest for split in splits}) == len(splits)


def test_npz_needs_no_tensorflow(npz_file):
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from data_redundancy.data import load\n"
        f"print(len(load({npz_file!r}).train.labels))\n"
        "try: load('digits')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    number, message = done.stdout.splitlines()
    assert number == "1438"
    assert message == (
        "name: a TFDS data set needs the package tensorflow, which is not installed. Install it with pip install "
        "tensorflow tensorflow-datasets, or use an .npz file."
    )


def test_npz_grey_images_get_a_channel_and_classes_names(tmp_path):
    loaded = load(write_npz(tmp_path))
    assert loaded.train.images.shape == (6, 2, 2, 1)
    assert loaded.class_names == ("0", "1", "2")
    assert loaded.version == ""
    named = load(write_npz(tmp_path, class_names=np.array(["cat", "dög", "ox"])))
    assert named.class_names == ("cat", "dög", "ox")
    path = write_npz(tmp_path)
    assert load(path, class_names=list("abcd")).class_names == tuple("abcd")


def test_a_whole_npz_split_is_not_copied(tmp_path):
    contents = npz.read_npz(write_npz(tmp_path))
    assert np.shares_memory(npz._read_split(contents, "train", "x").images, contents.images["train"])


NPZ_MISTAKES = {
    "missing keys": (
        {"image_test": None, "label_test": None},
        ["lacks image_test label_test", "it has image_train, label_train"],
    ),
    "not uint8": (
        {"image_train": np.zeros((6, 2, 2), np.float32)},
        ["must have uint8 images (0 to 255), but image_train is float32"],
    ),
    "rank": (
        {"image_train": np.zeros((6, 4), np.uint8)},
        ["must have images [N, H, W, C], or grey [N, H, W], but image_train has the shape (6, 4)"],
    ),
    "no images": ({"image_test": np.zeros((0, 2, 2), np.uint8)}, ["image_test is empty"]),
    "counts": (
        {"label_train": np.zeros(5, int)},
        ["must have one label per image, but label_train has 5 labels for 6 images"],
    ),
    "shapes": ({"image_test": np.zeros((2, 3, 2), np.uint8)}, ["(2, 2, 1)", "(3, 2, 1)"]),
    "label type": ({"label_train": np.zeros(6)}, ["must have integer labels, but label_train is float64"]),
    "label rank": (
        {"label_train": np.zeros((6, 1), int)},
        ["must have labels [N], but label_train has the shape (6, 1)"],
    ),
    "negative label": (
        {"label_train": np.array([0, 1, -1, 0, -2, 0])},
        ["label_train from 0 to 1 (2 classes), but label_train[2] is -1"],
    ),
    "huge label": ({"label_train": np.array([0, 1, 2, 0, 1, 2**40])}, [f"label_train[5] is {2**40}"]),
    "label beyond names": ({"class_names": np.array(["a", "b"])}, ["label_train[2] is 2", "0 to 1 (2 classes)"]),
    "names repeated": (
        {"class_names": np.array(["a", "b", "a"])},
        ["class_names: must have a different name for each class, but 'a' occurs more than once"],
    ),
    "names not text": (
        {"class_names": np.arange(3)},
        ["must have class_names [C] as text, but they are int64 of the shape (3,)"],
    ),
    "ragged": (
        {"image_train": np.array([np.zeros((2, 2)), np.zeros((3, 3))], dtype=object)},
        ["must not have Python objects, but image_train has them (images of different sizes?)"],
    ),
}


@pytest.mark.parametrize("mistake", NPZ_MISTAKES)
def test_bad_npz_contents(tmp_path, mistake):
    changes, parts = NPZ_MISTAKES[mistake]
    path = write_npz(tmp_path, **changes)
    with pytest.raises(InputError) as error:
        load(path)
    assert_one_line(error, path if mistake != "names repeated" else "", *parts)


def test_bad_npz_files_and_arguments(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz: does not exist\. Name an \.npz file with image_train"):
        load(str(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(InputError, match=r"text\.npz: must be an \.npz file \("):
        load(str(tmp_path / "text.npz"))
    with open(tmp_path / "single.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match=r"single\.npz: must be an \.npz file, but is a single array$"):
        load(str(tmp_path / "single.npz"))
    path = write_npz(tmp_path, class_names=np.array(["a", "b", "c"]))
    with pytest.raises(InputError, match=r"^class_names: must have one name per class, but has 2 for 3 classes$"):
        load(path, class_names=["x", "y"])
    with pytest.raises(
        InputError, match=r"^version=1\.0\.0: must be empty for .*small\.npz, because an \.npz file has no version$"
    ):
        load(path, version="1.0.0")
    with pytest.raises(InputError, match=r"^name='': must not be empty"):
        load("")
    damaged = bytearray((tmp_path / "small.npz").read_bytes())
    damaged[len(damaged) // 4] ^= 255
    (tmp_path / "small.npz").write_bytes(damaged)
    with pytest.raises(InputError, match=r"small\.npz: must have readable arrays, but label_train cannot be read \("):
        load(path)


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("trian", "must be a split"),
        ("", "must be a split"),
        ("train[:10", "must be a split"),
        ("train[%:5]", "must be a split"),
        ("train[5]", "must be a split"),
        ("train[:7]", "must not extend beyond the 6 examples of train"),
        ("train[3:3]", "must have an example, but train[3:3] has none of train"),
        ("train[:4]+train[3:]", "must not have an example twice, but has examples of train twice"),
    ],
)
def test_bad_npz_splits(tmp_path, expression, part):
    with pytest.raises(InputError) as error:
        load(write_npz(tmp_path), test_split=expression)
    assert str(error.value) == (
        f"test_split={expression or repr(expression)}: {part}. Use train, test, a slice such as train[:90%] or "
        "train[100:200], or a sum such as train+test."
    )


bounds = st.one_of(st.just(""), st.integers(-400, 400).map(str), st.integers(-100, 100).map(lambda n: f"{n}%"))


@settings(max_examples=300, deadline=None)
@given(start=bounds, stop=bounds)
def test_slices_mean_the_same_for_npz_and_tfds(data_dir, start, stop):
    expression = f"test[{start}:{stop}]"
    prepared = builder.open_prepared("digits", version="0.9.0", data_dir=data_dir)
    try:
        theirs = [("test", s.start, s.start + s.length) for s in builder.split_shards(prepared, expression)]
    except InputError:
        theirs = []
    try:
        ours = npz.split_ranges(expression, sizes={"test": 359}, argument="split")
    except InputError:
        ours = []
    assert ours == theirs or expression == "test[:]"  # which TFDS rejects


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            {"name": "digitz"},
            ["name=digitz: must be a prepared TFDS data set", "digits 1.0.0", "Prepare it with tfds build digitz"],
        ),
        ({"version": "1.2.3"}, ["version=1.2.3: must be one of 0.9.0, 1.0.0"]),
        (
            {"train_split": "validation"},
            ["train_split=validation: must be a split of digits/1.0.0. Use train, test, a slice such as train[:90%]"],
        ),
        ({"test_split": "test[:"}, ["test_split=test[:: must be a split of digits/1.0.0. Use train, test"]),
        (
            {"train_split": "train[:99999]"},
            ["train_split=train[:99999]: must be a split of digits/1.0.0. Use train, test"],
        ),
        ({"train_split": "train[5:5]"}, ["train_split=train[5:5]: must have an example, but has none of digits/1"]),
        ({"train_split": "train[5:4]"}, ["must have an example, but has none of digits/1.0.0"]),
        ({"train_split": "train[9:3]+test"}, ["must have an example, but has none of digits/1.0.0"]),
        (
            {"train_split": "train[:50]+train[:25]"},
            ["must not have an example twice, but has examples of digits/1.0.0 twice"],
        ),
        ({"class_names": ["a", "b"]}, ["class_names: must have one name per class, but has 2 for 10 classes"]),
    ],
)
def test_bad_tfds_arguments(data_dir, arguments, parts):
    with pytest.raises(InputError) as error:
        load(**({"name": "digits", "data_dir": data_dir} | arguments))
    assert_one_line(error, *parts)


def test_tfds_data_dir_from_the_environment(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert len(load("digits", train_split="train[:5]", class_names=list("abcdefghij")).train.labels) == 5
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(InputError) as error:
        load("digits")
    assert_one_line(error, str(tmp_path / "nowhere/digits"), "prepared in", "none")


def test_damaged_tfds_files(digits, tmp_path):
    written = writer.write_tfds(digits, name="digits", version="1.0.0", data_dir=tmp_path)
    shard = next(tmp_path.glob("digits/1.0.0/digits-train*"))
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    shard.write_bytes(damaged)
    with pytest.raises(InputError) as error:
        load("digits", data_dir=tmp_path)
    assert_one_line(error, f"train_split=train: cannot be read from {written.directory} (")
    (tmp_path / "digits/1.0.0/dataset_info.json").write_text("{")
    with pytest.raises(InputError) as error:
        load("digits", data_dir=tmp_path)
    assert_one_line(error, f"{written.directory}: must be a readable TFDS data set (")


def store(data_dir, name, features, example, supervised_keys=None):
    """Writes a TFDS data set of one example with any features, in a `config`."""
    _, tfds = builder.import_tfds()

    class AnyBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="special"),)
        code_path = None

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, description="x", features=features, supervised_keys=supervised_keys
            )

        def _split_generators(self, dl_manager):
            return {split: iter([(0, example)]) for split in ("train", "test")}

        def _generate_examples(self):
            raise NotImplementedError

    AnyBuilder.name = name
    with builder.silenced_tfds():
        tfds.disable_progress_bar()
        AnyBuilder(data_dir=data_dir).download_and_prepare()


def test_features_of_tfds_data_sets(tmp_path):
    _, tfds = builder.import_tfds()
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    image, label = tfds.features.Image(), tfds.features.ClassLabel(names=["a", "b"])
    two_images = tfds.features.FeaturesDict({"image": image, "other": image, "label": label})
    example = {"image": 255 - picture, "other": picture, "label": 1}
    store(tmp_path, "chosen", two_images, example, supervised_keys=("other", "label"))
    loaded = load("chosen/special", data_dir=tmp_path)
    np.testing.assert_array_equal(loaded.train.images, picture[np.newaxis])
    assert (loaded.name, loaded.train.labels.tolist(), loaded.class_names) == ("chosen/special", [1], ("a", "b"))

    only = tfds.features.FeaturesDict({"photo": image, "kind": label, "text": tfds.features.Text()})
    store(tmp_path, "only", only, {"photo": picture, "kind": 0, "text": "x"})
    np.testing.assert_array_equal(load("only/special", data_dir=tmp_path).test.images, picture[np.newaxis])

    store(tmp_path, "ambiguous", two_images, example)
    with pytest.raises(InputError) as error:
        load("ambiguous/special", data_dir=tmp_path)
    assert_one_line(
        error,
        "name=ambiguous/special/1.0.0: must be an image-classification data set",
        "its features are image (Image), label (ClassLabel), other (Image)",
    )

    deep = tfds.features.FeaturesDict({"image": tfds.features.Image(dtype=np.uint16), "label": label})
    store(tmp_path, "deep", deep, {"image": picture.astype(np.uint16), "label": 0})
    with pytest.raises(InputError, match=r"^name=deep/special/1\.0\.0: must have uint8 images, but they are uint16$"):
        load("deep/special", data_dir=tmp_path)

    unlabelled = tfds.features.FeaturesDict({"image": image, "label": label})
    store(tmp_path, "unlabelled", unlabelled, {"image": picture, "label": -1})
    with pytest.raises(InputError) as error:
        load("unlabelled/special", data_dir=tmp_path)
    assert_one_line(error, "train_split=train: must have label from 0 to 1 (2 classes), but label[0] is -1")

    with pytest.raises(InputError, match=r"prepared in .*: .*only/special"):
        load("only", data_dir=tmp_path)


def test_tensorflow_sees_no_accelerator():
    tf, _ = builder.import_tfds()
    assert {device.device_type for device in tf.config.get_visible_devices()} == {"CPU"}
