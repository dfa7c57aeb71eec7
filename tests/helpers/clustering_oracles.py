"""Oracles of clustering: inputs that provoke ties, and slow agglomeration by the definition."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from data_redundancy.clustering.distances import Units, block_distances, fixed_point_unit_vectors
from data_redundancy.clustering.partitions import number_by_lowest_member

BETWEEN_CLUSTERS = {"complete": np.max, "average": np.mean, "single": np.min}
few_examples = settings(max_examples=40, deadline=None)

KINDS = ("random", "clustered", "duplicated", "scaled", "copied and scaled", "integers")


def make_rows(kind: str, num_rows: int, num_dimensions: int, rng: np.random.Generator) -> np.ndarray:
    """Rows without zero vectors; one-dimensional ones are signs."""
    x = rng.normal(size=(num_rows, num_dimensions))
    few = x[rng.integers(0, num_rows // 2 + 1, num_rows) % num_rows]
    if kind == "clustered":
        return x[rng.integers(0, 3, num_rows) % num_rows] + 1e-3 * x
    if kind == "duplicated":
        return few
    if kind == "scaled":
        return few * rng.uniform(0.1, 9, (num_rows, 1))
    if kind == "copied and scaled":  # copies bit for bit among those that only point in the same direction
        return few * rng.choice([1.0, 1 / 3, 0.7], (num_rows, 1))
    if kind == "integers":  # many ties
        return rng.integers(1, 4, (num_rows, num_dimensions)) * rng.choice([-1.0, 1.0], (num_rows, num_dimensions))
    return x


@st.composite
def embeddings(draw, sizes=(1, 2, 3, 5, 12, 31, 32, 33)):
    """Random, clustered, duplicated (also up to scale), one-dimensional and tiny inputs, of two data types."""
    seed = draw(st.integers(0, 2**32 - 1))
    num_rows = draw(st.sampled_from(sizes))
    num_dimensions = draw(st.sampled_from([1, 2, 5, 64]))
    kind = draw(st.sampled_from(KINDS))
    rows = make_rows(kind, num_rows, num_dimensions, np.random.default_rng(seed))
    return rows.astype(draw(st.sampled_from([np.float32, np.float64])))


def digits(num_rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """The first images of handwritten digits, flat, and their labels."""
    pixels, labels = load_digits(return_X_y=True)
    return pixels[:num_rows].astype(np.float32), labels[:num_rows]


def same_partition(a, b) -> bool:
    return np.array_equal(number_by_lowest_member(np.asarray(a)), number_by_lowest_member(np.asarray(b)))


def same_units(a: Units, b: Units) -> bool:
    """Returns whether both are equal bit for bit, including the signs of zeros."""
    return all(
        x.dtype == y.dtype == np.float32 and np.array_equal(x.view(np.uint32), y.view(np.uint32))
        for x, y in ((a.high, b.high), (a.low, b.low))
    )


def greedy_complete(distances: np.ndarray) -> np.ndarray:
    """One merge at a time: smallest distance, then lowest member of the one cluster, then of the other.

    A cluster has the row and the column of its lowest member, so the first of the smallest entries above the diagonal,
    row by row, is the pair to merge.
    """
    between = np.where(np.triu(np.ones(distances.shape, bool), 1), distances, np.inf)
    merges = []
    for _ in range(len(distances) - 1):
        low, high = np.unravel_index(np.argmin(between), between.shape)
        merges.append((between[low, high], low, high))
        symmetric = np.minimum(between, between.T)
        farthest = np.maximum(symmetric[low], symmetric[high])
        between[low, low + 1 :], between[:low, low] = farthest[low + 1 :], farthest[:low]
        between[high], between[:, high] = np.inf, np.inf
    return tree_of(len(distances), merges)


def greedy_single(distances: np.ndarray) -> np.ndarray:
    """Kruskal's algorithm over all pairs of rows: smallest distance, then lower row, then higher row."""
    n = len(distances)
    pairs = sorted((distances[i, j], i, j) for i in range(n) for j in range(i + 1, n))
    cluster = np.arange(n)
    merges = []
    for distance, i, j in pairs:
        if cluster[i] != cluster[j]:
            low, high = sorted((cluster[i], cluster[j]))
            merges.append((distance, low, high))
            cluster[cluster == high] = low
    return tree_of(n, merges)


def cosine_distances(x) -> np.ndarray:
    """All distances [n, n] between the rows of `x`."""
    units = fixed_point_unit_vectors(x)
    return block_distances(units, units).copy()


GREEDY = {"complete": greedy_complete, "single": greedy_single}


def greedy(units: Units, method: str) -> np.ndarray:
    """The tree by the documented rule: copies first, then ties as the linkage breaks them."""
    distances = block_distances(units, units).copy()
    contents = np.hstack([units.high, units.low])
    distances[(contents[:, None] == contents[None]).all(-1)] = -1
    Z = GREEDY[method](distances)
    Z[:, 2] = np.maximum(Z[:, 2], 0)
    return Z


def tree_of(n: int, merges: list[tuple[float, int, int]]) -> np.ndarray:
    """Converts merges of clusters that are identified by their lowest members to SciPy's format."""
    clusters = {i: (i, 1) for i in range(n)}
    Z = np.empty((n - 1, 4))
    for number, (height, low, high) in enumerate(merges):
        (a, size_a), (b, size_b) = clusters[low], clusters.pop(high)
        clusters[low] = (n + number, size_a + size_b)
        Z[number] = min(a, b), max(a, b), height, size_a + size_b
    return Z


def first_partition(Z: np.ndarray, num_clusters: int) -> np.ndarray:
    """The partition that the first merges of a tree make, by the definition of SciPy's format."""
    n = len(Z) + 1
    clusters = {i: [i] for i in range(n)}
    for i in range(n - num_clusters):
        clusters[n + i] = clusters.pop(int(Z[i, 0])) + clusters.pop(int(Z[i, 1]))
    cluster = np.empty(n, int)
    for label, members in clusters.items():
        cluster[members] = label
    return cluster


def assert_every_merge_is_a_smallest_one(Z: np.ndarray, distances: np.ndarray, method: str) -> None:
    """Replays a tree on the full matrix: independent of how ties are broken."""
    n = len(distances)
    clusters = {i: [i] for i in range(n)}
    for i, (a, b, height, size) in enumerate(Z):
        ids = sorted(clusters)
        between = {
            (p, q): BETWEEN_CLUSTERS[method](distances[np.ix_(clusters[p], clusters[q])])
            for k, p in enumerate(ids)
            for q in ids[k + 1 :]
        }
        merged = between[tuple(sorted((int(a), int(b))))]
        assert abs(height - merged) < 1e-10
        assert merged < min(between.values()) + 1e-10
        clusters[n + i] = clusters.pop(int(a)) + clusters.pop(int(b))
        assert size == len(clusters[n + i])
    assert len(clusters) == 1
