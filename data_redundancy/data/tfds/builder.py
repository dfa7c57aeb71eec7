"""Opens prepared TFDS data sets: their features, splits and the ids of their examples. Reads no examples.

The canonical order of the examples of a split is by shard, and by offset within a shard. TFDS identifies an example by
its file and the offset in it, so that the lengths of the shards determine the `tfds_id` of an index.
"""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from data_redundancy.errors import InputError, choice_error
from data_redundancy.store.filesystems import reason

FILE_NAME_KEY = "file_name"
"""The feature with the file name of an image, in most image data sets of TFDS and in those that `writer` writes."""

_LISTED = 8  # at most this many names in one error
_INFO_FILE = "dataset_info.json"


class NotPreparedError(InputError):
    """There is no prepared TFDS data set with this name."""


@dataclasses.dataclass(frozen=True)
class ShardSlice:
    """The consecutive examples that a split takes from one file.

    Attributes:
        file_name: the base name of the file, with which a `tfds_id` begins.
        start: the offset in the file of the first example.
        length: the number of examples.
    """

    file_name: str
    start: int
    length: int


def has_file_names(features: Any) -> bool:
    """Returns whether examples with these `tfds.features` have a file name."""
    _, tfds = import_tfds()
    return FILE_NAME_KEY in features and isinstance(features[FILE_NAME_KEY], tfds.features.Text)


def import_tfds() -> tuple[Any, Any]:
    """Imports TensorFlow, which only reads data, so that it uses no accelerator and logs nothing.

    Returns:
        The modules `tensorflow` and `tensorflow_datasets`.

    Raises:
        InputError: naming `name`, if a package is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # oneDNN writes to stderr at every log level. Decoding images does not use it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow as tf

        # This must be the first call of TensorFlow, because others would reserve the memory of the accelerators, which
        # JAX needs. If TensorFlow has been used already, its devices cannot be changed.
        with contextlib.suppress(RuntimeError):
            for kind in ("GPU", "TPU"):
                tf.config.set_visible_devices([], kind)
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        requirement = f"a TFDS data set needs the package {error.name}, which is not installed"
        fix = "Install it with pip install tensorflow tensorflow-datasets, or use an .npz file"
        raise InputError("name", None, requirement, fix) from error
    return tf, tfds


@contextlib.contextmanager
def silenced_tfds() -> Iterator[None]:
    """Suppresses the log messages of TFDS and TensorFlow below errors, in the block."""
    tf, _ = import_tfds()
    absl_verbosity, tf_level = logging.get_verbosity(), tf.get_logger().level
    logging.set_verbosity(logging.ERROR)
    tf.get_logger().setLevel("ERROR")
    try:
        yield
    finally:
        logging.set_verbosity(absl_verbosity)
        tf.get_logger().setLevel(tf_level)


def resolve_data_dir(data_dir: str | PathLike[str] | None) -> epath.Path:
    """Returns the directory of prepared data sets.

    Args:
        data_dir: a directory; if None or empty, `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.

    Returns:
        An `etils.epath.Path`, local or remote.
    """
    return epath.Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def open_prepared(name: str, *, version: str | None = None, data_dir: str | PathLike[str] | None = None) -> Any:
    """Opens a prepared data set without reading examples.

    Args:
        name: the name of the data set, with `/config` if it has one.
        version: the version; the highest prepared one if None or empty.
        data_dir: the directory of prepared data sets; see `resolve_data_dir`.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        NotPreparedError: naming `name`, if there is no such prepared data set.
        InputError: naming `version`, if the data set is not prepared in this version; naming its directory, if it
            cannot be read.
    """
    import_tfds()  # if TFDS is missing, this error is clearer than those below
    directory = resolve_data_dir(data_dir)
    prepared = _prepared_versions(directory / name)
    if not prepared:
        others = ", ".join(_list_prepared(directory)) or "none"
        raise NotPreparedError(
            "name",
            name,
            f"must be a prepared TFDS data set, but there is no {directory / name}/VERSION/{_INFO_FILE}; prepared in "
            f"{directory}: {others}",
            f"Prepare it with tfds build {name} --data_dir={directory}, or give its data_dir",
        )
    version = version or prepared[-1]
    if version not in prepared:
        raise choice_error("version", version, prepared)
    return open_directory(directory / name / version)


def open_directory(directory: Any) -> Any:
    """Opens `DATA_DIR/NAME/VERSION` without reading examples.

    Args:
        directory: an `etils.epath.Path`.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        InputError: naming the directory, if it has no data set that this version of TFDS can read.
    """
    _, tfds = import_tfds()
    from google.protobuf import json_format

    with silenced_tfds():
        try:
            return tfds.builder_from_directory(os.fspath(directory))
        except (OSError, ValueError, json_format.Error) as error:
            raise InputError(directory, None, f"must be a readable TFDS data set ({reason(error)})") from error


def _prepared_versions(directory: Any) -> list[str]:
    """Returns the versions prepared in `DATA_DIR/NAME`, lowest first."""
    _, tfds = import_tfds()
    if not directory.is_dir():
        return []
    # TFDS writes to a folder called incomplete.*, which is no valid version, and renames it when it is complete.
    names = [path.parent.name for path in directory.glob(f"*/{_INFO_FILE}")]
    return [str(version) for version in sorted(tfds.core.Version(n) for n in names if tfds.core.Version.is_valid(n))]


def _list_prepared(data_dir: Any) -> list[str]:
    """Returns a few of the data sets prepared in `data_dir`, as `NAME VERSION`."""
    _, tfds = import_tfds()
    if not data_dir.is_dir():
        return []
    found = [path.parent for depth in ("*/*", "*/*/*") for path in data_dir.glob(f"{depth}/{_INFO_FILE}")]
    listed = sorted(
        f"{os.fspath(path.parent.relative_to(data_dir))} {path.name}"
        for path in found
        if tfds.core.Version.is_valid(path.name)
    )
    return listed[:_LISTED] + ["..."] * (len(listed) > _LISTED)


def find_image_and_label(info: Any) -> tuple[str, str]:
    """Finds the image and the label of an example.

    Args:
        info: the `tfds.core.DatasetInfo`.

    Returns:
        The names of the two features: the supervised keys if they are an image and a label, else the only image and the
        only label.

    Raises:
        InputError: naming `name`, if there are none or several.
    """
    _, tfds = import_tfds()
    features = dict(info.features) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    images = [
        key
        for key, feature in features.items()
        # A segmentation map is an image to TFDS.
        if isinstance(feature, tfds.features.Image) and not isinstance(feature, tfds.features.LabeledImage)
    ]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    image, label = (info.supervised_keys or ("", ""))[:2]
    if image not in images or label not in labels:
        if len(images) != 1 or len(labels) != 1:
            listed = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(features.items()))
            raise InputError(
                "name",
                info.full_name,
                "must be an image-classification data set, with one Image and one ClassLabel per example, but its "
                f"features are {listed or type(info.features).__name__}",
            )
        (image,), (label,) = images, labels
    if features[image].np_dtype != np.uint8:
        raise InputError("name", info.full_name, f"must have uint8 images, but they are {features[image].np_dtype}")
    if not features[label].num_classes:
        requirement = f"must have a known number of classes, but its feature {label} has none"
        raise InputError("name", info.full_name, requirement)
    return image, label


def split_shards(builder: Any, expression: str, *, argument: str = "split") -> list[ShardSlice]:
    """Returns the examples of a split as slices of files, in canonical order.

    Args:
        builder: the `tfds.core.DatasetBuilder` of a prepared data set.
        expression: a split expression such as `train[:90%]` or `train+test`.
        argument: the argument that errors name.

    Returns:
        One slice per file, or several if the expression takes several slices of a file.

    Raises:
        InputError: naming `argument`, if the expression is malformed, names an unknown split, or has no example or the
            same example twice.
    """
    _, tfds = import_tfds()
    splits = builder.info.splits
    first = next(iter(splits), "train")
    fix = f"Use {', '.join(splits)}, a slice such as {first}[:90%] or {first}[100:200], or a sum with +"
    try:
        with silenced_tfds():
            slices = tfds.core.ReadInstruction.from_spec(expression).to_absolute(splits)
            instructions = splits[expression].file_instructions
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise InputError(argument, expression, f"must be a split of {builder.info.full_name}", fix) from error
    # TFDS 4.9.10 reads a slice that ends one before its start, such as train[5:4], to the end of the file.
    is_empty = [part.to is not None and (part.from_ or 0) >= part.to for part in slices]
    shards = [ShardSlice(file_name=i.basename(), start=i.skip, length=i.take) for i in instructions]
    if not shards or any(is_empty):
        requirement = f"must have an example, but has none of {builder.info.full_name}"
        raise InputError(argument, expression, requirement, fix)
    in_file_order = sorted(shards, key=lambda shard: (shard.file_name, shard.start))
    for shard, following in itertools.pairwise(in_file_order):
        if shard.file_name == following.file_name and shard.start + shard.length > following.start:
            requirement = f"must not have an example twice, but has examples of {builder.info.full_name} twice"
            raise InputError(argument, expression, requirement, fix)
    return shards


def index_to_tfds_id(shards: Sequence[ShardSlice], indices: np.ndarray) -> np.ndarray:
    """Returns the ids of examples of a split, without reading data.

    Args:
        shards: the split, from `split_shards`.
        indices: [M] positions in canonical order.

    Returns:
        [M] object array of str: the base name of a file, two underscores, and the offset in the file.

    Raises:
        InputError: naming `indices`, if an index is outside the split.
    """
    indices = np.asarray(indices, dtype=np.int64)
    ends = np.cumsum([shard.length for shard in shards])
    outside = np.flatnonzero((indices < 0) | (indices >= ends[-1]))
    if outside.size:
        position = outside[0]
        requirement = f"must be from 0 to {ends[-1] - 1}, but indices[{position}] is {indices[position]}"
        raise InputError("indices", None, requirement)
    which = np.searchsorted(ends, indices, side="right")
    names = [shard.file_name for shard in shards]
    shift = np.array([shard.start + shard.length for shard in shards]) - ends
    ids = np.empty(len(indices), dtype=object)
    ids[:] = [f"{names[w]}__{i}" for w, i in zip(which.tolist(), (indices + shift[which]).tolist(), strict=True)]
    return ids
