"""Reads a prepared TFDS image-classification data set. Downloads nothing."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np

from data_redundancy.data.splits import Dataset, Records, Split, StreamedSplit, check_label_range, choose_class_names
from data_redundancy.data.tfds import catalog
from data_redundancy.data.tfds.builder import (
    FILE_NAME_KEY,
    find_image_and_label,
    has_file_names,
    import_tfds,
    index_to_tfds_id,
    open_prepared,
    resolve_data_dir,
    silenced_tfds,
    split_shards,
)
from data_redundancy.errors import InputError
from data_redundancy.store.filesystems import reason

_BATCH_SIZE = 256
_RANDOM_ACCESS = "array_record"
_ONE_SIZE = "must have images of one size to be read into memory"
_STREAM = "Stream the images instead"


def load(
    name: str,
    *,
    version: str | None,
    data_dir: str | PathLike[str] | None,
    train_split: str,
    test_split: str,
    class_names: Sequence[str] = (),
) -> Dataset:
    """Reads both splits into memory; `data_redundancy.data.loading.load` describes the arguments.

    Args:
        name: the name of the data set, with `/config` if it has one.
        version: the version; the highest prepared one if None or empty.
        data_dir: the directory of prepared data sets; TFDS's default if None or empty.
        train_split: a split expression.
        test_split: a split expression.
        class_names: names that replace the names in the data set, or none.

    Returns:
        The data set.

    Raises:
        InputError: if TensorFlow is not installed, the data set is not prepared or has no such version or split,
            examples do not have one uint8 image and one label each, or images differ in size.
    """
    builder = open_prepared(name, version=version, data_dir=data_dir)
    image_key, label_key = find_image_and_label(builder.info)
    names = choose_class_names(builder.info.features[label_key].names, class_names)
    train, test = (
        _read_split(
            builder, expression, argument=argument, image_key=image_key, label_key=label_key, num_classes=len(names)
        )
        for argument, expression in (("train_split", train_split), ("test_split", test_split))
    )
    if train.images.shape[1:] != test.images.shape[1:]:
        shapes = f"they are {train.images.shape[1:]} in {train_split} and {test.images.shape[1:]} in {test_split}"
        raise InputError("name", name, f"{_ONE_SIZE}, but {shapes}", _STREAM)
    return Dataset(name=name, version=str(builder.info.version), class_names=names, train=train, test=test)


def load_streamed(
    name: str,
    *,
    version: str | None,
    data_dir: str | PathLike[str] | None,
    train_split: str,
    test_split: str,
    class_names: Sequence[str] = (),
    catalog_dir: str | PathLike[str] | None = None,
    may_write: bool = True,
) -> Dataset:
    """Reads both splits without the images; `data_redundancy.data.loading.load` describes the arguments.

    Raises:
        InputError: see `load`, but images may differ in size; naming `catalog_dir`, if the catalog cannot be written.
    """
    builder = open_prepared(name, version=version, data_dir=data_dir)
    image_key, label_key = find_image_and_label(builder.info)
    names = choose_class_names(builder.info.features[label_key].names, class_names)
    directory = resolve_data_dir(catalog_dir) / name / str(builder.info.version) if catalog_dir else None
    directory = directory or resolve_data_dir(builder.data_path) / "catalog"
    make = functools.lru_cache(
        lambda split: catalog.read_or_make(
            builder, split, directory=directory, image_key=image_key, label_key=label_key, may_make=may_write
        )
    )
    train, test = (
        _streamed_split(builder, expression, make, argument=argument, image_key=image_key, num_classes=len(names))
        for argument, expression in (("train_split", train_split), ("test_split", test_split))
    )
    return Dataset(name=name, version=str(builder.info.version), class_names=names, train=train, test=test)


def _streamed_split(
    builder: Any,
    expression: str,
    make_catalog: Callable[[str], catalog.Catalog],
    *,
    argument: str,
    image_key: str,
    num_classes: int,
) -> StreamedSplit:
    _, tfds = import_tfds()
    shards = split_shards(builder, expression, argument=argument)
    # A sum may take examples from several splits of the data set, one after the other.
    split_of = {
        os.path.basename(p): split for split in builder.info.splits for p in builder.info.splits[split].filenames
    }
    paths: list[bytes] = []
    parts = []
    for split, group in itertools.groupby(shards, key=lambda shard: split_of[shard.file_name]):
        found = make_catalog(split)
        rows, files = found.rows(list(group))
        parts.append((found, rows, files + len(paths)))
        paths += [os.fspath(path).encode() for path in builder.info.splits[split].filepaths]
    labels, offset, length, digest, file_name = (
        np.concatenate([getattr(found, key)[rows] for found, rows, _ in parts])
        for key in ("label", "offset", "length", "digest", "file_name")
    )
    features = builder.info.features
    image = tfds.decode.PartialDecoding({image_key: True}).extract_features(features)
    return StreamedSplit(
        name=expression,
        labels=check_label_range(labels, num_classes=num_classes, name="labels", argument=argument, value=expression),
        file_names=np.array([name.decode() for name in file_name], object) if has_file_names(features) else None,
        records=Records(
            paths=np.array(paths, object),
            file=np.concatenate([files for _, _, files in parts]).astype(np.int32),
            offset=offset,
            length=length,
            digest=digest,
        ),
        num_channels=features[image_key].shape[-1] or 3,
        parse_image=lambda record: image.deserialize_example(record, decoders={image_key: tfds.decode.SkipDecoding()})[
            image_key
        ],
        name_examples=functools.partial(index_to_tfds_id, shards),
    )


def _read_split(
    builder: Any, expression: str, *, argument: str, image_key: str, label_key: str, num_classes: int
) -> Split:
    if builder.info.file_format.value == _RANDOM_ACCESS:
        return _read_data_source(
            builder, expression, argument=argument, image_key=image_key, label_key=label_key, num_classes=num_classes
        )
    tf, tfds = import_tfds()
    num_examples = sum(shard.length for shard in split_shards(builder, expression, argument=argument))
    read_config = tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False)
    features = builder.info.features
    wanted = dict.fromkeys([image_key, label_key, *([FILE_NAME_KEY] if has_file_names(features) else [])], True)
    decoders = tfds.decode.PartialDecoding(wanted)
    with silenced_tfds():
        examples = builder.as_dataset(split=expression, decoders=decoders, read_config=read_config)
        try:
            images, labels, texts = _fill_arrays(examples, num_examples, image_key=image_key, label_key=label_key)
        except tf.errors.OpError as error:
            # Batching fails if sizes differ, but the error does not name the example.
            _reject_differing_sizes(examples, argument, expression, image_key)
            raise _unreadable(builder, argument, expression, error) from error
    labels = check_label_range(labels, num_classes=num_classes, name=label_key, argument=argument, value=expression)
    return Split(
        name=expression,
        images=images,
        labels=labels,
        tfds_ids=texts["tfds_id"],
        file_names=texts.get(FILE_NAME_KEY),
    )


def _read_data_source(
    builder: Any, expression: str, *, argument: str, image_key: str, label_key: str, num_classes: int
) -> Split:
    """Reads a split of ArrayRecord files, which TFDS does not read by tf.data; see `_read_split`."""
    tf, tfds = import_tfds()
    shards = split_shards(builder, expression, argument=argument)
    num_examples = sum(shard.length for shard in shards)
    has_names = has_file_names(builder.info.features)
    channels = builder.info.features[image_key].shape[-1] or 0
    images: np.ndarray | None = None
    labels, names = np.empty(num_examples, np.int64), np.empty(num_examples, object)
    try:
        source = builder.as_data_source(split=expression, decoders={image_key: tfds.decode.SkipDecoding()})
        for index, example in enumerate(source):
            # Decoders differ in the last bit of the pixels of a JPEG, so the decoder is that for other file formats.
            image = tf.io.decode_image(example[image_key], channels=channels, expand_animations=False).numpy()
            images = np.empty((num_examples, *image.shape), np.uint8) if images is None else images
            if image.shape != images.shape[1:]:
                raise _differing_sizes(argument, expression, images.shape[1:], index, image.shape)
            images[index], labels[index] = image, example[label_key]
            names[index] = example[FILE_NAME_KEY].decode() if has_names else None
    except (tf.errors.OpError, RuntimeError, OSError) as error:
        raise _unreadable(builder, argument, expression, error) from error
    assert images is not None, "`split_shards` raises an error for a split without examples"
    return Split(
        name=expression,
        images=images,
        labels=check_label_range(labels, num_classes=num_classes, name=label_key, argument=argument, value=expression),
        tfds_ids=index_to_tfds_id(shards, np.arange(num_examples)),
        file_names=names if has_names else None,
    )


def _fill_arrays(
    examples: Any, num_examples: int, *, image_key: str, label_key: str
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Reads a split into arrays that are allocated first, because stacking a list of images needs twice the memory.

    Returns:
        Images, labels, and the other features by key, which are texts.
    """
    first = next(iter(examples.take(1).as_numpy_iterator()))
    height_width_channels = first[image_key].shape
    images = np.empty((num_examples, *height_width_channels), dtype=np.uint8)
    labels = np.empty(num_examples, dtype=np.int64)
    texts = {key: np.empty(num_examples, dtype=object) for key in first.keys() - {image_key, label_key}}
    start = 0
    for batch in examples.map(_ensure_image_shape(image_key, height_width_channels)).batch(_BATCH_SIZE):
        stop = start + len(batch[label_key])
        images[start:stop] = batch[image_key].numpy()
        labels[start:stop] = batch[label_key].numpy()
        for key, values in texts.items():
            values[start:stop] = [text.decode() for text in batch[key].numpy()]
        start = stop
    return images, labels, texts


def _ensure_image_shape(image_key: str, shape: tuple[int, ...]) -> Any:
    tf, _ = import_tfds()
    return lambda example: {**example, image_key: tf.ensure_shape(example[image_key], shape)}


def _reject_differing_sizes(examples: Any, argument: str, expression: str, image_key: str) -> None:
    tf, _ = import_tfds()
    first = None
    # An example that cannot be decoded ends the scan, because then the sizes are not the reason of the failure.
    with contextlib.suppress(tf.errors.OpError):
        for index, example in enumerate(examples.as_numpy_iterator()):
            shape = example[image_key].shape
            first = first or shape
            if shape != first:
                raise _differing_sizes(argument, expression, first, index, shape)


def _differing_sizes(
    argument: str, expression: str, first: tuple[int, ...], index: int, shape: tuple[int, ...]
) -> InputError:
    requirement = f"{_ONE_SIZE}, but example 0 is {first} and example {index} is {shape}"
    return InputError(argument, expression, requirement, _STREAM)


def _unreadable(builder: Any, argument: str, expression: str, error: Exception) -> InputError:
    return InputError(argument, expression, f"cannot be read from {builder.data_path} ({reason(error)})")
