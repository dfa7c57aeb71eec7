"""Embed every image with the trained classifier.

Reads:
  The data set, and the newest checkpoint in WORKDIR/trials/full/seedK/, where K is train.seed.
Writes:
  WORKDIR/embeddings/: the Zarr v3 arrays embedding [N, D] float32 and label [N] int32 of the training split in
  canonical order, and manifest.json.
  WORKDIR/embeddings_test/: the same files for the test split. The report uses them to find test images that are also in
  the training split.
  An embedding is the output of the model's global average pooling, in eval mode, without augmentation, in float32. It
  does not depend on embed.batch_size.
Example:
  data-redundancy embed --config=digits --workdir=runs/digits
"""

import dataclasses
import logging
from typing import Any

import numpy as np
from etils import epath

from data_redundancy import training
from data_redundancy.errors import arguments_named
from data_redundancy.experiment.dataset import FIELDS, float32_model
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, step
from data_redundancy.experiment.result import CommandResult, NoOptions
from data_redundancy.experiment.trainer import clipped_batch_size
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts, manifests, metrics
from data_redundancy.training.inputs import Input
from data_redundancy.training.state import TrainState

log = logging.getLogger("data_redundancy")

Options = NoOptions


@dataclasses.dataclass(frozen=True)
class EmbeddingStore:
    """The embeddings of one split.

    Attributes:
        split: `train` or `test`.
        directory: directory of the Zarr arrays.
        num_examples: number of embeddings.
        num_dimensions: number of dimensions; None if the embeddings already existed.
        skipped: whether the embeddings already existed.
    """

    split: str
    directory: str
    num_examples: int
    num_dimensions: int | None
    skipped: bool


@dataclasses.dataclass(frozen=True)
class EmbedResult(CommandResult):
    """The embeddings of both splits."""

    stores: tuple[EmbeddingStore, ...]


def run(experiment: Experiment, options: NoOptions) -> EmbedResult:
    """Runs the command."""
    del options
    splits = _splits(experiment)
    done = {split: _is_done(*store) for split, store in splits.items()}
    for split, (directory, _) in splits.items():
        if done[split]:
            log.info("embed: already done, skipped (%s)", experiment.workdir.show(directory))
    state = None if all(done.values()) else experiment.trials.restore_full()
    stores = []
    for split, (directory, fingerprint) in splits.items():
        labels, shown = getattr(experiment.dataset, split).labels, experiment.workdir.show(directory)
        num_dimensions = None
        if state is not None and not done[split]:
            num_dimensions = _embed(experiment, state, split, labels, directory, fingerprint)
            log.info("embed: %s embeddings of %d dimensions (%s)", f"{len(labels):,}", num_dimensions, shown)
        stores.append(EmbeddingStore(split, shown, len(labels), num_dimensions, done[split]))
    return EmbedResult(tuple(stores))


def _splits(experiment: Experiment) -> dict[str, tuple[epath.Path, dict[str, Any]]]:
    """Returns the directory and the fingerprint of the embeddings of each split."""
    workdir, fingerprints = experiment.workdir, experiment.fingerprints
    return {
        "train": (workdir.embeddings, fingerprints.embeddings()),
        "test": (workdir.embeddings_test, fingerprints.embeddings_test()),
    }


def _is_done(directory: epath.Path, fingerprint: dict[str, Any]) -> bool:
    """Returns whether embeddings are complete; all processes use the answer of the main process."""
    return devices.call_on_main(lambda: manifests.is_complete(directory, fingerprint))


def _embed(
    experiment: Experiment,
    state: TrainState,
    split: str,
    labels: np.ndarray,
    directory: epath.Path,
    fingerprint: dict[str, Any],
) -> int:
    """Writes the embeddings of a split; returns their number of dimensions, the input size of the last layer."""
    trainer, num_dimensions = experiment.trainer, state.params["head"]["kernel"].shape[0]
    images: Input = trainer.train_split if split == "train" else trainer.test_split
    with (
        arguments_named(FIELDS),
        artifacts.write_embeddings(directory, labels, num_dimensions=num_dimensions, fingerprint=fingerprint) as store,
        metrics.progress("embed", total=len(labels), unit="images") as bar,
    ):
        for first, rows in training.embed(
            float32_model(experiment.config, len(experiment.dataset.class_names)),
            state.variables,
            images,
            batch_size=clipped_batch_size(experiment.config.embed.batch_size, len(labels)),
            chunk_rows=artifacts.chunk_rows(num_dimensions),
        ):
            store[first : first + len(rows)] = rows
            bar.update(first + len(rows))
    return num_dimensions


def preview(experiment: Experiment, options: NoOptions) -> list[Step]:
    """Returns the steps of the command."""
    del options
    done = if_prepared(lambda: {split: _is_done(*store) for split, store in _splits(experiment).items()}) or {}
    return [step("embed", f"embeddings of the {split} split", done=done.get(split)) for split in ("train", "test")]
