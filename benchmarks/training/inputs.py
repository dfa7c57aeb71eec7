"""Writes JPEGs of differing sizes as a TFDS data set, and again only those that a keep list keeps.

The images are parts, enlarged or reduced, of the two photographs that scikit-learn brings.
"""

import dataclasses
import io
import json
import pathlib
import sys
import tempfile

import numpy as np
import PIL.Image
from sklearn.datasets import load_sample_images

NAME, VERSION = "photos", "1.0.0"
NUM_CLASSES, NUM_SHARDS, QUALITY = 10, 8, 92
SIDES = (300, 600)
"""Of the images, in pixels."""


def keep_list(num_photos: int, fraction: float) -> np.ndarray:
    """Which images are kept, [K] int64 in order."""
    order = np.random.default_rng(1).permutation(num_photos)
    return np.sort(order[round(fraction * num_photos) :])


def jpeg(photos: list[PIL.Image.Image], rng: np.random.Generator) -> bytes:
    """One image."""
    photo = photos[rng.integers(len(photos))]
    width, height = rng.integers(*SIDES, 2, endpoint=True)
    # From the whole photograph's height to half of it.
    part_height = rng.uniform(0.5, 1) * photo.height
    part_width = min(photo.width, part_height * width / height)
    left, top = rng.uniform(0, photo.width - part_width), rng.uniform(0, photo.height - part_height)
    box = (left, top, left + part_width, top + part_height)
    part = photo.resize((int(width), int(height)), PIL.Image.Resampling.BICUBIC, box=box)
    buffer = io.BytesIO()
    part.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def write_folder(folder: pathlib.Path, num_photos: int) -> None:
    """Writes class folders of train/ and test/; the test split is one image of every class."""
    photos = [PIL.Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    for split, count in (("train", num_photos), ("test", NUM_CLASSES)):
        for i in range(count):
            path = folder / split / f"class{i % NUM_CLASSES}" / f"{i:06d}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(photos, rng))


def write(recipe: dict, directory: pathlib.Path) -> None:
    """Writes the data sets DIRECTORY/all and DIRECTORY/kept-FRACTION, each a TFDS `data_dir`."""
    from data_redundancy.data.raw import RawSplit, read_source
    from data_redundancy.data.tfds.writer import write_tfds

    num_photos = recipe["num_photos"]
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        write_folder(pathlib.Path(folder), num_photos)
        raw = read_source(folder, test_fraction=0.5, seed=0)
        options = {"name": NAME, "version": VERSION, "num_shards": NUM_SHARDS}
        write_tfds(raw, data_dir=directory / "all", **options)
        train = raw.splits["train"]
        for fraction in recipe["pruned"]:
            keep = keep_list(num_photos, fraction)
            kept = RawSplit([train.images[i] for i in keep], train.labels[keep], train.origins[keep])
            exported = dataclasses.replace(raw, splits={**raw.splits, "train": kept})
            write_tfds(exported, data_dir=directory / f"kept-{fraction}", **options)


if __name__ == "__main__":
    write(json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]))
