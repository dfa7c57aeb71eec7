"""Selections of an experiment: their names, their keep lists and their computation."""

import logging
from typing import Any, Protocol

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy import data
from data_redundancy.clustering import strategy
from data_redundancy.errors import arguments_named
from data_redundancy.experiment.durations import duration_text, gigabytes_text
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.pools import Pools
from data_redundancy.experiment.vetoes import apply_veto, veto_fingerprint
from data_redundancy.runtime import devices
from data_redundancy.selection import METHODS, OPTIONS, Pool, SelectionArrays, expected_cost, select
from data_redundancy.selection.veto import Veto
from data_redundancy.store import artifacts, manifests
from data_redundancy.store.workdir import Workdir, selection_name

log = logging.getLogger("data_redundancy")

_LONG, _LARGE = 60, 4e9
"""Expected seconds and bytes from which on a selection logs them before it starts."""

_FIELDS = {
    "method": "select.method",
    "allocation": "select.allocation",
    "prune_fraction": "select.fraction",
    "max_prune_fraction": "cluster.max_prune_fraction",
    **{name: f"select.{name}" for name in OPTIONS},
}


class KeepLists(Protocol):
    """Keep lists by method, prune fraction and seed."""

    def name(self, method: str, prune_fraction: float, seed: int) -> str:
        """Returns the name of a selection."""

    def load(self, method: str, prune_fraction: float, seed: int) -> np.ndarray | None:
        """Returns the keep list [K] int64 of a selection, None if it does not exist."""

    def make(self, method: str, prune_fraction: float, seed: int) -> np.ndarray:
        """Returns the keep list [K] int64 of a selection; makes the selection if it does not exist."""


class Selections:
    """The selections of one config in one workdir."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Workdir,
        dataset: data.Dataset,
        fingerprints: Fingerprints,
        pools: Pools,
        veto: Veto | None = None,
    ):
        self._config, self._workdir, self._dataset = config, workdir, dataset
        self._fingerprints, self._pools, self._veto = fingerprints, pools, veto

    def with_veto(self, veto: Veto) -> "Selections":
        """Returns the selections changed by a veto; their names contain the digest of the veto."""
        return Selections(self._config, self._workdir, self._dataset, self._fingerprints, self._pools, veto)

    def name(self, method: str, prune_fraction: float, seed: int) -> str:
        """Returns the name of a selection; the seed is part of it if the method draws at random."""
        seeded = "seed" in METHODS[method].takes
        name = selection_name(method, prune_fraction, seed if seeded else None)
        return name if self._veto is None else f"{name}-veto-{self._veto.digest[:8]}"

    def directory(self, method: str, prune_fraction: float, seed: int) -> epath.Path:
        """Returns the directory of a selection, which need not exist."""
        return self._workdir.selection(self.name(method, prune_fraction, seed))

    def load(self, method: str, prune_fraction: float, seed: int) -> np.ndarray | None:
        """Returns the keep list [K] int64 of a selection, None if it does not exist.

        Raises:
            InputError: if it exists, but was made from other inputs.
        """
        directory = self.directory(method, prune_fraction, seed)
        fingerprint = self._fingerprint(method, prune_fraction, seed)
        complete = devices.call_on_main(lambda: manifests.is_complete(directory, fingerprint))
        return artifacts.read_keep(directory) if complete else None

    def make(self, method: str, prune_fraction: float, seed: int) -> np.ndarray:
        """Returns the keep list [K] int64 of a selection; makes and writes the selection if it does not exist.

        Raises:
            InputError: if it exists, but was made from other inputs; if an artifact that it needs is missing; or if the
                veto leaves a class without an image.
        """
        keep = self.load(method, prune_fraction, seed)
        return keep if keep is not None else self._make(method, prune_fraction, seed)

    def _make(self, method: str, prune_fraction: float, seed: int) -> np.ndarray:
        train, class_names = self._dataset.train, self._dataset.class_names
        pool = self._pools.of_method(method)
        announce(self._config, pool, method, prune_fraction)
        selection = select_from(self._config, pool, method, prune_fraction, seed)
        selection, record = apply_veto(
            self._veto, selection, embeddings=pool.embeddings, labels=train.labels, class_names=class_names
        )
        artifacts.write_selection(
            self.directory(method, prune_fraction, seed),
            selection,
            labels=train.labels,
            class_names=class_names,
            tfds_ids=train.tfds_ids,
            file_names=train.file_names,
            fingerprint=self._fingerprint(method, prune_fraction, seed),
            veto=record,
        )
        return selection.keep

    def _fingerprint(self, method: str, prune_fraction: float, seed: int) -> dict[str, Any]:
        return self._fingerprints.selection(method, prune_fraction, seed) | veto_fingerprint(self._veto)


def select_from(config: ConfigDict, pool: Pool, method: str, prune_fraction: float, seed: int) -> SelectionArrays:
    """Selects from a pool with the options of a config."""
    with arguments_named(_FIELDS):
        return select(
            pool,
            method=method,
            prune_fraction=prune_fraction,
            allocation=config.select.allocation,
            seed=seed,
            **{name: config.select[name] for name in OPTIONS},
        )


def announce(config: ConfigDict, pool: Pool, method: str, prune_fraction: float) -> None:
    """Logs the expected memory and time of a selection, if they are large."""
    chosen = config.select
    with arguments_named(_FIELDS):
        cost = expected_cost(
            pool, method=method, prune_fraction=prune_fraction, allocation=chosen.allocation, centre=chosen.centre
        )
    # The speed is measured only if it can matter: no processor is assumed to be ten times slower than the reference.
    seconds = cost.seconds / strategy.speed() if cost.seconds > _LONG / 10 else cost.seconds
    if seconds > _LONG or cost.peak_bytes > _LARGE:
        log.info(
            "select: %s at %s of %s examples, %s of them in the largest class; expected: %s of memory, %s",
            method,
            prune_fraction,
            f"{len(pool.labels):,}",
            f"{max(pool.class_sizes().values()):,}",
            gigabytes_text(cost.peak_bytes),
            duration_text(seconds),
        )
