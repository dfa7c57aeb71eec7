"""Loads a data set from an `.npz` file or from a prepared TFDS data set."""

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
) -> Dataset:
    """Reads a data set into memory, or all of it but the images.

    Args:
        name: the path of an `.npz` file, or the name of a prepared TFDS data set, with `/config` where it has one.
        version: the TFDS version, such as `1.0.0`; the highest prepared one by default. An `.npz` file has none.
        data_dir: where TFDS data sets are; by default `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`. Not used for an
            `.npz` file.
        train_split: a split expression such as `train`, `train[:90%]` or `train[:5000]+test[100:]`.
        test_split: the same, for the split to measure on.
        class_names: names to use instead of the source's, one per class.
        stream: whether to leave the images where they are; the splits are then `StreamedSplit`s. TFDS data sets only.
        catalog_dir: where the list of all records is kept that streaming needs; by default `catalog` in the data set's
            own directory. It is made where it is not there yet, which reads all of the data set once.

    Returns:
        The data set; reading the same source again gives the same arrays.

    Raises:
        InputError: if the source is missing or is not a uint8 image-classification data set.
    """
    if not name:
        raise InputError("name: is empty; allowed: the path of an .npz file, or the name of a prepared TFDS data set")
    if name.endswith(".npz"):
        if stream:
            raise InputError(f"stream: {name} is an .npz file; allowed: memory, or a prepared TFDS data set")
        if version:
            raise InputError(f"version: {name} is an .npz file, which has no version, but got {version!r}")
        return npz.load(name, train_split=train_split, test_split=test_split, class_names=class_names)
    options = {"catalog_dir": catalog_dir} if stream else {}
    return (source.load_streamed if stream else source.load)(
        name,
        version=version,
        data_dir=data_dir,
        train_split=train_split,
        test_split=test_split,
        class_names=class_names,
        **options,
    )
