"""Loads a data set from an `.npz` file or from a prepared TFDS data set."""

import functools
from collections.abc import Sequence
from os import PathLike

from data_redundancy.data import npz
from data_redundancy.data.splits import Dataset
from data_redundancy.data.tfds import source
from data_redundancy.errors import InputError


def load(
    name: str,
    *,
    version: str | None = None,
    data_dir: str | PathLike[str] | None = None,
    train_split: str = "train",
    test_split: str = "test",
    class_names: Sequence[str] = (),
    stream: bool = False,
    catalog_dir: str | PathLike[str] | None = None,
    may_write: bool = True,
) -> Dataset:
    """Reads a data set, with or without its images.

    Args:
        name: the path of an `.npz` file, or the name of a prepared TFDS data set, with `/config` if it has one.
        version: the TFDS version, such as `1.0.0`; by default the highest prepared one. An `.npz` file has none.
        data_dir: the directory of TFDS data sets; by default `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`. Ignored
            for an `.npz` file.
        train_split: a split expression such as `train`, `train[:90%]` or `train[:5000]+test[100:]`.
        test_split: the same, for the split on which accuracy is measured.
        class_names: names that replace the names in the source, one per class.
        stream: whether to read images only when they are needed; the splits are then `StreamedSplit`s. For TFDS data
            sets only.
        catalog_dir: the directory of the list of all records, which streaming needs; by default `catalog` in the
            directory of the data set. If the list is missing it is written, which reads the whole data set once.
        may_write: whether to write a missing list of all records.

    Returns:
        The data set. Reading the same source again gives the same arrays.

    Raises:
        NotPreparedError: if a TFDS data set is not prepared, or its list of records is missing and `may_write` is
            false.
        InputError: if the source is missing or is not an image-classification data set of uint8 images.
    """
    if not name:
        fix = "Give the path of an .npz file or the name of a prepared TFDS data set"
        raise InputError("name", name, "must not be empty", fix)
    if name.endswith(".npz"):
        if stream:
            raise InputError("stream", None, f"needs a TFDS data set, but {name} is an .npz file")
        if version:
            raise InputError("version", version, f"must be empty for {name}, because an .npz file has no version")
        return npz.load(name, train_split=train_split, test_split=test_split, class_names=class_names)
    load_tfds = source.load
    if stream:
        load_tfds = functools.partial(source.load_streamed, catalog_dir=catalog_dir, may_write=may_write)
    return load_tfds(
        name,
        version=version,
        data_dir=data_dir,
        train_split=train_split,
        test_split=test_split,
        class_names=class_names,
    )
