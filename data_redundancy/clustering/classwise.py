"""One tree for every class of a data set, over devices and processes."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from data_redundancy.clustering.dendrograms import Dendrogram, Dendrograms, check_labels
from data_redundancy.clustering.distances import check_embeddings, unit_vectors_of
from data_redundancy.clustering.linkage import check_method, to_linkage
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.search import device_memory, first_merges, fits_accelerator, whole_trees
from data_redundancy.clustering.strategy import WHOLE
from data_redundancy.clustering.workload import Workload, make_workload, side_by_side

_LARGEST_IN_BATCH = 8192  # rows; one such class keeps an accelerator busy


def cluster_each(
    embeddings: np.ndarray,
    work: Workload,
    labels: Sequence[int],
    *,
    together: bool = False,
    on_block: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Dendrogram]]:
    """Clusters classes: many at once on accelerators, small ones side by side, the others one after the other.

    Args:
      embeddings: [N, D] floats, of the whole data set, as from `check_embeddings`.
      work: from `prepare`.
      labels: the classes to cluster.
      together: whether all processes do this at the same time, sharing the work on every class.
      on_block: is told how many blocks of how many are done in a pass over a class; not of small ones, which are
        clustered side by side.

    Yields:
      A label and its tree.

    Raises:
      InputError: too little memory.
    """
    at_once = [] if together else [label for label in labels if _is_for_batch(work, label)]
    for batch in _batches(work, at_once):
        units = [unit_vectors_of(embeddings, work.classes[label]) for label in batch]
        for label, merges in zip(batch, whole_trees(units, work.method, device_memory()), strict=True):
            yield label, _dendrogram(work, label, merges)
    rest = sorted(set(labels) - set(at_once))
    small = [] if together else [label for label in rest if len(work.classes[label]) <= WHOLE]

    def cluster(label: int, on_block: Callable[[int, int], None] | None = None) -> Dendrogram:
        units = unit_vectors_of(embeddings, work.classes[label])
        merges = first_merges(
            units,
            work.num_merges[label],
            work.method,
            memory_limit=work.memory_limit,
            together=together,
            on_block=on_block,
        )
        return _dendrogram(work, label, merges)

    yield from zip(small, _in_threads(cluster, small, side_by_side(work, small)), strict=True)
    for label in sorted(set(rest) - set(small)):
        yield label, cluster(label, on_block)


def _in_threads(cluster: Callable[[int], Dendrogram], labels: list[int], num_threads: int) -> Iterator[Dendrogram]:
    with threadpool_limits(1 if num_threads > 1 else None, "blas"), ThreadPoolExecutor(num_threads) as threads:
        ahead = deque(threads.submit(cluster, label) for label in labels[:num_threads])
        for label in [*labels[num_threads:], *[None] * len(ahead)]:
            done = ahead.popleft().result()
            if label is not None:
                ahead.append(threads.submit(cluster, label))
            yield done


def _is_for_batch(work: Workload, label: int) -> bool:
    """Whether a class is one of those that accelerators cluster many at once."""
    size = len(work.classes[label])
    is_small = size <= _LARGEST_IN_BATCH and work.strategy(label).way == "matrix"
    return is_small and fits_accelerator(size, work.num_dimensions, work.method)


def _batches(work: Workload, labels: list[int]) -> Iterator[list[int]]:
    """Classes to give to the accelerators together: as many as take a quarter of the memory on the host."""
    batch, num_bytes = [], 0
    for label in labels:
        needed = 3 * 8 * len(work.classes[label]) * work.num_dimensions  # copied without repetitions, and to be sent
        if batch and num_bytes + needed > work.memory_limit / 4:
            yield batch
            batch, num_bytes = [], 0
        batch.append(label)
        num_bytes += needed
    if batch:
        yield batch


def _dendrogram(work: Workload, label: int, merges: Merges) -> Dendrogram:
    members = work.classes[label]
    return Dendrogram(members, to_linkage(len(members), merges[: work.num_merges[label]]))


def cluster_classes(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    method: str = "complete",
    num_merges: Mapping[int, int] | None = None,
    memory_limit: float | None = None,
    progress: Callable[[Sequence[int]], Sequence[int]] | None = None,
) -> Dendrograms:
    """Clusters every class on its own, bottom-up under the cosine distance.

    Args:
      embeddings: [N, D] floats or integers.
      labels: [N] integers, not negative.
      method: the linkage: `complete`, `average` or `single`.
      num_merges: for every label, how many merges of its tree are wanted; by default all.
      memory_limit: in bytes; by default a share of what is free.
      progress: wraps the list of classes that is being worked through, as `tqdm.tqdm` does.

    Returns:
      The trees of all classes.

    Raises:
      InputError: an unknown linkage, lengths that differ, labels that are not integers from 0, embeddings that hold
        NaN, an infinity or a zero vector (the first offending index is named), or a class that does not fit into
        memory.
    """
    check_method(method)
    embeddings = check_embeddings(embeddings)
    labels = check_labels(labels, len(embeddings))
    work = make_workload(embeddings, labels, method=method, num_merges=num_merges, memory_limit=memory_limit)
    for label in work.classes:
        work.strategy(label)
    order = list(work.classes)
    each = cluster_each(embeddings, work, order)
    # The wrapper of the list is only there to count what comes out.
    trees = dict(found for _, found in zip(order if progress is None else progress(order), each, strict=True))
    return Dendrograms(embeddings, labels, trees, method)
