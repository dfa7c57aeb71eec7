"""Keep one representative of every cluster of a bottom-up clustering."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import REPRESENTATIVES, distance_to
from data_redundancy.selection.result import Selection


def select(pool: Pool, num_pruned: Mapping[int, int], *, representative: str = "centroid") -> Selection:
    """Cuts every class's tree into as many clusters as examples are to stay, and keeps one member of each.

    Args:
      pool: with embeddings and dendrograms.
      num_pruned: for every label, how many of its examples go.
      representative: the rule that says which member is kept, one of `REPRESENTATIVES`.

    Returns:
      The selection.

    Raises:
      InputError: the pool has no embeddings or no dendrograms.

    References:
      Birodkar, Mobahi, Bengio, "Semantic Redundancies in Image-Classification Datasets: The 10% You Don't Need", 2019,
      https://arxiv.org/abs/1901.11409
    """
    if pool.embeddings is None or pool.dendrograms is None:
        raise InputError("method 'agglomerative' needs embeddings and dendrograms: cluster the classes first")
    num_kept = {label: size - num_pruned[label] for label, size in pool.class_sizes().items()}
    cluster = pool.dendrograms.cut(num_kept)
    kept_member = np.arange(len(cluster))
    distance = np.zeros(len(cluster))
    for label, members in pool.members_by_class().items():
        merges = pool.dendrograms.linkage(label)[: num_pruned[label]]
        # Most clusters are single examples: these need no look at their embeddings, which may be large.
        positions, merges = _merged(len(members), merges)
        members = members[positions]
        embeddings = pool.embeddings[members]
        nearest = REPRESENTATIVES[representative](embeddings, cluster[members], merges)
        kept_member[members] = members[nearest]
        distance[members] = distance_to(embeddings, nearest)
    prune_fraction = sum(num_pruned.values()) / len(cluster)
    return Selection("agglomerative", prune_fraction, np.unique(kept_member), cluster, kept_member, distance)


def _merged(num_rows: int, merges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that take part in merges, ascending, and the merges over positions among these.

    Args:
      num_rows: n.
      merges: [k, 4], as SciPy defines a linkage.
    """
    nodes = merges[:, :2].astype(np.int64)
    is_row = nodes < num_rows
    rows = np.sort(nodes[is_row])
    renamed = merges.copy()
    renamed[:, :2] = np.where(is_row, np.searchsorted(rows, nodes), nodes - num_rows + len(rows))
    return rows, renamed
