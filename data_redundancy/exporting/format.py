"""What every export format is told, and what it does."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One example, its image undecoded.

    Attributes:
        index: its position in its split, in canonical order.
        tfds_id: its name in the source; None where the source has none.
        file_name: the file of the image; None where the source does not say. It is anybody's text, not a safe path.
        label: its class.
        encoded: the bytes of the image file, as the source has them (an array is encoded as PNG).
        extension: of such a file: `jpg` or `png`.
        features: whatever else the source says of it, by name: text as str, numbers and arrays as NumPy has them, lists
            of differing lengths as lists; further images as bytes, undecoded, those within other features as pixels.
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
    """A part of a split that is written in one go.

    Attributes:
        split: the name of the split.
        number: from 0.
        of: how many there are.
        first: the position, among the examples that are written of the split, of its first one.
        length: how many it has.
    """

    split: str
    number: int
    of: int
    first: int
    length: int


@dataclasses.dataclass(frozen=True)
class Description:
    """What an exported data set says of itself.

    Attributes:
        name: of the data set, safe in a path.
        version: of the source, `MAJOR.MINOR.PATCH`; 1.0.0 where it has none.
        class_names: one per class; anybody's text.
        description: of the source; may be empty.
        citation: of the source; may be empty.
        provenance: selection, fraction, and what they were made from: flat, values for JSON.
        num_examples: of every split that is written, by name, in order.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    description: str
    citation: str
    provenance: Mapping[str, Any]
    num_examples: Mapping[str, int]


class Format(Protocol):
    """Writes examples for some other software to read."""

    def write_shard(
        self, directory: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description
    ) -> None:
        """Writes one shard's files below `directory`, or writes them again after a run that was killed.

        Examples come once, in order, and are not all held in memory. Different shards may be written at the same time
        by different processes, so files are a shard's own.
        """

    def finish(self, directory: pathlib.Path, shards: list[Shard], about: Description) -> None:
        """Writes what is about all shards, once these are complete; by one process."""
