"""Export what a selection keeps: a TFDS data set, or for other frameworks.

Reads:
  the selection, WORKDIR/selections/NAME or any directory of one, and the data set it was made from; from a TFDS data
  set (TFRecord or ArrayRecord) or an .npz. A selection of another data set, or of one that has changed since, is
  refused; of one that was made from arrays only the labels can be compared.
Writes:
  --out, which must be empty or not there, once all is complete; what a run that was cut off has written stays beside
  it, in .NAME.exporting, and the same command goes on. Several processes share the work.
  --format=tfds: OUT/NAME/VERSION, which tfds.load("NAME:VERSION", data_dir=OUT) and tfds.builder_from_directory read;
  NAME and VERSION are those of the data set (1.0.0 if it has none). Images are copied undecoded. All features are kept;
  source_index (position in dataset.train_split) and source_tfds_id are added to what is kept; features that had these
  names already become source_source_index and source_source_tfds_id. Other splits are copied untouched.
  --format=webdataset, huggingface, imagefolder: images undecoded, too. --format=txt, csv, parquet, npy: the file --out.
Takes:
  --selection=NAME|DIR, --out=DIR|FILE, --format=tfds (default), --file_format=tfrecord|array_record (tfds; by default
  as the source), --splits=all (default), none, or names with commas: the other splits; --num_shards (files per split
  that is written anew; by default from their size), --overwrite (replaces --out once the new one is complete);
  dataset.name .version .data_dir .train_split .test_split .class_names, input.mode .catalog_dir.
Example:
  data-redundancy export --config=digits --workdir=runs/digits --selection=agglomerative-0.1 --out=exported
"""

import hashlib
import json
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy import data, exporting
from data_redundancy.data.splits import StreamedSplit
from data_redundancy.data.tfds import builder as tfds_builder
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset as common
from data_redundancy.exporting import contents, driver, keep_lists, records
from data_redundancy.exporting.contents import Contents
from data_redundancy.exporting.format import Description
from data_redundancy.exporting.source import NpzSource, Source, TfdsSource, local_files
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts, filesystems
from data_redundancy.store import workdir as store
from data_redundancy.store.workdir import Workdir
from data_redundancy.version import __version__

log = logging.getLogger("data_redundancy")

_FIELDS = {**common.DATASET_FIELDS, **{name: f"--{name}" for name in ("num_shards", "splits", "file_format")}}


def run(config: ConfigDict, workdir: Workdir, **options: str) -> None:
    """Runs the stage; `options` are the flags of these names that were given."""
    checked = _check_options(options)
    selection, out = _find(workdir, checked["selection"]), _locate(checked["out"])
    is_list, overwrite = checked["format"] in exporting.LISTS, checked["overwrite"]
    keep_clear_of = [pathlib.Path(path) for path in (workdir.root, selection) if not filesystems.is_remote(path)]
    if is_list:
        driver.check_file_free(out, overwrite=overwrite)
    else:
        driver.check_free(out, overwrite=overwrite, keep_clear_of=keep_clear_of)
    dataset = common.load_dataset(config)
    keep = _read_keep(selection, dataset)
    if is_list:
        _write_list(out, checked["format"], selection)
        log.info("export: %s kept, listed (%s)", f"{len(keep):,}", workdir.show(epath.Path(out)))
        return
    with common.arguments_named(_FIELDS):
        source = _open(config, dataset)
        files = local_files(source)
        driver.check_free(out, overwrite=overwrite, keep_clear_of=files, keep_out_of=files)
        _export(source, dataset, selection, keep, out, checked)


def _export(
    source: Source, dataset: data.Dataset, selection: epath.Path, keep: np.ndarray, out: pathlib.Path, options: dict
) -> None:
    """Writes a data set with its images."""
    to_tfds = options["format"] == "tfds"
    if to_tfds and isinstance(source, TfdsSource):
        from data_redundancy.exporting.tfds import file_lengths

        lengths = file_lengths(source)
    else:
        lengths = None
    chosen = contents.choose(
        source,
        dataset.train.name,
        keep,
        others=options["splits"],
        num_shards=options["num_shards"],
        shard_lengths=lengths,
    )
    about = _describe(source, dataset, selection, chosen)
    already = driver.export(
        out,
        exporting.writer(options["format"], chosen, file_format=options["file_format"]),
        chosen.shards,
        chosen.examples,
        about,
        plan={
            "format": options["format"],
            "file_format": options["file_format"],
            "keep": _digest(keep),
            "dataset": dataset.fingerprint(),
            "code_version": __version__,
        },
        overwrite=options["overwrite"],
    )
    counts = ", ".join(f"{number:,} {split}" for split, number in chosen.num_examples.items())
    how = f'; tfds.load("{about.name}:{about.version}", data_dir="{out}") reads it' if to_tfds else ""
    before = f", {already} files of an earlier run among them" if already else ""
    log.info("export: %s examples written%s (%s%s)", counts, before, out, how)


def _check_options(options: Mapping[str, str]) -> dict[str, Any]:
    """The flags with their defaults, each of the right type.

    Raises:
        InputError: naming the flag.
    """
    for name, example in (("selection", "such as agglomerative-0.1, or its directory"), ("out", "a directory")):
        if not options.get(name):
            raise InputError(f"--{name}: must be given, {example}")
    formats = (*exporting.FORMATS, *exporting.LISTS)
    chosen = _one_of("format", options.get("format", "tfds"), formats)
    takers = {"file_format": ("tfds",), "splits": exporting.FORMATS, "num_shards": exporting.FORMATS}
    for name, allowed in takers.items():
        if name in options and chosen not in allowed:
            raise InputError(f"--{name}={options[name]}: only --format={' or '.join(allowed)} takes it, not {chosen}")
    file_format = options.get("file_format")
    return {
        "selection": options["selection"],
        "out": options["out"],
        "format": chosen,
        "file_format": file_format and _one_of("file_format", file_format, records.FILE_FORMATS),
        "splits": options.get("splits", "all"),
        "num_shards": _positive("num_shards", options["num_shards"]) if "num_shards" in options else None,
        "overwrite": _one_of("overwrite", options.get("overwrite", "false").lower(), ("true", "false")) == "true",
    }


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise InputError(f"--{name}={value}: must be one of {', '.join(allowed)}")
    return value


def _positive(name: str, value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", value, re.ASCII):
        raise InputError(f"--{name}={value}: must be a whole number, 1 or more")
    return int(value)


def _find(workdir: Workdir, name: str) -> epath.Path:
    """The directory of a selection."""
    directory = filesystems.locate(name, "--selection")
    if "/" not in name and artifacts.read_manifest(workdir.selection(name)) is not None:
        directory = workdir.selection(name)
    there = ", ".join(artifacts.selection_names(workdir.root / "selections")) or "none"
    if artifacts.read_manifest(directory) is None:
        raise InputError(f"--selection={name}: no selection there; allowed: a directory of one, or of {there}")
    return directory


def _locate(out: str) -> pathlib.Path:
    path = filesystems.locate(out, "--out")
    if filesystems.is_remote(path):
        raise InputError(f"--out={out}: must be a local path; what is written there can be copied to a bucket")
    return pathlib.Path(path).resolve()


def _read_keep(selection: epath.Path, dataset: data.Dataset) -> np.ndarray:
    """The keep list of a selection.

    Raises:
        InputError: if it was made from other data, or is damaged.
    """
    manifest, now = artifacts.read_manifest(selection), dataset.fingerprint()
    found = manifest.get("fingerprint", {})
    of_data = {name: value for name, value in found.items() if name in now}
    labels = dataset.train.labels
    if of_data:
        store.check_fingerprint(selection, of_data, {name: now[name] for name in of_data})
    elif manifest.get("num_examples") != len(labels):
        raise InputError(
            f"{selection}: is of {manifest.get('num_examples')} examples, {dataset.train.name} of {dataset.name} has "
            f"{len(labels)}"
        )
    else:
        _check_labels(selection, dataset)
    try:
        keep = artifacts.read_keep(selection)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{selection / 'keep.npy'}: cannot be read ({error})") from None
    valid = isinstance(keep, np.ndarray) and keep.ndim == 1 and np.issubdtype(keep.dtype, np.integer) and len(keep)
    if not valid or keep[0] < 0 or keep[-1] >= len(labels) or (np.diff(keep) <= 0).any():
        raise InputError(f"{selection / 'keep.npy'}: must hold ascending integers from 0 to {len(labels) - 1}")
    return keep.astype(np.int64)


def _check_labels(selection: epath.Path, dataset: data.Dataset) -> None:
    """Compares all that a selection from arrays may have in common with a data set: labels."""
    column = artifacts.read_examples(selection)["label"]
    if column.null_count == len(column):
        return
    differing = np.flatnonzero(column.to_numpy() != dataset.train.labels)
    if differing.size:
        index = int(differing[0])
        raise InputError(
            f"{selection}: was made from other labels: that of example {index} is {column[index].as_py()} there, "
            f"{dataset.train.labels[index]} in {dataset.train.name} of {dataset.name} ({differing.size} differ)"
        )


def _open(config: ConfigDict, dataset: data.Dataset) -> Source:
    if config.dataset.name.endswith(".npz"):
        return NpzSource(config.dataset.name, dataset)
    builder = tfds_builder.open_prepared(config.dataset.name, version=dataset.version, data_dir=config.dataset.data_dir)
    train = dataset.train
    listed = {train.name: (train.records.digest, train.records.length)} if isinstance(train, StreamedSplit) else {}
    return TfdsSource(builder, class_names=dataset.class_names, listed=listed)


def _describe(source: Source, dataset: data.Dataset, selection: epath.Path, chosen: Contents) -> Description:
    manifest = artifacts.read_manifest(selection)
    fingerprint = manifest.get("fingerprint", {})
    num_kept = chosen.num_examples[chosen.pruned]
    provenance = {
        "selection": selection.name,
        "method": manifest.get("method"),
        "fraction": manifest.get("prune_fraction"),
        "split": dataset.train.name,
        "num_examples": len(dataset.train.labels),
        "num_kept": num_kept,
        "fingerprint": hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16],
        "code_version": __version__,
        **fingerprint,
    }
    return Description(
        name=_safe_name(dataset.name.removesuffix(".npz")),
        version=dataset.version or common.DEFAULT_VERSION,
        class_names=tuple(dataset.class_names),
        description=source.description,
        citation=source.citation,
        provenance=provenance,
        num_examples=chosen.num_examples,
    )


def _safe_name(name: str) -> str:
    """As TFDS lets a data set be called."""
    safe = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return safe if safe[:1].isalpha() else f"d_{safe}"


def _write_list(out: pathlib.Path, list_format: str, selection: epath.Path) -> None:
    if devices.is_main_process():
        keep_lists.write(out, list_format, artifacts.read_examples(selection))
    devices.barrier(f"wrote {out}")


def _digest(keep: np.ndarray) -> str:
    return hashlib.sha256(keep.astype("<i8").tobytes()).hexdigest()[:16]
