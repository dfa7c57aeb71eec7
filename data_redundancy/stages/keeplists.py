"""Making selections: shared by the stages that select."""

import functools

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import artifacts, workdir
from data_redundancy.clustering.dendrograms import Dendrogram, Dendrograms
from data_redundancy.errors import InputError
from data_redundancy.selection import Pool, select
from data_redundancy.stages import common, fingerprints, trees
from data_redundancy.workdir import Workdir


class KeepLists:
    """The selections of one config in one workdir, made where they are not there yet."""

    def __init__(self, config: ConfigDict, directory: Workdir):
        self._config, self._workdir = config, directory

    def name(self, method: str, prune_fraction: float, seed: int) -> str:
        """The name of a selection; the seed is part of it where the method draws at random."""
        seeded = method in fingerprints.SEEDED_METHODS
        return workdir.selection_name(method, prune_fraction, seed if seeded else None)

    def load(self, method: str, prune_fraction: float, seed: int) -> np.ndarray | None:
        """The keep list [K] int64 of a selection, None if it is not there.

        Raises:
            InputError: if the one there was made from something else.
        """
        directory = self._workdir.selection(self.name(method, prune_fraction, seed))
        fingerprint = fingerprints.selection(self._config, method, prune_fraction, seed)
        done = workdir.as_main_finds(lambda: common.is_done(directory, fingerprint))
        return artifacts.read_keep(directory) if done else None

    def make(self, method: str, prune_fraction: float, seed: int) -> np.ndarray:
        """The keep list [K] int64 of a selection, which is made and written to the workdir unless it is there.

        Raises:
            InputError: if the one there was made from something else, or what it needs is missing.
        """
        keep = self.load(method, prune_fraction, seed)
        return keep if keep is not None else self._make(method, prune_fraction, seed)

    def _make(self, method: str, prune_fraction: float, seed: int) -> np.ndarray:
        train = common.load_dataset(self._config).train
        selection = select(
            self._clustered
            if fingerprints.needs_trees(self._config, method)
            else Pool(trees.labels_in_scope(self._config, train.labels)),
            method=method,
            prune_fraction=prune_fraction,
            allocation=self._config.select.allocation,
            representative=self._config.select.representative,
            seed=seed,
        )
        artifacts.write_selection(
            self._workdir.selection(self.name(method, prune_fraction, seed)),
            selection,
            labels=train.labels,
            class_names=common.load_dataset(self._config).class_names,
            tfds_ids=train.tfds_ids,
            file_names=train.file_names,
            fingerprint=fingerprints.selection(self._config, method, prune_fraction, seed),
        )
        return selection.keep

    @functools.cached_property
    def _clustered(self) -> Pool:
        """The embeddings and their trees."""
        common.require(self._workdir.dendrograms, fingerprints.dendrograms(self._config), "cluster")
        common.require(self._workdir.embeddings, fingerprints.embeddings(self._config), "embed")
        embeddings, labels = artifacts.read_embeddings(self._workdir.embeddings)
        labels = trees.labels_in_scope(self._config, labels)
        directory, scope = self._workdir.dendrograms, self._config.cluster.scope
        classes = np.unique(labels).tolist()
        found = {c: Dendrogram(*tree) for c, tree in artifacts.read_dendrograms(directory, classes, scope).items()}
        if missing := len(classes) - len(found):
            raise InputError(
                f"{directory}: {missing} of {len(classes)} classes are missing; run the stage 'cluster' to its end"
            )
        return Pool(labels, embeddings, Dendrograms(embeddings, labels, found, self._config.cluster.linkage))
