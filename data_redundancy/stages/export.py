"""Export the images that a selection keeps, as a TFDS data set or for other frameworks.

Reads:
  The selection: its name in WORKDIR/selections/, or the directory of any selection.
  The data set that the selection was made from: a TFDS data set (TFRecord or ArrayRecord) or an .npz file. A selection
  is rejected if it was made from another data set, or if the data set has changed since. If it was made from arrays,
  only the labels can be compared.
Writes:
  --out, which must be empty or not exist. It appears when the export is complete; until then, the files are in
  .NAME.exporting in the same folder. After an interruption, the same command resumes. Several processes can share the
  work.
  --format=tfds writes OUT/NAME/VERSION, which tfds.load("NAME:VERSION", data_dir=OUT) and tfds.builder_from_directory
  read. NAME and VERSION are the name and the version of the data set (1.0.0 if it has none). Images are copied without
  decoding. All features are kept; source_index (the position in dataset.train_split) and source_tfds_id are added.
  Features that already have these names are renamed to source_source_index and source_source_tfds_id. Other splits are
  copied unchanged.
  --format=webdataset, huggingface or imagefolder writes a data set in that format; images are also copied without
  decoding.
  --format=txt, csv, parquet or npy writes the list of the kept images to the file --out.
Example:
  data-redundancy export --workdir=runs/digits --selection=agglomerative-0.1 --out=exported
"""

import dataclasses
import logging
import pathlib

from etils import epath

from data_redundancy.errors import InputError, arguments_named
from data_redundancy.experiment import dataset as datasets
from data_redundancy.experiment import exports
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step
from data_redundancy.experiment.result import CommandResult
from data_redundancy.exporting import driver, formats, keep_lists
from data_redundancy.exporting.source import local_files
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        selection: name of a selection in the workdir, or the directory of any selection.
        out: path of the directory or file to write.
        format: one of `formats.FORMATS` or `formats.LISTS`.
        file_format: file format of a TFDS data set, `tfrecord` or `array_record`; None for the format of the source.
        splits: other splits to copy: `all`, `none`, or names separated by commas; None for all.
        num_shards: number of files per split; None to choose it by the size of the split.
        overwrite: whether to replace `out` when the new export is complete.
    """

    selection: str
    out: str
    format: str = "tfds"
    file_format: str | None = None
    splits: str | None = None
    num_shards: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for an option that the chosen format does not have."""
        takers = {"file_format": ("tfds",), "splits": formats.FORMATS, "num_shards": formats.FORMATS}
        for name, those_with in takers.items():
            value = getattr(self, name)
            if value is not None and self.format not in those_with:
                raise InputError(
                    name,
                    value,
                    f"is an option of format={' or '.join(those_with)} only, not of {self.format}",
                    "Omit it",
                )


@dataclasses.dataclass(frozen=True)
class ExportResult(CommandResult):
    """The export.

    Attributes:
        selection: directory of the selection.
        out: path of the directory or file that was written.
        format: name of the format.
        num_examples: number of examples of every split; for a list, of the pruned split only.
        num_resumed: number of files that an earlier, interrupted run had written.
    """

    selection: str
    out: str
    format: str
    num_examples: dict[str, int]
    num_resumed: int = 0


def run(experiment: Experiment, options: Options) -> ExportResult:
    """Runs the command."""
    workdir = experiment.workdir
    selection, out = exports.find_selection(workdir, options.selection), exports.locate_out(options.out)
    exports.check_free(experiment, selection, out, options.format, overwrite=options.overwrite)
    dataset = experiment.dataset
    keep = exports.read_keep(selection, dataset)
    if options.format in formats.LISTS:
        _write_list(out, options.format, selection)
        log.info("export: %s kept, listed (%s)", f"{len(keep):,}", workdir.show(epath.Path(out)))
        return ExportResult(str(selection), str(out), options.format, {dataset.train.name: len(keep)})
    with arguments_named(datasets.FIELDS):
        source = exports.open_source(experiment)
        files = local_files(source)
        driver.check_free(out, overwrite=options.overwrite, keep_clear_of=files, keep_out_of=files)
        written = exports.export(
            source,
            dataset,
            selection,
            keep,
            out,
            exports.ExportFormat(options.format, options.file_format, options.splits or "all", options.num_shards),
            overwrite=options.overwrite,
        )
    _log(written, out, to_tfds=options.format == "tfds")
    return ExportResult(str(selection), str(out), options.format, dict(written.about.num_examples), written.num_resumed)


def _log(written: exports.Written, out: pathlib.Path, *, to_tfds: bool) -> None:
    about = written.about
    counts = ", ".join(f"{number:,} {split}" for split, number in about.num_examples.items())
    how = f'; tfds.load("{about.name}:{about.version}", data_dir="{out}") reads it' if to_tfds else ""
    before = f", including {written.num_resumed} files of an earlier run" if written.num_resumed else ""
    log.info("export: %s examples written%s (%s%s)", counts, before, out, how)


def _write_list(out: pathlib.Path, list_format: str, selection: epath.Path) -> None:
    if devices.is_main_process():
        keep_lists.write(out, list_format, artifacts.read_examples(selection))
    devices.barrier(f"wrote {out}")


def preview(experiment: Experiment, options: Options) -> list[Step]:
    """Returns the steps of the command.

    Raises:
        InputError: if the selection does not exist, or `out` cannot be written.
    """
    selection, out = exports.find_selection(experiment.workdir, options.selection), exports.locate_out(options.out)
    exports.check_free(experiment, selection, out, options.format, overwrite=options.overwrite)
    return [Step("export", "run", f"{selection.name} as {options.format}, in {out}")]
