import re

import numpy as np
import pytest
import scipy.cluster.hierarchy as scipy_hierarchy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from sklearn.datasets import load_digits

from data_redundancy.clustering.classwise import Dendrogram, Dendrograms, cluster_class, cluster_classes
from data_redundancy.clustering.distances import _padded_size, check_embeddings, cosine_distances, unit_vectors
from data_redundancy.clustering.linkage import LINKAGES, cut, cut_tree, linkage, number_by_lowest_member
from data_redundancy.errors import InputError

BETWEEN_CLUSTERS = {"complete": np.max, "average": np.mean, "single": np.min}
few_examples = settings(max_examples=40, deadline=None)


@st.composite
def embeddings(draw):
    """Random, clustered, duplicated (also up to scale), one-dimensional and tiny inputs, of two data types."""
    seed = draw(st.integers(0, 2**32 - 1))
    num_rows = draw(st.sampled_from([1, 2, 3, 5, 12, 31, 32, 33]))
    num_dimensions = draw(st.sampled_from([1, 2, 5, 64]))
    kind = draw(st.sampled_from(["random", "clustered", "duplicated", "scaled", "integers"]))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, num_dimensions))
    if kind == "clustered":
        x = x[rng.integers(0, 3, num_rows) % num_rows] + 1e-3 * x
    elif kind == "duplicated":
        x = x[rng.integers(0, num_rows // 2 + 1, num_rows) % num_rows]
    elif kind == "scaled":
        x = x[rng.integers(0, num_rows // 2 + 1, num_rows) % num_rows] * rng.uniform(0.1, 9, (num_rows, 1))
    elif kind == "integers":  # many ties
        x = rng.integers(1, 4, (num_rows, num_dimensions)) * rng.choice([-1, 1], (num_rows, num_dimensions))
    return x.astype(draw(st.sampled_from([np.float32, np.float64])))


def same_partition(a, b):
    return np.array_equal(number_by_lowest_member(np.asarray(a)), number_by_lowest_member(np.asarray(b)))


def assert_every_merge_is_a_smallest_one(Z, distances, method):
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


# Distances


@few_examples
@given(embeddings())
def test_distances_equal_scipy(x):
    distances = cosine_distances(x)
    np.testing.assert_allclose(distances, squareform(pdist(x.astype(np.float64), "cosine")), atol=1e-12)
    assert distances.dtype == np.float64
    assert np.array_equal(distances, distances.T)
    assert (np.diag(distances) == 0).all()
    assert distances.min() >= 0
    assert distances.max() <= 2


@pytest.mark.parametrize("num_dimensions", [1, 64, 2048])
def test_duplicates_have_distance_zero_also_up_to_scale(num_dimensions):
    rng = np.random.default_rng(0)
    originals = rng.normal(size=(20, num_dimensions))
    group = np.arange(80) % 20 if num_dimensions > 1 else (originals[np.arange(80) % 20, 0] > 0).astype(int)
    x = originals[np.arange(80) % 20] * rng.uniform(1e-3, 1e3, (80, 1))
    assert np.array_equal(cosine_distances(x) == 0, group[:, None] == group)


def test_small_distances_are_not_lost():
    angle = 1e-5
    x = np.array([[1, 0], [np.cos(angle), np.sin(angle)]])
    assert cosine_distances(x)[0, 1] == pytest.approx(angle**2 / 2, rel=1e-4)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-160, 1e160, 1e308])
def test_unit_vectors_of_any_magnitude(scale):
    x = np.array([[1.0, -1.0], [0.0, 1.0]]) * scale
    np.testing.assert_allclose(unit_vectors(x), [[0.5**0.5, -(0.5**0.5)], [0, 1]], rtol=1e-15)


def test_half_precision_and_integers_are_computed_with_in_full_precision():
    x = np.array([[30000, 40000], [60000, 1], [2, 60000]])
    expected = unit_vectors(x.astype(np.float64))
    assert np.array_equal(unit_vectors(x), expected)
    np.testing.assert_allclose(unit_vectors(x.astype(np.float16)), expected, atol=1e-3)
    assert check_embeddings(x.astype(np.float16)).dtype == np.float32
    assert check_embeddings(x).dtype == np.float64
    same = x.astype(np.float32)
    assert check_embeddings(same) is same


def test_class_sizes_share_few_compiled_shapes():
    padded = np.array([_padded_size(n) for n in range(1, 5001)])
    assert (padded >= np.arange(1, 5001)).all()
    assert (padded[256:] <= 1.125 * np.arange(257, 5001)).all()
    assert len(np.unique(padded)) <= 44


def test_padding_does_not_change_distances():
    x = np.random.default_rng(0).normal(size=(97, 8))
    whole = cosine_distances(x)
    for n in (1, 2, 31, 32, 33, 64, 65):
        np.testing.assert_allclose(cosine_distances(x[:n]), whole[:n, :n], atol=1e-15)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(3), r"shape (3,)"),
        (np.ones((0, 3)), r"shape (0, 3)"),
        (np.ones((3, 0)), r"shape (3, 0)"),
        (np.ones((3, 2), bool), "data type bool"),
        (np.array([["a"]]), "data type <U1"),
        (np.array([[None]]), "data type object"),
        (np.ones((3, 2), complex), "data type complex128"),
        ([[1, 2], [3]], "not a matrix of numbers"),
    ],
)
def test_what_is_not_a_matrix_is_refused(bad, message):
    with pytest.raises(InputError, match=f"^vectors: .*{re.escape(message)}"):
        check_embeddings(bad, "vectors")


@pytest.mark.parametrize(
    ("value", "fault"), [(np.nan, "holds NaN"), (np.inf, "is infinite"), (-np.inf, "is infinite"), (0, "zero vector")]
)
def test_the_first_row_without_direction_is_named(value, fault):
    x = np.ones((9, 4), np.float32)
    x[5, :] = value
    x[7, 2] = np.nan
    with pytest.raises(InputError, match=f"^embeddings: index 5 .*{fault}"):
        check_embeddings(x)


def test_one_bad_element_is_enough_but_a_zero_is_not():
    x = np.eye(3)
    check_embeddings(x)
    for value in (np.nan, np.inf, -np.inf):
        bad = x.copy()
        bad[1, 2] = value
        with pytest.raises(InputError, match=r"index 1 "):
            check_embeddings(bad)


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
        return  # ties (or what rounding makes of them) may be broken either way; the replay has judged the tree
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
    assert np.array_equal(cut(x, num_clusters=k, method=method), cluster)
    assert same_partition(cluster, first_merges(Z, k))
    if len(x) > 1 and (np.diff(Z[:, 2]) > 0).all():  # of equal heights SciPy makes any first
        assert same_partition(cluster, scipy_hierarchy.cut_tree(Z, k)[:, 0])


def first_merges(Z, num_clusters):
    n = len(Z) + 1
    clusters = {i: [i] for i in range(n)}
    for i in range(n - num_clusters):
        clusters[n + i] = clusters.pop(int(Z[i, 0])) + clusters.pop(int(Z[i, 1]))
    cluster = np.empty(n, int)
    for label, members in clusters.items():
        cluster[members] = label
    return cluster


def test_number_by_lowest_member():
    assert number_by_lowest_member(np.array([7, 7, -1, 3, 7, 3])).tolist() == [0, 0, 1, 2, 0, 2]


@pytest.mark.parametrize("k", [0, 6, -1, 2.0, "2", None])
def test_impossible_numbers_of_clusters_are_refused(k):
    x = np.random.default_rng(0).normal(size=(5, 2))
    for call in (lambda: cut(x, num_clusters=k), lambda: cut_tree(linkage(x), k)):
        with pytest.raises(InputError, match=rf"^num_clusters: {k!r}, .* from 1 to 5"):
            call()


def test_unknown_linkages_are_refused_and_the_known_listed():
    x = np.ones((2, 2))
    calls = [
        lambda: linkage(x, "ward"),
        lambda: cut(x, 1, "ward"),
        lambda: cluster_classes(x, np.zeros(2, int), method="ward"),
        lambda: cluster_class(x, np.arange(2), "ward"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"^linkage 'ward' is not one of complete, average, single$"):
            call()


# Classes


def digits():
    pixels, labels = load_digits(return_X_y=True)
    return pixels[:400].astype(np.float32), labels[:400]


def test_every_class_gets_the_tree_of_its_own_members():
    x, labels = digits()
    dendrograms = cluster_classes(x, labels, method="average")
    assert list(dendrograms.trees) == list(range(10))
    assert dendrograms.method == "average"
    for label, tree in dendrograms.trees.items():
        assert tree.members.dtype == np.int64
        assert np.array_equal(tree.members, np.flatnonzero(labels == label))
        assert np.array_equal(tree.linkage, linkage(x[labels == label], "average"))
        assert np.array_equal(dendrograms.heights(label), tree.linkage[:, 2])
        assert (np.diff(dendrograms.heights(label)) >= 0).all()


def test_cutting_all_classes_numbers_clusters_over_the_data_set():
    x, labels = digits()
    num_clusters = {label: 3 + label for label in range(10)}
    cluster = cluster_classes(x, labels).cut(num_clusters)
    ids, first = np.unique(cluster, return_index=True)
    assert ids.tolist() == list(range(sum(num_clusters.values())))
    assert (np.diff(first) > 0).all()
    for label, k in num_clusters.items():
        assert same_partition(cluster[labels == label], cut(x[labels == label], k))
        assert not np.isin(cluster[labels == label], cluster[labels != label]).any()


def test_labels_need_not_be_contiguous_and_classes_may_be_single():
    x = np.random.default_rng(0).normal(size=(4, 3))
    dendrograms = cluster_classes(x, np.array([7, 2, 7, 5], np.uint8))
    assert list(dendrograms.trees) == [2, 5, 7]
    assert dendrograms.trees[5].linkage.shape == (0, 4)
    assert dendrograms.cut({2: 1, 5: 1, 7: 1}).tolist() == [0, 1, 0, 2]


def test_progress_wraps_the_classes():
    seen = []

    def progress(classes):
        for label in classes:
            seen.append(label)
            yield label

    x, labels = digits()
    cluster_classes(x, labels, progress=progress)
    assert seen == list(range(10))


def test_inputs_are_not_changed():
    x, labels = digits()
    for array in (x, labels):
        array.setflags(write=False)
    before = x.copy(), labels.copy()
    dendrograms = cluster_classes(x, labels)
    dendrograms.cut(dict.fromkeys(range(10), 5))
    cut(x[:30], 3)
    assert np.array_equal(x, before[0])
    assert np.array_equal(labels, before[1])


def test_faulty_embeddings_are_named_by_their_index_in_the_whole_set():
    x, labels = digits()
    x[123] = 0
    for call in (
        lambda: cluster_classes(x, labels),
        lambda: cluster_class(x, np.flatnonzero(labels == labels[123])),
    ):
        with pytest.raises(InputError, match=r"^embeddings: index 123 is a zero vector"):
            call()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, int), "^labels: 3 labels for 4 embeddings$"),
        (np.zeros(4), "^labels: .* type float64"),
        (np.zeros(4, bool), "^labels: .* type bool"),
        (np.zeros((4, 1), int), r"^labels: shape \(4, 1\)"),
        (np.array([0, 1, -1, -2]), "^labels: index 2 has label -1"),
    ],
)
def test_faulty_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        cluster_classes(np.ones((4, 2)), labels)


@pytest.mark.parametrize("members", [[], [2, 1], [1, 1], [-1, 0], [3, 4], [[0, 1]]])
def test_members_that_are_not_indices_in_order_are_refused(members):
    with pytest.raises(InputError, match=r"^members: .* 0 to 3"):
        cluster_class(np.ones((4, 2)), np.array(members, int))


def test_trees_that_do_not_belong_to_the_labels_are_refused():
    x, labels = np.eye(4), np.array([0, 0, 1, 1])
    trees = dict(cluster_classes(x, labels).trees)
    other_members = Dendrogram(np.array([1, 2]), trees[1].linkage)
    too_short = Dendrogram(trees[1].members, np.zeros((0, 4)))
    for bad, message in [
        ({0: trees[0]}, r"for classes \[0\], but labels has classes \[0, 1\]"),
        (trees | {1: other_members}, "members of class 1"),
        (trees | {1: too_short}, r"class 1 of 2 examples has a linkage of shape \(0, 4\)"),
    ]:
        with pytest.raises(InputError, match=f"^trees: .*{message}"):
            Dendrograms(x, labels, bad, "complete")


@pytest.mark.parametrize("num_clusters", [{0: 1}, {0: 1, 1: 1, 2: 1}, {0: 1, 1: 3}])
def test_cuts_that_do_not_fit_the_classes_are_refused(num_clusters):
    dendrograms = cluster_classes(np.eye(4), np.array([0, 0, 1, 1]))
    with pytest.raises(InputError, match=r"^num_clusters: "):
        dendrograms.cut(num_clusters)
