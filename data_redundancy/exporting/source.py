"""The sources of exported examples: a prepared TFDS data set, or an .npz file. Images stay encoded."""

import functools
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from etils import epath

from data_redundancy.data import Dataset, npz
from data_redundancy.data.splits import Split
from data_redundancy.data.tfds.builder import (
    FILE_NAME_KEY,
    find_image_and_label,
    has_file_names,
    import_tfds,
    split_shards,
)
from data_redundancy.data.tfds.catalog import digest_of
from data_redundancy.errors import InputError
from data_redundancy.exporting import formats, records
from data_redundancy.exporting.format import Example
from data_redundancy.exporting.records import Record
from data_redundancy.exporting.values import flat_features
from data_redundancy.store import filesystems

_CHECKED_OF = 16
"""The digest of one record out of this many is checked."""
_MAX_CHANNELS = 4


class Source(Protocol):
    """A data set to export from.

    Attributes:
        class_names: one name per class.
        description: the description of the data set; may be empty.
        citation: the citation of the data set; may be empty.
        sizes: the number of examples of every whole split.
        location: the directory or file of the data set, local or in a bucket.
    """

    class_names: tuple[str, ...]
    description: str
    citation: str
    sizes: Mapping[str, int]
    location: epath.Path

    def splits_of(self, expression: str) -> list[str]:
        """Returns the splits that a split expression takes examples from, in its order."""

    def num_bytes(self, expression: str) -> int:
        """Returns the approximate size of the examples of a split expression, in bytes."""

    def examples(self, expression: str, indices: np.ndarray) -> Iterator[Example]:
        """Reads some examples of a split.

        Args:
            expression: the split expression, such as `train[:90%]`.
            indices: [n] int64, positions in it in canonical order, ascending.

        Yields:
            The examples, in order.

        Raises:
            InputError: naming the file, if it is damaged or an example has changed since the selection.
        """


class Stored(NamedTuple):
    """An example of a TFDS data set, as it is stored.

    Attributes:
        position: its position in its split, in canonical order.
        tfds_id: its id.
        record: its serialised bytes.
    """

    position: int
    tfds_id: str
    record: Record


class TfdsSource:
    """Examples of a prepared TFDS data set; see `Source`."""

    def __init__(
        self,
        builder: Any,
        *,
        class_names: Sequence[str],
        listed: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ):
        """Opens the data set; reads no examples.

        Args:
            builder: a `tfds.core.DatasetBuilder`.
            class_names: one name per class.
            listed: for split expressions, the digests [N] uint64, by `digest_of`, and the lengths [N] of the records
                at the time of the selection; a record that differs raises an error.

        Raises:
            InputError: naming `name`, if the data set is stored in another format than `formats.FILE_FORMATS`.
        """
        info = builder.info
        self.file_format = info.file_format.value
        if self.file_format not in formats.FILE_FORMATS:
            allowed = ", ".join(formats.FILE_FORMATS)
            requirement = f"must be stored as one of {allowed} to be exported, but is stored as {self.file_format}"
            raise InputError("name", info.full_name, requirement)
        self.builder = builder
        self.image_key, self.label_key = find_image_and_label(info)
        self.class_names = tuple(class_names)
        self.description, self.citation = info.description, info.citation
        self.location = epath.Path(builder.data_path)
        self.sizes: Mapping[str, int] = {split: info.splits[split].num_examples for split in info.splits}
        self._listed = listed or {}
        self._paths = {path.name: path for split in info.splits for path in info.splits[split].filepaths}
        self._shards = functools.lru_cache(lambda expression: split_shards(builder, expression))

    def files(self, split: str) -> list[epath.Path]:
        """Returns the files of a whole split, in order."""
        return [epath.Path(path) for path in self.builder.info.splits[split].filepaths]

    def splits_of(self, expression: str) -> list[str]:
        """See `Source`."""
        splits = self.builder.info.splits
        split_of = {path.name: split for split in splits for path in splits[split].filepaths}
        return list(dict.fromkeys(split_of[shard.file_name] for shard in self._shards(expression)))

    def num_bytes(self, expression: str) -> int:
        """See `Source`."""
        splits = self.splits_of(expression)
        size = sum(epath.Path(path).stat().length for split in splits for path in self.files(split))
        num_examples = sum(shard.length for shard in self._shards(expression))
        return size * num_examples // sum(self.sizes[split] for split in splits)

    def stored(self, expression: str, indices: np.ndarray) -> Iterator[Stored]:
        """Reads some examples of a split as they are stored; see `examples`."""
        found = self._stored(expression, indices)
        return _checked(found, *self._listed[expression]) if expression in self._listed else found

    def _stored(self, expression: str, indices: np.ndarray) -> Iterator[Stored]:
        shards = self._shards(expression)
        begins = np.cumsum([0] + [shard.length for shard in shards])
        which = np.searchsorted(begins, indices, side="right") - 1
        for shard in np.unique(which):
            own = indices[which == shard]
            name, numbers = shards[shard].file_name, own - begins[shard] + shards[shard].start
            read = records.read(epath.Path(self._paths[name]), self.file_format, numbers.tolist())
            for index, number, record in zip(own.tolist(), numbers.tolist(), read, strict=True):
                yield Stored(index, f"{name}__{number}", record)

    def examples(self, expression: str, indices: np.ndarray) -> Iterator[Example]:
        """See `Source`."""
        _, tfds = import_tfds()
        features = self.builder.info.features
        images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
        decoders = {key: tfds.decode.SkipDecoding() for key in images}
        has_names, infos = has_file_names(features), features.get_tensor_info()
        for index, tfds_id, record in self.stored(expression, indices):
            found = flat_features(features.deserialize_example_np(record.content, decoders=decoders), infos)
            encoded, label = found.pop(self.image_key), found.pop(self.label_key)
            file_name = found.pop(FILE_NAME_KEY) if has_names else None
            yield Example(index, tfds_id, file_name, int(label), encoded, extension_of(encoded), found)


class NpzSource:
    """Examples of an .npz file; see `Source`. Does not import TensorFlow."""

    def __init__(self, path: str, dataset: Dataset):
        """Takes the arrays of a data set; other splits of the file are read when they are needed.

        Args:
            path: the path of the file.
            dataset: the data set that was read from it, with its images.

        Raises:
            InputError: naming `name`, if its images have more channels than PNG files can have.
        """
        self.location, self.class_names = epath.Path(path), dataset.class_names
        self.description, self.citation = f"Images of the file {dataset.name}.", ""
        loaded = [split for split in (dataset.train, dataset.test) if isinstance(split, Split)]
        self.image_shape = loaded[0].images.shape[1:]
        if self.image_shape[-1] > _MAX_CHANNELS:
            requirement = f"must have images of 1 to {_MAX_CHANNELS} channels, as PNG files have, to be exported"
            raise InputError("name", path, f"{requirement}, but they have {self.image_shape[-1]}")
        self._read = {split.name: (split.images, split.labels) for split in loaded}
        self.sizes: Mapping[str, int] = {split: len(self._arrays(split)[1]) for split in ("train", "test")}

    @functools.cached_property
    def _contents(self) -> npz.NpzContents:
        return npz.read_npz(self.location, class_names=self.class_names)

    def splits_of(self, expression: str) -> list[str]:
        """See `Source`."""
        ranges = npz.split_ranges(expression, sizes=self.sizes, argument="train_split")
        return list(dict.fromkeys(split for split, _, _ in ranges))

    def num_bytes(self, expression: str) -> int:
        """See `Source`."""
        return self._arrays(expression)[0].nbytes

    def examples(self, expression: str, indices: np.ndarray) -> Iterator[Example]:
        """See `Source`."""
        images, labels = self._arrays(expression)
        for index in indices.tolist():
            yield Example(index, None, None, int(labels[index]), _png(images[index]), "png", {})

    def _arrays(self, expression: str) -> tuple[np.ndarray, np.ndarray]:
        if expression in self._read:
            return self._read[expression]
        return self._contents.images[expression], self._contents.labels[expression]


def extension_of(encoded: bytes) -> str:
    """Returns the extension of an encoded image, `png` or `jpg`."""
    return "png" if encoded.startswith(b"\x89PNG") else "jpg"


def local_files(source: Source) -> list[epath.Path]:
    """Returns the directory or file of a source; nothing if it is in a bucket."""
    return [] if filesystems.is_remote(source.location) else [source.location]


def _checked(found: Iterable[Stored], digests: np.ndarray, lengths: np.ndarray) -> Iterator[Stored]:
    """Yields records after checking that each has the length it had, and some of them the digest they had.

    This detects files that were rewritten, in a fraction of the time of checking all digests. A record that a disk
    has damaged is detected by its checksum.
    """
    for number, stored in enumerate(found):
        content = stored.record.content
        same = len(content) == lengths[stored.position]
        if not same or (number % _CHECKED_OF == 0 and digest_of(content) != digests[stored.position]):
            raise InputError(
                "data_dir",
                None,
                f"has changed: the example {stored.tfds_id} differs from that in the catalog",
                "Remove the catalog (catalog_dir), and make the selection again",
            )
        yield stored


def _png(image: np.ndarray) -> bytes:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()
