import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_redundancy.errors import InputError
from data_redundancy.selection import (
    allocation,
)

few_examples = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("num_examples", [1, 7, 10, 25, 1797, 50_000, 1_281_167])
@pytest.mark.parametrize("prune_fraction", [0, 0.1, 0.3, 0.5, 0.7, 0.999])
def test_num_pruned_is_pythons_round(num_examples, prune_fraction):
    assert allocation.num_pruned(num_examples, prune_fraction) == round(prune_fraction * num_examples)


@pytest.mark.parametrize("prune_fraction", [-0.1, 1, 1.5, float("nan"), float("inf"), "0.1", None])
def test_prune_fractions_out_of_range_are_refused(prune_fraction):
    given = "" if prune_fraction is None else f"={prune_fraction}"
    with pytest.raises(InputError, match=rf"^prune_fraction{given}: must be a number at least 0 and less than 1$"):
        allocation.num_pruned(10, prune_fraction)


@few_examples
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_per_class_is_the_closest_to_equal_shares(sizes, data):
    """Compares with all allocations: the largest remainder method minimises the squared deviation from exact shares."""
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
        (
            [1, 1, 10, 20],
            15,
            [0, 0, 5, 10],
        ),  # 15/32 of each class, but none of the classes of one
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
            with pytest.raises(InputError, match=f"truncated and hold only the {known} lowest"):
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
    with pytest.raises(InputError, match=rf"^max_prune_fraction={fraction}: must be greater than 0 and less than 1$"):
        allocation.most_pruned(np.zeros(3, int), fraction)


def test_removing_too_much_is_refused_and_the_largest_fraction_told():
    message = r"^prune_fraction: prunes 8 of 10 examples, but each of 3 classes must keep one\. Prune at most 0.7\.$"
    with pytest.raises(InputError, match=message):
        allocation.per_class({0: 4, 1: 5, 2: 1}, 8)
    with pytest.raises(InputError, match=message):
        allocation.global_height({0: np.arange(3.0), 1: np.arange(4.0), 2: np.zeros(0)}, {0: 4, 1: 5, 2: 1}, 8)
    assert sum(allocation.per_class({0: 4, 1: 5, 2: 1}, 7).values()) == 7
    with pytest.raises(InputError, match=r"Prune at most 0.0\.$"):
        allocation.per_class({0: 1, 1: 1}, 1)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9))
def test_the_largest_fraction_told_is_possible(sizes):
    with pytest.raises(InputError) as caught:
        allocation.per_class(dict(enumerate(sizes)), sum(sizes) - len(sizes) + 1)
    largest = float(caught.value.fix.removeprefix("Prune at most "))
    allocation.per_class(dict(enumerate(sizes)), allocation.num_pruned(sum(sizes), largest))
