import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data_redundancy as dr
from data_redundancy.clustering import classwise, dense, search
from data_redundancy.clustering.classwise import cluster_classes
from data_redundancy.clustering.dendrograms import ClassDendrograms, Dendrogram
from data_redundancy.clustering.distances import fixed_point_unit_vectors
from data_redundancy.clustering.linkage import cut, linkage
from data_redundancy.clustering.strategy import choose_strategy
from data_redundancy.clustering.workload import Workload
from data_redundancy.errors import InputError
from helpers.clustering_oracles import digits, same_partition


def test_every_class_gets_the_tree_of_its_own_members():
    x, labels = digits()
    dendrograms = cluster_classes(x, labels, linkage="average")
    assert list(dendrograms.trees) == list(range(10))
    assert dendrograms.linkage == "average"
    for label, tree in dendrograms.trees.items():
        assert tree.members.dtype == np.int64
        assert np.array_equal(tree.members, np.flatnonzero(labels == label))
        assert np.array_equal(tree.merges, linkage(x[labels == label], "average"))
        assert np.array_equal(dendrograms.heights(label), tree.merges[:, 2])
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
    assert dendrograms.trees[5].merges.shape == (0, 4)
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
    with pytest.raises(
        InputError, match=r"^embeddings: must have finite vectors other than zero, but index 123 is a zero vector$"
    ):
        cluster_classes(x, labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, int), "^labels: must have one label per embedding, but has 3 for 4 embeddings$"),
        (np.zeros(4), r"^labels: .* and type float64\. "),
        (np.zeros(4, bool), r"^labels: .* and type bool\. "),
        (np.zeros((4, 1), int), r"^labels: must have one integer per example, but has shape \(4, 1\) "),
        (np.array([0, 1, -1, -2]), "^labels: must be at least 0, but index 2 has label -1$"),
    ],
)
def test_faulty_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        cluster_classes(np.ones((4, 2)), labels)


def test_trees_that_do_not_belong_to_the_labels_are_refused():
    x, labels = np.eye(4), np.array([0, 0, 1, 1])
    trees = dict(cluster_classes(x, labels).trees)
    other_members = Dendrogram(np.array([1, 2]), trees[1].merges)
    too_long = Dendrogram(trees[1].members, np.zeros((2, 4)))
    too_narrow = Dendrogram(trees[1].members, np.zeros((1, 3)))
    for bad, message in [
        ({0: trees[0]}, r"must have the classes of labels, \[0, 1\], but has \[0\]$"),
        (trees | {1: other_members}, "members of class 1"),
        (trees | {1: too_long}, r"class 1 of n=2 examples, but has shape \(2, 4\)"),
        (trees | {1: too_narrow}, r"class 1 of n=2 examples, but has shape \(1, 3\)"),
    ]:
        with pytest.raises(InputError, match=f"^trees: .*{message}"):
            ClassDendrograms(x, labels, bad, "complete")


@pytest.mark.parametrize("num_clusters", [{0: 1}, {0: 1, 1: 1, 2: 1}, {0: 1, 1: 3}])
def test_cuts_that_do_not_fit_the_classes_are_refused(num_clusters):
    dendrograms = cluster_classes(np.eye(4), np.array([0, 0, 1, 1]))
    with pytest.raises(InputError, match=r"^num_clusters: "):
        dendrograms.cut(num_clusters)


# Truncated trees


def test_truncated_trees_are_the_first_merges_of_whole_ones():
    x, labels = digits(1797)
    whole = cluster_classes(x, labels)
    for wanted in (1, 20, 90, 500):
        truncated = cluster_classes(x, labels, num_merges=dict.fromkeys(range(10), wanted))
        for label, tree in truncated.trees.items():
            size = len(tree.members)
            assert len(tree.merges) == min(wanted, size - 1)
            assert tree.is_truncated == (wanted < size - 1)
            assert np.array_equal(tree.merges, whole.merges(label)[:wanted])
            assert np.array_equal(truncated.heights(label), whole.heights(label)[:wanted])
        num_clusters = {label: max(1, len(t.members) - wanted) for label, t in truncated.trees.items()}
        assert np.array_equal(truncated.cut(num_clusters), whole.cut(num_clusters))


def test_a_cut_deeper_than_the_tree_is_refused_with_the_fraction_that_it_needs():
    x, labels = digits(1797)
    truncated = dr.cluster(x, labels, max_prune_fraction=0.2)
    assert all(tree.is_truncated for tree in truncated.trees.values())
    dr.select(truncated, prune_fraction=0.2)
    message = (
        r"^prune_fraction=0.5: needs \d+ merges in class 0 of 178 .* truncated after \d+, at height 0\.\d+\. Cluster "
    )
    with pytest.raises(InputError, match=message) as error:
        dr.select(truncated, prune_fraction=0.5)
    needed = float(re.search(r"max_prune_fraction of at least ([\d.]+)$", error.value.fix)[1])
    assert needed == pytest.approx(0.5, abs=1e-3)
    deeper = dr.cluster(x, labels, max_prune_fraction=needed)
    assert np.array_equal(
        dr.select(deeper, prune_fraction=0.5).keep, dr.select(dr.cluster(x, labels), prune_fraction=0.5).keep
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(0.01, 0.99), st.floats(0, 1))
def test_trees_are_deep_enough_for_every_fraction_up_to_the_largest(sizes, largest, share):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = np.random.default_rng(len(labels)).normal(size=(len(labels), 3))
    truncated, whole = dr.cluster(x, labels, max_prune_fraction=largest), dr.cluster(x, labels)
    if round(largest * share * len(labels)) <= len(labels) - len(sizes):
        found, expected = (dr.select(dendrograms, prune_fraction=largest * share) for dendrograms in (truncated, whole))
        assert np.array_equal(found.keep, expected.keep)
        assert np.array_equal(found.cluster, expected.cluster)


# Scope


def test_the_scope_dataset_ignores_labels_and_finds_copies_across_classes():
    x, labels = digits(400)
    x = np.concatenate([x, x[:20]])
    labels = np.concatenate([labels, (labels[:20] + 1) % 10])
    dendrograms = dr.cluster(x, labels, scope="dataset", max_prune_fraction=0.1)
    assert list(dendrograms.trees) == [0]
    selection = dr.select(dendrograms, prune_fraction=20 / 420)
    assert selection.redundant.tolist() == list(range(400, 420))
    assert selection.representative[400:].tolist() == list(range(20))
    whole = dr.cluster(x, scope="dataset")
    assert np.array_equal(whole.merges(0), linkage(x))


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope": "all"}, "^scope=all: must be one of class, dataset$"),
        ({"linkage": "ward"}, "^linkage=ward: must be one of complete, average, single$"),
        ({"max_prune_fraction": 1.0}, "^max_prune_fraction=1.0: must be "),
        ({"memory_limit_gb": 0}, "^memory_limit_gb=0: must be a number greater than 0$"),
        (
            {"memory_limit_gb": 1e-4},
            r"^memory_limit_gb=0.0001: must be at least 0\.\d+ for class 0: \d+ examples of 64 dimensions, ",
        ),
        ({"labels": None, "scope": "class"}, "^labels: must be given if scope is 'class'$"),
    ],
)
def test_faulty_arguments_are_refused(arguments, message):
    x, labels = digits(400)
    with pytest.raises(InputError, match=message):
        dr.cluster(x, **{"labels": labels, **arguments})


# Many at once


def test_small_classes_side_by_side_give_what_they_give_alone(monkeypatch):
    x, labels = digits(1797)
    alone = cluster_classes(x, labels, memory_limit=1e8)  # enough for one class at a time
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    beside = cluster_classes(x, labels, memory_limit=1e10)
    for label in range(10):
        assert np.array_equal(alone.merges(label), beside.merges(label))


@pytest.mark.parametrize("method", ["complete", "average"])
def test_on_accelerators_trees_are_the_same(monkeypatch, method):
    """Runs rounds on virtual CPU devices as if they were accelerators."""
    x, labels = digits(400)
    x[50:60] = x[:10]  # copies, some of them in other classes
    x[labels == 3] = x[labels == 3][0]
    expected = {k: dr.cluster(x, labels, linkage=method, max_prune_fraction=k) for k in (None, 0.5)}
    monkeypatch.setattr(classwise, "fits_accelerator", lambda *_: True)
    monkeypatch.setattr(search, "fits_accelerator", lambda *_: True)
    monkeypatch.setattr(
        search, "choose_strategy", lambda *arguments, label: choose_strategy(*arguments[:5], "matrix", label=label)
    )
    monkeypatch.setattr(dense, "agglomerate", None)  # must not be called
    for k, on_host in expected.items():
        on_devices = dr.cluster(x, labels, linkage=method, max_prune_fraction=k)
        for label in range(10):
            assert np.array_equal(on_devices.merges(label), on_host.merges(label))
    Z = linkage(x, method)
    monkeypatch.undo()
    assert np.array_equal(Z, linkage(x, method))


def test_accelerators_get_as_many_classes_at_once_as_there_is_memory_for():
    sizes = [100, 300, 300, 1, 900, 200]
    classes = {label: np.arange(size) for label, size in enumerate(sizes)}
    limit = 4 * 24 * 8 * 600  # a quarter of it fits 600 vectors of 8 dimensions
    work = Workload(classes, 8, {label: size - 1 for label, size in enumerate(sizes)}, "complete", limit)
    assert list(classwise._batches(work, list(classes))) == [[0, 1], [2, 3], [4], [5]]
    assert list(classwise._batches(work, [])) == []


def test_after_contraction_the_accelerator_goes_on(monkeypatch):
    x, _ = digits(400)
    units = fixed_point_unit_vectors(x)
    expected = search.first_merges(units, 399, "complete", algorithm="graph, then matrix")
    monkeypatch.setattr(search, "fits_accelerator", lambda *_: True)
    monkeypatch.setattr(dense, "agglomerate", None)
    merges = search.first_merges(units, 399, "complete", algorithm="graph, then matrix")
    for name in ("height", "low", "high"):
        assert np.array_equal(getattr(merges, name), getattr(expected, name))
