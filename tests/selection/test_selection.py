import itertools
import tracemalloc
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
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
    allocation,
    representative,
    select,
)
from data_redundancy.selection.representative import centroid, distance_to, medoid, nested

few_examples = settings(max_examples=60, deadline=None)


# Allocation


@pytest.mark.parametrize("num_examples", [1, 7, 10, 25, 1797, 50_000, 1_281_167])
@pytest.mark.parametrize("prune_fraction", [0, 0.1, 0.3, 0.5, 0.7, 0.999])
def test_num_pruned_is_pythons_round(num_examples, prune_fraction):
    assert allocation.num_pruned(num_examples, prune_fraction) == round(prune_fraction * num_examples)


@pytest.mark.parametrize("prune_fraction", [-0.1, 1, 1.5, float("nan"), float("inf"), "0.1", None])
def test_prune_fractions_out_of_range_are_refused(prune_fraction):
    with pytest.raises(InputError, match=rf"^prune_fraction: {prune_fraction!r}, but at least 0 and less than 1"):
        allocation.num_pruned(10, prune_fraction)


@few_examples
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_per_class_is_the_closest_to_equal_shares(sizes, data):
    """Largest remainder minimises the squared deviation from the exact shares: compare with all allocations."""
    num_pruned = data.draw(st.integers(0, sum(sizes) - len(sizes)))
    share = Fraction(num_pruned, sum(sizes))
    if any(share * size > size - 1 for size in sizes):
        return  # a class that cannot give its share: see the next tests
    candidates = [c for c in itertools.product(*map(range, sizes)) if sum(c) == num_pruned]
    error = {c: sum((count - share * size) ** 2 for count, size in zip(c, sizes, strict=True)) for c in candidates}
    smallest = min(error.values())
    best = max(c for c in candidates if error[c] == smallest)  # ties: rounded up in the lower classes
    assert tuple(allocation.per_class(dict(enumerate(sizes)), num_pruned).values()) == best


@few_examples
@given(st.dictionaries(st.integers(0, 99), st.integers(1, 40), min_size=1, max_size=8), st.data())
def test_per_class_is_exact_leaves_one_of_each_and_is_fair(class_sizes, data):
    num_pruned = data.draw(st.integers(0, sum(class_sizes.values()) - len(class_sizes)))
    counts = allocation.per_class(class_sizes, num_pruned)
    assert counts.keys() == class_sizes.keys()
    assert sum(counts.values()) == num_pruned
    share = Fraction(num_pruned, sum(class_sizes.values()))
    for label, size in class_sizes.items():
        assert 0 <= counts[label] <= size - 1
        assert counts[label] > share * size - 1 or counts[label] == size - 1
    not_emptied = {label: size for label, size in class_sizes.items() if counts[label] < size - 1}
    for a, b in itertools.permutations(not_emptied, 2):
        if class_sizes[a] >= class_sizes[b]:
            assert counts[a] >= counts[b] - (class_sizes[a] == class_sizes[b])


@pytest.mark.parametrize(
    ("sizes", "num_pruned", "expected"),
    [
        ([1, 9], 1, [0, 1]),
        ([1] * 10 + [10], 9, [0] * 10 + [9]),
        ([1, 1, 10, 20], 15, [0, 0, 5, 10]),  # 32 in all, so 15/32 each, and the single ones' share goes to the others
        ([2, 10], 9, [1, 8]),
        ([5, 5, 5, 5], 2, [1, 1, 0, 0]),  # equal remainders: the lower classes
        ([3, 3], 4, [2, 2]),
        ([4], 3, [3]),
        ([1, 1], 0, [0, 0]),
    ],
)
def test_per_class_by_hand(sizes, num_pruned, expected):
    assert list(allocation.per_class(dict(enumerate(sizes)), num_pruned).values()) == expected
    descending = dict(reversed(list(enumerate(sizes))))
    assert list(allocation.per_class(descending, num_pruned).values()) == expected[::-1]


@few_examples
@given(st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=4), st.data())
def test_global_height_makes_the_lowest_merges(heights, data):
    num_merges = sum(map(len, heights))
    num_pruned = data.draw(st.integers(0, num_merges))
    merges = sorted((h, label, i) for label, hs in enumerate(heights) for i, h in enumerate(sorted(hs)))[:num_pruned]
    expected = [sum(label == c for _, label, _ in merges) for c in range(len(heights))]
    # Given in descending order of label: the order of the mapping must not matter.
    given_heights = {label: np.array(sorted(hs), float) for label, hs in reversed(list(enumerate(heights)))}
    sizes = {label: len(hs) + 1 for label, hs in enumerate(heights)}
    counts = allocation.global_height(given_heights, sizes, num_pruned)
    assert [counts[label] for label in range(len(heights))] == expected


@few_examples
@given(st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=4), st.data())
def test_global_height_of_truncated_trees_is_that_of_whole_ones_or_refused(heights, data):
    whole = {label: np.array(sorted(hs), float) for label, hs in enumerate(heights)}
    sizes = {label: len(hs) + 1 for label, hs in whole.items()}
    truncated = {label: hs[: data.draw(st.integers(0, len(hs)))] for label, hs in whole.items()}
    stored = sorted((h, label, i) for label, hs in truncated.items() for i, h in enumerate(hs))
    # Beyond the last stored merge of a truncated tree there may be others.
    ends = [
        stored.index((hs[-1], label, len(hs) - 1)) + 1 if len(hs) else 0
        for label, hs in truncated.items()
        if len(hs) < len(whole[label])
    ]
    known = min(ends, default=len(stored))
    for num_pruned in range(sum(map(len, heights)) + 1):
        if num_pruned <= known:
            expected = allocation.global_height(whole, sizes, num_pruned)
            assert allocation.global_height(truncated, sizes, num_pruned) == expected
        else:
            with pytest.raises(InputError, match=f"truncated and hold the {known} lowest"):
                allocation.global_height(truncated, sizes, num_pruned)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0.01, 0.99), st.floats(0, 1))
def test_most_pruned_is_enough_for_every_smaller_fraction(sizes, largest, share):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    most = allocation.most_pruned(labels, largest)
    count = allocation.num_pruned(len(labels), largest * share)
    if count <= len(labels) - len(sizes):
        pruned = allocation.per_class(dict(enumerate(sizes)), count)
        assert all(pruned[label] <= most[label] <= sizes[label] - 1 for label in most)
    assert sum(most.values()) <= min(largest * len(labels) + 2 * len(sizes) + 1, len(labels) - len(sizes))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, np.nan, "0.1"])
def test_most_pruned_refuses_what_is_no_fraction(fraction):
    with pytest.raises(InputError, match=r"^max_prune_fraction: "):
        allocation.most_pruned(np.zeros(3, int), fraction)


def test_removing_too_much_is_refused_and_the_largest_fraction_told():
    message = r"^prune_fraction: removes 8 of 10 examples, but each of 3 classes .*: 0.7 is the largest possible$"
    with pytest.raises(InputError, match=message):
        allocation.per_class({0: 4, 1: 5, 2: 1}, 8)
    with pytest.raises(InputError, match=message):
        allocation.global_height({0: np.arange(3.0), 1: np.arange(4.0), 2: np.zeros(0)}, {0: 4, 1: 5, 2: 1}, 8)
    assert sum(allocation.per_class({0: 4, 1: 5, 2: 1}, 7).values()) == 7
    with pytest.raises(InputError, match=r": 0.0 is the largest"):
        allocation.per_class({0: 1, 1: 1}, 1)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9))
def test_the_largest_fraction_told_is_possible(sizes):
    with pytest.raises(InputError) as caught:
        allocation.per_class(dict(enumerate(sizes)), sum(sizes) - len(sizes) + 1)
    largest = float(str(caught.value).split(": ")[2].split()[0])
    allocation.per_class(dict(enumerate(sizes)), allocation.num_pruned(sum(sizes), largest))


# Representatives

NO_MERGES = np.zeros((0, 4))  # what rules that do not look at the tree are given


def one_cluster(rule, x):
    """The row that represents all rows as one cluster; the tree is SciPy's."""
    cluster = np.zeros(len(x), int)
    (chosen,) = set(REPRESENTATIVES[rule](np.asarray(x, float), cluster, tree(x)).tolist())
    return chosen


def tree(x, method="complete"):
    return linkage(x, method, "cosine") if len(x) > 1 else NO_MERGES


def clusters_of(merges, n):
    """The cluster of every row after some merges; ids in no particular order."""
    cluster = np.arange(n)
    for node, (left, right) in enumerate(merges[:, :2].astype(int), start=n):
        cluster[(cluster == left) | (cluster == right)] = node
    return cluster


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
    """From the definition: every merge looks at all its members anew."""
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
    # Rows 2 and 3 merge first and row 2 stands for them; then 0 and 1, for which 0 stands; of 0 and 2 it is 2, and of
    # 2 and the outlier 2 again, though 3 is nearer to the centre.
    assert tree(x)[:, :2].tolist() == [[2, 3], [0, 1], [5, 6], [4, 7]]
    assert one_cluster("nested", x) == 2
    # Where these two change places it is the other that comes through.
    assert one_cluster("nested", x[[0, 1, 3, 2, 4]]) == 2


@pytest.mark.parametrize("rule", REPRESENTATIVES)
def test_single_rows_pairs_and_duplicates(rule):
    rng = np.random.default_rng(0)
    assert one_cluster(rule, rng.normal(size=(1, 8))) == 0
    for _ in range(50):  # two members: always a tie, whatever rounding says
        x = rng.normal(size=2048)
        assert one_cluster(rule, np.stack([x, 1e-6 * rng.normal(size=2048) - x])) == 0
    x = rng.normal(size=64)
    assert one_cluster(rule, np.stack([x] * 9)) == 0
    for _ in range(20):  # the same direction but for rounding
        assert one_cluster(rule, x * rng.uniform(0.1, 10, (9, 1))) == 0
    # Distinct rows first and last: the duplicates between are many enough to win, and the lowest of them does.
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
    with pytest.raises(InputError, match=rf"^merges: {len(merges)} merges of 4 rows do not make the 2 clusters given$"):
        nested(np.eye(4) + 1, np.array([0, 0, 0, 1]), merges)


def test_ties_go_to_the_lowest_index():
    rng = np.random.default_rng(0)
    for _ in range(50):  # two members: always a tie, whatever rounding says
        x = rng.normal(size=2048)
        nearly_opposite = 1e-6 * rng.normal(size=2048) - x
        assert centroid(np.stack([x, nearly_opposite]), np.zeros(2, int), NO_MERGES).tolist() == [0, 0]
    symmetric = np.array([[1, 2], [2, 1], [1, 2], [2, 1.0]])
    assert centroid(symmetric, np.zeros(4, int), NO_MERGES).tolist() == [0] * 4
    scaled = np.array([[0, 1], [1, 3], [3, 9], [0.1, 0.3], [1, 0.0]])
    assert centroid(scaled, np.zeros(5, int), NO_MERGES).tolist() == [1] * 5


def test_a_cluster_without_centre_goes_to_the_lowest_index():
    angles = np.array([0.3, 0.3 + 2 * np.pi / 3, 0.3 + 4 * np.pi / 3])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # the mean is zero but for rounding
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
        with pytest.raises(InputError, match=r"^cluster: 2 entries for 3 embeddings$"):
            rule(np.ones((3, 2)), np.zeros(2, int), NO_MERGES)
    with pytest.raises(InputError, match=r"^labels: 2 labels for 3 embeddings$"):
        Pool(np.zeros(2, int), np.ones((3, 2)))


# Selections


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
    # Only who stands for a cluster depends on the rule.
    assert np.array_equal(selection.cluster, select(digits, **options).cluster)
    for label, members in digits.members_by_class().items():
        x, cluster = digits.embeddings[members], selection.cluster[members]
        made = digits.dendrograms.linkage(label)[: len(members) - len(np.unique(cluster))]
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
        return dr.select(digits.dendrograms, fraction, representative=rule, allocation=allocation_name).keep

    def num_kept(indices):
        return np.bincount(digits.labels[indices], minlength=11)

    for allocation_name in ALLOCATIONS:
        shallow, deep = (keep("nested", fraction, allocation_name) for fraction in (0.2, 0.3))
        assert (num_kept(deep) <= num_kept(shallow)).all()
        assert np.isin(deep, shallow).all()
        for rule in ("centroid", "medoid"):  # which is why there is a rule for it
            assert not np.isin(keep(rule, 0.3, allocation_name), keep(rule, 0.2, allocation_name)).all()
    previous = np.arange(len(digits.labels))
    for fraction in np.linspace(0, 0.99, 34):  # one height for all trees: the lowest merges are always among more
        current = keep("nested", fraction, "global")
        assert np.isin(current, previous).all()
        previous = current


def test_nested_needs_only_the_merges_that_are_made():
    x = np.random.default_rng(0).normal(size=(30, 4))
    merges = tree(x)
    truncated = SimpleNamespace(linkage=lambda label: merges[:12], cut=lambda num_kept: clusters_of(merges[:9], 30))
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
    else:  # a class loses about 20: a few copies too few or a few other examples too many, but copies first
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
        (digits, {"method": "kmeans"}, "^method 'kmeans' is not one of agglomerative, random, .*$"),
        (digits, {"allocation": "fair"}, "^allocation 'fair' is not one of per_class, global$"),
        (digits, {"representative": "mean"}, "^representative 'mean' is not one of centroid, medoid, nested$"),
        (
            labels_only,
            {"method": "random", "representative": "mean"},
            "^representative 'mean' is not one of centroid, ",
        ),
        (digits, {"seed": -1}, "^seed: -1, but 0 or more is needed$"),
        (digits, {"prune_fraction": 1.0}, "^prune_fraction: 1.0, but"),
        (digits, {"prune_fraction": 0.999}, "^prune_fraction: removes 1796 of 1798 .*: 0.9938 is the largest"),
        (labels_only, {}, "^method 'agglomerative' needs embeddings and dendrograms"),
        (labels_only, {"method": "random", "allocation": "global"}, "^allocation 'global' needs dendrograms"),
    ]:
        with pytest.raises(InputError, match=message):
            select(pool, **({"method": "agglomerative", "prune_fraction": 0.1} | arguments))


@pytest.mark.parametrize("labels", [np.zeros(0, int), np.zeros(3), np.zeros((3, 1), int), np.array([0, -1])])
def test_faulty_labels_are_refused(labels):
    with pytest.raises(InputError, match=r"^labels: .* integers from 0 are needed$"):
        Pool(labels)
