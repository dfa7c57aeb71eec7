"""Select what to keep: cut the trees, keep one representative of every cluster.

Reads:
  WORKDIR/embeddings/ and WORKDIR/dendrograms/; or, with --embeddings and --labels, arrays made elsewhere, and no model.
Writes:
  WORKDIR/selections/METHOD-FRACTION[-seedK]/ (or --out): keep.npy, the sorted indices kept; examples.parquet with
  index, tfds_id, file_name, label, class_name, cluster, kept, representative, distance; manifest.json.
Takes:
  select.method (agglomerative, random), select.fraction, select.allocation (per_class, global),
  select.representative (centroid, medoid, nested), select.seed;
  or --embeddings=FILE.npy [N, D], --labels=FILE.npy [N] integers (may be left out with cluster.scope=dataset),
  --fraction, --out=DIR (local, or gs://BUCKET/DIR), with cluster.linkage, .scope, .memory_limit_gb, select.method,
  .allocation, .representative and .seed from --config (the default one if none is given).
Example:
  data-redundancy select --config=digits --workdir=runs/digits --config.select.fraction=0.3
  data-redundancy select --embeddings=e.npy --labels=l.npy --fraction=0.1 --out=kept
"""

import hashlib
import logging
import os
import tempfile

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy import artifacts, metrics, storage
from data_redundancy.clustering.dendrograms import Dendrograms, check_labels
from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.errors import InputError
from data_redundancy.selection import Pool, allocation, select
from data_redundancy.stages import common, fingerprints, trees
from data_redundancy.stages.keeplists import KeepLists
from data_redundancy.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    wanted = (config.select.method, config.select.fraction, config.select.seed)
    keep_lists = KeepLists(config, workdir)
    directory = workdir.show(workdir.selection(keep_lists.name(*wanted)))
    if keep_lists.load(*wanted) is not None:
        log.info("select: already done, skipped (%s)", directory)
        return
    common.check_fractions(config, "select.fraction", [config.select.fraction])
    trees.check_depth(config, "select.fraction", [config.select.fraction], [config.select.method])
    keep = keep_lists.make(*wanted)
    log.info("select: %s images kept (%s)", f"{len(keep):,}", directory)


def run_on_arrays(config: ConfigDict, *, embeddings: str, labels: str | None, fraction: float, out: str) -> None:
    """Selects from embeddings made elsewhere; `labels` may be None where the scope is the data set.

    Raises:
        InputError: for files that cannot be read or do not hold what is needed, or an `out` that is there already.
    """
    directory = storage.locate(out, "--out")
    _check_writable(directory, out)
    x = _load_array(embeddings, "--embeddings")
    y = None if labels is None else _load_array(labels, "--labels")
    with common.arguments_named({"embeddings": "--embeddings", "labels": "--labels", "prune_fraction": "--fraction"}):
        selection = select(
            _pool(config, x, y, fraction),
            method=config.select.method,
            prune_fraction=fraction,
            allocation=config.select.allocation,
            representative=config.select.representative,
            seed=config.select.seed,
        )
    fingerprint = {
        "embeddings": f"{os.path.basename(embeddings)} {_digest(x)}",
        "labels": None if labels is None else f"{os.path.basename(labels)} {_digest(y)}",
        "cluster.linkage": config.cluster.linkage,
        **fingerprints.selection_options(config, config.select.method, config.select.seed),
    }
    artifacts.write_selection(
        directory,
        selection,
        labels=y,
        class_names=None,
        tfds_ids=None,
        file_names=None,
        fingerprint=fingerprint,
    )
    log.info("select: kept %s of %s (%s)", f"{len(selection.keep):,}", f"{len(x):,}", os.path.join(out, "keep.npy"))


def _pool(config: ConfigDict, embeddings: np.ndarray, labels: np.ndarray | None, fraction: float) -> Pool:
    """The arrays, clustered as deep as the fraction needs it."""
    embeddings = check_embeddings(embeddings)
    labels = np.zeros(len(embeddings), np.int64) if labels is None else labels
    labels = trees.labels_in_scope(config, check_labels(labels, len(embeddings)))
    if not fingerprints.needs_trees(config, config.select.method):
        return Pool(labels, embeddings)
    whole = config.select.allocation == "global" and fraction > 0
    # Refuses, before the work, what would leave a class without an example.
    allocation.per_class(Pool(labels).class_sizes(), allocation.num_pruned(len(labels), fraction))
    work = trees.work(config, embeddings, labels, None if whole else fraction)
    trees.announce(work, list(work.classes))
    with metrics.progress("cluster", total=len(work.classes), unit="classes") as bar:
        found = {}
        for label, tree in trees.cluster_each(work, embeddings, list(work.classes)):
            found[label] = tree
            bar.update(len(found))
    return Pool(labels, embeddings, Dendrograms(embeddings, labels, found, config.cluster.linkage))


def _load_array(path: str, field: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{field}={path}: no such file") from None
    except (OSError, ValueError, EOFError):
        raise InputError(f"{field}={path}: must be an .npy file of numbers, as numpy.save writes it") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{field}={path}: must be a .npy file with one array, this one holds {', '.join(array.files)}")
    return array


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


def _check_writable(directory: epath.Path, out: str) -> None:
    """Raises InputError, before any work is done, where `directory` is not empty or cannot be made."""
    remote = storage.is_remote(directory)
    if remote:
        storage.check_bucket(directory, "--out")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"--out={out}: is there already and not empty")
    if not remote:
        existing = next(parent for parent in directory.parents if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise InputError(f"--out={out}: cannot be written ({error.strerror})") from None
