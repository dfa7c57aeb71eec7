"""Embed every image with the trained classifier.

Reads:
  the data set and the newest checkpoint of WORKDIR/trials/full/seedK/, K being train.seed.
Writes:
  WORKDIR/embeddings/: Zarr v3 arrays embedding [N, D] float32 and label [N] int32 of the training split in canonical
  order, manifest.json; WORKDIR/embeddings_test/: the same of the test split, in which the report looks for images that
  the training split has as well. The embedding is what the model's global average pool gives, in eval mode, without
  augmentation, in float32.
Takes:
  embed.batch_size (images per call over all devices; the result does not depend on it).
Example:
  data-redundancy embed --config=digits --workdir=runs/digits
"""

import logging
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from data_redundancy import training
from data_redundancy.experiment import dataset, fingerprints
from data_redundancy.experiment.trials import Trials
from data_redundancy.store import artifacts, metrics
from data_redundancy.store import workdir as workdirs
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    trials = Trials(config, workdir)
    stores = {
        "train": (workdir.embeddings, fingerprints.embeddings(config)),
        "test": (workdir.embeddings_test, fingerprints.embeddings_test(config)),
    }
    todo = {split: store for split, store in stores.items() if not _is_done(*store)}
    for split, (directory, _) in stores.items():
        if split not in todo:
            log.info("embed: already done, skipped (%s)", workdir.show(directory))
    if not todo:
        return
    trainer, state = trials.restore_full()
    images = {"train": trainer.train_split, "test": trainer.test_split}
    for split, (directory, fingerprint) in todo.items():
        labels = getattr(dataset.load_dataset(config), split).labels
        _embed(config, state, images[split], labels, directory, fingerprint)
        log.info(
            "embed: %s embeddings of %d dimensions (%s)",
            f"{len(labels):,}",
            _num_dimensions(state),
            workdir.show(directory),
        )


def _is_done(directory: epath.Path, fingerprint: dict[str, Any]) -> bool:
    """The same on all processes, which embed together."""
    return workdirs.as_main_finds(lambda: dataset.is_done(directory, fingerprint))


def _embed(config: ConfigDict, state, images, labels, directory: epath.Path, fingerprint: dict[str, Any]) -> None:
    num_dimensions = _num_dimensions(state)
    with (
        dataset.arguments_named(dataset.DATASET_FIELDS),
        artifacts.write_embeddings(directory, labels, num_dimensions=num_dimensions, fingerprint=fingerprint) as store,
        metrics.progress("embed", total=len(labels), unit="images") as bar,
    ):
        for first, rows in training.embed(
            dataset.float32_model(config),
            state.variables,
            images,
            batch_size=config.embed.batch_size,
            chunk_rows=artifacts.chunk_rows(num_dimensions),
        ):
            store[first : first + len(rows)] = rows
            bar.update(first + len(rows))


def _num_dimensions(state) -> int:
    """The embedding is the input of the model's last layer."""
    return state.params["head"]["kernel"].shape[0]
