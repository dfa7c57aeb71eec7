"""One tree for every class of a data set, over devices, threads and processes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from data_redundancy.clustering.dendrograms import ClassDendrograms, Dendrogram
from data_redundancy.clustering.distances import check_embeddings, fixed_point_unit_vectors_of
from data_redundancy.clustering.linkage import check_linkage, to_linkage
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.search import device_memory, first_merges, fits_accelerator, whole_trees
from data_redundancy.clustering.strategy import SMALL_CLASS_ROWS
from data_redundancy.clustering.workload import Workload, make_workload, num_concurrent
from data_redundancy.selection.grouping import check_labels

_LARGEST_IN_BATCH = 8192  # rows; a larger class keeps an accelerator busy on its own


def cluster_each(
    embeddings: np.ndarray,
    workload: Workload,
    labels: Sequence[int],
    *,
    together: bool = False,
    on_block: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Dendrogram]]:
    """Clusters classes: batches of them on accelerators, then small ones in threads, then large ones one by one.

    Args:
        embeddings: [N, D] floats of the whole data set, as returned by `check_embeddings`.
        workload: as returned by `make_workload`.
        labels: the classes to cluster.
        together: whether all processes call this at the same time with the same arguments, to divide the work on every
            class.
        on_block: called during a search for pairs in a large class, with the number of blocks done and the number of
            blocks in all.

    Yields:
        A label and its tree.

    Raises:
        InputError: memory does not suffice.
    """
    in_batches = [] if together else [label for label in labels if _is_for_batch(workload, label)]
    for batch in _batches(workload, in_batches):
        units = [fixed_point_unit_vectors_of(embeddings, workload.classes[label]) for label in batch]
        for label, merges in zip(batch, whole_trees(units, workload.linkage, device_memory()), strict=True):
            yield label, _dendrogram(workload, label, merges)
    rest = sorted(set(labels) - set(in_batches))
    small = [] if together else [label for label in rest if len(workload.classes[label]) <= SMALL_CLASS_ROWS]

    def cluster(label: int, on_block: Callable[[int, int], None] | None = None) -> Dendrogram:
        units = fixed_point_unit_vectors_of(embeddings, workload.classes[label])
        merges = first_merges(
            units,
            workload.num_merges[label],
            workload.linkage,
            memory_limit=workload.memory_limit,
            together=together,
            on_block=on_block,
            label=workload.label_in_errors(label),
        )
        return _dendrogram(workload, label, merges)

    yield from zip(small, _in_threads(cluster, small, num_concurrent(workload, small)), strict=True)
    for label in sorted(set(rest) - set(small)):
        yield label, cluster(label, on_block)


def _in_threads(cluster: Callable[[int], Dendrogram], labels: list[int], num_threads: int) -> Iterator[Dendrogram]:
    """Clusters classes in threads and yields their trees in order; at most `num_threads` trees wait to be yielded."""
    with threadpool_limits(1 if num_threads > 1 else None, "blas"), ThreadPoolExecutor(num_threads) as threads:
        pending = deque(threads.submit(cluster, label) for label in labels[:num_threads])
        for label in [*labels[num_threads:], *[None] * len(pending)]:
            done = pending.popleft().result()
            if label is not None:
                pending.append(threads.submit(cluster, label))
            yield done


def _is_for_batch(workload: Workload, label: int) -> bool:
    """Returns whether accelerators cluster a class in a batch with others."""
    size = len(workload.classes[label])
    is_small = size <= _LARGEST_IN_BATCH and workload.strategy(label).algorithm == "matrix"
    return is_small and fits_accelerator(size, workload.num_dimensions, workload.linkage)


def _batches(workload: Workload, labels: list[int]) -> Iterator[list[int]]:
    """Divides classes into batches, each of as many classes as fit into a quarter of the host's memory."""
    batch: list[int] = []
    num_bytes = 0
    for label in labels:
        # Three copies: the vectors, the distinct ones among them, and the padded ones that are copied to a device.
        needed = 3 * 8 * len(workload.classes[label]) * workload.num_dimensions
        if batch and num_bytes + needed > workload.memory_limit / 4:
            yield batch
            batch, num_bytes = [], 0
        batch.append(label)
        num_bytes += needed
    if batch:
        yield batch


def _dendrogram(workload: Workload, label: int, merges: Merges) -> Dendrogram:
    members = workload.classes[label]
    return Dendrogram(members, to_linkage(len(members), merges[: workload.num_merges[label]]))


def cluster_classes(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    linkage: str = "complete",
    num_merges: Mapping[int, int] | None = None,
    memory_limit: float | None = None,
    progress: Callable[[Sequence[int]], Iterable[int]] | None = None,
) -> ClassDendrograms:
    """Clusters every class on its own, bottom-up under the cosine distance.

    Args:
        embeddings: [N, D] floats or integers.
        labels: [N] integers, not negative.
        linkage: `complete`, `average` or `single`.
        num_merges: for every label, how many merges of its tree to compute; by default all.
        memory_limit: in bytes; by default a share of the free memory.
        progress: wraps the list of classes that is iterated over, like `tqdm.tqdm`.

    Returns:
        The trees of all classes.

    Raises:
        InputError: the linkage is unknown, lengths differ, labels are not integers of at least 0, embeddings contain
            NaN, an infinity or a zero vector (the first such index is named), or a class does not fit into memory.
    """
    check_linkage(linkage)
    embeddings = check_embeddings(embeddings)
    labels = check_labels(labels, len(embeddings))
    workload = make_workload(embeddings, labels, linkage=linkage, num_merges=num_merges, memory_limit=memory_limit)
    for label in workload.classes:
        workload.strategy(label)  # raises before any work is done
    order = list(workload.classes)
    each = cluster_each(embeddings, workload, order)
    # The wrapped list is iterated over only to show progress; the trees may come in another order.
    trees = dict(found for _, found in zip(order if progress is None else progress(order), each, strict=True))
    return ClassDendrograms(embeddings, labels, trees, linkage)
