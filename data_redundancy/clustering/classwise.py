"""One tree for every class of a data set."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.clustering.linkage import check_method, cut_tree, linkage, number_by_lowest_member
from data_redundancy.errors import InputError


@dataclass(frozen=True, eq=False)
class Dendrogram:
    """The tree of one class.

    Attributes:
      members: [n] int64, indices of the class's examples in the whole data set, ascending.
      linkage: [n-1, 4] float64 over positions in `members`, as SciPy defines it.
    """

    members: np.ndarray
    linkage: np.ndarray


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
        check_embeddings(self.embeddings)
        classes = members_by_class(check_labels(self.labels, len(self.embeddings)))
        if classes.keys() != self.trees.keys():
            raise InputError(f"trees: for classes {sorted(self.trees)}, but labels has classes {sorted(classes)}")
        for label, members in classes.items():
            tree = self.trees[label]
            if not np.array_equal(tree.members, members):
                raise InputError(f"trees: the members of class {label} are not the examples that labels gives it")
            if tree.linkage.shape != (len(members) - 1, 4):
                shape = tree.linkage.shape
                raise InputError(f"trees: class {label} of {len(members)} examples has a linkage of shape {shape}")

    def heights(self, label: int) -> np.ndarray:
        """The heights of a class's merges, [n-1] float64, not decreasing."""
        return self.trees[label].linkage[:, 2]

    def cut(self, num_clusters: Mapping[int, int]) -> np.ndarray:
        """Cuts every class into a number of clusters of its own.

        Args:
          num_clusters: for every label, a number from 1 to the size of its class.

        Returns:
          [N] int64, the cluster of every example; ids run from 0 over the whole data set, ordered by lowest member.

        Raises:
          InputError: a label is missing or unknown, or its number out of range.
        """
        if num_clusters.keys() != self.trees.keys():
            raise InputError(
                f"num_clusters: for classes {sorted(num_clusters)}, but the trees' are {sorted(self.trees)}"
            )
        cluster = np.empty(len(self.labels), np.int64)
        num_before = 0
        for label, tree in self.trees.items():
            cluster[tree.members] = num_before + cut_tree(tree.linkage, num_clusters[label])
            num_before += num_clusters[label]
        return number_by_lowest_member(cluster)


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


def cluster_class(embeddings: np.ndarray, members: np.ndarray, method: str = "complete") -> Dendrogram:
    """Builds the tree of one class.

    Args:
      embeddings: [N, D] floats or integers, of the whole data set.
      members: [n] integers, the class's indices, strictly ascending.
      method: the linkage: `complete`, `average` or `single`.

    Returns:
      The tree.

    Raises:
      InputError: an unknown linkage, indices out of order or range, or an embedding without a direction (called by its
        index in the whole data set).
    """
    members = np.asarray(members, np.int64)
    in_order = members.ndim == 1 and len(members) > 0 and (np.diff(members) > 0).all()
    if not in_order or members[0] < 0 or members[-1] >= len(embeddings):
        raise InputError(f"members: not strictly ascending indices from 0 to {len(embeddings) - 1}")
    rows = check_embeddings(embeddings[members], indices=members)
    return Dendrogram(members, linkage(rows, method))


def cluster_classes(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    method: str = "complete",
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> Dendrograms:
    """Clusters every class on its own, bottom-up under the cosine distance.

    Args:
      embeddings: [N, D] floats or integers.
      labels: [N] integers, not negative.
      method: the linkage: `complete`, `average` or `single`.
      progress: wraps the list of classes that is being worked through, as `tqdm.tqdm` does.

    Returns:
      The trees of all classes.

    Raises:
      InputError: an unknown linkage, lengths that differ, labels that are not integers from 0, or embeddings that hold
        NaN, an infinity or a zero vector (the first offending index is named).
    """
    check_method(method)
    embeddings = check_embeddings(embeddings)
    labels = check_labels(labels, len(embeddings))
    classes = members_by_class(labels)
    order = list(classes) if progress is None else progress(list(classes))
    trees = {label: cluster_class(embeddings, classes[label], method) for label in order}
    return Dendrograms(embeddings, labels, trees, method)
