"""Slow representatives of clusters by their definitions, and SciPy's trees."""

import numpy as np
from scipy.cluster.hierarchy import linkage

NO_MERGES = np.zeros((0, 4))
"""The merges to give to rules that do not read them."""


def tree(x, method="complete"):
    return linkage(x, method, "cosine") if len(x) > 1 else NO_MERGES


def clusters_of(merges, n):
    """The cluster of every row after some merges; ids in no particular order."""
    cluster = np.arange(n)
    for node, (left, right) in enumerate(merges[:, :2].astype(int), start=n):
        cluster[(cluster == left) | (cluster == right)] = node
    return cluster


def unit(x):
    return x.astype(np.float64) / np.sqrt(np.sum(x.astype(np.float64) ** 2, axis=-1, keepdims=True))


def brute_force_centroid(x, cluster):
    representative = np.empty(len(x), np.int64)
    for c in set(cluster.tolist()):
        members = np.flatnonzero(cluster == c)
        units = [x[i].astype(np.float64) / np.sqrt(np.sum(x[i].astype(np.float64) ** 2)) for i in members]
        mean = sum(units) / len(units)
        length = np.sqrt(mean @ mean)
        if length < 1e-12 or len(members) == 2:
            representative[members] = members[0]
            continue
        cosines = np.array([u @ mean / length for u in units])
        representative[members] = members[np.flatnonzero(cosines > cosines.max() - 1e-12)[0]]
    return representative


def brute_force_medoid(x, cluster):
    representative = np.empty(len(x), np.int64)
    for c in set(cluster.tolist()):
        members = np.flatnonzero(cluster == c)
        u = unit(x[members])
        means = np.array([sum(np.linalg.norm(a - b) for b in u) / len(u) for a in u])
        representative[members] = members[np.flatnonzero(means < means.min() + 1e-12)[0]]
    return representative


def brute_force_nested(x, merges):
    """Follows the definition: every merge reads all its members."""
    u, members, chosen = unit(x), [[i] for i in range(len(x))], list(range(len(x)))
    representative = np.arange(len(x))
    for left, right in merges[:, :2].astype(int):
        members.append(members[left] + members[right])
        low, high = sorted([chosen[left], chosen[right]])
        mean = u[members[-1]].mean(axis=0)
        length = np.sqrt(mean @ mean)
        is_tie = len(members[-1]) == 2 or length < 1e-12 or (u[high] @ mean - u[low] @ mean) / length < 1e-12
        chosen.append(low if is_tie else high)
        representative[members[-1]] = chosen[-1]
    return representative
