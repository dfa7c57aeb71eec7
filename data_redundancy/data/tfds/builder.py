"""Opens prepared TFDS data sets: their features, splits and the names of their examples; reads no examples.

The canonical order of a split is shard by shard, offset by offset. TFDS names an example by the file and the offset
within it, so that an index and a `tfds_id` convert into each other through the lengths of the shards alone.
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

from data_redundancy.errors import InputError

_LISTED = 8  # At most this many names in one error.
_INFO_FILE = "dataset_info.json"
FILE_NAME_KEY = "file_name"  # what most image data sets in TFDS call it, and `prepare` too


class NotPreparedError(InputError):
    """There is no prepared TFDS data set of this name."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """The consecutive examples that a split takes from one file.

    Attributes:
        file_name: the file's base name, which a `tfds_id` starts with.
        start: the offset, within the file, of the first example.
        length: the number of examples.
    """

    file_name: str
    start: int
    length: int


def has_file_names(features: Any) -> bool:
    """Whether a data set's examples have a file name."""
    _, tfds = import_tfds()
    return FILE_NAME_KEY in features and isinstance(features[FILE_NAME_KEY], tfds.features.Text)


def import_tfds() -> tuple[Any, Any]:
    """Imports TensorFlow, which here only feeds data, so that it sees no accelerator and stays silent.

    Returns:
        The modules `tensorflow` and `tensorflow_datasets`.

    Raises:
        InputError: if one is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # oneDNN announces itself on stderr whatever the log level; decoding images does not use it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow as tf

        # Before any other TensorFlow call: later ones would take the accelerators' memory away from JAX. Where somebody
        # used TensorFlow before us, its devices are set already and cannot change.
        with contextlib.suppress(RuntimeError):
            for kind in ("GPU", "TPU"):
                tf.config.set_visible_devices([], kind)
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise InputError(
            f"name: TFDS data sets need {error.name}, which is not installed; allowed: install it with 'pip install "
            "tensorflow tensorflow-datasets', or use an .npz file"
        ) from error
    return tf, tfds


@contextlib.contextmanager
def silenced_tfds() -> Iterator[None]:
    """Keeps what TFDS and TensorFlow log about themselves off the terminal."""
    tf, _ = import_tfds()
    absl_verbosity, tf_level = logging.get_verbosity(), tf.get_logger().level
    logging.set_verbosity(logging.ERROR)
    tf.get_logger().setLevel("ERROR")
    try:
        yield
    finally:
        logging.set_verbosity(absl_verbosity)
        tf.get_logger().setLevel(tf_level)


def resolve_data_dir(data_dir: str | PathLike[str] | None) -> Any:
    """Returns where prepared data sets are.

    Args:
        data_dir: a directory; if None or empty, `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.

    Returns:
        An `etils.epath.Path`, which may be on remote storage.
    """
    from etils import epath

    return epath.Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def open_prepared(name: str, *, version: str | None = None, data_dir: str | PathLike[str] | None = None) -> Any:
    """Opens a prepared data set without reading examples.

    Args:
        name: the data set, with `/config` where it has one.
        version: the version; the highest prepared one if None or empty.
        data_dir: where prepared data sets are; TFDS's default if None or empty.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        InputError: if there is no such prepared data set, or no such version of it.
    """
    import_tfds()  # Its error, if TFDS is missing, is clearer than that of anything below.
    data_dir = resolve_data_dir(data_dir)
    prepared = _prepared_versions(data_dir / name)
    if not prepared:
        others = ", ".join(_list_prepared(data_dir)) or "none"
        raise NotPreparedError(
            f"name: the TFDS data set {name!r} is not prepared (looked for {data_dir / name}/VERSION/{_INFO_FILE}); "
            f"prepare it with 'tfds build {name} --data_dir={data_dir}', or your own images with 'data-redundancy "
            f"prepare', or give data_dir; prepared in {data_dir}: {others}"
        )
    version = version or prepared[-1]
    if version not in prepared:
        raise InputError(f"version: {name} is not prepared in version {version!r}, allowed: {', '.join(prepared)}")
    return open_directory(data_dir / name / version)


def open_directory(directory: Any) -> Any:
    """Opens `DATA_DIR/NAME/VERSION` without reading examples.

    Args:
        directory: an `etils.epath.Path`.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        InputError: if there is no data set that this version of TFDS can read.
    """
    _, tfds = import_tfds()
    from google.protobuf import json_format

    with silenced_tfds():
        try:
            return tfds.builder_from_directory(os.fspath(directory))
        except (OSError, ValueError, json_format.Error) as error:
            raise InputError(f"data_dir: {directory} is not a readable TFDS data set ({one_line(error)})") from error


def _prepared_versions(directory: Any) -> list[str]:
    """Returns the versions prepared in `DATA_DIR/NAME`, lowest first."""
    _, tfds = import_tfds()
    if not directory.is_dir():
        return []
    # TFDS writes to a folder called incomplete.*, which is no version, and renames it when all is written.
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
        The names of the two features: the supervised keys where they are an image and a label, else the only image and
        the only label.

    Raises:
        InputError: if there are none or several, listing the features.
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
    image, label = (info.supervised_keys or (None, None))[:2]
    if image not in images or label not in labels:
        if len(images) != 1 or len(labels) != 1:
            listed = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(features.items()))
            raise InputError(
                f"name: {info.full_name} is not an image-classification data set; allowed: one Image and one "
                f"ClassLabel per example; its features are: {listed or type(info.features).__name__}"
            )
        (image,), (label,) = images, labels
    if features[image].np_dtype != np.uint8:
        raise InputError(f"name: images of {info.full_name} are {features[image].np_dtype}, allowed: uint8")
    if not features[label].num_classes:
        raise InputError(f"name: {info.full_name} does not say how many classes its feature {label} has")
    return image, label


def split_shards(builder: Any, expression: str, *, field: str = "split") -> list[Shard]:
    """Says which examples of which files a split consists of, in canonical order.

    Args:
        builder: the `tfds.core.DatasetBuilder` of a prepared data set.
        expression: a split expression such as `train[:90%]` or `train+test`.
        field: what to call the expression in an error.

    Returns:
        One entry for each file; a file comes twice where the expression takes two slices of it.

    Raises:
        InputError: if the expression is malformed or names an unknown split, no example, or one twice.
    """
    _, tfds = import_tfds()
    splits = builder.info.splits
    first = next(iter(splits), "train")
    allowed = f"allowed: {', '.join(splits)}, slices such as {first}[:90%] or {first}[100:200], and sums with +"
    try:
        with silenced_tfds():
            slices = tfds.core.ReadInstruction.from_spec(expression).to_absolute(splits)
            instructions = splits[expression].file_instructions
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise InputError(f"{field}: {expression!r} is not a split of {builder.info.full_name}; {allowed}") from error
    # TFDS 4.9.10 reads a slice that ends one before its start, such as train[5:4], to the end of the file.
    is_empty = [part.to is not None and (part.from_ or 0) >= part.to for part in slices]
    shards = [Shard(file_name=i.basename(), start=i.skip, length=i.take) for i in instructions]
    if not shards or any(is_empty):
        raise InputError(f"{field}: {expression!r} holds no example of {builder.info.full_name}; {allowed}")
    in_file_order = sorted(shards, key=lambda shard: (shard.file_name, shard.start))
    for shard, following in itertools.pairwise(in_file_order):
        if shard.file_name == following.file_name and shard.start + shard.length > following.start:
            raise InputError(f"{field}: {expression!r} holds examples of {builder.info.full_name} twice; {allowed}")
    return shards


def index_to_tfds_id(shards: Sequence[Shard], indices: np.ndarray) -> np.ndarray:
    """Names examples of a split; reads no data.

    Args:
        shards: of the split, from `split_shards`.
        indices: [M] positions in canonical order.

    Returns:
        [M] object array of str, each the base name of a file, two underscores, and the offset within the file.

    Raises:
        InputError: at the first index outside the split.
    """
    indices = np.asarray(indices, dtype=np.int64)
    ends = np.cumsum([shard.length for shard in shards])
    outside = np.flatnonzero((indices < 0) | (indices >= ends[-1]))
    if outside.size:
        raise InputError(f"indices[{outside[0]}] is {indices[outside[0]]}, allowed: 0 to {ends[-1] - 1}")
    which = np.searchsorted(ends, indices, side="right")
    names = [shard.file_name for shard in shards]
    shift = np.array([shard.start + shard.length for shard in shards]) - ends
    ids = np.empty(len(indices), dtype=object)
    ids[:] = [f"{names[w]}__{i}" for w, i in zip(which.tolist(), (indices + shift[which]).tolist(), strict=True)]
    return ids


def tfds_id_to_index(shards: Sequence[Shard], tfds_ids: Sequence[str]) -> np.ndarray:
    """Finds named examples in a split; reads no data.

    Args:
        shards: of the split, from `split_shards`.
        tfds_ids: M names, as `index_to_tfds_id` gives them.

    Returns:
        [M] int64 positions in canonical order.

    Raises:
        InputError: at the first name that is malformed or not in the split.
    """
    by_file: dict[str, list[tuple[Shard, int]]] = {}
    begin = 0
    for shard in shards:
        by_file.setdefault(shard.file_name, []).append((shard, begin))
        begin += shard.length
    indices = np.empty(len(tfds_ids), dtype=np.int64)
    for position, tfds_id in enumerate(tfds_ids):
        file_name, _, offset = str(tfds_id).rpartition("__")
        found = [
            begin + int(offset) - shard.start
            for shard, begin in by_file.get(file_name, [])
            if offset.isdecimal() and shard.start <= int(offset) < shard.start + shard.length
        ]
        if not found:
            raise InputError(f"tfds_ids[{position}] is {str(tfds_id)!r}, which is not an example of this split")
        indices[position] = found[0]
    return indices


def one_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
