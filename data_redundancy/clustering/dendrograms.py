"""The trees of all classes of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from data_redundancy.clustering.distances import as_float_matrix
from data_redundancy.clustering.linkage import check_linkage, cut_tree
from data_redundancy.clustering.partitions import number_by_lowest_member
from data_redundancy.deprecation import renamed_attribute
from data_redundancy.errors import InputError, show
from data_redundancy.selection.grouping import check_labels, members_by_class


@dataclass(frozen=True, eq=False)
class Dendrogram:
    """The tree of one class, or its first merges.

    Attributes:
        members: [n] int64, the indices of the class's examples in the data set, ascending.
        merges: [m, 4] float64, rows of a SciPy linkage over positions in `members`. A whole tree has m = n-1 merges. A
            truncated tree has fewer: all merges up to its last height, except that some at that height may be missing.
    """

    members: np.ndarray
    merges: np.ndarray

    linkage = renamed_attribute("linkage", "merges")

    @property
    def is_truncated(self) -> bool:
        """Whether merges are missing."""
        return len(self.merges) < len(self.members) - 1


@dataclass(frozen=True, eq=False)
class ClassDendrograms:
    """The trees of all classes of a data set.

    Attributes:
        embeddings: [N, D] float32 or float64.
        labels: [N] integers, not negative.
        trees: the tree of every class, by label.
        linkage: the linkage of the trees.

    Raises:
        InputError: the attributes do not fit together.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    trees: Mapping[int, Dendrogram]
    linkage: str

    method = renamed_attribute("method", "linkage")

    def __post_init__(self) -> None:
        check_linkage(self.linkage)
        as_float_matrix(self.embeddings, "embeddings")
        classes = members_by_class(check_labels(self.labels, len(self.embeddings)))
        if classes.keys() != self.trees.keys():
            raise InputError(
                "trees", None, f"must have the classes of labels, {sorted(classes)}, but has {sorted(self.trees)}"
            )
        for label, members in classes.items():
            tree = self.trees[label]
            if not np.array_equal(tree.members, members):
                raise InputError("trees", None, f"must have the members of class {label} that labels gives it")
            if tree.merges.ndim != 2 or tree.merges.shape[1] != 4 or len(tree.merges) >= len(members):
                raise InputError(
                    "trees",
                    None,
                    f"must have merges [m, 4] with m < n for class {label} of n={len(members)} examples, but has shape "
                    f"{tree.merges.shape}",
                )

    def __repr__(self) -> str:
        """Summarises the trees, which would fill a notebook if there are many classes."""
        examples, classes = f"{len(self.labels):,} examples", f"{len(self.trees):,} classes"
        return f"Dendrograms({examples}, {classes}, {self.linkage} linkage)"

    def merges(self, label: int) -> np.ndarray:
        """Returns a class's merges, [m, 4] float64, see `Dendrogram`."""
        return self.trees[label].merges

    def heights(self, label: int) -> np.ndarray:
        """Returns the heights of a class's merges, [m] float64, not decreasing."""
        return self.trees[label].merges[:, 2]

    def cut(self, num_clusters: Mapping[int, int]) -> np.ndarray:
        """Cuts the tree of every class into a given number of clusters.

        Args:
            num_clusters: for every label, a number from 1 to the size of its class.

        Returns:
            [N] int64, the cluster of every example, from 0 over the whole data set, numbered by lowest members.

        Raises:
            InputError: a label is missing or unknown, a number is out of range, or a tree is truncated before the cut.
        """
        self._check_num_clusters(num_clusters)
        cluster = np.empty(len(self.labels), np.int64)
        num_before = 0
        for label, tree in self.trees.items():
            cluster[tree.members] = num_before + cut_tree(tree.merges, num_clusters[label], len(tree.members))
            num_before += num_clusters[label]
        return number_by_lowest_member(cluster)

    def _check_num_clusters(self, num_clusters: Mapping[int, int]) -> None:
        if num_clusters.keys() != self.trees.keys():
            raise InputError(
                "num_clusters",
                None,
                f"must have the classes of the trees, {sorted(self.trees)}, but has {sorted(num_clusters)}",
            )
        for label, tree in self.trees.items():
            count, size = num_clusters[label], len(tree.members)
            if not isinstance(count, Integral) or not 1 <= count <= size:
                raise InputError(
                    "num_clusters", None, f"must be an integer from 1 to {size} for class {label}, but is {show(count)}"
                )
        self._check_deep_enough({label: len(tree.members) - num_clusters[label] for label, tree in self.trees.items()})

    def _check_deep_enough(self, needed: Mapping[int, int]) -> None:
        """Raises InputError if a truncated tree lacks some of the merges that a cut needs, given their numbers."""
        for label, tree in self.trees.items():
            size, num_merges = len(tree.members), len(tree.merges)
            if tree.is_truncated and num_merges < needed[label]:
                of_class = f"class {label} of {size}" if len(self.trees) > 1 else f"{size}"
                last = f", at height {tree.merges[-1, 2]:.4g}" if num_merges else ""
                raise InputError(
                    "num_clusters",
                    None,
                    f"needs {needed[label]} merges in {of_class} examples, but the tree is truncated after "
                    f"{num_merges}{last}",
                    f"Cluster again with a max_prune_fraction of at least {self._prune_fraction_of(needed):g}",
                )

    def _prune_fraction_of(self, num_merges: Mapping[int, int]) -> float:
        """Returns a `max_prune_fraction`, to four digits, with which trees have at least these numbers of merges."""
        # A truncated tree has one merge more than the share of its class.
        largest_share = max((count - 1) / len(self.trees[label].members) for label, count in num_merges.items())
        fraction = max(largest_share, sum(num_merges.values()) / len(self.labels))
        return min(0.9999, np.ceil(fraction * 1e4 - 1e-6) / 1e4)
