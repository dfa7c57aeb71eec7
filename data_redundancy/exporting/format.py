"""The interface of export formats: the examples and descriptions that they get, and what they write."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One example, its image undecoded.

    Attributes:
        index: its position in its split, in canonical order.
        tfds_id: its id in the source; None if the source has no ids.
        file_name: the file name of the image; None if the source has none. It is arbitrary text, not a safe path.
        label: its class.
        encoded: the bytes of the image file, as in the source (an array is encoded as PNG).
        extension: the extension of such a file: `jpg` or `png`.
        features: the further features of the source by name: text as str; numbers and arrays as in NumPy; lists of
            different lengths as lists; images as undecoded bytes, but images within other features as pixels.
    """

    index: int
    tfds_id: str | None
    file_name: str | None
    label: int
    encoded: bytes
    extension: str
    features: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Shard:
    """A part of a split that is written at once.

    Attributes:
        split: the name of the split.
        number: the number of the shard, from 0.
        of: the number of shards of the split.
        first: the position of its first example among the exported examples of the split.
        length: the number of its examples.
    """

    split: str
    number: int
    of: int
    first: int
    length: int


@dataclasses.dataclass(frozen=True)
class Description:
    """The description of an exported data set.

    Attributes:
        name: the name of the data set, safe in a path.
        version: the version of the source, `MAJOR.MINOR.PATCH`; 1.0.0 if it has none.
        class_names: one name per class; arbitrary text.
        description: the description of the source; may be empty.
        citation: the citation of the source; may be empty.
        provenance: the selection, the fraction, and the inputs they were made with: flat, JSON values.
        num_examples: the number of examples of every exported split, by name, in order.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    description: str
    citation: str
    provenance: Mapping[str, Any]
    num_examples: Mapping[str, int]


class Format(Protocol):
    """Writes examples in a format that other software reads."""

    def write_shard(
        self, directory: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description
    ) -> None:
        """Writes the files of one shard, or writes them again after a run that was killed.

        Different processes may write different shards at the same time, so no two shards share a file.

        Args:
            directory: the directory of the export, which gets the files.
            shard: the shard.
            examples: its examples, in order; they can be iterated once and are not all in memory.
            about: the data set.
        """

    def finish(self, directory: pathlib.Path, shards: list[Shard], about: Description) -> None:
        """Writes the files that describe all shards. One process calls it when all shards are complete.

        Args:
            directory: the directory of the export.
            shards: all shards.
            about: the data set.
        """
