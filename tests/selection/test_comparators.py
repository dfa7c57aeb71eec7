"""Comparison methods, each against a slow implementation of its published rule on small inputs."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from data_redundancy.errors import InputError
from data_redundancy.selection import ccs, facility_location, herding, kcenter, prototypes, select, semdedup, top_score
from data_redundancy.selection.kmeans import cluster_unit_vectors
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.vectors import float64_unit_vectors

few_examples = settings(max_examples=40, deadline=None)
SCORES = {name: np.random.default_rng(5).random(200) for name in top_score.SCORES}
METHODS = {
    "kcenter": kcenter.select,
    "herding": herding.select,
    "prototypes": prototypes.select,
    "semdedup": semdedup.select,
    "facility_location": facility_location.select,
    "ccs": ccs.select,
    **{
        name: lambda pool, num_pruned, name=name: top_score.select(pool, num_pruned, score=name)
        for name in top_score.SCORES
    },
}


def digits(count=200):
    data = load_digits()
    return Pool(data.target[:count], data.data[:count].astype(np.float32), scores=SCORES)


def random_rows(seed, count, dimensions=3):
    return np.random.default_rng(seed).normal(size=(count, dimensions)) + 0.1


@pytest.mark.parametrize("name", METHODS)
def test_exactly_so_many_of_every_class_go(name):
    pool = digits()
    num_pruned = {label: label * 2 for label in range(10)}
    selection = METHODS[name](pool, num_pruned)
    gone = np.bincount(pool.labels[selection.redundant], minlength=10)
    assert gone.tolist() == list(num_pruned.values())
    assert selection.method == name
    assert np.array_equal(selection.keep, np.unique(selection.keep))
    assert (selection.representative[selection.keep] == selection.keep).all()
    assert (selection.representative[selection.redundant] == -1).all()
    again = METHODS[name](pool, num_pruned)
    assert np.array_equal(again.keep, selection.keep)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_class_keeps_depends_on_that_class_alone(name):
    if name == "prototypes":
        return  # k-means of all classes together, as published
    pool = digits()
    own = pool.labels == 3
    alone = Pool(pool.labels[own], pool.embeddings[own], scores={k: v[own] for k, v in SCORES.items()})
    whole = METHODS[name](pool, dict.fromkeys(range(10), 5)).kept[own]
    assert np.array_equal(METHODS[name](alone, {3: 5}).kept, whole)


@pytest.mark.parametrize("name", METHODS)
def test_copies_of_one_example_are_no_trouble(name):
    scores = {score: np.ones(6) for score in top_score.SCORES}
    pool = Pool(np.zeros(6, int), np.ones((6, 2), np.float32), scores=scores)
    assert len(METHODS[name](pool, {0: 4}).keep) == 2


@pytest.mark.parametrize("name", ["kcenter", "herding", "prototypes", "semdedup", "facility_location"])
def test_without_embeddings(name):
    with pytest.raises(InputError, match=f"^embeddings: must be given for the method '{name}'$"):
        METHODS[name](Pool(np.zeros(3, int)), {0: 1})


@pytest.mark.parametrize("name", ["ccs", *top_score.SCORES])
def test_without_scores(name):
    with pytest.raises(InputError, match=r"^scores: must have the score '(\w+)'\. Pass scores=\{'\1': \.\.\.\}\.$"):
        METHODS[name](Pool(np.zeros(3, int)), {0: 1})


@pytest.mark.parametrize("name", METHODS)
def test_one_of_each_class_is_left_and_classes_of_one_stay(name):
    """All examples but one are pruned from classes of 1, 2, 7 and 30 examples, in mixed order."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [1, 2, 7, 30]))
    x = random_rows(1, 40, 5).astype(np.float32)
    scores = {score: np.random.default_rng(2).random(40) for score in top_score.SCORES}
    found = METHODS[name](Pool(labels, x, scores=scores), {0: 0, 1: 1, 2: 6, 3: 29})
    assert sorted(labels[found.keep]) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("fraction", [0.1, 0.5, 1 - 1 / 41])
def test_the_whole_data_set_as_one_class(name, fraction):
    scores = {score: np.random.default_rng(2).random(41) for score in top_score.SCORES}
    pool = Pool(np.zeros(41, int), random_rows(1, 41, 5), scores=scores)
    found = select(pool, method=name, prune_fraction=fraction)
    assert len(found.redundant) == round(fraction * 41)


# Greedy k-center


@few_examples
@given(st.integers(0, 1000), st.integers(2, 9), st.data())
def test_kcenter_takes_the_farthest(seed, size, data):
    x = random_rows(seed, size)
    count = data.draw(st.integers(1, size))
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    chosen = [min(range(size), key=lambda i: round(np.linalg.norm(x[i] - x.mean(axis=0)), 9))]
    while len(chosen) < count:
        left = [i for i in range(size) if i not in chosen]
        chosen.append(max(left, key=lambda i: distance[i, chosen].min()))
    assert kcenter.farthest_first(x, count).tolist() == chosen


@few_examples
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 9), st.integers(1, 12))
def test_kcenter_takes_the_lowest_of_the_farthest(seed, size, distinct, candidates):
    """Uses points of a small grid, so that many distances are equal, and few candidates at a time."""
    x = (
        np.random.default_rng(seed)
        .integers(0, 3, (distinct, 2))[np.random.default_rng(seed + 1).integers(0, distinct, size)]
        .astype(float)
    )
    squared = (((x[:, None] - x[None]) ** 2).sum(axis=2)).round().astype(int)
    # n^2 times the squared distance to the mean, a whole number.
    to_mean = ((size * x - x.sum(axis=0)) ** 2).sum(axis=1).round().astype(int)
    chosen = [int(to_mean.argmin())]
    while len(chosen) < size:
        left = [i for i in range(size) if i not in chosen]
        chosen.append(min(left, key=lambda i: (-squared[i, chosen].min(), i)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kcenter, "_CANDIDATES", candidates)
        patch.setattr(kcenter, "_ROWS", 7)
        assert kcenter.farthest_first(x * 100.0, size).tolist() == chosen


@pytest.mark.parametrize("candidates", [1, 16, 256, 10_000])
def test_kcenter_by_few_candidates_is_the_same(monkeypatch, candidates):
    x = load_digits().data[:600]
    chosen, nearest = [int(((x - x.mean(axis=0)) ** 2).sum(axis=1).argmin())], np.full(600, np.inf)
    while len(chosen) < 600:
        nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    monkeypatch.setattr(kcenter, "_CANDIDATES", candidates)
    assert kcenter.farthest_first(x, 600).tolist() == chosen


def test_kcenter_tells_apart_what_lies_far_from_the_origin():
    x = random_rows(0, 50)
    assert np.array_equal(kcenter.farthest_first(x + 1e8, 50), kcenter.farthest_first(x, 50))


@few_examples
@given(st.integers(0, 1000), st.integers(2, 8), st.data())
def test_kcenter_is_within_twice_the_best_of_those_with_its_first(seed, size, data):
    x = random_rows(seed, size)
    count = data.draw(st.integers(1, size))
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    radius = lambda chosen: distance[:, list(chosen)].min(axis=1).max()  # noqa: E731
    best = min(map(radius, itertools.combinations(range(size), count)))
    found = kcenter.farthest_first(x, count)
    if count > 1:
        assert radius(found) <= 2 * best + 1e-9


# Herding


@pytest.mark.parametrize("choose", [kcenter.farthest_first, herding.herd, facility_location.lazy_greedy])
def test_of_copies_the_lowest_index_comes_first(choose):
    """Uses three copies of each row, far apart in memory, where last digits of products may differ."""
    distinct = np.random.default_rng(3).normal(size=(101, 13)).astype(np.float32) + 0.2
    place = np.random.default_rng(4).permutation(np.repeat(np.arange(101), 3))
    order = choose(distinct[place], 303).tolist()
    assert sorted(order) == list(range(303))
    for value in range(101):
        positions = [order.index(row) for row in np.flatnonzero(place == value)]
        assert positions == sorted(positions)


@few_examples
@given(st.integers(0, 1000), st.integers(2, 9), st.data())
def test_herding_follows_its_equations(seed, size, data):
    x = float64_unit_vectors(random_rows(seed, size))
    count = data.draw(st.integers(1, size))
    weights, chosen = x.mean(axis=0), []
    for _ in range(count):
        row = max((i for i in range(size) if i not in chosen), key=lambda i: round(x[i] @ weights, 12))
        chosen.append(row)
        weights = weights + x.mean(axis=0) - x[row]
    assert herding.herd(x, count).tolist() == chosen


def test_herding_keeps_the_mean_better_than_chance():
    x = float64_unit_vectors(load_digits().data)
    error = np.linalg.norm(x[herding.herd(x, 100)].mean(axis=0) - x.mean(axis=0))
    rng = np.random.default_rng(0)
    by_chance = [np.linalg.norm(x[rng.permutation(len(x))[:100]].mean(axis=0) - x.mean(axis=0)) for _ in range(20)]
    assert error < min(by_chance) / 3


# Prototypes


@pytest.mark.parametrize("end", prototypes.ENDS)
@pytest.mark.parametrize("centre", prototypes.CENTRES)
def test_prototypes_keep_what_is_far_or_near(centre, end):
    pool = digits()
    unit = float64_unit_vectors(pool.embeddings)
    group = pool.labels if centre == "class" else cluster_unit_vectors(unit, 10, 0)
    means = {g: unit[group == g].mean(axis=0) for g in np.unique(group)}
    distance = np.array([1 - u @ means[g] / np.linalg.norm(means[g]) for u, g in zip(unit, group, strict=True)])
    selection = prototypes.select(pool, dict.fromkeys(range(10), 7), centre=centre, end=end)
    for label in range(10):
        members = np.flatnonzero(pool.labels == label)
        order = members[np.argsort(distance[members])]
        kept = order[7:] if end == "hard" else order[:-7]
        assert set(kept) == set(selection.keep[pool.labels[selection.keep] == label])


@pytest.mark.parametrize(("option", "value"), [("centre", "mean"), ("end", "both")])
def test_prototypes_options_are_checked(option, value):
    with pytest.raises(InputError, match=f"^{option}={value}: must be one of "):
        prototypes.select(digits(), {}, **{option: value})


@pytest.mark.parametrize("centre", prototypes.CENTRES)
def test_prototypes_of_the_whole_data_set_know_its_classes(centre):
    """With the whole data set as one class, there are still ten prototypes, and ranks go across classes."""
    pool = digits()
    unit = float64_unit_vectors(pool.embeddings)
    group = pool.labels if centre == "class" else cluster_unit_vectors(unit, 10, 0)
    distance = prototypes.distance_to_mean(unit, group)
    whole = Pool(np.zeros(200, int), pool.embeddings, classes=pool.labels)
    assert set(prototypes.select(whole, {0: 150}, centre=centre).keep) == set(np.argsort(distance)[150:])


def test_without_classes_a_prototype_stands_for_so_many():
    assert prototypes.num_prototypes(np.zeros(2001, int)) == 3
    assert prototypes.num_prototypes(np.array([4, 4, 9])) == 2
    with pytest.raises(InputError, match=r"^classes: must have one entry per label, but has 2 for 3 labels$"):
        Pool(np.zeros(3, int), classes=np.zeros(2, int))


def test_of_equal_distances_the_lowest_index_stays():
    x = np.repeat([[1.0, 0.3], [0.3, 1.0]], 4, axis=0)[[0, 4, 1, 5, 2, 6, 3, 7]]
    for end in prototypes.ENDS:
        kept = prototypes.select(Pool(np.zeros(8, int), x), {0: 5}, centre="class", end=end).keep
        assert kept.tolist() == [0, 1, 2]


def test_the_mean_of_opposite_vectors_is_no_prototype():
    assert prototypes.distance_to_mean(np.array([[1.0, 0], [-1, 0]]), np.zeros(2, int)).tolist() == [1, 1]


# SemDeDup


@few_examples
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 3))
def test_semdedup_compares_with_all_that_come_before(seed, size, clusters):
    unit = float64_unit_vectors(random_rows(seed, size))
    cluster = np.random.default_rng(seed).integers(0, clusters, size)
    found = semdedup.similarity_to_earlier(unit, cluster)
    for c in set(cluster.tolist()):
        rows = np.flatnonzero(cluster == c).tolist()
        centroid = unit[rows].mean(axis=0)
        rows.sort(key=lambda i: round(unit[i] @ centroid, 12))
        for position, row in enumerate(rows):
            expected = max((unit[row] @ unit[other] for other in rows[:position]), default=-1.0)
            assert found[row] == pytest.approx(expected)


def test_semdedup_in_blocks_is_the_same(monkeypatch):
    unit = float64_unit_vectors(load_digits().data)
    cluster = cluster_unit_vectors(unit, 3, 0)
    whole = semdedup.similarity_to_earlier(unit, cluster)
    monkeypatch.setattr(semdedup, "_BLOCK", 37)
    np.testing.assert_allclose(semdedup.similarity_to_earlier(unit, cluster), whole, atol=1e-12)


def test_semdedup_removes_copies_first():
    x = random_rows(0, 20, 8)
    x[[5, 9, 17]] = x[[2, 2, 11]]
    selection = semdedup.select(Pool(np.zeros(20, int), x), {0: 3})
    gone = set(selection.redundant)
    assert len(gone & {2, 5, 9}) == 2
    assert len(gone & {11, 17}) == 1


@few_examples
@given(st.integers(0, 1000), st.integers(2, 14), st.integers(1, 3), st.data())
def test_semdedup_removes_what_a_threshold_would(seed, size, distinct, data):
    """As published, with the epsilon that prunes the required number; of examples at epsilon, the highest indices."""
    x = random_rows(seed, distinct, 4)[np.random.default_rng(seed).integers(0, distinct, size)]
    count = data.draw(st.integers(1, size - 1))
    unit = float64_unit_vectors(x)
    order = sorted(range(size), key=lambda i: (round(unit[i] @ unit.mean(axis=0), 9), i))
    nearest = {row: max((round(unit[row] @ unit[o], 9) for o in order[:p]), default=-1) for p, row in enumerate(order)}
    gone = sorted(range(size), key=lambda i: (-nearest[i], -i))[:count]
    found = semdedup.select(Pool(np.zeros(size, int), x), {0: count})
    assert found.redundant.tolist() == sorted(gone)


# Facility location


@few_examples
@given(st.integers(0, 1000), st.integers(2, 10), st.data())
def test_lazy_greedy_is_greedy(seed, size, data):
    x = random_rows(seed, size)
    count = data.draw(st.integers(1, size))
    unit = float64_unit_vectors(x)
    similarity = (1 + unit @ unit.T) / 2
    value = lambda chosen: similarity[:, chosen].max(axis=1).sum()  # noqa: E731
    found = facility_location.lazy_greedy(x, count).tolist()
    for i, row in enumerate(found):
        best = max(value([*found[:i], other]) for other in range(size) if other not in found[:i])
        assert value([*found[:i], row]) == pytest.approx(best, abs=1e-5)  # similarities are float32
    assert len(set(found)) == count


@few_examples
@given(st.integers(0, 1000), st.integers(2, 8), st.data())
def test_facility_location_is_near_the_best(seed, size, data):
    x = random_rows(seed, size)
    count = data.draw(st.integers(1, size))
    unit = float64_unit_vectors(x)
    similarity = (1 + unit @ unit.T) / 2
    value = lambda chosen: similarity[:, list(chosen)].max(axis=1).sum()  # noqa: E731
    best = max(map(value, itertools.combinations(range(size), count)))
    assert value(facility_location.lazy_greedy(x, count)) >= (1 - 1 / np.e) * best


@pytest.mark.parametrize("num_rows_held", [0, 80])
def test_facility_location_without_the_matrix_is_the_same(monkeypatch, num_rows_held):
    x = load_digits().data[:300]
    held = facility_location.lazy_greedy(x, 250)
    monkeypatch.setattr(facility_location, "HELD_BYTES", 4 * 300 * num_rows_held)
    monkeypatch.setattr(facility_location, "_FETCHED", 7)
    assert np.array_equal(facility_location.lazy_greedy(x, 250), held)


@few_examples
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 4))
def test_facility_location_in_whole_numbers(seed, size, distinct):
    """Similarities as integers, in units of 2^-24: exact, ties between copies included."""
    x = random_rows(seed, distinct)[np.random.default_rng(seed).integers(0, distinct, size)]
    unit = np.rint(float64_unit_vectors(x) * 2**24).astype(np.int64).astype(object)
    products = unit @ unit.T  # in units of 2^-48
    # (1 + c) / 2, rounded half to even as Python does, at most 1.
    similarity = [[min(round(Fraction(2**48 + c, 2**25)), 2**24) for c in row] for row in products]
    covered, chosen = [0] * size, []
    for _ in range(size):
        gain = {i: sum(max(s - c, 0) for s, c in zip(similarity[i], covered, strict=True)) for i in range(size)}
        left = [i for i in range(size) if i not in chosen]
        chosen.append(min(left, key=lambda i: (-gain[i], i)))
        covered = [max(s, c) for s, c in zip(similarity[chosen[-1]], covered, strict=True)]
    assert facility_location.lazy_greedy(x, size).tolist() == chosen


# Scores


@pytest.mark.parametrize("name", top_score.SCORES)
def test_the_highest_scores_stay(name):
    pool = digits()
    selection = top_score.select(pool, dict.fromkeys(range(10), 6), score=name)
    for label in range(10):
        members = np.flatnonzero(pool.labels == label)
        gone = sorted(members, key=lambda i: SCORES[name][i])[:6]
        assert set(gone) == set(selection.redundant[pool.labels[selection.redundant] == label])


def test_of_equal_scores_the_lowest_index_stays():
    pool = Pool(np.zeros(6, int), scores={"forgetting": np.array([1, 0, 1, 0, 1, 0])})
    assert top_score.select(pool, {0: 2}, score="forgetting").keep.tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("values", "requirement"),
    [
        (np.ones(2), r"must have one number for each of 3 examples, but has shape \(2,\)"),
        (np.ones((3, 1)), r"must have one number for each of 3 examples, but has shape \(3, 1\)"),
        (np.array([1, np.nan, np.nan]), "must have finite numbers, but index 1 is nan"),
        (np.array([1, 2, -np.inf]), "must have finite numbers, but index 2 is -inf"),
        (np.array(["a", "b", "c"]), "must have numbers, but has type <U1"),
    ],
)
def test_scores_are_checked(values, requirement):
    with pytest.raises(InputError, match=rf"^scores\['el2n'\]: {requirement}$"):
        Pool(np.zeros(3, int), scores={"el2n": values})


# Coverage-centric coreset selection


@few_examples
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.data())
def test_strata_share_alike(values, data):
    score = np.array(values)
    count = data.draw(st.integers(1, len(score)))
    chosen = ccs.sample_strata(score, count, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == len(chosen) == count
    stratum = (score[:, None] >= np.linspace(score.min(), score.max(), ccs.NUM_STRATA + 1)[1:-1]).sum(axis=1)
    sizes = np.bincount(stratum)
    taken = np.bincount(stratum[chosen], minlength=len(sizes))
    # A stratum that is not exhausted gives as much as any other, except for rounding.
    not_exhausted = taken[taken < sizes]
    assert not_exhausted.size == 0 or not_exhausted.min() >= taken.max() - 1


@few_examples
@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.data())
def test_strata_have_the_budgets_of_the_algorithm(values, data):
    """Algorithm 1 as published: the smallest stratum gives min(its size, remaining budget / remaining strata)."""
    score = np.array(values, float)
    left = count = data.draw(st.integers(1, len(score)))
    low, width = score.min(), (score.max() - score.min()) / ccs.NUM_STRATA
    stratum = np.zeros(len(score), int) if width == 0 else np.minimum((score - low) / width + 1e-9, 49).astype(int)
    sizes = np.bincount(stratum, minlength=ccs.NUM_STRATA).tolist()
    budget, strata = {}, list(range(ccs.NUM_STRATA))
    while strata:
        smallest = min(strata, key=lambda s: (sizes[s], s))
        budget[smallest] = min(sizes[smallest], left // len(strata))
        left -= budget[smallest]
        strata.remove(smallest)
    chosen = ccs.sample_strata(score, count, np.random.default_rng(0))
    assert np.bincount(stratum[chosen], minlength=50).tolist() == [budget[s] for s in range(50)]


def test_ccs_drops_the_hardest():
    pool = digits()
    hardest = ccs.select(pool, dict.fromkeys(range(10), 6), hardest_pruned=0.2)
    for label in range(10):
        members = np.flatnonzero(pool.labels == label)
        num_hard = min(round(0.2 * len(members)), 6)
        hard = members[np.argsort(SCORES["el2n"][members])[::-1][:num_hard]]
        assert not set(hard) & set(hardest.keep)


@pytest.mark.parametrize("share", [-0.1, 1])
def test_ccs_share_is_checked(share):
    with pytest.raises(InputError, match=rf"^hardest_pruned={share}: must be at least 0 and less than 1$"):
        ccs.select(digits(), {}, hardest_pruned=share)
