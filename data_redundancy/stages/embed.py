"""Embed every training image with the trained classifier.

Reads:
  the data set and the newest checkpoint of WORKDIR/trials/full/seedK/, K being train.seed.
Writes:
  WORKDIR/embeddings/: Zarr v3 arrays embedding [N, D] float32 and label [N] int32 in canonical order, manifest.json.
  The embedding is what the model's global average pool gives, in eval mode, without augmentation, in float32.
Takes:
  embed.batch_size (images per call over all devices; the result does not depend on it).
Example:
  data-redundancy embed --config=digits --workdir=runs/digits
"""

import logging

import jax.numpy as jnp
from ml_collections import ConfigDict

from data_redundancy import artifacts, metrics, models, training
from data_redundancy.stages import common, fingerprints
from data_redundancy.stages.trials import Trials
from data_redundancy.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    trials = Trials(config, workdir)
    fingerprint = fingerprints.embeddings(config)
    if common.is_done(workdir.embeddings, fingerprint):
        log.info("embed: already done, skipped (%s)", workdir.show(workdir.embeddings))
        return
    trainer, state = trials.restore_full()
    dataset = common.load_dataset(config)
    model = models.create(
        config.model.name,
        num_classes=len(dataset.class_names),
        width=config.model.width,
        stem=config.model.stem,
        dtype=jnp.float32,
    )
    labels, num_dimensions = dataset.train.labels, _num_dimensions(state)
    with (
        common.arguments_named(common.DATASET_FIELDS),
        artifacts.write_embeddings(
            workdir.embeddings, labels, num_dimensions=num_dimensions, fingerprint=fingerprint
        ) as store,
        metrics.progress("embed", total=len(labels), unit="images") as bar,
    ):
        for first, rows in training.embed(
            model,
            state.variables,
            trainer.train_split,
            batch_size=config.embed.batch_size,
            chunk_rows=artifacts.chunk_rows(num_dimensions),
        ):
            store[first : first + len(rows)] = rows
            bar.update(first + len(rows))
    log.info(
        "embed: %s embeddings of %d dimensions (%s)",
        f"{len(labels):,}",
        num_dimensions,
        workdir.show(workdir.embeddings),
    )


def _num_dimensions(state) -> int:
    """The embedding is the input of the model's last layer."""
    return state.params["head"]["kernel"].shape[0]
