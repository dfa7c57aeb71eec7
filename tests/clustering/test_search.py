"""The first merges of a tree, by every algorithm, against slow oracles that decide every tie."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import scipy.cluster.hierarchy as scipy_hierarchy
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import squareform

from data_redundancy.clustering import dense, search
from data_redundancy.clustering.distances import Units, block_distances, fixed_point_unit_vectors, pair_distances
from data_redundancy.clustering.linkage import cut, cut_tree, linkage, to_linkage
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.neighbours import BFLOAT16, FLOAT32, TENSOR_FLOAT32, Graph, Neighbours
from data_redundancy.clustering.partitions import partition
from data_redundancy.clustering.search import first_merges
from data_redundancy.clustering.sparse import complete_linkage, single_linkage
from data_redundancy.clustering.strategy import choose_strategy
from data_redundancy.errors import InputError
from helpers.clustering_oracles import (
    GREEDY,
    KINDS,
    cosine_distances,
    digits,
    embeddings,
    few_examples,
    first_partition,
    greedy,
    make_rows,
    same_partition,
)

GB = 1e9
ALGORITHMS = ("graph", "matrix", "graph, then matrix", None)
TIED = ("complete", "single")  # the linkages whose order of ties is documented


def algorithms(num_distinct: int, num_merges: int, method: str) -> list[str | None]:
    """Returns the possible algorithms: `graph, then matrix` needs rows to contract, and merges for the matrix."""
    if method == "average":
        return ["matrix", None]
    contracts = method == "complete" and 0 < int(0.3 * num_distinct) < num_merges
    return [name for name in ALGORITHMS if contracts or name != "graph, then matrix"]


def num_distinct(units: Units) -> int:
    return len(np.unique(np.hstack([units.high, units.low]), axis=0))


def first_rows(units: Units, num_merges: int, method: str, **options) -> np.ndarray:
    merges = first_merges(units, num_merges, method, **{"memory_limit": 8 * GB, "block_rows": 64} | options)
    assert len(merges) == num_merges
    return to_linkage(len(units), merges)


@pytest.fixture
def on_matrix(monkeypatch) -> list[int]:
    """The number of clusters at every call of the matrix algorithm."""
    seen = []
    original = search._on_matrix

    def spy(units, sizes, found, *arguments):
        seen.append(len(units) - len(found))
        return original(units, sizes, found, *arguments)

    monkeypatch.setattr(search, "_on_matrix", spy)
    return seen


# Merge by merge, against slow agglomeration


@few_examples
@given(embeddings(), st.sampled_from(TIED), st.data())
def test_trees_equal_slow_agglomeration_by_every_algorithm(x, method, data):
    units = fixed_point_unit_vectors(x)
    expected = greedy(units, method)
    assert np.array_equal(linkage(x, method), expected)
    num_merges = data.draw(st.integers(0, len(x) - 1))
    wanted = num_merges - (len(x) - num_distinct(units))
    for algorithm in algorithms(num_distinct(units), wanted, method):
        assert np.array_equal(first_rows(units, num_merges, method, algorithm=algorithm), expected[:num_merges])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", TIED)
def test_larger_trees_equal_slow_agglomeration_by_every_algorithm_and_block_size(kind, method, monkeypatch):
    monkeypatch.setattr(dense, "BLOCK_ROWS", 50)  # so that clusters reach over several blocks
    units = fixed_point_unit_vectors(make_rows(kind, 200, 3, np.random.default_rng(7)))
    expected = greedy(units, method)
    for share in (0.1, 0.6, 0.95, 0.995):
        num_merges = int(share * 200)
        wanted = num_merges - (200 - num_distinct(units))
        for algorithm in algorithms(num_distinct(units), wanted, method):
            for block_rows in (64, 128):
                Z = first_rows(units, num_merges, method, algorithm=algorithm, block_rows=block_rows)
                assert np.array_equal(Z, expected[:num_merges])


@few_examples
@given(embeddings(), st.sampled_from(TIED), st.floats(0, 1))
def test_a_graph_holds_all_merges_up_to_its_height_and_no_others(x, method, quantile):
    units = fixed_point_unit_vectors(np.unique(x, axis=0))
    n = len(units)
    distances = block_distances(units, units)
    height = np.quantile(distances[np.triu_indices(n, 1)], quantile, method="lower") if n > 1 else 0.0
    first, second = np.nonzero(np.triu(distances <= height, 1))
    graph = Graph(first, second, distances[first, second])
    merges = {"complete": complete_linkage, "single": single_linkage}[method](n, graph).in_order(method)
    expected = GREEDY[method](distances)
    assert np.array_equal(to_linkage(n, merges), expected[expected[:, 2] <= height])


@pytest.mark.parametrize("method", TIED)
def test_copies_come_before_vectors_that_only_point_the_same_way(method):
    x = np.array([[0.1, 0.3, 0.7], [1, 3, 7], [9, 1, 1], [1, 3, 7], [0.1, 0.3, 0.7]])
    units = fixed_point_unit_vectors(x)
    assert num_distinct(units) == 3
    assert cosine_distances(x)[0, 1] == 0
    Z = linkage(x, method)
    assert Z[:3].tolist() == [[0, 4, 0, 2], [1, 3, 0, 2], [5, 6, 0, 4]]
    assert np.array_equal(Z, greedy(units, method))
    for num_merges in range(5):
        assert np.array_equal(first_rows(units, num_merges, method), Z[:num_merges])


@pytest.mark.parametrize("method", TIED)
def test_signs(method):
    x = np.random.default_rng(0).choice([-2.0, -1.0, 1.0, 3.0], (70, 1))
    units = fixed_point_unit_vectors(x)
    assert np.array_equal(linkage(x, method), greedy(units, method))
    assert same_partition(cut(x, 2, method), x[:, 0] > 0)
    assert linkage(x, method)[-1].tolist() == [*sorted(linkage(x, method)[-1, :2]), 2.0, 70.0]


@pytest.mark.parametrize("method", ["complete", "average", "single"])
def test_one_vector_many_times(method):
    Z = linkage(np.ones((100, 5)), method)
    assert (Z[:, 2] == 0).all()
    assert Z[:, 3].tolist() == list(range(2, 101))
    for k in (1, 2, 50, 100):
        assert cut(np.ones((100, 5)), k, method).tolist() == [*[0] * (101 - k), *range(1, k)]


@pytest.mark.parametrize("method", TIED)
@pytest.mark.parametrize("num_devices", [1, 8])
def test_one_device_or_eight_give_the_same(num_devices, method, monkeypatch):
    devices = jax.local_devices()[:num_devices]
    assert len(devices) == num_devices
    monkeypatch.setattr(search, "Neighbours", functools.partial(Neighbours, devices=devices))
    units = fixed_point_unit_vectors(make_rows("integers", 200, 3, np.random.default_rng(0)))
    assert np.array_equal(first_rows(units, 150, method, algorithm="graph"), greedy(units, method)[:150])


@pytest.mark.parametrize("precision", [FLOAT32, TENSOR_FLOAT32, BFLOAT16])
def test_the_precision_of_the_first_pass_changes_nothing(precision, monkeypatch):
    monkeypatch.setattr(search, "Neighbours", functools.partial(Neighbours, precision=precision))
    units = fixed_point_unit_vectors(digits(200)[0])
    assert np.array_equal(first_rows(units, 120, "complete", algorithm="graph"), greedy(units, "complete")[:120])


def test_processes_together_give_the_same():
    units = fixed_point_unit_vectors(digits(200)[0])
    assert np.array_equal(
        first_rows(units, 120, "complete", algorithm="graph", together=True), greedy(units, "complete")[:120]
    )


@few_examples
@given(embeddings(), st.sampled_from(["complete", "average", "single"]), st.data())
def test_merges_are_named_by_lowest_members_and_build_on_each_other(x, method, data):
    num_merges = data.draw(st.integers(0, len(x) - 1))
    units = fixed_point_unit_vectors(x)
    merges = first_merges(units, num_merges, method)
    assert (merges.low < merges.high).all()
    assert (np.diff(merges.height) >= 0).all()
    cluster = np.arange(len(x))
    for low, high in zip(merges.low, merges.high, strict=True):
        assert cluster[low] == low
        assert cluster[high] == high
        cluster[cluster == high] = low
    assert same_partition(partition(len(x), merges), cluster)


# Against SciPy


def near_collinear(num_rows: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(size=32) + 1e-5 * rng.normal(size=(num_rows, 32)) * rng.uniform(0.1, 10, (num_rows, 1))


def real_features() -> np.ndarray:
    """Post-ReLU features of real images."""
    pixels = digits(300)[0].astype(np.float64)
    return np.maximum(pixels @ np.random.default_rng(0).normal(size=(64, 32)), 0) + 1e-3


DATA = {
    "random": lambda: make_rows("random", 200, 16, np.random.default_rng(0)),
    "clustered": lambda: make_rows("clustered", 200, 16, np.random.default_rng(0)),
    "duplicates": lambda: make_rows("duplicated", 300, 16, np.random.default_rng(0)),
    "near-collinear": lambda: near_collinear(200),
    "one-dimensional": lambda: make_rows("random", 100, 1, np.random.default_rng(0)),
    "digits": lambda: digits(300)[0],
    "features of digits": real_features,
}


@pytest.mark.parametrize("method", ["complete", "average", "single"])
@pytest.mark.parametrize("name", DATA)
def test_partitions_equal_scipys_for_every_fraction_and_algorithm(name, method):
    x = DATA[name]()
    units, n = fixed_point_unit_vectors(x), len(x)
    distances = squareform(cosine_distances(x))
    expected = scipy_hierarchy.linkage(distances, method)
    assert not (np.diff(np.unique(distances)) < 1e-17).any()
    distinct = num_distinct(units)
    slow = greedy(units, method) if method in TIED else None
    compared = 0
    for fraction in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 0.9, 0.95):
        k = n - round(fraction * n)
        for algorithm in algorithms(distinct, distinct - k, method):
            merges = first_merges(units, n - k, method, algorithm=algorithm, memory_limit=8 * GB)
            ours = partition(n, merges)
            assert len(np.unique(ours)) == k
            if slow is not None:
                assert same_partition(ours, first_partition(slow, k))
            if k <= distinct:  # SciPy merges copies in another order
                assert same_partition(ours, first_partition(expected, k))
                compared += 1
    assert compared > 5 or name == "one-dimensional"


@pytest.mark.parametrize("method", ["complete", "average", "single"])
def test_partitions_equal_those_from_scipys_own_distances(method):
    x = make_rows("random", 120, 32, np.random.default_rng(1))
    expected = scipy_hierarchy.linkage(x, method, "cosine")
    assert np.diff(expected[:, 2]).min() > 1e-10  # rounding does not decide
    for k in range(1, 121):
        assert same_partition(cut(x, k, method), scipy_hierarchy.cut_tree(expected, k)[:, 0])


def test_real_images_by_every_algorithm():
    x = digits(1797)[0]
    units = fixed_point_unit_vectors(x)
    distances = block_distances(units, units)
    expected = scipy_hierarchy.linkage(squareform(distances), "complete")
    assert (np.diff(expected[:, 2]) > 0).all()
    for share in (0.1, 0.5, 0.9):
        for algorithm in algorithms(1797, int(share * 1797), "complete"):
            Z = to_linkage(1797, first_merges(units, int(share * 1797), "complete", algorithm=algorithm))
            assert np.array_equal(Z, expected[: len(Z)])


@few_examples
@given(embeddings(), st.sampled_from(["complete", "average", "single"]), st.data())
def test_cuts_are_cuts_of_the_tree(x, method, data):
    k = data.draw(st.integers(1, len(x)))
    assert np.array_equal(cut(x, k, method), cut_tree(linkage(x, method), k))


# Guesses that are far off


@pytest.mark.parametrize("method", TIED)
@pytest.mark.parametrize(
    "guess",
    [
        lambda height: 0.0,
        lambda height: height / 100,
        lambda height: 30 * height + 0.3,
        lambda height: 2.0,
        lambda height: 5.0,
    ],
    ids=["zero", "too low", "too high", "everything", "more than everything"],
)
def test_guesses_of_heights_change_nothing(guess, method, monkeypatch):
    original = Neighbours.height_for
    monkeypatch.setattr(Neighbours, "height_for", lambda self, pairs: guess(original(self, pairs)))
    units = fixed_point_unit_vectors(digits(300)[0])
    expected = greedy(units, method)
    for num_merges in (10, 150, 290):
        for algorithm in algorithms(300, num_merges, method):
            assert np.array_equal(first_rows(units, num_merges, method, algorithm=algorithm), expected[:num_merges])


def test_a_search_ends_although_the_sample_is_always_too_optimistic(monkeypatch):
    # Only a fiftieth of the requested pairs lies below the returned height.
    original, asked = Neighbours.height_for, []

    def optimistic(self, pairs):
        asked.append(pairs)
        if len(asked) > 100:
            pytest.fail("does not end")
        return original(self, pairs / 50)

    monkeypatch.setattr(Neighbours, "height_for", optimistic)
    units = fixed_point_unit_vectors(digits(300)[0])
    assert np.array_equal(first_rows(units, 150, "complete", algorithm="graph"), greedy(units, "complete")[:150])
    assert asked == sorted(asked)


@pytest.mark.parametrize("kind", ["random", "clustered", "integers", "copied and scaled"])
@pytest.mark.parametrize("method", TIED)
def test_where_there_is_no_memory_for_the_pairs_the_matrix_does_the_rest(kind, method, monkeypatch, on_matrix):
    units = fixed_point_unit_vectors(make_rows(kind, 200, 3, np.random.default_rng(5)))
    expected = greedy(units, method)
    for pairs in (1, 3, 100, 1_000):
        monkeypatch.setattr(
            search,
            "choose_strategy",
            lambda *args, label, pairs=pairs: dataclasses.replace(choose_strategy(*args), max_pairs=pairs),
        )
        assert np.array_equal(first_rows(units, 190, method, algorithm="graph"), expected[:190])
    assert on_matrix  # at least once


def test_the_clusters_found_before_memory_ran_out_are_not_lost(monkeypatch, on_matrix):
    monkeypatch.setattr(
        search, "choose_strategy", lambda *args, label: dataclasses.replace(choose_strategy(*args), max_pairs=500)
    )
    units = fixed_point_unit_vectors(digits(300)[0])
    assert np.array_equal(first_rows(units, 200, "complete", algorithm="graph"), greedy(units, "complete")[:200])
    assert len(on_matrix) == 1
    assert 100 < on_matrix[0] < 280


@pytest.mark.parametrize("method", TIED)
def test_where_neither_pairs_nor_matrix_fit_the_numbers_are_named(method, monkeypatch):
    def small(*args, label):
        return dataclasses.replace(choose_strategy(*args), max_pairs=500, memory_limit=9e7)

    monkeypatch.setattr(search, "choose_strategy", small)
    units = fixed_point_unit_vectors(digits(300)[0])
    monkeypatch.setattr("data_redundancy.clustering.strategy._matrix_bytes", lambda clusters: clusters * 1e6)
    message = (
        r"^memory_limit_gb=0\.09: must be at least 0\.\d+ for class 7: 300 different examples .* leave \d+ clusters "
        r"for a matrix of distances"
    )
    with pytest.raises(InputError, match=message):
        first_merges(units, 299, method, algorithm="graph", block_rows=64, label=7)


def test_vectors_are_not_changed():
    x = digits(300)[0]
    x.setflags(write=False)
    units = fixed_point_unit_vectors(x)
    before = units.high.copy(), units.low.copy()
    for part in (units.high, units.low):
        part.setflags(write=False)
    for method in ("complete", "average", "single"):
        for algorithm in algorithms(300, 200, method):
            first_merges(units, 200, method, algorithm=algorithm, block_rows=64)
    assert np.array_equal(units.high, before[0])
    assert np.array_equal(units.low, before[1])


# Merges


def test_a_higher_round_builds_on_the_lower_ones():
    def part(*rounds):
        return Merges(np.zeros(len(rounds)), *(np.arange(len(rounds)),) * 2, np.array(rounds, np.int64))

    assert Merges.concatenate([part(0, 1, 1), Merges.none(), part(0), part(0, 2)]).round.tolist() == [0, 1, 1, 2, 3, 5]
    assert len(Merges.concatenate([Merges.none()])) == 0


# Strategies


@pytest.mark.parametrize(("method", "share"), [("complete", 0.9), ("single", 0.8)])
def test_a_small_limit_gives_the_same_by_another_algorithm(method, share):
    units = fixed_point_unit_vectors(digits(1797)[0])
    num_merges = int(share * 1797)
    names = ("matrix", "graph, then matrix", "graph") if method == "complete" else ("matrix", "graph")
    needed = [choose_strategy(1797, 64, num_merges, method, GB, name).peak_bytes for name in names]
    limits = [GB, *(size * change for size in needed for change in (0.99, 1.01))]
    results, chosen = [], set()
    for limit in limits:
        try:
            chosen.add(choose_strategy(1797, 64, num_merges, method, limit).graph_merges)
        except InputError:
            with pytest.raises(InputError, match=r"^memory_limit_gb=.* must be at least .* for 1,797 examples"):
                first_merges(units, num_merges, method, memory_limit=limit)
        else:
            results.append(first_rows(units, num_merges, method, memory_limit=limit, block_rows=None))
    assert len(chosen) > 1
    assert all(np.array_equal(Z, results[0]) for Z in results)


@pytest.mark.parametrize("method", TIED)
def test_where_all_are_within_the_margin_of_error_the_matrix_takes_over(method, monkeypatch):
    """In a collapsed class, every pair is a candidate of the first pass; repeated exact passes would not end."""
    rng = np.random.default_rng(0)
    units = fixed_point_unit_vectors(rng.normal(size=1024) + 1e-3 * rng.normal(size=(300, 1024)))
    assert block_distances(units, units).max() < Neighbours(units).margin
    looked_at = []

    def counted(units, first, second):
        looked_at.append(len(first))
        return pair_distances(units, first, second)

    monkeypatch.setattr("data_redundancy.clustering.neighbours.pair_distances", counted)
    monkeypatch.setattr("data_redundancy.clustering.neighbours.CANDIDATES_PER_PAIR", 2)
    found = first_merges(units, 30, method, memory_limit=GB)
    assert sum(looked_at) <= 2 * 300 * 299 / 2
    expected = first_merges(units, 30, method, algorithm="matrix")
    assert np.array_equal(found.height, expected.height)
    assert np.array_equal(found.low, expected.low)


def test_heights_rise_by_more_than_the_margin_of_error(monkeypatch):
    heights = []
    within = Neighbours.within

    def recorded(self, height, **options):
        heights.append(height)
        return within(self, height, **options)

    monkeypatch.setattr(Neighbours, "within", recorded)
    monkeypatch.setattr(Neighbours, "height_for", lambda self, pairs_per_row: 0.01)  # no difference
    units = fixed_point_unit_vectors(digits(300)[0])
    first_merges(units, 60, "complete", algorithm="graph", block_rows=64)
    assert len(heights) > 1
    assert (np.diff(heights) >= 0.99 * Neighbours(units).margin).all()
