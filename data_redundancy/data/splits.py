"""Data sets: the labels and ids of both splits in canonical order, and their images or where these are stored."""

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
        name: the split expression, such as `train[:90%]`.
        images: [N, H, W, C] uint8.
        labels: [N] int32, each in 0..num_classes-1.
        tfds_ids: [N] object array of str, one unique id per example; None if the source has no ids (an `.npz` file).
        file_names: [N] object array of str, the file name of every image; None if the source has none.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    tfds_ids: np.ndarray | None
    file_names: np.ndarray | None = None

    @functools.cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over the ids, images and labels."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update("\n".join([] if self.tfds_ids is None else self.tfds_ids).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i4").data)
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """The places where the examples of a split are stored, in canonical order.

    Attributes:
        paths: [F] object array of bytes, the files.
        file: [N] int32, the index in `paths` of the file of every example.
        offset: [N] int64, the position in its file at which the frame of a record begins, in bytes.
        length: [N] int64, the size of a record without its frame, in bytes.
        digest: [N] uint64, a digest of the content of a record.
    """

    paths: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    digest: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedSplit:
    """One split whose images are read when they are needed; see `Split`.

    Attributes:
        name: the split expression.
        labels: [N] int32.
        file_names: [N] object array of str, or None.
        records: where the examples are stored.
        num_channels: the number of channels of the images.
        parse_image: traceable function from a record to the encoded bytes of its image.
        name_examples: function from the indices [M] of examples to their ids [M], an object array of str.
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
        """[N] object array of str, one unique id per example."""
        return self.name_examples(np.arange(len(self.labels)))

    def tfds_id(self, index: int) -> str:
        """Returns the id of one example."""
        return self.name_examples(np.array([index]))[0]

    @functools.cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over the files, the labels and the digests of all records."""
        digest = hashlib.sha256(repr(len(self.labels)).encode())
        digest.update("\n".join(os.path.basename(path.decode()) for path in self.records.paths).encode())
        digest.update(np.ascontiguousarray(self.records.file, dtype="<i4").data)
        digest.update(np.ascontiguousarray(self.records.digest, dtype="<u8").data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i4").data)
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split of one data set.

    Attributes:
        name: the TFDS name (with `/config` if it has one), or the base name of an `.npz` file.
        version: the TFDS version; empty for an `.npz` file.
        class_names: one name per class, in the order of the labels.
        train: the split to train on and to prune.
        test: the split on which accuracy is measured.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    train: Split | StreamedSplit
    test: Split | StreamedSplit

    def fingerprint(self) -> dict[str, Any]:
        """Returns the fingerprint that identifies this data set, for artifacts that are made from it.

        Returns:
            `dataset.name`, `.version` and `.class_names`, and for both splits the expression `.train_split`, the number
            of examples `.num_train` and the digest `.train_digest` (`.test_split` and so on).
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


def check_label_range(
    labels: np.ndarray, *, num_classes: int, name: str, argument: str | os.PathLike[str], value: str | None = None
) -> np.ndarray:
    """Returns labels as int32 after validating that each of them is a class.

    Args:
        labels: [N] of any integer type.
        num_classes: labels must be 0..num_classes-1.
        name: the name of the labels in the source.
        argument: the argument that errors name.
        value: the value of the argument, for errors.

    Returns:
        [N] int32.

    Raises:
        InputError: naming `argument` and the first label that is no class, with its index.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        index = outside[0]
        raise InputError(
            argument,
            value,
            f"must have {name} from 0 to {num_classes - 1} ({num_classes} classes), but {name}[{index}] is "
            f"{labels[index]}",
        )
    return labels.astype(np.int32)


def choose_class_names(own: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Returns the given class names, or else the names in the source.

    Args:
        own: the names in the source.
        given: names to use instead, or none.

    Returns:
        One name per class.

    Raises:
        InputError: naming `class_names`, if the number of given names is wrong or a name occurs twice.
    """
    if given and len(given) != len(own):
        requirement = f"must have one name per class, but has {len(given)} for {len(own)} classes"
        raise InputError("class_names", None, requirement)
    names = tuple(map(str, given or own))
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        requirement = f"must have a different name for each class, but {repeated[0]!r} occurs more than once"
        raise InputError("class_names", None, requirement)
    return names
