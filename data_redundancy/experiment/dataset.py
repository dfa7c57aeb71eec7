"""What several stages need: the data set of a config, and whether artifacts are there."""

import contextlib
import functools
import logging
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, models
from data_redundancy.data.tfds.builder import NotPreparedError, resolve_data_dir
from data_redundancy.errors import InputError
from data_redundancy.selection.allocation import num_pruned
from data_redundancy.store import artifacts, workdir

log = logging.getLogger("data_redundancy")


DEFAULT_VERSION = "1.0.0"
"""The version that `prepare` writes where the config names none."""


def prepared_version(config: ConfigDict) -> str | None:
    """The version to read: what `prepare` writes where there is something to prepare, else None for the highest."""
    prepares = config.prepare.source is not None and not config.dataset.name.endswith(".npz")
    return config.dataset.version or (DEFAULT_VERSION if prepares else None)


def load_dataset(config: ConfigDict) -> data.Dataset:
    """The data set of a config; loaded once per process."""
    dataset = config.dataset
    version = prepared_version(config)
    try:
        return _load_dataset(
            dataset.name,
            version,
            dataset.data_dir,
            dataset.train_split,
            dataset.test_split,
            tuple(dataset.class_names),
            config.input.mode == "stream",
            config.input.catalog_dir,
        )
    except NotPreparedError:
        if config.prepare.source is None:
            raise
        directory = resolve_data_dir(dataset.data_dir) / dataset.name / version
        raise InputError(
            f"--config.dataset.name={dataset.name}: not prepared yet (looked for {directory}); run the stage 'prepare' "
            "first, with the same --config"
        ) from None


@contextlib.contextmanager
def arguments_named(fields: Mapping[str, str]) -> Iterator[None]:
    """Lets an InputError that begins with a library's argument name begin with the flag it came from.

    Args:
        fields: the flag, for every argument.
    """
    try:
        yield
    except InputError as error:
        argument, separator, rest = str(error).partition(":")
        if argument not in fields:
            raise
        raise type(error)(f"{fields[argument]}{separator}{rest}") from error


DATASET_FIELDS = {
    name: f"--config.dataset.{name}"
    for name in ("name", "version", "data_dir", "train_split", "test_split", "class_names")
} | {"catalog_dir": "--config.input.catalog_dir", "stream": "--config.input.mode"}


@functools.lru_cache(maxsize=1)
def _load_dataset(name, version, data_dir, train_split, test_split, class_names, stream, catalog_dir) -> data.Dataset:
    with arguments_named(DATASET_FIELDS):
        dataset = data.load(
            name,
            version=version,
            data_dir=data_dir,
            train_split=train_split,
            test_split=test_split,
            class_names=class_names,
            stream=stream,
            catalog_dir=catalog_dir,
        )
    log.info(
        "data set %s: %s training and %s test images%s, %d classes",
        f"{dataset.name} {dataset.version}".strip(),
        f"{len(dataset.train.labels):,}",
        f"{len(dataset.test.labels):,}",
        ", streamed" if stream else f" of {'x'.join(map(str, dataset.train.images.shape[1:]))}",
        len(dataset.class_names),
    )
    return dataset


def float32_model(config: ConfigDict) -> nn.Module:
    """The model of a config for inference."""
    return models.create(
        config.model.name,
        num_classes=len(load_dataset(config).class_names),
        width=config.model.width,
        stem=config.model.stem,
        dtype=jnp.float32,
    )


def check_fractions(config: ConfigDict, field: str, fractions: Iterable[float]) -> None:
    """Raises InputError if a prune fraction would leave a class of the training split without an image."""
    labels = load_dataset(config).train.labels
    num_classes = len(np.unique(labels)) if config.cluster.scope == "class" else 1
    largest = (len(labels) - num_classes) / len(labels)
    for fraction in fractions:
        if num_pruned(len(labels), fraction) > len(labels) - num_classes:
            raise InputError(
                f"--config.{field}={fraction}: must be at most {largest:.6g}, for each of {num_classes} classes keeps "
                f"one of the {len(labels):,} training images at least"
            )


def require(path: pathlib.Path, fingerprint: dict[str, Any], stage: str) -> None:
    """Raises InputError unless an artifact, which `stage` writes, is there and was made from the same things."""
    if not is_done(path, fingerprint):
        raise InputError(f"{path}: not there; run the stage '{stage}' first, with the same --config and --workdir")


def is_done(path: pathlib.Path, fingerprint: dict[str, Any]) -> bool:
    """Whether an artifact is there.

    Raises:
        InputError: if it is, but was made from something else.
    """
    manifest = artifacts.read_manifest(path)
    if manifest is None:
        return False
    workdir.check_fingerprint(path, manifest["fingerprint"], fingerprint)
    return True
