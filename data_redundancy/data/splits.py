"""A data set: labels and ids of both splits in canonical order, and images, or where they are."""

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_redundancy.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One split, in canonical order: `index` counts along the first axis of every array.

    Attributes:
        name: the split expression it was read with, such as `train[:90%]`.
        images: [N, H, W, C] uint8.
        labels: [N] int32, each in 0..num_classes-1.
        tfds_ids: [N] object array of str, one unique name per example; None where the source has none (an `.npz`).
        file_names: [N] object array of str, the file of every image; None where the source does not say.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    tfds_ids: np.ndarray | None
    file_names: np.ndarray | None = None

    @functools.cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over ids, images and labels."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update("\n".join([] if self.tfds_ids is None else self.tfds_ids).encode())
        digest.update(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.labels, dtype="<i4"))
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Where the examples of a split lie, in canonical order.

    Attributes:
        paths: [F] bytes, the files.
        file: [N] int32, the file of every example.
        offset: [N] int64, the byte of its file at which a record's frame begins.
        length: [N] int64, the bytes of a record without its frame.
        digest: [N] uint64, of the record's bytes.
    """

    paths: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    digest: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedSplit:
    """One split whose images are read when they are needed; otherwise as `Split`.

    Attributes:
        name: the split expression.
        labels: [N] int32.
        file_names: [N] object array of str, or None.
        records: where the examples lie.
        num_channels: of the images.
        parse_image: traceable function from a record to the image's encoded bytes.
        name_examples: gives the ids of examples [M] as an object array of str.
    """

    name: str
    labels: np.ndarray
    file_names: np.ndarray | None
    records: Records
    num_channels: int
    parse_image: Callable[[Any], Any]
    name_examples: Callable[[np.ndarray], np.ndarray]

    @functools.cached_property
    def tfds_ids(self) -> np.ndarray:
        """[N] object array of str, one unique name per example."""
        return self.name_examples(np.arange(len(self.labels)))

    def tfds_id(self, index: int) -> str:
        """The name of one example."""
        return self.name_examples(np.array([index]))[0]

    @functools.cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over files, labels and the digests of all records."""
        digest = hashlib.sha256(repr(len(self.labels)).encode())
        digest.update("\n".join(os.path.basename(path.decode()) for path in self.records.paths).encode())
        digest.update(np.ascontiguousarray(self.records.file, dtype="<i4"))
        digest.update(np.ascontiguousarray(self.records.digest, dtype="<u8"))
        digest.update(np.ascontiguousarray(self.labels, dtype="<i4"))
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split of one data set.

    Attributes:
        name: the TFDS name (with `/config` where there is one), or the base name of an `.npz` file.
        version: the TFDS version; empty for an `.npz` file.
        class_names: one name per class, in the order of the labels.
        train: the split to train on and to prune.
        test: the split to measure on.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    train: Split | StreamedSplit
    test: Split | StreamedSplit

    def fingerprint(self) -> dict[str, str | int]:
        """Says which data this is, for artifacts made from it.

        Returns:
            `dataset.name`, `.version`, `.class_names`, and of both splits the expression `.train_split`, the number of
            examples `.num_train` and a digest of ids, images and labels `.train_digest` (`.test_split` and so on).
        """
        return {
            "dataset.name": self.name,
            "dataset.version": self.version,
            "dataset.class_names": list(self.class_names),
            "dataset.train_split": self.train.name,
            "dataset.num_train": len(self.train.labels),
            "dataset.train_digest": self.train.digest,
            "dataset.test_split": self.test.name,
            "dataset.num_test": len(self.test.labels),
            "dataset.test_digest": self.test.digest,
        }


def check_labels(labels: np.ndarray, *, num_classes: int, field: str) -> np.ndarray:
    """Returns labels as int32 once each is known to be a class.

    Args:
        labels: [N] of any integer type.
        num_classes: labels must be 0..num_classes-1.
        field: what to call them in an error.

    Returns:
        [N] int32.

    Raises:
        InputError: at the first label outside the classes, with its index.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        index = outside[0]
        raise InputError(
            f"{field}[{index}] is {labels[index]}, allowed: 0 to {num_classes - 1} ({num_classes} classes)"
        )
    return labels.astype(np.int32)


def choose_class_names(own: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Prefers the names the user gave to the source's own.

    Args:
        own: the source's names.
        given: the user's names, or none.

    Returns:
        One name per class.

    Raises:
        InputError: if there are not as many given names as classes, or two are the same.
    """
    if given and len(given) != len(own):
        raise InputError(f"class_names: got {len(given)} names for {len(own)} classes; allowed: one name per class")
    names = tuple(map(str, given or own))
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"class_names: {repeated[0]!r} names several classes; allowed: a different name for each")
    return names
