"""A data set in the format that ImageNet has in TFDS: JPEGs of differing sizes, file names, several files a split.

The images are scikit-learn's digits, enlarged to differing sizes and tinted: 10 classes that a small network learns.
"""

import functools
import io
import pathlib
import tempfile

import numpy as np
import PIL.Image
from sklearn.datasets import load_digits

NAME, VERSION = "imagenet_like", "5.1.0"
NUM_TRAIN, NUM_VALIDATION, NUM_SHARDS = 230, 50, 4


@functools.cache
def images() -> tuple[list[np.ndarray], np.ndarray]:
    """[H, W, 3] uint8 each, of 40 to 80 pixels a side, and labels."""
    rng = np.random.default_rng(0)
    digits = load_digits()
    order = rng.permutation(len(digits.target))[: NUM_TRAIN + NUM_VALIDATION]
    found = []
    for row in digits.images[order]:
        size = tuple(int(s) for s in rng.integers(40, 81, 2))
        grey = np.asarray(PIL.Image.fromarray((row * 255 / 16).astype(np.uint8)).resize(size, PIL.Image.BICUBIC))
        tint = rng.uniform(0.6, 1, 3)
        found.append((grey[..., None] * tint).astype(np.uint8))
    return found, digits.target[order]


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write(
    data_dir: pathlib.Path, *, name: str = NAME, num_shards: int = NUM_SHARDS, encode=jpeg, replace: dict | None = None
) -> pathlib.Path:
    """Writes the data set; returns its directory.

    Args:
        data_dir: of TFDS.
        name: of the data set.
        num_shards: files per split.
        encode: image to bytes (or to an array, which TFDS then encodes).
        replace: bytes to write for training image i, by i.
    """
    import tensorflow_datasets as tfds

    pixels, labels = images()
    parts = {"train": range(NUM_TRAIN), "validation": range(NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION)}

    class ImageNetLike(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(globals()["VERSION"])
        code_path = None

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=[f"n{c:08d}" for c in range(10)]),
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(rows) for split, rows in parts.items()}

        def _generate_examples(self, rows):
            for i in rows:
                encoded = (replace or {}).get(i) or encode(pixels[i])
                name = f"n{labels[i]:08d}_{i}.JPEG"
                yield i, {"image": encoded, "label": int(labels[i]), "file_name": name}

    ImageNetLike.name = name
    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as downloads:
        builder = ImageNetLike(data_dir=str(data_dir))
        builder.download_and_prepare(download_dir=downloads, download_config=config)
    return pathlib.Path(builder.data_dir)
