"""This project's contestants: its trainer, its embedding and its streams, called as its stages call them."""

import itertools
import pathlib
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np
from etils import epath

from benchmarks.training import inputs, page_cache, rounds
from data_redundancy import data, models, training
from data_redundancy.data.batches import train_batches
from data_redundancy.data.tfds.image_stream import ImageStream
from data_redundancy.runtime import devices
from data_redundancy.training.settings import IN_FLIGHT


def in_memory(num_images: int, image_size: int, num_classes: int) -> training.InMemory:
    """Noise, on the devices."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, image_size, image_size, 3), np.uint8)
    labels = rng.integers(0, num_classes, num_images).astype(np.int32)
    mean, std = training.channel_statistics(images[:256])
    return training.InMemory(images, labels, mean=mean, std=std)


def train(
    directory: pathlib.Path,
    *,
    model: str,
    image_size: int,
    num_classes: int,
    dtype: str,
    batch_size: int,
    num_images: int,
    num_steps: int,
    pad: int,
    whole: bool = False,
    trials_per_device: int = 0,
    checkpoint_every_steps: int = 10**9,
) -> rounds.Measured:
    """Runs of the trainer; `whole` times one from its beginning, otherwise the steps that a longer one takes more.

    With `trials_per_device` there are so many at once on every device, otherwise one over all of them.
    """
    del directory
    settings = training.TrainSettings(
        batch_size=batch_size,
        learning_rate=0.1,
        optimizer="sgd",
        momentum=0.9,
        weight_decay=1e-4,
        trust_coefficient=1e-3,
        label_smoothing=0.1,
        ema_decay=None,
        pad=pad,
        flip=True,
        cutout=0,
        steps_per_call=training.default_steps_per_call(streams=False),
        log_every_steps=100,
        checkpoint_every_steps=checkpoint_every_steps,
        keep_checkpoints=1,
        profile_steps=0,
        eval_batch_size=batch_size,
    )
    network = models.create(model, num_classes=num_classes, dtype=dtype, axis_name=devices.AXIS)
    split = in_memory(num_images, image_size, num_classes)
    test = in_memory(batch_size, image_size, num_classes)
    trainer = training.Trainer(network, settings, num_classes=num_classes, train=split, test=test)

    def run(steps: int) -> int:
        with tempfile.TemporaryDirectory() as workdir:
            runs = [
                training.Run(
                    name="run",
                    directory=epath.Path(workdir) / f"run{seed}",
                    keep=np.arange(num_images),
                    seed=seed,
                    num_steps=steps,
                    warmup_steps=0,
                )
                for seed in range(max(1, trials_per_device * devices.local_devices()))
            ]
            if trials_per_device:
                trainer.train_in_parallel(runs)
            else:
                trainer.train(runs[0])
        return steps * batch_size * len(runs)

    if whole:
        start = time.perf_counter()
        images = run(num_steps)
        return {"images": images, "seconds": time.perf_counter() - start, "first_seconds": None}
    return rounds.difference(run, short=num_steps // 10, long=num_steps)


def embed(
    directory: pathlib.Path,
    *,
    model: str,
    image_size: int,
    num_classes: int,
    dtype: str,
    batch_size: int,
    num_images: int,
) -> rounds.Measured:
    """Embeddings on the host, as the stage `embed` writes them."""
    del directory
    network = models.create(model, num_classes=num_classes, dtype=dtype)
    split = in_memory(num_images, image_size, num_classes)
    variables = devices.replicate(
        jax.jit(lambda key: network.init(key, np.zeros((1, image_size, image_size, 3)), train=False))(jax.random.key(0))
    )
    blocks = training.embed(network, variables, split, batch_size=batch_size, chunk_rows=batch_size)
    return rounds.stream(
        blocks, batch_size=batch_size, count=num_images // batch_size - rounds.WARM, under_way=IN_FLIGHT
    )


def read(
    directory: pathlib.Path,
    *,
    source: str,
    image_size: int,
    batch_size: int,
    keep: float | None = None,
    cold: bool = False,
) -> rounds.Measured:
    """Training images from a stream, on the devices; with `keep` what is left after pruning that share.

    An epoch comes before the two that are timed; where the page cache is to be `cold`, the first one is timed.
    """
    split = data.load(inputs.NAME, data_dir=directory / source, stream=True).train
    num_examples = len(split.labels)
    kept = np.arange(num_examples) if keep is None else inputs.keep_list(num_examples, keep)
    streamed = training.Streamed(
        ImageStream(split, image_size=image_size),
        training.StreamSettings(crop="random", min_area=0.08, central_fraction=0.875),
        num_examples=num_examples,
        image_shape=(image_size, image_size, 3),
        mean=(124.0,) * 3,
        std=(58.0,) * 3,
    )
    if cold:
        page_cache.drop(directory / source)
    warm, count = (0, len(kept) // batch_size) if cold else (len(kept) // batch_size, 2 * len(kept) // batch_size)

    def calls() -> Iterator[training.inputs.Steps]:
        for step in itertools.count():
            batches = train_batches(kept, batch_size=batch_size, seed=0, first_step=step, num_steps=1)
            yield training.inputs.Steps(batches.index, batches.epoch)

    return rounds.stream(streamed.train_batches(calls(), seed=0), batch_size=batch_size, warm=warm, count=count)
