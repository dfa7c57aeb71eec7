"""Write images as a TFDS data set, unless it already exists.

Reads:
  prepare.source: "digits" (the digits that scikit-learn includes); an .npz file with image_train, label_train,
  image_test and label_test; or a folder with one folder of image files per class, or with train/ and test/ that contain
  such folders.
Writes:
  The TFDS data set dataset.name, version dataset.version (1.0.0 if not set), in dataset.data_dir (the default directory
  of TFDS if not set). If the source has no test split, the share prepare.test_fraction of every class becomes the test
  split. With input.mode=stream, also the list of all records, in input.catalog_dir (next to the data if not set).
  Without prepare.source, or if dataset.name is an .npz file, the command writes nothing and checks that the data set
  can be read. In both cases, it checks that the prune fractions fit the data set.
Example:
  data-redundancy prepare --config=cifar10 --workdir=runs/cifar10 --config.prepare.source=cifar10.npz
"""

import dataclasses
import logging

from etils import epath
from ml_collections import ConfigDict

from data_redundancy.data import raw
from data_redundancy.data.tfds.builder import resolve_data_dir
from data_redundancy.errors import InputError, arguments_named
from data_redundancy.experiment import dataset as datasets
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, step
from data_redundancy.experiment.result import CommandResult, NoOptions
from data_redundancy.runtime import devices

log = logging.getLogger("data_redundancy")

Options = NoOptions

_FIELDS = datasets.FIELDS | {name: f"prepare.{name}" for name in ("source", "test_fraction", "seed")}


@dataclasses.dataclass(frozen=True)
class PrepareResult(CommandResult):
    """The prepared data set.

    Attributes:
        dataset: name of the data set.
        directory: directory that `prepare` wrote; None if the command only reads the data set.
        num_train: number of training images.
        num_test: number of test images.
        class_names: one name per class.
        skipped: whether the data set already existed.
    """

    dataset: str
    directory: str | None
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    skipped: bool


def run(experiment: Experiment, options: NoOptions) -> PrepareResult:
    """Runs the command."""
    del options
    directory, skipped = _prepare(experiment.config)
    _check_selections(experiment)
    dataset = experiment.dataset
    return PrepareResult(
        dataset=dataset.name,
        directory=directory,
        num_train=len(dataset.train.labels),
        num_test=len(dataset.test.labels),
        class_names=tuple(dataset.class_names),
        skipped=skipped,
    )


def _check_selections(experiment: Experiment) -> None:
    """Raises InputError for fractions that do not fit the data, before training, which may take hours."""
    select, sweep = experiment.config.select, experiment.config.sweep
    experiment.check_selections("select.fraction", [select.fraction], [select.method])
    experiment.check_selections("sweep.fractions", sweep.fractions, sweep.methods)


def _prepare(config: ConfigDict) -> tuple[str | None, bool]:
    """Writes the data set if the config has a source; returns its directory and whether it already existed."""
    if config.dataset.name.endswith(".npz"):
        log.info("prepare: %s is read as it is, nothing to do", config.dataset.name)
        return None, True
    if config.prepare.source is None:
        return None, True
    _check_named(config)
    existed = _directory(config).exists()
    if devices.is_main_process():
        _write(config)
    devices.barrier("prepared the data set")
    return str(_directory(config)), existed


def _check_named(config: ConfigDict) -> None:
    """Raises InputError if images of the user would be written with the name of the digits data set."""
    source = config.prepare.source
    if config.dataset.name == "digits" and source != "digits" and epath.Path(source).expanduser().exists():
        raise InputError(
            "dataset.name",
            "digits",
            f"must not be the name of the shipped digits for the images of {source}",
            "Name the data set, such as --config.dataset.name=photos",
        )


def _directory(config: ConfigDict) -> epath.Path:
    return resolve_data_dir(config.dataset.data_dir) / config.dataset.name / datasets.prepared_version(config)


def _write(config: ConfigDict) -> None:
    from data_redundancy.data.tfds import writer

    with arguments_named(_FIELDS):
        prepared = writer.prepare(
            config.prepare.source,
            name=config.dataset.name,
            version=datasets.prepared_version(config) or datasets.DEFAULT_VERSION,
            data_dir=config.dataset.data_dir,
            test_fraction=config.prepare.test_fraction,
            seed=config.prepare.seed,
            class_names=tuple(config.dataset.class_names),
        )
    log.info(
        "prepare: %s (%s)", "already done, skipped" if prepared.already_prepared else "written", prepared.directory
    )


def preview(experiment: Experiment, options: NoOptions) -> list[Step]:
    """Returns the steps of the command."""
    del options
    config, name = experiment.config, experiment.config.dataset.name
    if name.endswith(".npz") or config.prepare.source is None:
        done = config.input.mode == "memory" or if_prepared(lambda: experiment.dataset) is not None
        if done:
            _check_selections(experiment)
        what = f"{name} is read as it is" if done else f"the list of the records of {name}"
        return [step("prepare", what, done=done)]
    _check_named(config)
    with arguments_named(_FIELDS):
        raw.check_exists(config.prepare.source)
    directory = _directory(config)
    if directory.exists():
        if_prepared(lambda: _check_selections(experiment))
    return [step("prepare", f"the data set {directory} from {config.prepare.source}", done=directory.exists())]
