"""Ours and the peers, each as one function from embeddings and labels to trees that can be cut.

The peers build whole trees, as that is all they can do, and then cut. fastcluster and SciPy get their best case:
distances from a float32 matrix product of normalised rows, which NumPy computes with half the work (syrk).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Cut = Callable[[float], np.ndarray]
"""From a prune fraction to the cluster of every example, [N] integers."""

Contestant = Callable[[np.ndarray, np.ndarray], Cut]
"""From embeddings [N, D] float32 and labels [N] integers to the cuts of their trees."""


def clusters_left(size: int, fraction: float) -> int:
    """How many of a class's examples are kept."""
    return max(1, size - round(fraction * size))


def ours(options: dict[str, Any]) -> Contestant:
    """`cluster` with its options."""
    import jax

    import data_redundancy as dr

    jax.devices()  # starting the backend belongs to importing

    def cluster(x: np.ndarray, labels: np.ndarray) -> Cut:
        dendrograms = dr.cluster(x, labels, **options)
        sizes = {label: len(tree.members) for label, tree in dendrograms.trees.items()}
        return lambda fraction: dendrograms.cut({label: clusters_left(n, fraction) for label, n in sizes.items()})

    return cluster


def ours_linkage(options: dict[str, Any]) -> Contestant:
    """`linkage`, the whole tree in SciPy's format."""
    import jax

    import data_redundancy as dr

    jax.devices()
    return _class_by_class(lambda x: dr.linkage(x, **options)[:, :2])


def fastcluster(options: dict[str, Any]) -> Contestant:
    """The package fastcluster on distances from a matrix product, which it may overwrite."""
    import fastcluster

    return _class_by_class(
        lambda x: fastcluster.linkage(_condensed_distances(x), "complete", preserve_input=False)[:, :2]
    )


def scipy(options: dict[str, Any]) -> Contestant:
    """SciPy on distances from a matrix product."""
    from scipy.cluster import hierarchy

    return _class_by_class(lambda x: hierarchy.linkage(_condensed_distances(x), "complete")[:, :2])


def sklearn(options: dict[str, Any]) -> Contestant:
    """scikit-learn as users call it; whatever the number of clusters, it builds the whole tree."""
    from sklearn.cluster import AgglomerativeClustering

    def merges(x: np.ndarray) -> np.ndarray:
        num_clusters = clusters_left(len(x), 0.1)
        return AgglomerativeClustering(n_clusters=num_clusters, metric="cosine", linkage="complete").fit(x).children_

    return _class_by_class(merges)


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Contestant]] = {
    "ours": ours,
    "ours_linkage": ours_linkage,
    "fastcluster": fastcluster,
    "SciPy": scipy,
    "scikit-learn": sklearn,
}


def _class_by_class(merges_of: Callable[[np.ndarray], np.ndarray]) -> Contestant:
    def cluster(x: np.ndarray, labels: np.ndarray) -> Cut:
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        merges = [merges_of(x[rows]) for rows in members]

        def cut(fraction: float) -> np.ndarray:
            partition = np.empty(len(x), np.int64)
            for rows, class_merges in zip(members, merges, strict=True):
                num_clusters = clusters_left(len(rows), fraction)
                # A cluster is called by its class's first example and its number, which no other class shares.
                partition[rows] = rows[0] + _cut_merges(class_merges, len(rows), num_clusters)
            return partition

        return cut

    return cluster


def _condensed_distances(x: np.ndarray) -> np.ndarray:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distances = unit @ unit.T
    np.subtract(1, distances, out=distances)
    num_rows = len(x)
    condensed = np.empty(num_rows * (num_rows - 1) // 2)
    start = 0
    for row in range(num_rows - 1):  # a slice a row: no arrays of indices, which would take twice the memory
        end = start + num_rows - 1 - row
        condensed[start:end] = distances[row, row + 1 :]
        start = end
    return condensed


def _cut_merges(merges: np.ndarray, num_rows: int, num_clusters: int) -> np.ndarray:
    """The cluster of every row after the lowest merges, [n] integers from 0.

    SciPy's `fcluster` is no help: where heights tie it returns fewer clusters than asked for.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num_merges = num_rows - num_clusters
    num_nodes = num_rows + num_merges
    children = merges[:num_merges].astype(np.int64).ravel()
    parents = np.repeat(np.arange(num_rows, num_nodes), 2)
    graph = coo_array((np.ones(len(children), bool), (parents, children)), shape=(num_nodes, num_nodes))
    _, component = connected_components(graph, directed=False)
    return component[:num_rows]
