"""The data set of a config."""

import logging
from collections.abc import Iterable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, models
from data_redundancy.data.tfds.builder import NotPreparedError, resolve_data_dir
from data_redundancy.errors import InputError, arguments_named
from data_redundancy.selection.allocation import num_pruned

log = logging.getLogger("data_redundancy")

DEFAULT_VERSION = "1.0.0"
"""The version that `prepare` writes if the config does not set one."""

FIELDS = {
    name: f"dataset.{name}" for name in ("name", "version", "data_dir", "train_split", "test_split", "class_names")
} | {"catalog_dir": "input.catalog_dir", "stream": "input.mode", "on_corrupt": "input.corrupt"}
"""The config field of each parameter of `data.load` and of the streams that it returns."""


def prepared_version(config: ConfigDict) -> str | None:
    """Returns the version of the data set to read; None is the highest prepared version."""
    prepares = config.prepare.source is not None and not config.dataset.name.endswith(".npz")
    return config.dataset.version or (DEFAULT_VERSION if prepares else None)


def load(config: ConfigDict, *, may_write: bool = True) -> data.Dataset:
    """Loads the data set of a config.

    Args:
        config: a config.
        may_write: whether to write the list of the records of a streamed data set if it is missing.

    Raises:
        NotPreparedError: if the data set is not prepared yet, or the list is missing and `may_write` is false.
        InputError: if the data set cannot be read.
    """
    dataset, version = config.dataset, prepared_version(config)
    try:
        with arguments_named(FIELDS):
            loaded = data.load(
                dataset.name,
                version=version,
                data_dir=dataset.data_dir,
                train_split=dataset.train_split,
                test_split=dataset.test_split,
                class_names=tuple(dataset.class_names),
                stream=config.input.mode == "stream",
                catalog_dir=config.input.catalog_dir,
                may_write=may_write,
            )
    except NotPreparedError:
        if config.prepare.source is None:
            raise
        directory = resolve_data_dir(dataset.data_dir) / dataset.name / (version or DEFAULT_VERSION)
        raise NotPreparedError(
            "dataset.name",
            dataset.name,
            f"is not prepared yet (looked for {directory})",
            "Run 'data-redundancy prepare' with the same config first",
        ) from None
    _log(loaded, streamed=config.input.mode == "stream")
    return loaded


def _log(dataset: data.Dataset, *, streamed: bool) -> None:
    train = dataset.train
    shape = "" if streamed or not isinstance(train, data.Split) else f" of {'x'.join(map(str, train.images.shape[1:]))}"
    log.info(
        "data set %s: %s training and %s test images%s, %d classes",
        f"{dataset.name} {dataset.version}".strip(),
        f"{len(train.labels):,}",
        f"{len(dataset.test.labels):,}",
        ", streamed" if streamed else shape,
        len(dataset.class_names),
    )


def float32_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """Returns the model of a config for inference, in float32."""
    model = config.model
    with arguments_named({name: f"model.{name}" for name in ("name", "width", "stem")}):
        return models.create(model.name, num_classes=num_classes, width=model.width, stem=model.stem, dtype=jnp.float32)


def labels_in_scope(scope: str, labels: np.ndarray) -> np.ndarray:
    """Returns the labels of the groups that are clustered separately: the classes, or 0 for all images.

    Args:
        scope: `class` or `dataset`, see cluster.scope.
        labels: [N] integers, the classes.
    """
    return labels if scope == "class" else np.zeros_like(labels)


def check_fractions(scope: str, labels: np.ndarray, field: str, fractions: Iterable[float]) -> None:
    """Raises InputError for a prune fraction that prunes no image, or every image of a class.

    Args:
        scope: `class` or `dataset`, see cluster.scope.
        labels: [N] integers, the classes of the training split.
        field: config field of the fractions.
        fractions: prune fractions to check; 0 keeps every image and is allowed.
    """
    num_examples, num_classes = len(labels), len(np.unique(labels_in_scope(scope, labels)))
    most = num_examples - num_classes
    for fraction in fractions:
        count = num_pruned(num_examples, fraction)
        if count > most:
            raise InputError(
                field,
                fraction,
                f"must be at most {most / num_examples:.6g}, as each of {num_classes} classes keeps at least one of "
                f"{num_examples:,} examples",
            )
        if fraction > 0 and count == 0:
            raise InputError(
                field,
                fraction,
                f"must be more than {0.5 / num_examples:.6g}, to prune one of {num_examples:,} examples",
            )
