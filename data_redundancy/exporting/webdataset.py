"""The WebDataset export: tar files of samples, which are read sequentially.

The files are `SPLIT-000000.tar`, `SPLIT-000001.tar`, ... and `dataset.json`. The key of a sample is its index in nine
digits. Its files are:

    KEY.jpg or KEY.png    the image, undecoded
    KEY.cls               the label
    KEY.json              index, tfds_id, file_name, label, class_name, and `features`: further features of the source
    KEY.NAME.png          (or .jpg) a further image, the feature NAME

Tar files of the same examples are equal byte for byte.
"""

import io
import json
import pathlib
import tarfile
from collections.abc import Iterable, Iterator

from data_redundancy.exporting import about as descriptions
from data_redundancy.exporting import files
from data_redundancy.exporting.format import Description, Example, Shard
from data_redundancy.exporting.paths import unique_name_of, unique_names
from data_redundancy.exporting.source import extension_of
from data_redundancy.exporting.values import json_value


class WebDataset:
    """Writes tar files; a `Format`."""

    def write_shard(
        self, directory: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description
    ) -> None:
        """See `Format`."""
        with files.renamed(directory / _file_name(shard, about)) as partial, tarfile.open(partial, "w") as tar:
            for example in examples:
                for name, content in _members(example, about):
                    member = tarfile.TarInfo(f"{example.index:09d}.{name}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))

    def finish(self, directory: pathlib.Path, shards: list[Shard], about: Description) -> None:
        """See `Format`."""
        listed = [{"file": _file_name(s, about), "split": s.split, "num_examples": s.length} for s in shards]
        descriptions.write_dataset_json(directory, about, shards=listed)


def _file_name(shard: Shard, about: Description) -> str:
    return f"{unique_name_of(shard.split, about.num_examples)}-{shard.number:06d}.tar"


def _members(example: Example, about: Description) -> Iterator[tuple[str, bytes]]:
    """Yields the name, after the key, and the content of each file of a sample."""
    images = {name: value for name, value in example.features.items() if isinstance(value, bytes)}
    content = {
        "index": example.index,
        "tfds_id": example.tfds_id,
        "file_name": example.file_name,
        "label": example.label,
        "class_name": about.class_names[example.label],
        "features": {name: json_value(value) for name, value in example.features.items() if name not in images},
    }
    yield example.extension, example.encoded
    yield "cls", str(example.label).encode()
    yield "json", json.dumps(content, ensure_ascii=False).encode()
    for name, image in zip(unique_names(images), images.values(), strict=True):
        yield f"{name}.{extension_of(image)}", image
