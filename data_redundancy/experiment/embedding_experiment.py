"""Experiments on files of embeddings, which only select: without a data set and without training."""

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy.clustering.dendrograms import ClassDendrograms
from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.data import embedding_files
from data_redundancy.errors import InputError
from data_redundancy.experiment import clustering
from data_redundancy.experiment.dataset import check_fractions, labels_in_scope
from data_redundancy.experiment.fingerprints import selection_options
from data_redundancy.experiment.requirements import needs_dendrograms
from data_redundancy.experiment.selections import announce, select_from
from data_redundancy.experiment.vetoes import apply_veto, read_veto, veto_fingerprint, veto_named
from data_redundancy.selection import METHODS, Pool, SelectionArrays
from data_redundancy.selection.grouping import check_labels
from data_redundancy.store import artifacts, filesystems, metrics


class EmbeddingExperiment:
    """Selects from files of embeddings, which any model may have computed.

    Attributes:
        config: a config, of which the sections `select` and `cluster` are used.
        out: directory of the selection.
        shown_out: the same directory as it was passed, for messages.
    """

    def __init__(self, config: ConfigDict, *, embeddings: str, labels: str | None, out: str, read_only: bool = False):
        """Checks that the selection can be written; reads nothing yet.

        Args:
            config: a config that passes `config_rules.check`.
            embeddings: PATH or PATH:NAME of the embeddings.
            labels: PATH or PATH:NAME of the labels; None if they are in the file of the embeddings.
            out: directory to write; it must be empty or not exist.
            read_only: whether to skip the check that writes a temporary file; for previews.

        Raises:
            InputError: if `out` cannot be written or is not empty, or the method ranks by scores.
        """
        _check_needs_no_scores(config.select.method)
        self.config, self.shown_out = config, out
        self.out = filesystems.locate(out, "out")
        self._sources = embeddings, labels
        _check_empty(self.out, out)
        if not (read_only or filesystems.is_remote(self.out)):
            _check_writable(self.out, out)

    @functools.cached_property
    def examples(self) -> embedding_files.LabelledEmbeddings:
        """The embeddings, labels and ids, as read from the files."""
        try:
            return embedding_files.load(*self._sources, needs_labels=self.config.cluster.scope == "class")
        except InputError as error:
            if (error.argument, error.value, error.fix) != ("labels", None, None):
                raise
            fix = "Give --labels, or cluster without classes, with --config.cluster.scope=dataset"
            raise InputError("labels", None, error.requirement, fix) from error

    @functools.cached_property
    def embeddings(self) -> np.ndarray:
        """The embeddings [N, D], validated."""
        with self._named():
            return check_embeddings(self.examples.embeddings)

    @functools.cached_property
    def _digest(self) -> str:
        return _digest_of(self.embeddings)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Adds the paths of the files to errors about arrays; labels may be in the file of the embeddings."""
        sources = {"embeddings": ("embeddings", self._sources[0]), "labels": self.examples.labels_from}
        try:
            yield
        except InputError as error:
            source = sources.get(error.argument)
            if source is None:
                raise
            raise error.renamed(*source) from error

    def select(self, veto_path: str | None = None) -> SelectionArrays:
        """Selects by `select.method` and `select.fraction`, and writes the selection to `out`.

        Args:
            veto_path: path of a veto.json to apply; None for no veto.

        Raises:
            InputError: if a file cannot be read, labels do not fit the embeddings, the fraction leaves a class without
                images, or the veto is invalid.
        """
        config, examples, x = self.config, self.examples, self.embeddings
        veto = None
        if veto_path is not None:
            veto = read_veto(veto_path, dataset_digest=self._digest, num_examples=len(x), examples=examples)
        with self._named():
            pool = self._pool()
            announce(config, pool, config.select.method, config.select.fraction)
            selection = select_from(config, pool, config.select.method, config.select.fraction, config.select.seed)
        with veto_named(veto_path):
            selection, record = apply_veto(
                veto, selection, embeddings=x, labels=examples.labels, class_names=examples.class_names
            )
        artifacts.write_selection(
            self.out,
            selection,
            labels=examples.labels,
            class_names=examples.class_names,
            tfds_ids=examples.tfds_ids,
            file_names=examples.file_names,
            fingerprint=self._fingerprint() | veto_fingerprint(veto),
            veto=record,
        )
        return selection

    def _fingerprint(self) -> dict[str, str | None]:
        (embeddings, labels), examples = self._sources, self.examples
        of_labels = None
        if examples.labels is not None:
            of_labels = f"{_base_name(labels or embeddings)} {_digest_of(examples.labels)}"
        return {
            "embeddings": f"{_base_name(embeddings)} {self._digest}",
            "labels": of_labels,
            "cluster.linkage": self.config.cluster.linkage,
            **selection_options(self.config, self.config.select.method, self.config.select.seed),
        }

    def _pool(self) -> Pool:
        """Returns the inputs of the method; dendrograms are as deep as the fraction needs."""
        x, given, fraction = self.embeddings, self.examples.labels, self.config.select.fraction
        classes = check_labels(np.zeros(len(x), np.int64) if given is None else given, len(x))
        labels = labels_in_scope(self.config.cluster.scope, classes)
        pool = Pool(labels, x, classes=classes)
        # Checked before the clustering, which may take hours.
        check_fractions(self.config.cluster.scope, classes, "select.fraction", [fraction])
        if not needs_dendrograms(self.config, self.config.select.method):
            return pool
        return Pool(labels, x, self._cluster(labels), classes=classes)

    def _cluster(self, labels: np.ndarray) -> ClassDendrograms:
        config, fraction = self.config, self.config.select.fraction
        whole = config.select.allocation == "global" and fraction > 0
        workload = clustering.make_config_workload(config, self.embeddings, labels, None if whole else fraction)
        clustering.announce(workload, list(workload.classes))
        found = {}
        with metrics.progress("cluster", total=len(workload.classes), unit="classes") as bar:
            for label, dendrogram in clustering.cluster_each(workload, self.embeddings, list(workload.classes)):
                found[label] = dendrogram
                bar.update(len(found))
        return ClassDendrograms(self.embeddings, labels, found, config.cluster.linkage)


def _check_needs_no_scores(method: str) -> None:
    if "scores" in METHODS[method].needs:
        allowed = ", ".join(name for name, other in METHODS.items() if "scores" not in other.needs)
        raise InputError(
            "select.method", method, "ranks by scores, which come from training, not by embeddings", f"Use {allowed}"
        )


def _check_empty(directory: epath.Path, out: str) -> None:
    """Raises InputError, before any work is done, if `directory` is not empty."""
    if filesystems.is_remote(directory):
        filesystems.check_bucket(directory, "out")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError("out", out, "exists and is not empty", "Name another directory")


def _check_writable(directory: epath.Path, out: str) -> None:
    """Raises InputError if a local `directory` cannot be created."""
    existing = next(parent for parent in directory.parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError("out", out, f"cannot be written ({error.strerror})", "Name another directory") from None


def _base_name(path: str) -> str:
    return os.path.basename(path.rstrip("/"))


def _digest_of(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]
