"""Trees of all classes of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.clustering.distances import as_float_matrix
from data_redundancy.clustering.linkage import check_method, cut_tree
from data_redundancy.clustering.partitions import number_by_lowest_member
from data_redundancy.errors import InputError


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

    def __repr__(self) -> str:
        """In short: trees of many classes would fill a notebook."""
        examples, classes = f"{len(self.labels):,} examples", f"{len(self.trees):,} classes"
        return f"Dendrograms({examples}, {classes}, {self.method} linkage)"

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
                largest_share = max((count - 1) / len(self.trees[k].members) for k, count in pruned.items())
                needed = max(largest_share, sum(pruned.values()) / len(self.labels))
                last = f", at height {tree.linkage[-1, 2]:.4g}" if made else ""
                of_class = f"class {label}: " if len(self.trees) > 1 else ""
                raise InputError(
                    f"{of_class}{pruned[label]} of its {size} examples are to go, but its tree is truncated after "
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
