"""Remove semantic duplicates: SemDeDup."""

import math
from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, highest, keep_by_class, without_last_digits
from data_redundancy.selection.kmeans import cluster_unit_vectors
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import unit_vectors
from data_redundancy.selection.result import Selection

CLUSTER_SIZE = 1000
_BLOCK = 1024


def select(pool: Pool, num_pruned: Mapping[int, int], *, seed: int = 0) -> Selection:
    """Removes what is most similar to an example that comes before it, within k-means clusters.

    The published rule: k-means of unit vectors; in every cluster examples are ordered by their similarity to its
    centroid, the least similar first; an example goes where its similarity to any that comes before it, itself kept or
    not, exceeds 1 - epsilon. Here epsilon is the one at which the wanted number goes: of every class those with the
    highest such similarity; the first of a cluster, which has none, goes last. Clusters are of the classes (of the
    whole data set, as published, where the scope is that), one per 1,000 examples; the paper finds that their number
    matters little. Of equal similarities (to 1e-12) the higher index goes.

    Args:
      pool: with embeddings.
      num_pruned: for every label, how many of its examples go.
      seed: of k-means.

    Raises:
      InputError: the pool has no embeddings.

    References:
      Abbas, Tirumala, Simig, Ganguli, Morcos, "SemDeDup: Data-efficient learning at web-scale through semantic
      deduplication", 2023, https://arxiv.org/abs/2303.09540, sections 3 and 4.
    """
    embeddings = embeddings_of(pool, "semdedup")

    def choose(members: np.ndarray, num_kept: int, _: int) -> np.ndarray:
        unit = unit_vectors(embeddings[members])
        cluster = cluster_unit_vectors(unit, math.ceil(len(unit) / CLUSTER_SIZE), seed)
        return highest(-without_last_digits(similarity_to_earlier(unit, cluster)), num_kept)

    return keep_by_class("semdedup", pool, num_pruned, choose)


def similarity_to_earlier(unit: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The highest cosine similarity of every row to one that comes before it in its cluster, [n]; -1 for the first.

    Args:
      unit: [n, D] float64 of length one.
      cluster: [n] integers.
    """
    highest_before = np.full(len(unit), -1.0)
    for c in np.unique(cluster):
        rows = np.flatnonzero(cluster == c)
        centroid = unit[rows].mean(axis=0)
        rows = rows[np.argsort(without_last_digits(unit[rows] @ centroid), kind="stable")]
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            similarity = unit[rows[: start + len(block)]] @ unit[block].T
            stop = start + len(block)
            earlier = np.arange(stop)[:, None] < np.arange(start, stop)
            highest_before[block] = np.where(earlier, similarity, -1.0).max(axis=0)
    return highest_before
