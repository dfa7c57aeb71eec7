"""One tree for every class of a data set, over devices and processes."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from data_redundancy.clustering import memory
from data_redundancy.clustering.distances import as_float_matrix, check_embeddings, unit_vectors_of
from data_redundancy.clustering.linkage import check_method, cut_tree, to_linkage
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.partitions import number_by_lowest_member
from data_redundancy.clustering.plan import WHOLE, Plan, make_plan
from data_redundancy.clustering.search import device_memory, first_merges, fits_accelerator, whole_trees
from data_redundancy.errors import InputError

_CLASSES_AT_ONCE = 256  # given to the accelerators together, then written
_LARGEST_IN_BATCH = 8192  # rows; one such class keeps an accelerator busy


@dataclass(frozen=True, eq=False)
class Dendrogram:
    """The tree of one class, or the first merges of it.

    Attributes:
      members: [n] int64, indices of the class's examples in the whole data set, ascending.
      linkage: [m, 4] float64 over positions in `members`, as SciPy defines it; m = n-1 of a whole tree. A tree of fewer
        merges is truncated: it holds all merges up to its last height, but for ties with that.
    """

    members: np.ndarray
    linkage: np.ndarray

    @property
    def is_truncated(self) -> bool:
        """Whether merges are missing."""
        return len(self.linkage) < len(self.members) - 1


@dataclass(frozen=True, eq=False)
class Dendrograms:
    """The trees of all classes of a data set.

    Attributes:
      embeddings: [N, D] float32 or float64.
      labels: [N] integers, not negative.
      trees: the tree of every class, by label.
      method: the linkage the trees were built with.

    Raises:
      InputError: the attributes do not belong together.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    trees: Mapping[int, Dendrogram]
    method: str

    def __post_init__(self) -> None:
        check_method(self.method)
        as_float_matrix(self.embeddings, "embeddings")
        classes = members_by_class(check_labels(self.labels, len(self.embeddings)))
        if classes.keys() != self.trees.keys():
            raise InputError(f"trees: for classes {sorted(self.trees)}, but labels has classes {sorted(classes)}")
        for label, members in classes.items():
            tree = self.trees[label]
            if not np.array_equal(tree.members, members):
                raise InputError(f"trees: the members of class {label} are not the examples that labels gives it")
            if tree.linkage.ndim != 2 or tree.linkage.shape[1] != 4 or len(tree.linkage) >= len(members):
                shape = tree.linkage.shape
                raise InputError(f"trees: class {label} of {len(members)} examples has a linkage of shape {shape}")

    def linkage(self, label: int) -> np.ndarray:
        """A class's merges, [m, 4] float64 over positions in its ascending members, as SciPy defines it."""
        return self.trees[label].linkage

    def heights(self, label: int) -> np.ndarray:
        """The heights of a class's merges, [m] float64, not decreasing."""
        return self.trees[label].linkage[:, 2]

    def cut(self, num_clusters: Mapping[int, int]) -> np.ndarray:
        """Cuts every class into a number of clusters of its own.

        Args:
          num_clusters: for every label, a number from 1 to the size of its class.

        Returns:
          [N] int64, the cluster of every example; ids run from 0 over the whole data set, ordered by lowest member.

        Raises:
          InputError: a label is missing or unknown, its number out of range, or its tree truncated before that.
        """
        if num_clusters.keys() != self.trees.keys():
            raise InputError(
                f"num_clusters: for classes {sorted(num_clusters)}, but the trees' are {sorted(self.trees)}"
            )
        self._check_deep_enough(num_clusters)
        cluster = np.empty(len(self.labels), np.int64)
        num_before = 0
        for label, tree in self.trees.items():
            cluster[tree.members] = num_before + cut_tree(tree.linkage, num_clusters[label], len(tree.members))
            num_before += num_clusters[label]
        return number_by_lowest_member(cluster)

    def _check_deep_enough(self, num_clusters: Mapping[int, int]) -> None:
        pruned = {label: len(tree.members) - num_clusters[label] for label, tree in self.trees.items()}
        for label, tree in self.trees.items():
            size, made = len(tree.members), len(tree.linkage)
            if tree.is_truncated and made < pruned[label] < size:
                # Every tree has one merge more than its class's share.
                of_class = max((count - 1) / len(self.trees[k].members) for k, count in pruned.items())
                needed = max(of_class, sum(pruned.values()) / len(self.labels))
                last = f", at height {tree.linkage[-1, 2]:.4g}" if made else ""
                raise InputError(
                    f"class {label}: {pruned[label]} of its {size} examples are to go, but its tree is truncated after "
                    f"{made} merges{last}; cluster again with a max_prune_fraction of at least "
                    f"{min(0.9999, np.ceil(needed * 1e4 - 1e-6) / 1e4):g}"
                )


def check_labels(labels: ArrayLike, num_examples: int) -> np.ndarray:
    """Returns `labels` as an array of `num_examples` integers that are not negative.

    Args:
      labels: [N] integers.
      num_examples: N.

    Returns:
      [N] integers.

    Raises:
      InputError: `labels` is something else.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"labels: shape {labels.shape}, type {labels.dtype}, but one integer per example is needed")
    if len(labels) != num_examples:
        raise InputError(f"labels: {len(labels)} labels for {num_examples} embeddings")
    if labels.min() < 0:
        index = int(np.argmax(labels < 0))
        raise InputError(f"labels: index {index} has label {labels[index]}, but labels start at 0")
    return labels


def members_by_class(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Groups examples by class.

    Args:
      labels: [N] integers.

    Returns:
      For every label, ascending, its examples' indices [n] int64, ascending.
    """
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))


@dataclass(frozen=True)
class Work:
    """What there is to cluster.

    Attributes:
      classes: for every label its members, [n] int64, ascending.
      num_dimensions: D.
      num_merges: for every label, how many merges of its tree are wanted.
      method: the linkage.
      memory_limit: in bytes.
    """

    classes: Mapping[int, np.ndarray]
    num_dimensions: int
    num_merges: Mapping[int, int]
    method: str
    memory_limit: float

    def plan(self, label: int) -> Plan:
        """How a class will be clustered.

        Raises:
          InputError: it does not fit into memory.
        """
        size = len(self.classes[label])
        try:
            return make_plan(size, self.num_dimensions, self.num_merges[label], self.method, self.memory_limit)
        except InputError as error:
            raise InputError(f"class {label}: {error}" if len(self.classes) > 1 else str(error)) from None


def prepare(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    method: str = "complete",
    num_merges: Mapping[int, int] | None = None,
    memory_limit: float | None = None,
) -> Work:
    """Says what there is to cluster.

    Args:
      embeddings: [N, D] floats.
      labels: [N] integers, not negative.
      method: the linkage.
      num_merges: for every label, how many merges of its tree are wanted; by default all.
      memory_limit: in bytes; by default a share of what is free.

    Returns:
      What there is to do.

    Raises:
      InputError: an unknown linkage, or labels that are not integers from 0 or not one for every embedding.
    """
    check_method(method)
    classes = members_by_class(check_labels(labels, len(embeddings)))
    whole = {label: len(members) - 1 for label, members in classes.items()}
    wanted = whole if num_merges is None else {label: min(num_merges[label], m) for label, m in whole.items()}
    limit = memory.default_limit() if memory_limit is None else memory_limit
    return Work(classes, embeddings.shape[1], wanted, method, limit)


def cluster_each(
    embeddings: np.ndarray,
    work: Work,
    labels: Sequence[int],
    *,
    together: bool = False,
    on_block: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Dendrogram]]:
    """Clusters one class after the other.

    Args:
      embeddings: [N, D] floats, of the whole data set, as from `check_embeddings`.
      work: from `prepare`.
      labels: the classes to cluster.
      together: whether all processes do this at the same time, sharing the work on every class.
      on_block: is told how many blocks of how many are done in a pass over a class.

    Yields:
      A label and its tree.

    Raises:
      InputError: too little memory.
    """
    at_once = [] if together else [label for label in labels if _is_for_batch(work, label)]
    for start in range(0, len(at_once), _CLASSES_AT_ONCE):
        batch = at_once[start : start + _CLASSES_AT_ONCE]
        units = [unit_vectors_of(embeddings, work.classes[label]) for label in batch]
        for label, merges in zip(batch, whole_trees(units, work.method, device_memory()), strict=True):
            yield label, _dendrogram(work, label, merges)
    rest = [label for label in labels if label not in at_once]
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
    for label in rest:
        if label not in small:
            yield label, cluster(label, on_block)


def side_by_side(work: Work, labels: Sequence[int]) -> int:
    """How many of some small classes are clustered at the same time: one on every core, as far as there is memory."""
    fitting = min((work.memory_limit / work.plan(label).peak_bytes for label in labels), default=1)
    return max(1, min(os.cpu_count() or 1, int(fitting), len(labels)))


def _in_threads(cluster: Callable[[int], Dendrogram], labels: list[int], num_threads: int) -> Iterator[Dendrogram]:
    with threadpool_limits(1 if num_threads > 1 else None, "blas"), ThreadPoolExecutor(num_threads) as threads:
        ahead = deque(threads.submit(cluster, label) for label in labels[:num_threads])
        for label in [*labels[num_threads:], *[None] * len(ahead)]:
            done = ahead.popleft().result()
            if label is not None:
                ahead.append(threads.submit(cluster, label))
            yield done


def _is_for_batch(work: Work, label: int) -> bool:
    """Whether a class is one of those that accelerators cluster many at once."""
    size = len(work.classes[label])
    is_small = size <= _LARGEST_IN_BATCH and work.plan(label).way == "matrix"
    return is_small and fits_accelerator(size, work.num_dimensions, work.method)


def _dendrogram(work: Work, label: int, merges: Merges) -> Dendrogram:
    members = work.classes[label]
    return Dendrogram(members, to_linkage(len(members), merges[: work.num_merges[label]]))


def share_out(work: Work, labels: Sequence[int], num_processes: int) -> tuple[list[int], list[list[int]]]:
    """Divides classes among processes by what they cost, n^2 D operations.

    A class that costs more than the share of one process is clustered by all of them together; the others go, the most
    expensive first, to the process with the least to do.

    Args:
      work: from `prepare`.
      labels: the classes.
      num_processes: how many share the work.

    Returns:
      The classes to cluster together, and those of every process.
    """
    cost = {label: float(len(work.classes[label])) ** 2 * work.num_dimensions for label in labels}
    joint = [label for label in labels if num_processes > 1 and cost[label] > sum(cost.values()) / num_processes]
    own: list[list[int]] = [[] for _ in range(num_processes)]
    load = np.zeros(num_processes)
    for label in sorted(set(labels) - set(joint), key=lambda label: (-cost[label], label)):
        process = int(load.argmin())
        own[process].append(label)
        load[process] += cost[label]
    return joint, own


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
    work = prepare(embeddings, labels, method=method, num_merges=num_merges, memory_limit=memory_limit)
    for label in work.classes:
        work.plan(label)
    order = list(work.classes)
    each = cluster_each(embeddings, work, order)
    # The wrapper of the list is only there to count what comes out.
    trees = dict(found for _, found in zip(order if progress is None else progress(order), each, strict=True))
    return Dendrograms(embeddings, labels, trees, method)
