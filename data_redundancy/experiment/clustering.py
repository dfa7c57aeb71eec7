"""Clustering with the options of a config: the workload, its expected memory and time, and the progress."""

import collections
import logging
from collections.abc import Iterable, Iterator

import numpy as np
from ml_collections import ConfigDict

from data_redundancy.clustering import classwise, memory, strategy
from data_redundancy.clustering.dendrograms import Dendrogram
from data_redundancy.clustering.workload import Workload, make_workload, num_concurrent
from data_redundancy.errors import InputError, arguments_named
from data_redundancy.experiment.dataset import labels_in_scope
from data_redundancy.experiment.durations import duration_text, gigabytes_text
from data_redundancy.experiment.requirements import needs_dendrograms
from data_redundancy.runtime import devices
from data_redundancy.selection import allocation
from data_redundancy.store import metrics

log = logging.getLogger("data_redundancy")

_FIELDS = {"memory_limit_gb": "cluster.memory_limit_gb", "linkage": "cluster.linkage"}
_STEPS = {
    "graph": "from close pairs",
    "matrix": "from all distances",
    "graph, then matrix": "from close pairs, then all distances between clusters",
}


def check_depth(config: ConfigDict, field: str, fractions: Iterable[float], methods: Iterable[str]) -> None:
    """Raises InputError if a method would cut dendrograms at a fraction beyond `cluster.max_prune_fraction`."""
    deepest = config.cluster.max_prune_fraction
    if deepest is None or not any(needs_dendrograms(config, method) for method in methods):
        return
    for fraction in fractions:
        if fraction > deepest:
            raise InputError(
                field,
                fraction,
                f"must be at most cluster.max_prune_fraction={deepest}, where dendrograms are truncated",
                "Raise cluster.max_prune_fraction and cluster again",
            )


def make_config_workload(
    config: ConfigDict, embeddings: np.ndarray, labels: np.ndarray, max_prune_fraction: float | None
) -> Workload:
    """Describes the clustering workload of a config.

    Args:
        config: a config, of which the section `cluster` is used.
        embeddings: [N, D] floats.
        labels: [N] integers.
        max_prune_fraction: depth of the dendrograms; None for whole dendrograms, 0 for no merges.
    """
    labels = labels_in_scope(config.cluster.scope, labels)
    num_merges: dict[int, int] | None
    if max_prune_fraction is None:
        num_merges = None
    elif max_prune_fraction == 0:
        num_merges = dict.fromkeys(np.unique(labels).tolist(), 0)
    else:
        num_merges = allocation.most_pruned(labels, max_prune_fraction)
    with arguments_named(_FIELDS):
        return make_workload(
            embeddings,
            labels,
            linkage=config.cluster.linkage,
            num_merges=num_merges,
            memory_limit=_memory_limit(config),
        )


def _memory_limit(config: ConfigDict) -> float:
    """Returns the limit in bytes; all processes use the same, since they must choose the same strategy for a class."""
    limit = config.cluster.memory_limit_gb
    if limit is not None:
        return limit * 1e9
    return float(devices.gather_rows(np.array([memory.default_limit()])).min())


def announce(workload: Workload, labels: list[int]) -> None:
    """Logs how the classes will be clustered, and the memory and time that this is expected to take.

    Raises:
        InputError: if a class does not fit into memory.
    """
    strategies = _strategies(workload, labels)
    sizes = sorted({s.num_rows for s in strategies})
    depth = max(s.num_merges / max(1, s.num_rows - 1) for s in strategies)
    algorithms = collections.Counter(_STEPS[s.algorithm] for s in strategies)
    log.info(
        "cluster: %s of %s examples, %d dimensions, %s linkage, %s, %s; expected: %s of memory (limit %s), %s",
        f"{len(strategies):,} {'class' if len(strategies) == 1 else 'classes'}",
        " to ".join(f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1]))),
        workload.num_dimensions,
        workload.linkage,
        "whole trees" if depth == 1 else f"trees up to {100 * depth:.3g}% merged",
        next(iter(algorithms))
        if len(algorithms) == 1
        else ", ".join(f"{name} for {count:,}" for name, count in algorithms.items()),
        gigabytes_text(_peak_bytes(workload, strategies)),
        gigabytes_text(workload.memory_limit),
        duration_text(expected_seconds(workload, labels)),
    )


def expected_seconds(workload: Workload, labels: list[int]) -> float:
    """Returns the seconds that clustering is expected to take on the processes of this job.

    Raises:
        InputError: if a class does not fit into memory.
    """
    if not labels:
        return 0.0
    return sum(s.seconds for s in _strategies(workload, labels)) / strategy.speed() / devices.process_count()


def _strategies(workload: Workload, labels: list[int]) -> list[strategy.Strategy]:
    with arguments_named(_FIELDS):
        return [workload.strategy(label) for label in labels]


def _peak_bytes(workload: Workload, strategies: list[strategy.Strategy]) -> float:
    """Returns the peak memory; small classes are clustered several at a time, large classes one at a time."""
    small = sorted((s.peak_bytes for s in strategies if s.num_rows <= strategy.SMALL_CLASS_ROWS), reverse=True)
    labels = [label for label, members in workload.classes.items() if len(members) <= strategy.SMALL_CLASS_ROWS]
    together = sum(small[: num_concurrent(workload, labels)])
    return max(together, max(s.peak_bytes for s in strategies))


def cluster_each(
    workload: Workload, embeddings: np.ndarray, labels: list[int], *, together: bool = False
) -> Iterator[tuple[int, Dendrogram]]:
    """Yields labels and dendrograms like `classwise.cluster_each`, and shows the progress within large classes."""
    blocks = _BlockProgress()
    with arguments_named(_FIELDS):
        yield from classwise.cluster_each(embeddings, workload, labels, together=together, on_block=blocks.update)


class _BlockProgress:
    """A progress bar within a class, which is shown for large classes."""

    def __init__(self) -> None:
        self._bar: metrics.Progress | None = None

    def update(self, done: int, total: int) -> None:
        """Shows that `done` of `total` blocks of a pass are finished."""
        if done == 1:  # the previous pass may have ended early
            self._close()
        if self._bar is None:
            self._bar = metrics.Progress("cluster: close pairs", total=total, unit="blocks")
        self._bar.update(done)
        if done == total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
