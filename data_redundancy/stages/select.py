"""Select the images to keep: cut the dendrograms and keep one representative of every cluster.

Reads:
  WORKDIR/embeddings/, WORKDIR/dendrograms/ and WORKDIR/scores/, as the method needs them. With --veto, a veto.json that
  the report's page saved. With --embeddings, files of embeddings from another model, without a workdir.
Writes:
  WORKDIR/selections/METHOD-FRACTION[-seedK]/, or --out with --embeddings: keep.npy, the sorted indices of the images to
  keep; examples.parquet with the columns index, tfds_id, file_name, label, class_name, cluster, kept, representative
  and distance; manifest.json. With --veto, the name ends in -veto-DIGEST, and manifest.json lists the images that the
  veto keeps and drops.
Embeddings:
  --embeddings and --labels take a local PATH or PATH:NAME. PATH is an .npy or .npz file; a Parquet file, or a folder of
  Parquet files, which are read in the order of their names; a Zarr array or group, such as WORKDIR/embeddings; or a
  folder written by save_to_disk of Hugging Face datasets. NAME is an array or column; by default embedding or
  embeddings, and label or labels.
  Labels are integers or strings. Without --labels, they are read from the file of the embeddings. With
  --config.cluster.scope=dataset, no labels are needed. The columns tfds_id (or id) and file_name of a table are copied
  to examples.parquet. Methods that rank by scores (el2n, grad_norm, forgetting, ccs) need training and do not work with
  --embeddings.
Veto:
  {"format": "data_redundancy veto", "version": 1, "keep": [...], "drop": [...]} with indices, tfds_ids or file names.
  Images in keep are kept in addition to the images that the method keeps; images in drop are pruned. If the
  representative of a cluster is dropped, the member nearest to it becomes the new representative; members in keep take
  precedence.
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
        selection: name of the selection; None if it was made from files of embeddings.
        directory: directory of the selection.
        method: name of the selection method.
        prune_fraction: requested share of the images to prune.
        num_kept: number of images that the selection keeps.
        num_examples: number of training images.
        skipped: whether the selection already existed.
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
        InputError: if an artifact is missing or was made from other inputs, or the veto is invalid.
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
