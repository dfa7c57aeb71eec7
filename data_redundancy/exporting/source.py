"""Where exported examples come from: a prepared TFDS data set, or an .npz file; images stay encoded."""

import functools
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from etils import epath

from data_redundancy.data import Dataset, npz
from data_redundancy.data.tfds import builder
from data_redundancy.data.tfds.catalog import digest_of
from data_redundancy.errors import InputError
from data_redundancy.exporting import records
from data_redundancy.exporting.format import Example
from data_redundancy.exporting.records import Record
from data_redundancy.store import filesystems

_CHECKED_OF = 16
"""Of so many records one has its digest checked."""
_MAX_CHANNELS = 4


class Source(Protocol):
    """A data set to export from.

    Attributes:
        class_names: one per class.
        description: of the data set; may be empty.
        citation: of it; may be empty.
        sizes: the number of examples of every whole split.
    """

    class_names: tuple[str, ...]
    description: str
    citation: str
    sizes: Mapping[str, int]

    def splits_of(self, expression: str) -> list[str]:
        """The splits that an expression takes examples from, in its order."""

    def num_bytes(self, expression: str) -> int:
        """About how many bytes the examples of a split expression take."""

    def examples(self, expression: str, indices: np.ndarray) -> Iterator[Example]:
        """Reads some examples of a split.

        Args:
            expression: of the split, such as `train[:90%]`.
            indices: [n] int64, positions in it in canonical order, ascending.

        Raises:
            InputError: if a file is damaged, or an example is another one than was selected from.
        """


class Stored(NamedTuple):
    """An example of a TFDS data set, as it is stored.

    Attributes:
        index: its position in its split, in canonical order.
        tfds_id: its name.
        record: its bytes.
    """

    index: int
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
        """Reads no examples.

        Args:
            builder: a `tfds.core.DatasetBuilder`.
            class_names: one per class.
            listed: for split expressions, the digests [N] uint64, by `digest_of`, and lengths [N] of
                records when they were selected from; others are refused.

        Raises:
            InputError: if the data set is stored in another format than `records.FILE_FORMATS`.
        """
        info = builder.info
        self.file_format = info.file_format.value
        if self.file_format not in records.FILE_FORMATS:
            allowed = ", ".join(records.FILE_FORMATS)
            raise InputError(f"name: {info.full_name} is stored as {self.file_format}; allowed to export: {allowed}")
        self.builder = builder
        self.image_key, self.label_key = builder.find_image_and_label(info)
        self.class_names = tuple(class_names)
        self.description, self.citation = info.description, info.citation
        self.sizes = {split: info.splits[split].num_examples for split in info.splits}
        self._listed = listed or {}
        self._paths = {path.name: path for split in info.splits for path in info.splits[split].filepaths}
        self._shards = functools.lru_cache(lambda expression: builder.split_shards(builder, expression))

    def files(self, split: str) -> list[epath.Path]:
        """The files of a whole split, in order."""
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
        _, tfds = builder.import_tfds()
        features = self.builder.info.features
        images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
        decoders = {key: tfds.decode.SkipDecoding() for key in images}
        has_names, infos = builder.has_file_names(features), features.get_tensor_info()
        for index, tfds_id, record in self.stored(expression, indices):
            found = _plain(features.deserialize_example_np(record.content, decoders=decoders), infos)
            encoded, label = found.pop(self.image_key), found.pop(self.label_key)
            file_name = found.pop(builder.FILE_NAME_KEY) if has_names else None
            yield Example(index, tfds_id, file_name, int(label), encoded, extension_of(encoded), found)


class NpzSource:
    """Examples of an .npz file; see `Source`. Needs no TensorFlow."""

    def __init__(self, path: str, dataset: Dataset):
        """Reads nothing that the data set has.

        Args:
            path: of the file.
            dataset: what was read from it.

        Raises:
            InputError: if a PNG cannot have as many channels as its images.
        """
        self.path, self.class_names = path, dataset.class_names
        self.description, self.citation = f"Images of the file {dataset.name}.", ""
        self.image_shape = dataset.train.images.shape[1:]
        if self.image_shape[-1] > _MAX_CHANNELS:
            raise InputError(
                f"name: images of {path} have {self.image_shape[-1]} channels, allowed to export: 1 to {_MAX_CHANNELS} "
                "(stored as PNG)"
            )
        self._read = {split.name: (split.images, split.labels) for split in (dataset.train, dataset.test)}
        self.sizes = {split: len(self._arrays(split)[1]) for split in ("train", "test")}

    @functools.cached_property
    def _contents(self) -> npz.NpzContents:
        return npz.read_npz(self.path, class_names=self.class_names)

    def splits_of(self, expression: str) -> list[str]:
        """See `Source`."""
        ranges = npz.split_ranges(expression, sizes=self.sizes, field="train_split")
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
    """What the name of an image file ends with, by its first bytes."""
    return "png" if encoded.startswith(b"\x89PNG") else "jpg"


def local_files(source: Source) -> list[epath.Path]:
    """The directory, or file, of a source, where that is on a local disk."""
    path = epath.Path(source.path if isinstance(source, NpzSource) else source.builder.data_path)
    return [] if filesystems.is_remote(path) else [path]


def _checked(found: Iterable[Stored], digests: np.ndarray, lengths: np.ndarray) -> Iterator[Stored]:
    """Lets through what is as long as it was; of every few, and the first, the digest is taken as well.

    That tells files that were written again, at a fraction of the time that all digests take; a record that a disk has
    damaged differs from its checksum.
    """
    for number, stored in enumerate(found):
        content = stored.record.content
        same = len(content) == lengths[stored.index]
        if not same or (number % _CHECKED_OF == 0 and digest_of(content) != digests[stored.index]):
            raise InputError(
                f"data_dir: {stored.tfds_id} has changed since its data set was listed; select again, after removing "
                "the list in input.catalog_dir"
            )
        yield stored


def _plain(value: Mapping[str, Any], infos: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Features by name, `/` between the names of nested ones; text as str, images as bytes."""
    found = {}
    for name, feature in value.items():
        if isinstance(feature, Mapping):
            found.update(_plain(feature, infos[name], f"{before}{name}/"))
        else:
            found[before + name] = _plain_one(feature, infos[name])
    return found


def _plain_one(value: Any, info: Any) -> Any:
    """An array for what TFDS gives as a list, of one type also where it is empty; lists of differing lengths stay."""
    dtype = np.dtype(info.np_dtype)
    is_text = dtype.kind in "OSU"
    if isinstance(value, list) and info.shape.count(None) <= 1:
        shape = [-1 if size is None else size for size in info.shape]
        value = np.array(value, object if is_text else dtype).reshape(shape)
    return _text(value) if is_text else value


def _text(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.array([_text(item) for item in value.ravel()], object).reshape(value.shape)
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _png(image: np.ndarray) -> bytes:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()
