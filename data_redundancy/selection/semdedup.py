"""SemDeDup: prune semantic duplicates."""

import math
from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, highest, keep_by_class
from data_redundancy.selection.kmeans import cluster_unit_vectors
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays
from data_redundancy.selection.vectors import float64_unit_vectors, rounded_cosines

CLUSTER_SIZE = 1000
_BLOCK = 1024


def select(pool: Pool, num_pruned: Mapping[int, int], *, seed: int = 0) -> SelectionArrays:
    """Prunes the examples that are most similar to an earlier example of their k-means cluster.

    In the paper, unit vectors are clustered by k-means. Within a cluster, examples are sorted by their similarity to
    the centroid, the least similar first. An example is pruned if its similarity to any earlier example, kept or
    pruned, exceeds 1 - epsilon. Here, epsilon is the one that prunes the required number: in every class, the examples
    with the highest similarity to an earlier example are pruned. The first example of a cluster has no earlier one and
    is pruned last. Of similarities that are equal (to 1e-12), the higher index is pruned.

    k-means runs within every class, with one cluster per 1,000 examples. In the paper it runs on the whole data set;
    here that is the case if the whole data set is one class (`scope="dataset"`). The paper finds that the number of
    clusters matters little.

    Args:
        pool: with embeddings.
        num_pruned: for every label, how many of its examples to prune.
        seed: seeds k-means.

    Raises:
        InputError: the pool has no embeddings.

    References:
        Abbas, Tirumala, Simig, Ganguli, Morcos, "SemDeDup: Data-efficient learning at web-scale through semantic
        deduplication", 2023, https://arxiv.org/abs/2303.09540, sections 3 and 4.
    """
    embeddings = embeddings_of(pool, "semdedup")

    def choose(members: np.ndarray, num_kept: int, _: int) -> np.ndarray:
        unit = float64_unit_vectors(embeddings[members])
        cluster = cluster_unit_vectors(unit, math.ceil(len(unit) / CLUSTER_SIZE), seed)
        return highest(-rounded_cosines(similarity_to_earlier(unit, cluster)), num_kept)

    return keep_by_class("semdedup", pool, num_pruned, choose)


def similarity_to_earlier(unit: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Returns the highest cosine similarity of every row to an earlier row of its cluster, [n]; -1 for the first row.

    Args:
        unit: [n, D] float64 of length one.
        cluster: [n] integers.
    """
    highest_earlier = np.full(len(unit), -1.0)
    for c in np.unique(cluster):
        rows = np.flatnonzero(cluster == c)
        centroid = unit[rows].mean(axis=0)
        rows = rows[np.argsort(rounded_cosines(unit[rows] @ centroid), kind="stable")]
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            similarity = unit[rows[: start + len(block)]] @ unit[block].T
            stop = start + len(block)
            is_earlier = np.arange(stop)[:, None] < np.arange(start, stop)
            highest_earlier[block] = np.where(is_earlier, similarity, -1.0).max(axis=0)
    return highest_earlier
