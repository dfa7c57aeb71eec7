import numpy as np
import pytest
import scipy.cluster.hierarchy as scipy_hierarchy
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from sklearn.datasets import load_digits

from data_redundancy.clustering.linkage import LINKAGES, cut, cut_tree, linkage
from data_redundancy.clustering.partitions import number_by_lowest_member
from data_redundancy.errors import InputError
from helpers.clustering_oracles import (
    assert_every_merge_is_a_smallest_one,
    digits,
    embeddings,
    few_examples,
    first_partition,
    same_partition,
)

# Trees


@few_examples
@given(embeddings(), st.sampled_from(LINKAGES))
def test_trees_equal_scipy(x, method):
    Z = linkage(x, method)
    assert Z.shape == (len(x) - 1, 4)
    assert Z.dtype == np.float64
    if len(x) == 1:
        return
    distances = pdist(x.astype(np.float64), "cosine")
    assert_every_merge_is_a_smallest_one(Z, squareform(distances), method)
    assert scipy_hierarchy.is_valid_linkage(Z)
    expected = scipy_hierarchy.linkage(distances, method)
    if np.diff(np.unique(distances)).min(initial=np.inf) < 1e-9 or len(np.unique(distances)) < len(distances):
        return  # ties, or nearly ties, may be broken either way; the replay above has validated the tree
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], atol=1e-10)
    for k in range(1, len(x) + 1):
        ours = cut_tree(Z, k)
        assert same_partition(ours, scipy_hierarchy.cut_tree(expected, k)[:, 0])
        assert same_partition(ours, scipy_hierarchy.fcluster(expected, k, "maxclust"))


@pytest.mark.parametrize("method", LINKAGES)
@pytest.mark.parametrize(("n", "num_dimensions"), [(2, 3), (3, 3), (60, 2), (150, 64)])
def test_trees_without_ties_equal_scipy_exactly_in_structure(n, num_dimensions, method):
    x = np.random.default_rng(n).normal(size=(n, num_dimensions))
    Z, expected = linkage(x, method), scipy_hierarchy.linkage(pdist(x, "cosine"), method)
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], atol=1e-10)
    for k in range(1, n + 1):
        assert same_partition(cut_tree(Z, k), scipy_hierarchy.fcluster(expected, k, "maxclust"))


@pytest.mark.parametrize("method", LINKAGES)
def test_trees_of_real_images_equal_scipy(method):
    pixels, labels = load_digits(return_X_y=True)
    x = pixels[labels == 3]
    Z, expected = linkage(x, method), scipy_hierarchy.linkage(pdist(x, "cosine"), method)
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], atol=1e-10)
    assert np.array_equal(np.sort(Z[:, :2], axis=1), np.sort(expected[:, :2], axis=1))


@pytest.mark.parametrize("method", LINKAGES)
def test_duplicates_merge_first_at_height_zero(method):
    originals = np.random.default_rng(0).normal(size=(10, 6))
    x = np.concatenate([originals, 3 * originals[:4], originals[:2] / 7])
    Z = linkage(x, method)
    assert (Z[:6, 2] == 0).all()
    assert (Z[6:, 2] > 1e-6).all()
    assert cut_tree(Z, 10).tolist() == [*range(10), 0, 1, 2, 3, 0, 1]


# Cuts


@few_examples
@given(embeddings(), st.sampled_from(LINKAGES), st.data())
def test_cuts_have_exactly_k_clusters_in_order_and_equal_scipys(x, method, data):
    k = data.draw(st.integers(1, len(x)))
    Z = linkage(x, method)
    cluster = cut_tree(Z, k)
    assert cluster.dtype == np.int64
    ids, first = np.unique(cluster, return_index=True)
    assert ids.tolist() == list(range(k))
    assert (np.diff(first) > 0).all()
    assert np.array_equal(cut(x, num_clusters=k, linkage=method), cluster)
    assert same_partition(cluster, first_partition(Z, k))
    if len(x) > 1 and (np.diff(Z[:, 2]) > 0).all():  # at equal heights, SciPy may cut any merge
        assert same_partition(cluster, scipy_hierarchy.cut_tree(Z, k)[:, 0])


def test_number_by_lowest_member():
    assert number_by_lowest_member(np.array([7, 7, -1, 3, 7, 3])).tolist() == [0, 0, 1, 2, 0, 2]


@pytest.mark.parametrize("k", [0, 6, -1, 2.0, "2", None])
def test_impossible_numbers_of_clusters_are_refused(k):
    x = np.random.default_rng(0).normal(size=(5, 2))
    given = "" if k is None else f"={k}"
    for call in (lambda: cut(x, num_clusters=k), lambda: cut_tree(linkage(x), k)):
        with pytest.raises(InputError, match=rf"^num_clusters{given}: must be an integer from 1 to 5$"):
            call()


def test_unknown_linkages_are_refused_and_the_known_listed():
    x = np.ones((2, 2))
    calls = [
        lambda: linkage(x, "ward"),
        lambda: cut(x, 1, "ward"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"^linkage=ward: must be one of complete, average, single$"):
            call()


def test_trees_that_are_truncated_can_be_cut_as_far_as_they_go():
    x = np.random.default_rng(0).normal(size=(20, 4))
    Z = linkage(x)
    for k in range(12, 21):
        assert np.array_equal(cut_tree(Z[:8], k, num_rows=20), cut_tree(Z, k))
    with pytest.raises(InputError, match=r"^num_clusters=11: must be an integer from 12 to 20$"):
        cut_tree(Z[:8], 11, num_rows=20)
    assert cut_tree(Z[:0], 20, num_rows=20).tolist() == list(range(20))


def test_trees_of_half_precision_are_those_of_the_same_numbers_in_full():
    x = digits(200)[0].astype(np.float16)
    for method in LINKAGES:
        assert np.array_equal(linkage(x, method), linkage(x.astype(np.float64), method))
        assert np.array_equal(cut(x, 50, method), cut(x.astype(np.float32), 50, method))


def test_inputs_are_not_changed():
    x = digits(100)[0]
    before = x.copy()
    x.setflags(write=False)
    for method in LINKAGES:
        Z = linkage(x, method)
        cut(x, 7, method)
        Z.setflags(write=False)
        cut_tree(Z, 7)
    assert np.array_equal(x, before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(5), r"^x: must be a matrix .* has shape \(5,\)$"),
        (np.ones((5, 0)), r"^x: must be a matrix .* has shape \(5, 0\)$"),
        (np.ones((5, 2), bool), "^x: must have floats or integers, but has data type bool$"),
        (np.array([["a"] * 2] * 5), "^x: must have floats or integers, but has data type <U1$"),
        (np.diag([1.0, 1, np.nan, 0, 1]), "^x: .* index 2 contains NaN$"),
        (np.diag([1.0, 1, 1, np.inf, np.nan]), "^x: .* index 3 is infinite$"),
        (np.diag([1.0, 0, 1, 0, 1]), "^x: .* index 1 is a zero vector$"),
    ],
)
def test_what_has_no_cosine_distances_is_refused(bad, message):
    for call in (linkage, lambda x: cut(x, 2)):
        with pytest.raises(InputError, match=message):
            call(bad)
