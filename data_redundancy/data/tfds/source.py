"""Reads a prepared TFDS image-classification data set; downloads nothing."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np

from data_redundancy.data.splits import Dataset, Records, Split, StreamedSplit, check_labels, choose_class_names
from data_redundancy.data.tfds import catalog
from data_redundancy.data.tfds.builder import (
    FILE_NAME_KEY,
    find_image_and_label,
    has_file_names,
    import_tfds,
    index_to_tfds_id,
    one_line,
    open_prepared,
    resolve_data_dir,
    silenced_tfds,
    split_shards,
)
from data_redundancy.errors import InputError

_BATCH_SIZE = 256
_RANDOM_ACCESS = "array_record"


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
        name: the data set, with `/config` where it has one.
        version: the version; the highest prepared one if None or empty.
        data_dir: where prepared data sets are; TFDS's default if None or empty.
        train_split: a split expression.
        test_split: a split expression.
        class_names: names to use instead of the data set's, or none.

    Returns:
        The data set.

    Raises:
        InputError: if TensorFlow is not installed, the data set is not prepared, or it has no such version or split; if
            it does not have one uint8 image and one label per example; if images differ in size.
    """
    builder = open_prepared(name, version=version, data_dir=data_dir)
    image_key, label_key = find_image_and_label(builder.info)
    names = choose_class_names(builder.info.features[label_key].names, class_names)
    train, test = (
        _read_split(builder, expression, field=field, image_key=image_key, label_key=label_key, num_classes=len(names))
        for field, expression in (("train_split", train_split), ("test_split", test_split))
    )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise InputError(
            f"{name}: images of differing sizes: those of {train_split!r} are {train.images.shape[1:]}, those of "
            f"{test_split!r} are {test.images.shape[1:]}; allowed in memory: one size"
        )
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
) -> Dataset:
    """Reads all of both splits but the images; `data_redundancy.data.loading.load` describes the arguments.

    Raises:
        InputError: as `load`, but that images may differ in size; and if the list of the records cannot be written.
    """
    builder = open_prepared(name, version=version, data_dir=data_dir)
    image_key, label_key = find_image_and_label(builder.info)
    names = choose_class_names(builder.info.features[label_key].names, class_names)
    directory = resolve_data_dir(catalog_dir) / name / str(builder.info.version) if catalog_dir else None
    directory = directory or resolve_data_dir(builder.data_path) / "catalog"
    make = functools.lru_cache(
        lambda split: catalog.read_or_make(
            builder, split, directory=directory, image_key=image_key, label_key=label_key
        )
    )
    train, test = (
        _streamed_split(builder, expression, make, field=field, image_key=image_key, num_classes=len(names))
        for field, expression in (("train_split", train_split), ("test_split", test_split))
    )
    return Dataset(name=name, version=str(builder.info.version), class_names=names, train=train, test=test)


def _streamed_split(
    builder: Any, expression: str, make_catalog: Callable, *, field: str, image_key: str, num_classes: int
) -> StreamedSplit:
    _, tfds = import_tfds()
    shards = split_shards(builder, expression, field=field)
    # A sum may take of several of the data set's splits: what they give comes one after the other.
    split_of = {
        os.path.basename(p): split for split in builder.info.splits for p in builder.info.splits[split].filenames
    }
    paths, parts = [], []
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
        labels=check_labels(labels, num_classes=num_classes, field=f"{field}: label of {expression}"),
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
    builder: Any, expression: str, *, field: str, image_key: str, label_key: str, num_classes: int
) -> Split:
    if builder.info.file_format.value == _RANDOM_ACCESS:
        return _read_data_source(
            builder, expression, field=field, image_key=image_key, label_key=label_key, num_classes=num_classes
        )
    tf, tfds = import_tfds()
    num_examples = sum(shard.length for shard in split_shards(builder, expression, field=field))
    read_config = tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False)
    features = builder.info.features
    wanted = [image_key, label_key, *([FILE_NAME_KEY] if has_file_names(features) else [])]
    decoders = tfds.decode.PartialDecoding(dict.fromkeys(wanted, True))
    with silenced_tfds():
        examples = builder.as_dataset(split=expression, decoders=decoders, read_config=read_config)
        try:
            images, labels, texts = _fill_arrays(examples, num_examples, image_key=image_key, label_key=label_key)
        except tf.errors.OpError as error:
            # Batching fails where sizes differ, and does not say at which example.
            _reject_differing_sizes(examples, expression, image_key)
            raise InputError(
                f"{field}: cannot read {expression!r} of {builder.data_path} ({one_line(error)})"
            ) from error
    labels = check_labels(labels, num_classes=num_classes, field=f"{field}: {label_key} of {expression}")
    return Split(
        name=expression,
        images=images,
        labels=labels,
        tfds_ids=texts["tfds_id"],
        file_names=texts.get(FILE_NAME_KEY),
    )


def _read_data_source(
    builder: Any, expression: str, *, field: str, image_key: str, label_key: str, num_classes: int
) -> Split:
    """As `_read_split`, of ArrayRecord files, which TFDS does not read by tf.data."""
    tf, tfds = import_tfds()
    shards = split_shards(builder, expression, field=field)
    num_examples = sum(shard.length for shard in shards)
    has_names = has_file_names(builder.info.features)
    channels = builder.info.features[image_key].shape[-1] or 0
    images, labels, names = None, np.empty(num_examples, np.int64), np.empty(num_examples, object)
    try:
        source = builder.as_data_source(split=expression, decoders={image_key: tfds.decode.SkipDecoding()})
        for index, example in enumerate(source):
            # Decoded as in training from other files: decoders differ in the last bit of a JPEG's pixels.
            image = tf.io.decode_image(example[image_key], channels=channels, expand_animations=False).numpy()
            images = np.empty((num_examples, *image.shape), np.uint8) if images is None else images
            if image.shape != images.shape[1:]:
                raise InputError(
                    f"{expression}: images of differing sizes: example 0 is {images.shape[1:]}, example {index} is "
                    f"{image.shape}; allowed in memory: one size"
                )
            images[index], labels[index] = image, example[label_key]
            names[index] = example[FILE_NAME_KEY].decode() if has_names else None
    except (tf.errors.OpError, RuntimeError, OSError) as error:
        raise InputError(f"{field}: cannot read {expression!r} of {builder.data_path} ({one_line(error)})") from error
    return Split(
        name=expression,
        images=images,
        labels=check_labels(labels, num_classes=num_classes, field=f"{field}: {label_key} of {expression}"),
        tfds_ids=index_to_tfds_id(shards, np.arange(num_examples)),
        file_names=names if has_names else None,
    )


def _fill_arrays(
    examples: Any, num_examples: int, *, image_key: str, label_key: str
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Reads a split into arrays made beforehand: a list of images to stack would need twice the memory.

    Returns:
        images, labels, and whatever else the examples have, which is text, by key.
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


def _reject_differing_sizes(examples: Any, expression: str, image_key: str) -> None:
    tf, _ = import_tfds()
    first = None
    # An example that cannot be decoded ends the scan: it, and not a size, is then what is wrong.
    with contextlib.suppress(tf.errors.OpError):
        for index, example in enumerate(examples.as_numpy_iterator()):
            shape = example[image_key].shape
            first = first or shape
            if shape != first:
                raise InputError(
                    f"{expression}: images of differing sizes: example 0 is {first}, example {index} is {shape}; "
                    "allowed in memory: one size"
                )
