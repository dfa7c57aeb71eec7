"""Streamed images: their order and content, and that training on them equals training in memory."""

import functools
import itertools
import logging
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_redundancy import data, training
from data_redundancy.data import batches
from data_redundancy.data.tfds import writer
from data_redundancy.data.tfds.image_stream import ImageStream
from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts
from data_redundancy.training import trainer as trainer_module
from helpers import imagenet_like
from helpers import training_script as script
from helpers.command import ends, error_line, run_here, start_all

SIZE = 8
RANDOM = {"crop": "random", "min_area": 0.08, "central_fraction": 0.875}
CENTER = {"crop": "center", "min_area": 1.0, "central_fraction": 1.0}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    imagenet_like.write(folder)
    return folder


@pytest.fixture(scope="module")
def photos(data_dir):
    """JPEGs of differing sizes, streamed."""
    return data.load(imagenet_like.NAME, data_dir=data_dir, test_split="validation", stream=True)


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    writer.prepare("digits", name="digits", data_dir=folder)
    return folder


@pytest.fixture(scope="module")
def digits(digits_dir):
    """The same PNGs of 8 x 8 grey pixels, streamed and in memory."""
    return [data.load("digits", data_dir=digits_dir, stream=stream) for stream in (True, False)]


def stream(split, *, size=SIZE, **options) -> ImageStream:
    return ImageStream(split, image_size=size, **options)


def read(images, index, *, epoch=0, seed=0, batch_size=10, **how):
    """The images of `index`, which batches divide."""
    rows = ((part, np.full(len(part), epoch)) for part in np.asarray(index).reshape(-1, batch_size))
    found = list(images.train(rows, seed=seed, **{**RANDOM, **how}))
    return np.concatenate([batch.image for batch in found])


# The catalog


def test_streamed_splits_know_what_splits_in_memory_know(digits):
    streamed, in_memory = digits
    for mine, theirs in ((streamed.train, in_memory.train), (streamed.test, in_memory.test)):
        assert np.array_equal(mine.labels, theirs.labels)
        assert mine.labels.dtype == np.int32
        assert mine.tfds_ids.tolist() == theirs.tfds_ids.tolist()
    assert streamed.class_names == in_memory.class_names


def test_files_shards_and_names(photos):
    _, labels = imagenet_like.images()
    train = photos.train
    assert len(set(train.records.paths)) == imagenet_like.NUM_SHARDS
    assert np.array_equal(train.labels, labels[: imagenet_like.NUM_TRAIN])
    assert train.file_names[17] == f"n{labels[17]:08d}_17.JPEG"
    assert np.array_equal(photos.test.labels, labels[imagenet_like.NUM_TRAIN :])
    assert train.tfds_id(57) == train.tfds_ids[57]


@pytest.mark.parametrize("expression", ["train[30:90]", "train[:25%]+validation[10:]", "validation+train[100:110]"])
def test_parts_of_splits(data_dir, photos, expression):
    part = data.load(imagenet_like.NAME, data_dir=data_dir, train_split=expression, test_split="train", stream=True)
    all_ids = np.concatenate([photos.train.tfds_ids, photos.test.tfds_ids])
    all_labels = np.concatenate([photos.train.labels, photos.test.labels])
    where = {name: position for position, name in enumerate(all_ids)}
    rows = np.array([where[name] for name in part.train.tfds_ids])
    assert np.array_equal(part.train.labels, all_labels[rows])
    whole = stream(photos.train), stream(photos.test)
    offset = len(photos.train.labels)
    for position, row in list(enumerate(rows))[:: len(rows) // 5]:
        there = (whole[1], row - offset) if row >= offset else (whole[0], row)
        here = next(stream(part.train).inference([np.array([position])], central_fraction=1.0))
        expected = next(there[0].inference([np.array([there[1]])], central_fraction=1.0))
        assert np.array_equal(here.image, expected.image)


def test_the_scan_happens_once(data_dir, photos, caplog):
    with caplog.at_level(logging.INFO, logger="data_redundancy"):
        again = data.load(imagenet_like.NAME, data_dir=data_dir, test_split="validation", stream=True)
    assert "listed" not in caplog.text
    assert again.train.digest == photos.train.digest


def test_another_pixel_is_another_digest_and_a_new_scan(tmp_path, photos, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("data_redundancy"), "propagate", True)
    pixels, _ = imagenet_like.images()
    changed = pixels[3].copy()
    changed[5:9, 5:9] = 255
    imagenet_like.write(tmp_path / "same")
    imagenet_like.write(tmp_path / "other", replace={3: imagenet_like.jpeg(changed)})
    load = functools.partial(data.load, imagenet_like.NAME, test_split="validation", stream=True)
    same, other = load(data_dir=tmp_path / "same"), load(data_dir=tmp_path / "other")
    assert same.train.digest == photos.train.digest, "wherever it lies"
    assert other.train.digest != photos.train.digest
    assert other.test.digest == photos.test.digest
    relative = pathlib.Path(imagenet_like.NAME) / imagenet_like.VERSION
    for shard in (tmp_path / "other" / relative).glob("*-train.tfrecord-*"):
        (tmp_path / "same" / relative / shard.name).write_bytes(shard.read_bytes())
    assert load(data_dir=tmp_path / "same").train.digest == other.train.digest
    assert "lists other files than the data set has" in caplog.text


def test_npz_files_do_not_stream(tmp_path):
    with pytest.raises(InputError, match=r"^stream: needs a TFDS data set, but .*x\.npz is an \.npz file$"):
        data.load(str(tmp_path / "x.npz"), stream=True)


# Pixels


def test_pngs_come_as_they_are(digits):
    streamed, in_memory = digits
    index = np.random.default_rng(0).permutation(len(in_memory.train.labels))[:200]
    assert np.array_equal(read(stream(streamed.train), index, **CENTER), in_memory.train.images[index])
    found = next(stream(streamed.train).inference([index], central_fraction=1.0))
    assert np.array_equal(found.image, in_memory.train.images[index])
    assert np.array_equal(found.label, in_memory.train.labels[index])
    assert np.array_equal(found.index, index)
    assert found.valid.all()


@pytest.mark.parametrize("fraction", [0.5, 0.875, 1.0])
def test_central_crops(photos, fraction):
    """Against the boxes of the images as they were, before JPEG; of a side that needs no resizing."""
    pixels, _ = imagenet_like.images()
    for i in range(0, 40, 7):
        height, width = pixels[i].shape[:2]
        side = round(fraction * min(height, width))
        top, left = (height - side) // 2, (width - side) // 2
        found = next(stream(photos.train, size=side).inference([np.array([i])], central_fraction=fraction)).image[0]
        expected = pixels[i][top : top + side, left : left + side]
        assert np.abs(found.astype(int) - expected).mean() < 4, i
        shifted = np.abs(found.astype(int) - np.roll(expected, 2, axis=0)).mean()
        assert shifted > np.abs(found.astype(int) - expected).mean()


def test_random_crops_depend_on_seed_epoch_and_index_alone(photos):
    index = np.arange(100)
    order = np.random.default_rng(1).permutation(100)
    first = read(stream(photos.train, threads=1), index)
    again = read(stream(photos.train, threads=3), index[order], batch_size=25)
    assert np.array_equal(again, first[order])
    for other in (read(stream(photos.train), index, epoch=1), read(stream(photos.train), index, seed=1)):
        assert (other != first).any((1, 2, 3)).mean() > 0.95
    same_image = read(stream(photos.train), np.full(10, 5))
    assert (same_image == same_image[0]).all()


def test_random_crops_are_of_the_shape_that_is_asked_for(tmp_path):
    """A ramp shows the position of a crop: red increases downwards, green to the right."""
    down, right = np.mgrid[0:250, 0:200]
    ramp = np.stack([down, right, np.zeros_like(down)], -1).astype(np.uint8)
    imagenet_like.write(tmp_path, replace=dict.fromkeys(range(imagenet_like.NUM_TRAIN), imagenet_like.jpeg(ramp)))
    split = data.load(imagenet_like.NAME, data_dir=tmp_path, test_split="validation", stream=True).train
    found = read(stream(split, size=64), np.arange(200), min_area=0.25).astype(float)
    height = (found[:, -1, :, 0].mean(1) - found[:, 0, :, 0].mean(1)) * 64 / 63
    width = (found[:, :, -1, 1].mean(1) - found[:, :, 0, 1].mean(1)) * 64 / 63
    area, aspect = height * width / (250 * 200), width / height
    assert area.min() > 0.22
    assert area.max() <= 1.05
    assert aspect.min() > 0.7
    assert aspect.max() < 1.42
    assert area.std() > 0.1
    assert found[:, 0, :, 0].mean(1).std() > 10, "not all in one place"
    small = read(stream(split, size=64), np.arange(200), min_area=0.01).astype(float)
    height = (small[:, -1, :, 0].mean(1) - small[:, 0, :, 0].mean(1)) * 64 / 63
    width = (small[:, :, -1, 1].mean(1) - small[:, :, 0, 1].mean(1)) * 64 / 63
    assert 0.005 < (height * width / (250 * 200)).min() < 0.05


# Images that cannot be decoded


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    good = imagenet_like.jpeg(imagenet_like.images()[0][7])
    imagenet_like.write(folder, replace={7: good[:200], 11: b"no image at all"})
    return folder, data.load(imagenet_like.NAME, data_dir=folder, test_split="validation", stream=True)


def test_a_corrupt_image_stops_with_its_name(damaged):
    split = damaged[1].train
    with pytest.raises(InputError) as raised:
        read(stream(split), np.arange(20))
    assert str(raised.value) == (
        f"on_corrupt=stop: an image cannot be decoded: {split.tfds_ids[7]} (index 7 of train). "
        "Repair the image, or use skip."
    )


def test_a_corrupt_image_is_skipped_once_told(damaged, photos, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("data_redundancy"), "propagate", True)
    split, index = damaged[1].train, np.arange(20)
    images = stream(split, on_corrupt="skip")
    found = [next(iter(images.train([(index, np.zeros(20, int))], seed=0, **RANDOM))) for _ in range(2)]
    assert np.flatnonzero(~found[0].valid).tolist() == [7, 11]
    assert (found[0].image[[7, 11]] == 0).all()
    others = np.setdiff1d(index, [7, 11])
    assert np.array_equal(found[0].image[others], read(stream(photos.train), index)[others])
    for i in (7, 11):
        message = f"{split.tfds_ids[i]} (index {i} of train): cannot be decoded, skipped"
        # Where other tests have silenced the logger, pytest may see a record twice.
        assert len({id(record) for record in caplog.records if record.getMessage() == message}) == 1


def test_a_file_that_is_gone_is_no_corrupt_image(tmp_path):
    directory = imagenet_like.write(tmp_path)
    split = data.load(imagenet_like.NAME, data_dir=tmp_path, test_split="validation", stream=True).train
    (gone,) = directory.glob("*-train.tfrecord-00002-*")
    gone.unlink()
    with pytest.raises(InputError, match=r"^/.*00002-of-00004: does not exist any more$"):
        read(stream(split, on_corrupt="skip"), np.arange(230))


def test_a_flipped_byte_is_noticed(tmp_path):
    directory = imagenet_like.write(tmp_path)
    split = data.load(imagenet_like.NAME, data_dir=tmp_path, test_split="validation", stream=True).train
    path = directory / pathlib.Path(split.records.paths[split.records.file[4]].decode()).name
    content = bytearray(path.read_bytes())
    content[split.records.offset[4] + 12 + split.records.length[4] // 2] ^= 1
    path.write_bytes(content)
    message = (
        rf"^{path}: has changed or is damaged: the record of {split.tfds_ids[4]} \(index 4\) differs from that in the "
    )
    with pytest.raises(InputError, match=message):
        read(stream(split, on_corrupt="skip"), np.arange(10))


def test_a_data_set_that_is_not_the_one_listed(tmp_path):
    """Files of the same names and sizes with other labels, beside a catalog of the old ones."""
    catalog, splits = tmp_path / "catalog", []
    for version in ("one", "other"):
        swapped = dict(enumerate(reversed([imagenet_like.jpeg(image) for image in imagenet_like.images()[0][:4]])))
        imagenet_like.write(tmp_path / version, replace=swapped if version == "other" else None)
        splits.append(
            data.load(
                imagenet_like.NAME,
                data_dir=tmp_path / version,
                test_split="validation",
                stream=True,
                catalog_dir=catalog,
            ).train
        )
    assert splits[0].digest == splits[1].digest, "the catalog does not know"
    read(stream(splits[0]), np.arange(10))
    with pytest.raises(
        InputError, match=r"differs from that in the catalog\. Repair the file, or remove the catalog\.$"
    ):
        read(stream(splits[1]), np.arange(10))


def test_an_error_in_what_is_asked_for_comes_through(photos):
    def rows():
        yield np.arange(4), np.zeros(4, int)
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        list(stream(photos.train).train(rows(), seed=0, **RANDOM))


def test_indices_are_taken_a_few_batches_ahead_and_no_more(photos):
    taken = itertools.count()
    rows = ((np.arange(8), np.full(8, next(taken))) for _ in range(1000))
    images = stream(photos.train, threads=2, prefetch=2).train(rows, seed=0, **RANDOM)
    for _ in range(3):
        next(images)
    images.close()
    assert next(taken) < 20


# Which images


@pytest.mark.parametrize(("num_processes", "batch_size"), [(1, 16), (2, 16), (3, 24)])
def test_every_kept_image_is_seen_once_an_epoch_over_all_processes(photos, num_processes, batch_size):
    """101 kept images, which neither the batch nor the processes divide; and none else is read."""
    keep = np.sort(np.random.default_rng(0).permutation(230)[:101])
    num_steps = 3 * 101 // batch_size + 1
    seen = []
    for process in range(num_processes):
        with (
            mock.patch.object(jax, "process_count", return_value=num_processes),
            mock.patch.object(jax, "process_index", return_value=process),
        ):
            found = batches.train_batches(keep, batch_size=batch_size, seed=1, first_step=0, num_steps=num_steps)
            index, epoch = (devices.own_part(x, axis=1) for x in (found.index, found.epoch))
            rows = zip(index, epoch, strict=True)
            images = stream(photos.train).train(rows, seed=1, **RANDOM)
            for batch, epochs in zip(images, epoch, strict=True):
                seen += zip(batch.index, epochs, strict=True)
    for epoch in range(3):
        assert sorted(i for i, e in seen if e == epoch) == keep.tolist()


# Training


def streamed_input(split, *, channels, on_corrupt="stop", mean=(80.0,), std=(90.0,), **how):
    return training.Streamed(
        stream(split, on_corrupt=on_corrupt),
        training.StreamSettings(**{**RANDOM, **how}),
        num_examples=len(split.labels),
        image_shape=(SIZE, SIZE, channels),
        mean=mean * channels if len(mean) == 1 else mean,
        std=std * channels if len(std) == 1 else std,
    )


def make_trainer(train, test, **settings):
    settings = training.TrainSettings(**{**script.SETTINGS, **settings})
    return training.Trainer(script.TinyNet(), settings, num_classes=10, train=train, test=test)


def test_streaming_equals_memory_on_the_same_pixels(digits, tmp_path):
    """Bit for bit, with augmentation, over several epochs; also what is evaluated and embedded."""
    outcomes = []
    for name, dataset in zip(("stream", "memory"), digits, strict=True):
        if name == "stream":
            splits = [streamed_input(split, channels=1, **CENTER) for split in (dataset.train, dataset.test)]
        else:
            splits = [
                training.InMemory(split.images, split.labels, mean=(80.0,), std=(90.0,))
                for split in (dataset.train, dataset.test)
            ]
        trainer = make_trainer(*splits, flip=True, cutout=2)
        run = script.make_run(tmp_path / name, keep=np.arange(0, 1400, 6), num_steps=11)
        result = trainer.train(run)
        state = trainer.restore(run)
        blocks = training.embed(
            script.TinyNet(), devices.replicate(state.variables), splits[1], batch_size=64, chunk_rows=50
        )
        embedding = np.concatenate([rows for _, rows in blocks])
        outcomes.append({**script.flatten(state), "embedding": embedding, "loss": np.array(result["loss"])})
        assert len(embedding) == len(dataset.test.labels)
    assert (tmp_path / "stream" / "metrics.jsonl").read_bytes() == (tmp_path / "memory" / "metrics.jsonl").read_bytes()
    for name, array in outcomes[0].items():
        assert np.array_equal(array, outcomes[1][name]), name


class CutError(Exception):
    pass


def test_a_run_cut_off_in_mid_epoch_sees_the_same_images_again(photos, tmp_path, monkeypatch):
    splits = [streamed_input(split, channels=3) for split in (photos.train, photos.test)]
    keep = np.arange(0, 230, 2)
    trainer = make_trainer(*splits, flip=True, batch_size=32, checkpoint_every_steps=2)
    whole, cut = (script.make_run(tmp_path / name, keep=keep, num_steps=9) for name in ("whole", "cut"))
    trainer.train(whole)

    def failing(*arguments, first_step, **options):
        if first_step >= 6:
            raise CutError
        return batches.train_batches(*arguments, first_step=first_step, **options)

    with monkeypatch.context() as patched, pytest.raises(CutError):
        patched.setattr(trainer_module, "train_batches", failing)
        trainer.train(cut)
    assert 0 < int(trainer.restore(cut).step) < 9
    trainer.train(cut)
    states = [script.flatten(trainer.restore(run)) for run in (whole, cut)]
    for name, array in states[0].items():
        assert np.array_equal(array, states[1][name]), name
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_skipped_image_has_no_weight(damaged, photos, tmp_path):
    """Metrics do not count it, neither does what it might look like matter; evaluation leaves it out too."""
    split = damaged[1].train
    with_damage = streamed_input(split, channels=3, on_corrupt="skip", **CENTER)
    trainer = make_trainer(with_damage, with_damage, batch_size=32, log_every_steps=1, checkpoint_every_steps=100)
    run = script.make_run(tmp_path / "skip", keep=np.arange(16), num_steps=1, warmup_steps=0)
    result = trainer.train(run)
    (line,) = script.read_metrics(tmp_path / "skip")
    assert line["accuracy"] * 28 == pytest.approx(round(line["accuracy"] * 28)), "of 32 rows, two images twice"
    assert result["accuracy"] * 228 == pytest.approx(round(result["accuracy"] * 228))


def test_loss_decreases_on_real_images(photos, tmp_path):
    splits = [streamed_input(split, channels=3, min_area=0.6) for split in (photos.train, photos.test)]
    trainer = make_trainer(*splits, batch_size=64, log_every_steps=15, checkpoint_every_steps=1000)
    trainer.train(script.make_run(tmp_path / "run", keep=np.arange(230), num_steps=60))
    losses = [line["loss"] for line in script.read_metrics(tmp_path / "run")]
    assert losses[-1] < 0.75 * losses[0], losses


# The command


JOB = (
    "--config=imagenet",
    f"--config.dataset.name={imagenet_like.NAME}",
    "--config.model.name=resnet8",
    f"--config.input.image_size={SIZE}",
    "--config.train.steps=6",
    "--config.train.warmup_steps=1",
    "--config.train.batch_size=32",
    "--config.train.log_every_steps=2",
    "--config.train.dtype=float32",
    "--config.embed.batch_size=64",
    "--config.sweep.fractions=(0.2,)",
    "--config.sweep.methods=(agglomerative,)",
    "--config.sweep.seeds=(0,)",
    "--workdir=w",
)


@pytest.mark.slow
def test_the_whole_job_streams(data_dir, damaged, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    done = run_here(capfd, "run", *JOB, f"--config.dataset.data_dir={data_dir}")
    assert done.code == 0, done.err
    assert "230 training and 50 test images, streamed, 10 classes" in done.err
    keep = np.load("w/selections/agglomerative-0.2/keep.npy")
    assert len(keep) == 184
    assert "agglomerative 20%" in done.out
    # The same workdir with another data set: its keep lists are rejected.
    done = run_here(capfd, "select", *JOB, f"--config.dataset.data_dir={damaged[0]}")
    assert done.code == 2
    assert "was made with different inputs: dataset.train_digest was" in done.err
    # A corrupt image ends the command with one line, beside that about the data set.
    done = run_here(capfd, "train", *JOB[:-1], "--workdir=v", f"--config.dataset.data_dir={damaged[0]}")
    assert done.code == 2
    line = done.err.splitlines()[-1]
    told = "data-redundancy: --config.input.corrupt=stop: an image cannot be decoded: imagenet_like-train.tfrecord-"
    assert line.startswith(told)
    assert line.endswith(" of train). Repair the image, or use skip.")


@pytest.mark.slow
def test_two_processes_stream_as_one(data_dir, tmp_path, monkeypatch, capfd):
    """The same command on two processes of four devices and on one of eight, from listing the records to the table.

    Of 230 images 46 go, by clusters of an embedding in which hardly two distances are within rounding errors.
    """
    monkeypatch.chdir(tmp_path)
    # Sums in another order differ in the last bit; steps of training make more of it, small ones less.
    job = ("run", *JOB[:-1], f"--config.dataset.data_dir={data_dir}", "--config.train.learning_rate=0.0003")
    two = ("--workdir=two", "--config.input.catalog_dir=catalog")
    for code, _, err in ends(start_all(["-m", "data_redundancy", *job, *two], cwd=tmp_path)):
        assert code == 0, err
    done = run_here(capfd, *job, "--workdir=one")
    assert done.code == 0, done.err
    for split in ("train", "validation"):
        ours, theirs = (np.load(next(folder.glob(f"**/{split}.npz"))) for folder in (data_dir, pathlib.Path("catalog")))
        assert ours.files == theirs.files
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours.files)
    one, other = (pathlib.Path(name) for name in ("one", "two"))
    for trial in ("full", "agglomerative-0.2"):
        losses = [
            [line["loss"] for line in script.read_metrics(workdir / "trials" / trial / "seed0")]
            for workdir in (one, other)
        ]
        assert np.allclose(*losses, rtol=0, atol=2e-5)
    embeddings = [artifacts.read_embeddings(workdir.absolute() / "embeddings")[0] for workdir in (one, other)]
    assert np.allclose(*embeddings, rtol=0, atol=2e-5)
    for tree in (one / "dendrograms").glob("*.npz"):
        heights = [np.load(workdir / "dendrograms" / tree.name)["linkage"][:, 2] for workdir in (one, other)]
        assert np.allclose(*heights, rtol=0, atol=2e-5)
    keeps = [np.load(workdir / "selections" / "agglomerative-0.2" / "keep.npy") for workdir in (one, other)]
    assert np.array_equal(*keeps)


def test_streams_are_for_tfds(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    line = error_line(run_here(capfd, "train", *JOB, "--config.dataset.name=x.npz"))
    assert line.startswith("--config.input.mode: needs a TFDS data set, but x.npz is an .npz file")


def test_invalid_rows_have_no_weight_and_are_the_mean():
    examples = training.Streamed.load(
        training.inputs.Normalisation(jnp.zeros(1), jnp.ones(1)),
        {"image": np.full((2, 4, 4, 1), 7, np.uint8), "label": np.zeros(2, np.int32), "valid": np.array([True, False])},
    )
    assert examples.weight.tolist() == [1.0, 0.0]
    assert (examples.images[0] == 7).all()
    assert (examples.images[1] == 0).all()
