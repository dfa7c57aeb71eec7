"""Making selections: shared by the stages that select."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_redundancy.clustering import strategy
from data_redundancy.clustering.dendrograms import Dendrogram, Dendrograms
from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset as common
from data_redundancy.experiment import dendrograms, fingerprints, score_runs
from data_redundancy.selection import METHODS, Pool, Selection, expected_cost, select
from data_redundancy.selection.veto import Veto, apply, check_classes
from data_redundancy.store import artifacts, workdir
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")

_LONG, _LARGE = 60, 4e9
"""Seconds and bytes from which on a selection says beforehand what it will take."""


def options(config: ConfigDict) -> dict[str, Any]:
    """The options of all methods; each takes its own."""
    return {
        "representative": config.select.representative,
        "centre": config.select.centre,
        "end": config.select.end,
        "score": config.select.score,
        "hardest_pruned": config.select.hardest_pruned,
    }


def announce(config: ConfigDict, pool: Pool, method: str, prune_fraction: float) -> None:
    """Says, before it begins, what a selection from a pool is expected to take, where that is much."""
    chosen = config.select
    cost = expected_cost(
        pool, method=method, prune_fraction=prune_fraction, allocation=chosen.allocation, centre=chosen.centre
    )
    # Other machines are not so much faster or slower that the question would be worth asking where it takes a moment.
    seconds = cost.seconds / strategy.speed() if cost.seconds > _LONG / 10 else cost.seconds
    if seconds > _LONG or cost.peak_bytes > _LARGE:
        log.info(
            "select: %s at %s of %s examples, %s of them in the largest class; expected: %s of memory, %s",
            method,
            prune_fraction,
            f"{len(pool.labels):,}",
            f"{max(pool.class_sizes().values()):,}",
            f"{cost.peak_bytes / 1e9:.2g} GB",
            f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:,.0f} min",
        )


def obey(
    veto: Veto | None,
    selection: Selection,
    *,
    embeddings: np.ndarray | None,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
) -> tuple[Selection, dict[str, Any] | None]:
    """Applies a veto, if there is one, and says how many images more or fewer are kept.

    Args:
        veto: of the same N examples.
        selection: of N examples.
        embeddings: [N, D], or None where the selection has no clusters.
        labels: [N] integers, or None.
        class_names: a name for every label, or None.

    Returns:
        The selection, and what its manifest says of the veto.

    Raises:
        InputError: beginning with `veto:`, if it leaves a class without an image.
    """
    if veto is None:
        return selection, None
    vetoed = apply(selection, veto, embeddings)
    check_classes(selection, vetoed, labels, class_names)
    more = len(vetoed.keep) - len(selection.keep)
    log.info(
        "select: veto of %s images to keep and %s to drop obeyed: %s without it",
        f"{len(veto.keep):,}",
        f"{len(veto.drop):,}",
        f"{abs(more):,} {'more' if more > 0 else 'fewer'} kept than" if more else "as many kept as",
    )
    return vetoed, {
        "keep": veto.keep.tolist(),
        "drop": veto.drop.tolist(),
        "digest": veto.digest,
        "num_kept_without": len(selection.keep),
    }


def veto_fingerprint(veto: Veto | None) -> dict[str, str]:
    """What a veto adds to the fingerprint of a selection."""
    return {} if veto is None else {"select.veto": veto.digest}


class KeepLists:
    """The selections of one config in one workdir, made where they are not there yet; after a veto if there is one."""

    def __init__(self, config: ConfigDict, directory: Workdir, veto: Veto | None = None):
        self._config, self._workdir, self._veto = config, directory, veto

    def name(self, method: str, prune_fraction: float, seed: int) -> str:
        """The name of a selection; the seed is part of it where the method draws at random."""
        seeded = "seed" in METHODS[method].takes
        name = workdir.selection_name(method, prune_fraction, seed if seeded else None)
        return name if self._veto is None else f"{name}-veto-{self._veto.digest[:8]}"

    def load(self, method: str, prune_fraction: float, seed: int) -> np.ndarray | None:
        """The keep list [K] int64 of a selection, None if it is not there.

        Raises:
            InputError: if the one there was made from something else.
        """
        directory = self._workdir.selection(self.name(method, prune_fraction, seed))
        fingerprint = self._fingerprint(method, prune_fraction, seed)
        done = workdir.as_main_finds(lambda: common.is_done(directory, fingerprint))
        return artifacts.read_keep(directory) if done else None

    def make(self, method: str, prune_fraction: float, seed: int) -> np.ndarray:
        """The keep list [K] int64 of a selection, which is made and written to the workdir unless it is there.

        Raises:
            InputError: if the one there was made from something else, what it needs is missing, or the veto leaves a
                class without an image.
        """
        keep = self.load(method, prune_fraction, seed)
        return keep if keep is not None else self._make(method, prune_fraction, seed)

    def _make(self, method: str, prune_fraction: float, seed: int) -> np.ndarray:
        dataset, pool = common.load_dataset(self._config), self._pool(method)
        train = dataset.train
        announce(self._config, pool, method, prune_fraction)
        selection = select(
            pool,
            method=method,
            prune_fraction=prune_fraction,
            allocation=self._config.select.allocation,
            seed=seed,
            **options(self._config),
        )
        selection, record = obey(
            self._veto,
            selection,
            embeddings=pool.embeddings,
            labels=train.labels,
            class_names=dataset.class_names,
        )
        artifacts.write_selection(
            self._workdir.selection(self.name(method, prune_fraction, seed)),
            selection,
            labels=train.labels,
            class_names=dataset.class_names,
            tfds_ids=train.tfds_ids,
            file_names=train.file_names,
            fingerprint=self._fingerprint(method, prune_fraction, seed),
            veto=record,
        )
        return selection.keep

    def _fingerprint(self, method: str, prune_fraction: float, seed: int) -> dict[str, Any]:
        return fingerprints.selection(self._config, method, prune_fraction, seed) | veto_fingerprint(self._veto)

    def _pool(self, method: str) -> Pool:
        """What a method looks at, and the allocation."""
        pool = self._pool_without_scores(method)
        name = fingerprints.score_name(self._config, method)
        if name is None:
            return pool
        return dataclasses.replace(pool, scores={name: score_runs.read(self._config, self._workdir, name)})

    def _pool_without_scores(self, method: str) -> Pool:
        if fingerprints.needs_trees(self._config, method):
            return self._clustered
        if "embeddings" in METHODS[method].needs:
            return self._embedded
        labels = common.load_dataset(self._config).train.labels
        return Pool(dendrograms.labels_in_scope(self._config, labels), classes=labels)

    @functools.cached_property
    def _embedded(self) -> Pool:
        common.require(self._workdir.embeddings, fingerprints.embeddings(self._config), "embed")
        embeddings, labels = artifacts.read_embeddings(self._workdir.embeddings)
        check_embeddings(embeddings, str(self._workdir.embeddings))
        return Pool(dendrograms.labels_in_scope(self._config, labels), embeddings, classes=labels)

    @functools.cached_property
    def _clustered(self) -> Pool:
        """The embeddings and their trees."""
        common.require(self._workdir.dendrograms, fingerprints.dendrograms(self._config), "cluster")
        embeddings, labels = self._embedded.embeddings, self._embedded.labels
        directory, scope = self._workdir.dendrograms, self._config.cluster.scope
        classes = np.unique(labels).tolist()
        found = {c: Dendrogram(*tree) for c, tree in artifacts.read_dendrograms(directory, classes, scope).items()}
        if missing := len(classes) - len(found):
            raise InputError(
                f"{directory}: {missing} of {len(classes)} classes are missing; run the stage 'cluster' to its end"
            )
        trees_of_classes = Dendrograms(embeddings, labels, found, self._config.cluster.linkage)
        return dataclasses.replace(self._embedded, dendrograms=trees_of_classes)
