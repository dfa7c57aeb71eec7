"""Exports of an experiment: the selection to export, its source, and the description of the exported data set."""

import dataclasses
import hashlib
import json
import pathlib
import re
from typing import Any

import numpy as np
from etils import epath

from data_redundancy import data, exporting
from data_redundancy.data.splits import StreamedSplit
from data_redundancy.data.tfds.builder import open_prepared
from data_redundancy.errors import InputError, did_you_mean
from data_redundancy.experiment.dataset import DEFAULT_VERSION
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.exporting import contents, driver, formats
from data_redundancy.exporting.contents import Contents
from data_redundancy.exporting.format import Description
from data_redundancy.exporting.source import NpzSource, Source, TfdsSource
from data_redundancy.store import artifacts, filesystems, manifests
from data_redundancy.store.workdir import Workdir
from data_redundancy.version import __version__


def find_selection(workdir: Workdir, name: str) -> epath.Path:
    """Returns the directory of a selection.

    Args:
        workdir: the workdir of the experiment.
        name: name of a selection in the workdir, or the directory of any selection.

    Raises:
        InputError: if the selection does not exist.
    """
    directory = filesystems.locate(name, "selection")
    if "/" not in name and manifests.read(workdir.selection(name)) is not None:
        directory = workdir.selection(name)
    if manifests.read(directory) is None:
        names = artifacts.selection_names(workdir.root / "selections")
        listed = ", ".join(names) or "none"
        raise InputError(
            "selection",
            name,
            f"must be the directory of a selection, or a selection of this workdir: {listed}",
            did_you_mean(name, names),
        )
    return directory


def locate_out(out: str) -> pathlib.Path:
    """Returns the absolute local path of an export.

    Raises:
        InputError: for a path in a bucket.
    """
    path = filesystems.locate(out, "out")
    if filesystems.is_remote(path):
        raise InputError("out", out, "must be a local path", "Export to a local directory and copy it to the bucket")
    return pathlib.Path(path).resolve()


def check_free(
    experiment: Experiment, selection: epath.Path, out: pathlib.Path, format_name: str, *, overwrite: bool
) -> None:
    """Raises InputError if `out` cannot be written, or would replace the workdir or the selection."""
    if format_name in formats.LISTS:
        driver.check_file_free(out, overwrite=overwrite)
        return
    paths = (experiment.workdir.root, selection)
    keep_clear_of = [pathlib.Path(path) for path in paths if not filesystems.is_remote(path)]
    driver.check_free(out, overwrite=overwrite, keep_clear_of=keep_clear_of)


def read_keep(selection: epath.Path, dataset: data.Dataset) -> np.ndarray:
    """Reads the keep list [K] int64 of a selection.

    Raises:
        InputError: if the selection was made from another data set, or its files are damaged.
    """
    _check_same_data(selection, dataset)
    path, num_train = selection / "keep.npy", len(dataset.train.labels)
    try:
        keep = artifacts.read_keep(selection)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, None, f"cannot be read ({error})", f"Remove {selection} and select again") from None
    valid = isinstance(keep, np.ndarray) and keep.ndim == 1 and np.issubdtype(keep.dtype, np.integer) and len(keep)
    if not valid or keep[0] < 0 or keep[-1] >= num_train or (np.diff(keep) <= 0).any():
        requirement = f"must hold ascending integers from 0 to {num_train - 1}"
        raise InputError(path, None, requirement, f"Remove {selection} and select again")
    return keep.astype(np.int64)


def _check_same_data(selection: epath.Path, dataset: data.Dataset) -> None:
    manifest, now = manifests.read(selection), dataset.fingerprint()
    assert manifest is not None
    found = manifest.get("fingerprint", {})
    of_data = {name: value for name, value in found.items() if name in now}
    if of_data:
        manifests.check_fingerprint(selection, of_data, {name: now[name] for name in of_data})
    elif manifest.get("num_examples") != len(dataset.train.labels):
        raise InputError(
            selection,
            None,
            f"is of {manifest.get('num_examples')} examples, but {dataset.train.name} of {dataset.name} has "
            f"{len(dataset.train.labels)}",
            "Select from this data set",
        )
    else:
        _check_same_labels(selection, dataset)


def _check_same_labels(selection: epath.Path, dataset: data.Dataset) -> None:
    """Raises InputError if labels differ; selections made from arrays record nothing else about the data set."""
    column = artifacts.read_examples(selection)["label"]
    if column.null_count == len(column):
        return
    differing = np.flatnonzero(column.to_numpy() != dataset.train.labels)
    if differing.size:
        index = int(differing[0])
        raise InputError(
            selection,
            None,
            f"was made from other labels: example {index} has {column[index].as_py()} there and "
            f"{dataset.train.labels[index]} in {dataset.train.name} of {dataset.name} ({differing.size} differ)",
            "Select from this data set",
        )


def open_source(experiment: Experiment) -> Source:
    """Opens the source of an experiment's data set, whose images are copied undecoded."""
    name, dataset = experiment.config.dataset.name, experiment.dataset
    if name.endswith(".npz"):
        return NpzSource(name, dataset)
    builder = open_prepared(name, version=dataset.version, data_dir=experiment.config.dataset.data_dir)
    train = dataset.train
    listed = {train.name: (train.records.digest, train.records.length)} if isinstance(train, StreamedSplit) else {}
    return TfdsSource(builder, class_names=dataset.class_names, listed=listed)


def describe(source: Source, dataset: data.Dataset, selection: epath.Path, contents: Contents) -> Description:
    """Returns the description of an exported data set, with its provenance."""
    manifest: dict[str, Any] = manifests.read(selection) or {}
    fingerprint = manifest.get("fingerprint", {})
    provenance = {
        "selection": selection.name,
        "method": manifest.get("method"),
        "fraction": manifest.get("prune_fraction"),
        "split": dataset.train.name,
        "num_examples": len(dataset.train.labels),
        "num_kept": contents.num_examples[contents.pruned],
        "fingerprint": hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16],
        "code_version": __version__,
        **fingerprint,
    }
    return Description(
        name=_tfds_name(dataset.name.removesuffix(".npz")),
        version=dataset.version or DEFAULT_VERSION,
        class_names=tuple(dataset.class_names),
        description=source.description,
        citation=source.citation,
        provenance=provenance,
        num_examples=contents.num_examples,
    )


def _tfds_name(name: str) -> str:
    """Returns the name with characters that TFDS does not allow replaced."""
    safe = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return safe if safe[:1].isalpha() else f"d_{safe}"


@dataclasses.dataclass(frozen=True)
class ExportFormat:
    """The format of an export.

    Attributes:
        name: name of the format, one of `formats.FORMATS`.
        file_format: file format of a TFDS data set, `tfrecord` or `array_record`; None for the format of the source.
        splits: other splits to copy: `all`, `none`, or names separated by commas.
        num_shards: number of files per split; None to choose it by the size of the split.
    """

    name: str
    file_format: str | None
    splits: str
    num_shards: int | None


@dataclasses.dataclass(frozen=True)
class Written:
    """An export that was written.

    Attributes:
        about: description of the exported data set.
        num_resumed: number of files that an earlier, interrupted run had written.
    """

    about: Description
    num_resumed: int


def export(
    source: Source,
    dataset: data.Dataset,
    selection: epath.Path,
    keep: np.ndarray,
    out: pathlib.Path,
    chosen_format: ExportFormat,
    *,
    overwrite: bool,
) -> Written:
    """Writes a data set with the kept images.

    Args:
        source: source of the images.
        dataset: data set of the experiment.
        selection: directory of the selection.
        keep: [K] int64, indices of the images to export.
        out: directory to write.
        chosen_format: format to write.
        overwrite: whether to replace `out` when the new export is complete.
    """
    lengths = None
    if chosen_format.name == "tfds" and isinstance(source, TfdsSource):
        from data_redundancy.exporting.tfds import file_lengths

        lengths = file_lengths(source)
    chosen = contents.choose(
        source,
        dataset.train.name,
        keep,
        splits=chosen_format.splits,
        num_shards=chosen_format.num_shards,
        shard_lengths=lengths,
    )
    about = describe(source, dataset, selection, chosen)
    num_resumed = driver.export(
        out,
        exporting.writer(chosen_format.name, chosen, file_format=chosen_format.file_format),
        chosen.shards,
        chosen.examples,
        about,
        plan={
            "format": chosen_format.name,
            "file_format": chosen_format.file_format,
            "keep": hashlib.sha256(keep.astype("<i8").tobytes()).hexdigest()[:16],
            "dataset": dataset.fingerprint(),
            "code_version": __version__,
        },
        overwrite=overwrite,
    )
    return Written(about, num_resumed)
