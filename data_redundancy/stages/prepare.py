"""Turn images into a TFDS data set on disk, unless it is there already.

Reads:
  prepare.source: "digits" (scikit-learn's bundled digits), an .npz with image_train, label_train, image_test and
  label_test, or a folder of class folders of image files (or of train/ and test/ folders of those).
Writes:
  the TFDS data set dataset.name, version dataset.version (1.0.0 if not set), in dataset.data_dir (TFDS's own default
  if not set). Without a test split in the source, a fixed share of every class becomes one. Where images stream
  (input.mode=stream), the list of all records in input.catalog_dir (beside the data if not set).
Takes:
  dataset.name .version .data_dir .class_names, prepare.source .test_fraction .seed. Without prepare.source, or where
  dataset.name is an .npz, which is read as it is, it only checks that the data set can be read.
Example:
  data-redundancy prepare --config=cifar10 --workdir=runs/cifar10 --config.prepare.source=cifar10.npz
"""

import logging

from ml_collections import ConfigDict

from data_redundancy.experiment import dataset, dendrograms
from data_redundancy.runtime import devices
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")

_FIELDS = {
    **dataset.DATASET_FIELDS,
    **{name: f"--config.prepare.{name}" for name in ("source", "test_fraction", "seed")},
}


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    if config.dataset.name.endswith(".npz"):
        log.info("prepare: %s is read as it is, nothing to do", config.dataset.name)
    elif config.prepare.source is not None:
        if devices.is_main_process():
            _prepare(config)
        devices.barrier("prepared the data set")
    # Known now, so told now: training may take hours.
    for field, fractions, methods in (
        ("select.fraction", [config.select.fraction], [config.select.method]),
        ("sweep.fractions", config.sweep.fractions, config.sweep.methods),
    ):
        dataset.check_fractions(config, field, fractions)
        dendrograms.check_depth(config, field, fractions, methods)


def _prepare(config: ConfigDict) -> None:
    from data_redundancy.data.tfds import writer

    with dataset.arguments_named(_FIELDS):
        prepared = writer.prepare(
            config.prepare.source,
            name=config.dataset.name,
            version=dataset.prepared_version(config),
            data_dir=config.dataset.data_dir,
            test_fraction=config.prepare.test_fraction,
            seed=config.prepare.seed,
            class_names=tuple(config.dataset.class_names),
        )
    log.info(
        "prepare: %s (%s)", "already done, skipped" if prepared.already_prepared else "written", prepared.directory
    )
