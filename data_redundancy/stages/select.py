"""Select the images to keep: cut the dendrograms and keep one representative of every cluster.

Reads:
  as the method needs them, WORKDIR/embeddings/, WORKDIR/dendrograms/ and WORKDIR/scores/; with --veto, a veto.json as
  the report's page saves it. Or, with --embeddings, files of embeddings made elsewhere, and no model.
Writes:
  WORKDIR/selections/METHOD-FRACTION[-seedK]/ (or --out): keep.npy, the sorted indices of the images to keep;
  examples.parquet with index, tfds_id, file_name, label, class_name, cluster, kept, representative and distance;
  manifest.json. With --veto the name ends in -veto-DIGEST, and the manifest lists the images kept and dropped by it.
Embeddings:
  --embeddings and --labels take PATH or PATH:NAME, local: an .npy or .npz file; a Parquet file, or a folder of them in
  the order of their names; a Zarr array or group, such as WORKDIR/embeddings; or a folder written by Hugging Face's
  save_to_disk. NAME is an array or column, by default embedding or embeddings, and label or labels. Labels are integers
  or strings; without --labels they come from the file of the embeddings, and with --config.cluster.scope=dataset they
  are not needed. Columns tfds_id (or id) and file_name of a table are written to examples.parquet. Methods that rank by
  scores (el2n, grad_norm, forgetting, ccs) need training and do not work with --embeddings.
Veto:
  {"format": "data_redundancy veto", "version": 1, "keep": [...], "drop": [...]} with indices, tfds_ids or file names.
  Images to keep are kept in addition to those that the method keeps; images to drop are pruned. A cluster whose
  representative is dropped gets the nearest member as its new one, from those to keep if it has any.
Example:
  data-redundancy select --workdir=runs/digits --fraction=0.3
  data-redundancy select --workdir=runs/digits --veto=veto.json
  data-redundancy select --embeddings=e.npy --labels=l.npy --fraction=0.1 --out=kept
  data-redundancy select --embeddings=train.parquet:clip --fraction=0.1 --out=kept
"""

import dataclasses
import logging
import os

from data_redundancy.experiment.embedding_experiment import EmbeddingExperiment
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, step
from data_redundancy.experiment.result import CommandResult
from data_redundancy.experiment.vetoes import veto_named

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        veto: path of a veto.json to apply.
    """

    veto: str | None = None


@dataclasses.dataclass(frozen=True)
class SelectResult(CommandResult):
    """The selection.

    Attributes:
        selection: its name; None for one that was made from files of embeddings.
        directory: that holds it.
        method: that made it.
        prune_fraction: that it was made with.
        num_kept: images that it keeps.
        num_examples: all images.
        skipped: whether it existed before.
    """

    selection: str | None
    directory: str
    method: str
    prune_fraction: float
    num_kept: int
    num_examples: int
    skipped: bool


def run(experiment: Experiment | EmbeddingExperiment, options: Options) -> SelectResult:
    """Runs the command.

    Raises:
        InputError: for what is missing or was made from something else, or an invalid veto.
    """
    if isinstance(experiment, EmbeddingExperiment):
        return _run_on_embeddings(experiment, options)
    select = experiment.config.select
    key = (select.method, select.fraction, select.seed)
    selections = experiment.selections
    if options.veto is not None:
        selections = selections.with_veto(experiment.read_veto(options.veto))
    directory = experiment.workdir.show(selections.directory(*key))
    keep = selections.load(*key)
    skipped = keep is not None
    if skipped:
        log.info("select: already done, skipped (%s)", directory)
    else:
        experiment.check_selections("select.fraction", [select.fraction], [select.method])
        with veto_named(options.veto):
            keep = selections.make(*key)
        log.info("select: %s images kept (%s)", f"{len(keep):,}", directory)
    assert keep is not None
    return SelectResult(
        selection=selections.name(*key),
        directory=directory,
        method=select.method,
        prune_fraction=select.fraction,
        num_kept=len(keep),
        num_examples=len(experiment.dataset.train.labels),
        skipped=skipped,
    )


def _run_on_embeddings(experiment: EmbeddingExperiment, options: Options) -> SelectResult:
    selection, select = experiment.select(options.veto), experiment.config.select
    path = os.path.join(experiment.shown_out, "keep.npy")
    log.info("select: kept %s of %s (%s)", f"{len(selection.keep):,}", f"{selection.num_examples:,}", path)
    return SelectResult(
        selection=None,
        directory=experiment.shown_out,
        method=select.method,
        prune_fraction=select.fraction,
        num_kept=len(selection.keep),
        num_examples=selection.num_examples,
        skipped=False,
    )


def preview(experiment: Experiment | EmbeddingExperiment, options: Options) -> list[Step]:
    """Returns the steps of the command."""
    select = experiment.config.select
    what = f"selection by {select.method} at {select.fraction}"
    if isinstance(experiment, EmbeddingExperiment):
        return [step("select", f"{what}, in {experiment.shown_out}", done=False)]

    def exists() -> bool:
        selections = experiment.selections
        if options.veto is not None:
            selections = selections.with_veto(experiment.read_veto(options.veto))
        if selections.load(select.method, select.fraction, select.seed) is not None:
            return True
        experiment.check_selections("select.fraction", [select.fraction], [select.method])
        return False

    return [step("select", what, done=if_prepared(exists))]
