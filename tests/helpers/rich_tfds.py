"""A small TFDS data set with all kinds of features, and class and file names that are no harmless text."""

import pathlib
import tempfile

import numpy as np

from helpers.imagenet_like import images, jpeg

NAME, VERSION = "rich", "2.0.1"
NUM = {"train": 60, "test": 20, "extra": 7}
CLASS_NAMES = [f"<b>{c}</b> & ../x" for c in range(10)]
CITATION = "@misc{rich,\n  title={Everything}\n}"


def write(data_dir: pathlib.Path, *, num_shards: int = 3, file_format: str = "tfrecord", **replaced) -> pathlib.Path:
    """Writes it; `replaced` features are taken instead, each with a function from the index to its value."""
    import tensorflow_datasets as tfds

    F = tfds.features
    pixels, labels = images()
    parts, start = {}, 0
    for split, number in NUM.items():
        parts[split] = range(start, start + number)
        start += number
    more = {
        "file_name": (F.Text(), lambda i: f"../../{i}<script>.JPEG"),
        "bbox": (F.BBoxFeature(), lambda i: F.BBox(0.1, 0.2, 0.3, 0.5 + i / 1000)),
        "objects": (
            F.Sequence({"area": np.int64, "kind": F.Text()}),
            lambda i: [{"area": k, "kind": f"größe {k}"} for k in range(i % 4)],
        ),
        "tags": (F.Sequence(F.ClassLabel(names=["a", "b"])), lambda i: [0, 1, 1][: i % 4]),
        "words": (F.Sequence(F.Text()), lambda i: ["ä", "b", "\ufffd"][: i % 4]),
        "weights": (F.Tensor(shape=(2, 3), dtype=np.float32), lambda i: np.full((2, 3), i, np.float32)),
        "thumbnail": (F.Image(shape=(4, 4, 1)), lambda i: np.full((4, 4, 1), i, np.uint8)),
        "inner": (F.FeaturesDict({"deep": np.int64}), lambda i: {"deep": -i}),
        **replaced,
    }

    class Rich(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(globals()["VERSION"])
        code_path = None

        def _info(self):
            features = {"image": F.Image(encoding_format="jpeg"), "label": F.ClassLabel(names=CLASS_NAMES)}
            return tfds.core.DatasetInfo(
                builder=self,
                description="All kinds of features.",
                citation=CITATION,
                homepage="https://example.org/rich",
                license="CC BY 4.0",
                features=F.FeaturesDict({**features, **{name: feature for name, (feature, _) in more.items()}}),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict({"kept": "as it is"}),
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(rows) for split, rows in parts.items()}

        def _generate_examples(self, rows):
            for i in rows:
                # All of one size: they fit into memory.
                encoded = jpeg(np.resize(pixels[i], (40, 40, 3)))
                yield (
                    i,
                    {"image": encoded, "label": int(labels[i]), **{name: make(i) for name, (_, make) in more.items()}},
                )

    Rich.name = NAME
    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as downloads:
        builder = Rich(data_dir=str(data_dir), file_format=file_format)
        builder.download_and_prepare(download_dir=downloads, download_config=config)
    return pathlib.Path(builder.data_dir)
