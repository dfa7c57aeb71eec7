"""Select what to keep: cut the trees, keep one representative of every cluster.

Reads:
  as the method needs them, WORKDIR/embeddings/, WORKDIR/dendrograms/ and WORKDIR/scores/; or, with --embeddings and
  --labels, arrays made elsewhere, and no model;
  with --veto, a veto.json, as the report's gallery saves it.
Writes:
  WORKDIR/selections/METHOD-FRACTION[-seedK]/ (or --out): keep.npy, the sorted indices kept; examples.parquet with
  index, tfds_id, file_name, label, class_name, cluster, kept, representative, distance; manifest.json.
  With --veto the name ends in -veto-DIGEST, and the manifest has the indices kept and dropped by it.
Takes:
  select.method (agglomerative, random, kcenter, herding, prototypes, semdedup, facility_location; with scores el2n,
  grad_norm, forgetting, ccs), select.fraction, select.allocation (per_class, global), select.seed, and options of
  methods: select.representative (agglomerative: centroid, medoid, nested), select.centre .end (prototypes: kmeans,
  class; hard, easy), select.score .hardest_pruned (ccs);
  or --embeddings=PATH[:NAME] [N, D] floats, --labels=PATH[:NAME] [N] integers or strings, --fraction, --out=DIR (local,
  or gs://BUCKET/DIR), with cluster.linkage, .scope, .memory_limit_gb, and all fields of select but .fraction from
  --config (the default one if none is given); not for methods that go by scores.
  PATH is local: an .npy or .npz file; a Parquet file, or a folder of them in the order of their names; a Zarr array or
  group, such as WORKDIR/embeddings; a folder that Hugging Face's save_to_disk wrote. NAME is an array or column, by
  default embedding or embeddings, and label or labels. Without --labels they come from the file of the embeddings; they
  may be missing with cluster.scope=dataset. Columns tfds_id (or id) and file_name of a table go to examples.parquet.
  --veto=FILE.json {"format": "data_redundancy veto", "version": 1, "keep": [...], "drop": [...]} of indices, tfds_ids
  or file names: images to keep stay besides what the method keeps, images to drop go. A cluster whose representative
  goes gets the nearest member to it as the new one, of those to keep if it has any, else of those not to drop.
  What is expected to take more than a minute, or 4 GB, says so before it begins.
Example:
  data-redundancy select --config=digits --workdir=runs/digits --config.select.fraction=0.3
  data-redundancy select --config=digits --workdir=runs/digits --veto=veto.json
  data-redundancy select --embeddings=e.npy --labels=l.npy --fraction=0.1 --out=kept
  data-redundancy select --embeddings=train.parquet:clip --fraction=0.1 --out=kept
"""

import hashlib
import logging
import os
import tempfile

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy.clustering.dendrograms import Dendrograms, check_labels
from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.data import embedding_files
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset, dendrograms, fingerprints, selections, vetoes
from data_redundancy.experiment.selections import KeepLists
from data_redundancy.selection import METHODS, Pool, allocation, select
from data_redundancy.store import artifacts, filesystems, metrics
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir, *, veto: str | None = None) -> None:
    """Runs the stage.

    Raises:
        InputError: for what is missing or was made from something else, or a veto that cannot be obeyed.
    """
    wanted = (config.select.method, config.select.fraction, config.select.seed)
    keep_lists = KeepLists(config, workdir, None if veto is None else vetoes.of_split(config, veto))
    directory = workdir.show(workdir.selection(keep_lists.name(*wanted)))
    if keep_lists.load(*wanted) is not None:
        log.info("select: already done, skipped (%s)", directory)
        return
    dataset.check_fractions(config, "select.fraction", [config.select.fraction])
    dendrograms.check_depth(config, "select.fraction", [config.select.fraction], [config.select.method])
    with vetoes.named(veto):
        keep = keep_lists.make(*wanted)
    log.info("select: %s images kept (%s)", f"{len(keep):,}", directory)


def run_on_arrays(
    config: ConfigDict, *, embeddings: str, labels: str | None, fraction: float, out: str, veto: str | None = None
) -> None:
    """Selects from embeddings made elsewhere; `labels` may be None where they are beside the embeddings.

    Raises:
        InputError: for files that cannot be read or do not hold what is needed, an `out` that is there already, or a
            method that goes by scores.
    """
    _check_needs_no_scores(config.select.method)
    directory = filesystems.locate(out, "--out")
    _check_writable(directory, out)
    examples = embedding_files.load(embeddings, labels, needs_labels=config.cluster.scope == "class")
    fields = {"embeddings": "--embeddings", "labels": examples.labels_from, "prune_fraction": "--fraction"}
    with dataset.arguments_named(fields):
        x = check_embeddings(examples.embeddings)
        digest = _digest(x)
        wish = None if veto is None else vetoes.read(veto, digest, len(x), examples)
        pool = _pool(config, x, examples.labels, fraction)
        selections.announce(config, pool, config.select.method, fraction)
        selection = select(
            pool,
            method=config.select.method,
            prune_fraction=fraction,
            allocation=config.select.allocation,
            seed=config.select.seed,
            **selections.options(config),
        )
    with vetoes.named(veto):
        selection, record = selections.obey(
            wish, selection, embeddings=x, labels=examples.labels, class_names=examples.class_names
        )
    fingerprint = {
        "embeddings": f"{_base_name(embeddings)} {digest}",
        "labels": None if examples.labels is None else f"{_base_name(labels or embeddings)} {_digest(examples.labels)}",
        "cluster.linkage": config.cluster.linkage,
        **fingerprints.selection_options(config, config.select.method, config.select.seed),
        **selections.veto_fingerprint(wish),
    }
    artifacts.write_selection(
        directory,
        selection,
        labels=examples.labels,
        class_names=examples.class_names,
        tfds_ids=examples.tfds_ids,
        file_names=examples.file_names,
        fingerprint=fingerprint,
        veto=record,
    )
    num_examples = f"{selection.num_examples:,}"
    log.info("select: kept %s of %s (%s)", f"{len(selection.keep):,}", num_examples, os.path.join(out, "keep.npy"))


def _check_needs_no_scores(method: str) -> None:
    if "scores" in METHODS[method].needs:
        allowed = ", ".join(name for name, other in METHODS.items() if "scores" not in other.needs)
        raise InputError(
            f"--config.select.method={method}: goes by scores, which come from training, not by embeddings; allowed "
            f"with --embeddings: {allowed}"
        )


def _base_name(path: str) -> str:
    return os.path.basename(path.rstrip("/"))


def _pool(config: ConfigDict, embeddings: np.ndarray, labels: np.ndarray | None, fraction: float) -> Pool:
    """The arrays, clustered as deep as the fraction needs it."""
    classes = check_labels(np.zeros(len(embeddings), np.int64) if labels is None else labels, len(embeddings))
    labels = dendrograms.labels_in_scope(config, classes)
    if not fingerprints.needs_trees(config, config.select.method):
        return Pool(labels, embeddings, classes=classes)
    whole = config.select.allocation == "global" and fraction > 0
    # Refuses, before the work, what would leave a class without an example.
    allocation.per_class(Pool(labels).class_sizes(), allocation.num_pruned(len(labels), fraction))
    work = dendrograms.work(config, embeddings, labels, None if whole else fraction)
    dendrograms.announce(work, list(work.classes))
    with metrics.progress("cluster", total=len(work.classes), unit="classes") as bar:
        found = {}
        for label, tree in dendrograms.cluster_each(work, embeddings, list(work.classes)):
            found[label] = tree
            bar.update(len(found))
    return Pool(labels, embeddings, Dendrograms(embeddings, labels, found, config.cluster.linkage), classes=classes)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


def _check_writable(directory: epath.Path, out: str) -> None:
    """Raises InputError, before any work is done, where `directory` is not empty or cannot be made."""
    remote = filesystems.is_remote(directory)
    if remote:
        filesystems.check_bucket(directory, "--out")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"--out={out}: is there already and not empty")
    if not remote:
        existing = next(parent for parent in directory.parents if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise InputError(f"--out={out}: cannot be written ({error.strerror})") from None
