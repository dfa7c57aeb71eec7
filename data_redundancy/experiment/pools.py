"""Inputs of the selection methods of an experiment: labels, embeddings, dendrograms and scores."""

import dataclasses
import functools

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data
from data_redundancy.clustering.dendrograms import ClassDendrograms, Dendrogram
from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.errors import InputError
from data_redundancy.experiment.dataset import labels_in_scope
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.finished import require
from data_redundancy.experiment.requirements import needs_dendrograms, score_name
from data_redundancy.experiment.scores import read_mean_score
from data_redundancy.selection import METHODS, Pool
from data_redundancy.store import artifacts
from data_redundancy.store.workdir import Workdir


class Pools:
    """The pools of one config in one workdir; embeddings and dendrograms are read once."""

    def __init__(self, config: ConfigDict, workdir: Workdir, dataset: data.Dataset, fingerprints: Fingerprints):
        self._config, self._workdir = config, workdir
        self._dataset, self._fingerprints = dataset, fingerprints

    def of_method(self, method: str) -> Pool:
        """Returns the inputs that a selection method and the allocation need.

        Raises:
            InputError: if an artifact is missing, or was made from other inputs.
        """
        pool = self._without_scores(method)
        name = score_name(self._config, method)
        if name is None:
            return pool
        score = read_mean_score(self._workdir, self._fingerprints, name, self._config.score.seeds)
        return dataclasses.replace(pool, scores={name: score})

    def _without_scores(self, method: str) -> Pool:
        if needs_dendrograms(self._config, method):
            return dataclasses.replace(self._embedded, dendrograms=self.dendrograms)
        if "embeddings" in METHODS[method].needs:
            return self._embedded
        labels = self._dataset.train.labels
        return Pool(labels_in_scope(self._config.cluster.scope, labels), classes=labels)

    @property
    def embeddings(self) -> np.ndarray:
        """The embeddings [N, D] float32 of the training split."""
        embeddings = self._embedded.embeddings
        assert embeddings is not None
        return embeddings

    @functools.cached_property
    def _embedded(self) -> Pool:
        directory = self._workdir.embeddings
        require(directory, self._fingerprints.embeddings(), "embed")
        embeddings, labels = artifacts.read_embeddings(directory)
        check_embeddings(embeddings, str(directory))
        return Pool(labels_in_scope(self._config.cluster.scope, labels), embeddings, classes=labels)

    @functools.cached_property
    def dendrograms(self) -> ClassDendrograms:
        """The dendrograms of all classes."""
        directory, scope = self._workdir.dendrograms, self._config.cluster.scope
        require(directory, self._fingerprints.dendrograms(), "cluster")
        labels = self._embedded.labels
        classes = np.unique(labels).tolist()
        found = {c: Dendrogram(*tree) for c, tree in artifacts.read_dendrograms(directory, classes, scope).items()}
        if missing := len(classes) - len(found):
            raise InputError(
                directory,
                None,
                f"lacks the dendrograms of {missing} of {len(classes)} classes",
                "Run 'data-redundancy cluster' to its end",
            )
        return ClassDendrograms(self.embeddings, labels, found, self._config.cluster.linkage)

    def release(self) -> None:
        """Frees the memory of embeddings and dendrograms, which are read again when needed."""
        for name in ("_embedded", "dendrograms"):
            self.__dict__.pop(name, None)
