"""Clustering as stages do it: what is asked for, said before it starts, with progress in large classes."""

import collections
import logging
from collections.abc import Iterable, Iterator

import numpy as np
from ml_collections import ConfigDict

from data_redundancy.clustering import classwise, memory, strategy
from data_redundancy.clustering.dendrograms import Dendrogram
from data_redundancy.clustering.workload import Workload, make_workload, side_by_side
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset, fingerprints
from data_redundancy.runtime import devices
from data_redundancy.selection import allocation
from data_redundancy.store import metrics

log = logging.getLogger("data_redundancy")


def check_depth(config: ConfigDict, field: str, fractions: Iterable[float], methods: Iterable[str]) -> None:
    """Raises InputError if a method is to cut trees at a prune fraction beyond that where they are truncated."""
    deepest = config.cluster.max_prune_fraction
    if deepest is None or not any(fingerprints.needs_trees(config, method) for method in methods):
        return
    for fraction in fractions:
        if fraction > deepest:
            raise InputError(
                f"--config.{field}={fraction}: must be at most --config.cluster.max_prune_fraction={deepest}, where "
                "trees are truncated"
            )


def labels_in_scope(config: ConfigDict, labels: np.ndarray) -> np.ndarray:
    """The labels that separate what is clustered: those given, or all the same where the scope is the data set."""
    return labels if config.cluster.scope == "class" else np.zeros_like(labels)


def work(config: ConfigDict, embeddings: np.ndarray, labels: np.ndarray, max_prune_fraction: float | None) -> Workload:
    """What there is to cluster; `max_prune_fraction` is None for whole trees, 0 for none."""
    labels = labels_in_scope(config, labels)
    if max_prune_fraction is None:
        num_merges = None
    elif max_prune_fraction == 0:
        num_merges = dict.fromkeys(np.unique(labels).tolist(), 0)
    else:
        num_merges = allocation.most_pruned(labels, max_prune_fraction)
    return make_workload(
        embeddings,
        labels,
        method=config.cluster.linkage,
        num_merges=num_merges,
        memory_limit=_memory_limit(config),
    )


def _memory_limit(config: ConfigDict) -> float:
    """In bytes; the same for all processes, for those that cluster a class together must go the same way."""
    limit = config.cluster.memory_limit_gb
    if limit is not None:
        return limit * 1e9
    return float(devices.gather_rows(np.array([memory.default_limit()])).min())


def announce(work: Workload, labels: list[int]) -> None:
    """Says what will be done, and what it is expected to take.

    Raises:
        InputError: something does not fit into memory.
    """
    with dataset.arguments_named(_MEMORY):
        plans = [work.strategy(label) for label in labels]
    sizes = sorted({p.num_rows for p in plans})
    depth = max(p.num_merges / max(1, p.num_rows - 1) for p in plans)
    ways = collections.Counter(_WAYS[p.way] for p in plans)
    log.info(
        "cluster: %s of %s examples, %d dimensions, %s linkage, %s, %s; expected: %s of memory (limit %s), %s",
        f"{len(plans):,} {'class' if len(plans) == 1 else 'classes'}",
        " to ".join(f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1]))),
        work.num_dimensions,
        work.method,
        "whole trees" if depth == 1 else f"trees up to {100 * depth:.3g}% merged",
        next(iter(ways)) if len(ways) == 1 else ", ".join(f"{way} for {count:,}" for way, count in ways.items()),
        _gigabytes(_peak_bytes(work, plans)),
        _gigabytes(work.memory_limit),
        _duration(sum(p.seconds for p in plans) / strategy.speed() / devices.process_count()),
    )


def _peak_bytes(work: Workload, plans: list[strategy.Strategy]) -> float:
    """At the most so many of the small classes are clustered at the same time, or one of the others."""
    small = sorted((p.peak_bytes for p in plans if p.num_rows <= strategy.WHOLE), reverse=True)
    labels = [label for label, members in work.classes.items() if len(members) <= strategy.WHOLE]
    beside = sum(small[: side_by_side(work, labels)])
    return max(beside, max(p.peak_bytes for p in plans))


_WAYS = {
    "graph": "from close pairs",
    "matrix": "from all distances",
    "graph, then matrix": "from close pairs, then all distances between clusters",
}


def cluster_each(
    work: Workload, embeddings: np.ndarray, labels: list[int], *, together: bool = False
) -> Iterator[tuple[int, Dendrogram]]:
    """As `classwise.cluster_each`, with progress in large classes."""
    blocks = _BlockProgress()
    with dataset.arguments_named(_MEMORY):
        yield from classwise.cluster_each(embeddings, work, labels, together=together, on_block=blocks.update)


_MEMORY = {"memory": "--config.cluster.memory_limit_gb"}


class _BlockProgress:
    """Progress within a class, for those large enough to wait for."""

    def __init__(self):
        self._bar: metrics.Progress | None = None

    def update(self, done: int, total: int) -> None:
        """Says that `done` of the blocks of a pass are done."""
        if done == 1:  # the pass before may have been given up half way
            self._close()
            self._bar = metrics.Progress("cluster: close pairs", total=total, unit="blocks")
        self._bar.update(done)
        if done == total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2g} GB"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"
