"""Keep one representative of every cluster of an agglomerative clustering."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.by_class import embeddings_of
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import REPRESENTATIVES, distance_to
from data_redundancy.selection.result import SelectionArrays


def select(pool: Pool, num_pruned: Mapping[int, int], *, representative: str = "centroid") -> SelectionArrays:
    """Cuts the tree of every class into as many clusters as examples to keep, and keeps one member of each cluster.

    Args:
        pool: with embeddings and dendrograms.
        num_pruned: for every label, how many of its examples to prune.
        representative: the rule that chooses the member to keep, one of `REPRESENTATIVES`.

    Returns:
        The selection.

    Raises:
        InputError: the pool has no embeddings or no dendrograms, or the trees are truncated before the cut.

    References:
        Birodkar, Mobahi, Bengio, "Semantic Redundancies in Image-Classification Datasets: The 10% You Don't Need",
        2019, https://arxiv.org/abs/1901.11409
    """
    all_embeddings = embeddings_of(pool, "agglomerative")
    if pool.dendrograms is None:
        raise InputError(
            "dendrograms", None, "must be given for the method 'agglomerative'", "Cluster the embeddings first"
        )
    num_kept = {label: size - num_pruned[label] for label, size in pool.class_sizes().items()}
    cluster = pool.dendrograms.cut(num_kept)
    kept_member = np.arange(len(cluster))
    distance = np.zeros(len(cluster))
    for label, members in pool.members_by_class().items():
        merges = pool.dendrograms.merges(label)[: num_pruned[label]]
        # Most clusters have one member. Their embeddings are not read, because the array may be large.
        positions, merges = _merged_rows(len(members), merges)
        members = members[positions]
        embeddings = all_embeddings[members]
        nearest = REPRESENTATIVES[representative](embeddings, cluster[members], merges)
        kept_member[members] = members[nearest]
        distance[members] = distance_to(embeddings, nearest)
    prune_fraction = sum(num_pruned.values()) / len(cluster)
    return SelectionArrays("agglomerative", prune_fraction, np.unique(kept_member), cluster, kept_member, distance)


def _merged_rows(num_rows: int, merges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows that take part in merges.

    Args:
        num_rows: n.
        merges: [k, 4] floats, the first rows of a SciPy linkage of n rows.

    Returns:
        The rows that take part, ascending, and the same merges over positions among these rows.
    """
    nodes = merges[:, :2].astype(np.int64)
    is_row = nodes < num_rows
    rows = np.sort(nodes[is_row])
    renumbered = merges.copy()
    renumbered[:, :2] = np.where(is_row, np.searchsorted(rows, nodes), nodes - num_rows + len(rows))
    return rows, renumbered
