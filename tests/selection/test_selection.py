from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from sklearn.datasets import load_digits

import data_redundancy as dr
from data_redundancy.clustering.classwise import cluster_classes
from data_redundancy.errors import InputError
from data_redundancy.selection import (
    ALLOCATIONS,
    METHODS,
    OPTIONS,
    REPRESENTATIVES,
    Pool,
    select,
)
from helpers.representative_oracles import (
    brute_force_centroid,
    brute_force_medoid,
    brute_force_nested,
    clusters_of,
    tree,
)


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = np.append(pixels, pixels[:1], axis=0), np.append(labels, 10)  # and a class of one
    for array in (pixels, labels):
        array.setflags(write=False)
    scores = {name: np.random.default_rng(0).random(len(labels)) for name in OPTIONS["score"]}
    return Pool(labels, pixels, cluster_classes(pixels, labels), scores)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("allocation_name", ALLOCATIONS)
@pytest.mark.parametrize("prune_fraction", [0, 0.1, 0.31, 0.5, 0.99])
def test_keep_lists_are_sorted_unique_and_of_the_exact_size(digits, method, allocation_name, prune_fraction):
    selection = select(digits, method=method, prune_fraction=prune_fraction, allocation=allocation_name)
    n = len(digits.labels)
    assert selection.method == method
    assert selection.prune_fraction == prune_fraction
    assert selection.num_examples == n
    assert selection.keep.dtype == np.int64
    assert len(selection.keep) == n - round(prune_fraction * n)
    assert (np.diff(selection.keep) > 0).all()
    assert np.array_equal(np.sort(np.concatenate([selection.keep, selection.redundant])), np.arange(n))
    assert np.array_equal(np.flatnonzero(selection.kept), selection.keep)
    assert set(digits.labels[selection.keep]) == set(range(11))
    assert np.array_equal(selection.representative[selection.keep], selection.keep)
    assert (selection.distance[selection.keep] == 0).all()
    for array, dtype in [(selection.cluster, np.int64), (selection.representative, np.int64)]:
        assert array.shape == (n,)
        assert array.dtype == dtype


@pytest.mark.parametrize("allocation_name", ALLOCATIONS)
def test_agglomerative_keeps_the_representative_of_every_cluster(digits, allocation_name):
    selection = select(digits, method="agglomerative", prune_fraction=0.3, allocation=allocation_name)
    ids, sizes = np.unique(selection.cluster, return_counts=True)
    assert ids.tolist() == list(range(len(selection.keep)))
    assert sizes.max() > 2
    x = digits.embeddings
    assert np.array_equal(selection.representative, brute_force_centroid(x, selection.cluster))
    assert np.array_equal(selection.cluster, selection.cluster[selection.representative])
    assert np.array_equal(digits.labels, digits.labels[selection.representative])
    expected = [cosine(a, b) for a, b in zip(x, x[selection.representative], strict=True)]
    np.testing.assert_allclose(selection.distance, expected, atol=1e-12)


@pytest.mark.parametrize("rule", REPRESENTATIVES)
@pytest.mark.parametrize("allocation_name", ALLOCATIONS)
def test_every_rule_is_followed_in_every_class(digits, rule, allocation_name):
    options = {"method": "agglomerative", "prune_fraction": 0.4, "allocation": allocation_name}
    selection = select(digits, **options, representative=rule)
    # Only the representative of a cluster depends on the rule.
    assert np.array_equal(selection.cluster, select(digits, **options).cluster)
    for label, members in digits.members_by_class().items():
        x, cluster = digits.embeddings[members], selection.cluster[members]
        made = digits.dendrograms.merges(label)[: len(members) - len(np.unique(cluster))]
        expected = {
            "centroid": brute_force_centroid(x, cluster),
            "medoid": brute_force_medoid(x, cluster),
            "nested": brute_force_nested(x, made),
        }
        assert np.array_equal(selection.representative[members], members[expected[rule]])
    for other in set(REPRESENTATIVES) - {rule}:
        assert not np.array_equal(selection.keep, select(digits, **options, representative=other).keep)


def test_nested_keep_lists_of_digits(digits):
    def keep(rule, fraction, allocation_name):
        return dr.select(
            digits.dendrograms, prune_fraction=fraction, representative=rule, allocation=allocation_name
        ).keep

    def num_kept(indices):
        return np.bincount(digits.labels[indices], minlength=11)

    for allocation_name in ALLOCATIONS:
        shallow, deep = (keep("nested", fraction, allocation_name) for fraction in (0.2, 0.3))
        assert (num_kept(deep) <= num_kept(shallow)).all()
        assert np.isin(deep, shallow).all()
        for rule in ("centroid", "medoid"):  # only `nested` guarantees it
            assert not np.isin(keep(rule, 0.3, allocation_name), keep(rule, 0.2, allocation_name)).all()
    previous = np.arange(len(digits.labels))
    for fraction in np.linspace(0, 0.99, 34):  # at one height, larger fractions make all merges of smaller ones
        current = keep("nested", fraction, "global")
        assert np.isin(current, previous).all()
        previous = current


def test_nested_needs_only_the_merges_that_are_made():
    x = np.random.default_rng(0).normal(size=(30, 4))
    merges = tree(x)
    truncated = SimpleNamespace(merges=lambda label: merges[:12], cut=lambda num_kept: clusters_of(merges[:9], 30))
    pool = Pool(np.full(30, 7), x, truncated)
    selection = select(pool, method="agglomerative", prune_fraction=0.3, representative="nested")
    assert np.array_equal(selection.representative, brute_force_nested(x, merges[:9]))


def test_global_allocation_cuts_all_classes_at_one_height(digits):
    selection = select(digits, method="agglomerative", prune_fraction=0.2, allocation="global")
    made, left = [], []
    for label in range(11):
        num_pruned = np.count_nonzero(digits.labels[selection.redundant] == label)
        made.extend(digits.dendrograms.heights(label)[:num_pruned])
        left.extend(digits.dendrograms.heights(label)[num_pruned:])
    assert max(made) <= min(left)


@pytest.mark.parametrize("allocation_name", ALLOCATIONS)
def test_all_methods_take_as_many_of_every_class(digits, allocation_name):
    removed = [
        digits.labels[select(digits, method=method, prune_fraction=0.3, allocation=allocation_name).redundant].tolist()
        for method in METHODS
    ]
    assert all(sorted(each) == sorted(removed[0]) for each in removed)


def test_random_names_no_clusters(digits):
    selection = select(digits, method="random", prune_fraction=0.3)
    assert (selection.cluster == -1).all()
    assert (selection.representative[selection.redundant] == -1).all()
    assert np.isnan(selection.distance[selection.redundant]).all()


def test_random_depends_on_seed_labels_and_counts_only(digits):
    def keep(pool, seed):
        return select(pool, method="random", prune_fraction=0.5, seed=seed).keep

    labels_only = Pool(digits.labels)
    assert np.array_equal(keep(digits, 3), keep(labels_only, 3))
    assert len({tuple(keep(labels_only, seed)) for seed in range(20)}) == 20
    # Class 0 keeps the same examples when other classes come and go.
    labels = np.repeat([0, 1, 2], 20)
    with_others, alone = keep(Pool(labels), 5), keep(Pool(labels[:20]), 5)
    assert np.array_equal(with_others[with_others < 20], alone)
    # Classes do not share a draw.
    assert not np.array_equal(with_others[with_others < 20] + 20, with_others[(with_others >= 20) & (with_others < 40)])


def test_random_is_uniform():
    labels = np.repeat([0, 1], [10, 30])
    times_kept = np.zeros(40)
    for seed in range(400):
        times_kept[select(Pool(labels), method="random", prune_fraction=0.5, seed=seed).keep] += 1
    assert np.abs(times_kept - 200).max() < 4.5 * 10  # standard deviation sqrt(400 / 4)


@pytest.mark.parametrize("allocation_name", ["per_class", "global"])
def test_planted_duplicates_of_digits_are_removed_first(allocation_name):
    pixels, labels = load_digits(return_X_y=True)
    assert len(np.unique(pixels, axis=0)) == len(pixels)
    planted = np.concatenate([np.flatnonzero(labels == label)[:20] for label in range(10)])
    scale = np.random.default_rng(0).uniform(0.1, 10, (len(planted), 1))  # brighter or darker, the same direction
    x = np.concatenate([pixels, pixels[planted] * scale])
    y = np.concatenate([labels, labels[planted]])
    dendrograms = cluster_classes(x, y)
    pool = Pool(y, x, dendrograms)
    selection = select(pool, method="agglomerative", prune_fraction=len(planted) / len(x), allocation=allocation_name)
    copies = np.arange(len(pixels), len(x))
    if allocation_name == "global":
        assert np.array_equal(selection.redundant, copies)
        assert np.array_equal(selection.representative[copies], planted)
        assert selection.distance.max() < 1e-14
    else:  # a class loses about 20 examples, copies before any others
        for label in range(10):
            gone = selection.redundant[y[selection.redundant] == label]
            num_copies = np.count_nonzero(gone >= len(pixels))
            assert num_copies == min(len(gone), 20)


def test_a_fraction_of_zero_keeps_everything(digits):
    for method in METHODS:
        selection = select(digits, method=method, prune_fraction=0)
        assert np.array_equal(selection.keep, np.arange(len(digits.labels)))
        assert np.array_equal(selection.representative, selection.keep)
        assert len(selection.redundant) == 0


def test_bad_requests_are_refused(digits):
    labels_only = Pool(digits.labels)
    for pool, arguments, message in [
        (digits, {"method": "kmeans"}, "^method=kmeans: must be one of agglomerative, random, "),
        (digits, {"allocation": "fair"}, "^allocation=fair: must be one of per_class, global$"),
        (digits, {"representative": "mean"}, "^representative=mean: must be one of centroid, medoid, nested$"),
        (
            labels_only,
            {"method": "random", "representative": "mean"},
            "^representative=mean: must be one of centroid, ",
        ),
        (digits, {"seed": -1}, "^seed=-1: must be at least 0$"),
        (digits, {"prune_fraction": 1.0}, "^prune_fraction=1.0: must be a number at least 0 and less than 1$"),
        (digits, {"prune_fraction": 0.999}, r"^prune_fraction=0.999: prunes 1796 of 1798 .*\. Prune at most 0.9938\.$"),
        (labels_only, {}, "^embeddings: must be given for the method 'agglomerative'$"),
        (labels_only, {"method": "random", "allocation": "global"}, r"^allocation=global: needs dendrograms\. "),
    ]:
        with pytest.raises(InputError, match=message):
            select(pool, **({"method": "agglomerative", "prune_fraction": 0.1} | arguments))


def test_without_dendrograms(digits):
    with pytest.raises(InputError, match=r"^dendrograms: must be given for the method 'agglomerative'\. Cluster "):
        select(Pool(digits.labels, digits.embeddings), method="agglomerative", prune_fraction=0.1)


@pytest.mark.parametrize(
    ("labels", "requirement"),
    [
        (np.zeros(0, int), "must not be empty"),
        (np.zeros(3), r"must have one integer per example, but has shape \(3,\) and type float64\. .*"),
        (np.zeros((3, 1), int), r"must have one integer per example, but has shape \(3, 1\) and type int64\. .*"),
        (np.array([0, -1]), "must be at least 0, but index 1 has label -1"),
    ],
)
def test_faulty_labels_are_refused(labels, requirement):
    with pytest.raises(InputError, match=f"^labels: {requirement}$"):
        Pool(labels)
