import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from data_redundancy.errors import InputError
from data_redundancy.selection import (
    REPRESENTATIVES,
    Pool,
    representative,
)
from data_redundancy.selection.representative import centroid, distance_to, medoid, nested
from helpers.representative_oracles import (
    NO_MERGES,
    brute_force_centroid,
    brute_force_medoid,
    brute_force_nested,
    clusters_of,
    tree,
)

few_examples = settings(max_examples=60, deadline=None)


def one_cluster(rule, x):
    """Returns the row that represents all rows as one cluster, with a tree from SciPy."""
    cluster = np.zeros(len(x), int)
    (chosen,) = set(REPRESENTATIVES[rule](np.asarray(x, float), cluster, tree(x)).tolist())
    return chosen


def some_rows(seed, n, num_dimensions, kind):
    rng = np.random.default_rng(seed)
    if kind == "grid":  # duplicates, opposite vectors, symmetric clusters
        return rng.integers(1, 3, (n, num_dimensions)) * rng.choice([-1.0, 1.0], (n, num_dimensions))
    return rng.normal(size=(n, num_dimensions))


row_kinds = (
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.sampled_from([1, 2, 3, 16]),
    st.sampled_from(["normal", "grid"]),
)


@few_examples
@given(*row_kinds)
def test_centroid_and_medoid_equal_brute_force(seed, n, num_dimensions, kind):
    x = some_rows(seed, n, num_dimensions, kind)
    cluster = np.random.default_rng(seed).integers(0, max(1, n // 3), n)
    for rule, brute_force in [(centroid, brute_force_centroid), (medoid, brute_force_medoid)]:
        representative = rule(x, cluster, NO_MERGES)
        assert representative.dtype == np.int64
        assert np.array_equal(representative, brute_force(x, cluster))


@few_examples
@given(*row_kinds, st.sampled_from(["complete", "average", "single"]))
def test_nested_equals_brute_force_and_is_nested_over_all_cuts(seed, n, num_dimensions, kind, method):
    x = some_rows(seed, n, num_dimensions, kind)
    merges = tree(x, method)
    kept = set(range(n))
    for num_merges in range(n):
        made = merges[:num_merges]
        cluster = clusters_of(made, n)
        representative = nested(x, cluster, made)
        assert representative.dtype == np.int64
        assert np.array_equal(representative, brute_force_nested(x, made))
        assert np.array_equal(cluster, cluster[representative])
        assert set(representative.tolist()) <= kept
        kept = set(representative.tolist())
        assert len(kept) == n - num_merges


def test_the_rules_differ_where_they_should():
    angles = np.array([0, 0.1, 0.2, 0.25, 1.5])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # The outlier draws the centre to 0.40; distances that are not squared have their minimum at the middle row.
    assert (one_cluster("centroid", x), one_cluster("medoid", x)) == (3, 2)
    # Rows 2 and 3 merge first and row 2 represents them. Rows 0 and 1 are next, represented by row 0. Of 0 and 2, row 2
    # remains, and also of 2 and the outlier, although row 3 is nearer to the centre.
    assert tree(x)[:, :2].tolist() == [[2, 3], [0, 1], [5, 6], [4, 7]]
    assert one_cluster("nested", x) == 2
    # With rows 2 and 3 swapped, the other one remains.
    assert one_cluster("nested", x[[0, 1, 3, 2, 4]]) == 2


@pytest.mark.parametrize("rule", REPRESENTATIVES)
def test_single_rows_pairs_and_duplicates(rule):
    rng = np.random.default_rng(0)
    assert one_cluster(rule, rng.normal(size=(1, 8))) == 0
    for _ in range(50):  # two members are always a tie, whatever the rounding
        x = rng.normal(size=2048)
        assert one_cluster(rule, np.stack([x, 1e-6 * rng.normal(size=2048) - x])) == 0
    x = rng.normal(size=64)
    assert one_cluster(rule, np.stack([x] * 9)) == 0
    for _ in range(20):  # the same direction except for rounding
        assert one_cluster(rule, x * rng.uniform(0.1, 10, (9, 1))) == 0
    # The duplicates between a distinct first and last row are the majority, and the lowest of them is chosen.
    assert one_cluster(rule, np.stack([rng.normal(size=64), *[x * s for s in rng.uniform(1, 2, 7)], -x])) == 1


def test_a_large_cluster_in_blocks_equals_one_piece(monkeypatch):
    x = np.random.default_rng(0).normal(size=(301, 5))
    x[200:] = x[:101]
    cluster = np.repeat([4, 2, 9], [290, 1, 10])
    whole = medoid(x, cluster, NO_MERGES)
    assert np.array_equal(whole, brute_force_medoid(x, cluster))
    for block in (1, 1000, 4096):
        monkeypatch.setattr(representative, "_BLOCK", block)
        assert np.array_equal(medoid(x, cluster, NO_MERGES), whole)


def test_a_large_cluster_takes_little_memory():
    x = np.random.default_rng(0).normal(size=(6000, 3))
    tracemalloc.start()
    medoid(x, np.zeros(len(x), int), NO_MERGES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6 < 8 * len(x) ** 2 / 4


@pytest.mark.parametrize("merges", [tree(np.eye(3) + 1)[:1], np.array([[0, 1, 0.1, 2], [2, 3, 0.2, 2.0]])])
def test_merges_that_make_other_clusters_are_refused(merges):
    with pytest.raises(
        InputError, match=rf"^merges: must make the 2 clusters, but {len(merges)} merges of 4 rows do not$"
    ):
        nested(np.eye(4) + 1, np.array([0, 0, 0, 1]), merges)


def test_ties_go_to_the_lowest_index():
    rng = np.random.default_rng(0)
    for _ in range(50):  # two members are always a tie, whatever the rounding
        x = rng.normal(size=2048)
        nearly_opposite = 1e-6 * rng.normal(size=2048) - x
        assert centroid(np.stack([x, nearly_opposite]), np.zeros(2, int), NO_MERGES).tolist() == [0, 0]
    symmetric = np.array([[1, 2], [2, 1], [1, 2], [2, 1.0]])
    assert centroid(symmetric, np.zeros(4, int), NO_MERGES).tolist() == [0] * 4
    scaled = np.array([[0, 1], [1, 3], [3, 9], [0.1, 0.3], [1, 0.0]])
    assert centroid(scaled, np.zeros(5, int), NO_MERGES).tolist() == [1] * 5


def test_a_cluster_without_centre_goes_to_the_lowest_index():
    angles = np.array([0.3, 0.3 + 2 * np.pi / 3, 0.3 + 4 * np.pi / 3])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # the mean is zero except for rounding
    assert 0 < np.abs(x.mean(axis=0)).max() < 1e-15
    assert centroid(x, np.zeros(3, int), NO_MERGES).tolist() == [0, 0, 0]


def test_length_does_not_matter_but_direction_does():
    x = np.array([[100.0, 0], [1, 1], [0, 1], [0.4, 0.5]])  # the mean of the rows themselves is nearest to row 0
    assert (
        centroid(x, np.zeros(4, int), NO_MERGES).tolist()
        == centroid(x / 1e200, np.zeros(4, int), NO_MERGES).tolist()
        == [1] * 4
    )


def test_distances_are_cosine_distances_and_zero_for_duplicates():
    x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    x[7] = x[2]
    representative = np.random.default_rng(1).integers(0, 30, 30)
    representative[[2, 7]] = 2
    distance = distance_to(x, representative)
    expected = [cosine(a, b) for a, b in zip(x.astype(float), x[representative].astype(float), strict=True)]
    np.testing.assert_allclose(distance, expected, atol=1e-12)
    assert distance[2] == distance[7] == 0
    assert distance_to(np.array([[1.0], [-3.0]]), np.array([0, 0])).tolist() == [0, 2]


def test_lengths_that_differ_are_refused():
    for rule in REPRESENTATIVES.values():
        with pytest.raises(InputError, match=r"^cluster: must have one entry per embedding, but has 2 for 3 "):
            rule(np.ones((3, 2)), np.zeros(2, int), NO_MERGES)
    with pytest.raises(InputError, match=r"^labels: must have one label per embedding, but has 2 for 3 embeddings$"):
        Pool(np.zeros(2, int), np.ones((3, 2)))
