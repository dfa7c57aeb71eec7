"""How many examples to prune, in all and from each class."""

import math
from collections.abc import Mapping
from numbers import Real

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection import grouping


def num_pruned(num_examples: int, prune_fraction: float) -> int:
    """Returns the number of examples that a prune fraction removes: `round(prune_fraction * num_examples)`.

    Args:
        num_examples: the size of the data set.
        prune_fraction: the share to prune, at least 0 and less than 1.

    Returns:
        The number to prune; halves are rounded to the even number, as Python does.

    Raises:
        InputError: `prune_fraction` is out of range.
    """
    if not isinstance(prune_fraction, Real) or not 0 <= prune_fraction < 1:
        raise InputError("prune_fraction", prune_fraction, "must be a number at least 0 and less than 1")
    return round(prune_fraction * num_examples)


def per_class(class_sizes: Mapping[int, int], num_pruned: int) -> dict[int, int]:
    """Prunes the same share of every class, by the largest remainder method.

    Every class keeps at least one example. If that leaves a class with less to prune than its share, the other classes
    take over the difference in proportion to their sizes. Of equal remainders, the one of the lower label is rounded
    up.

    Args:
        class_sizes: the number of examples of every class.
        num_pruned: how many examples to prune in all.

    Returns:
        How many examples to prune from every class; the sum is exactly `num_pruned`.

    Raises:
        InputError: not every class could keep one example.
    """
    _check_one_of_each_is_kept(sum(class_sizes.values()), len(class_sizes), num_pruned)
    exhausted = _exhausted(class_sizes, num_pruned)
    counts = {label: class_sizes[label] - 1 for label in exhausted}
    sharing = {label: size for label, size in class_sizes.items() if label not in exhausted}
    counts |= _largest_remainder(sharing, num_pruned - sum(counts.values()))
    return {label: counts[label] for label in class_sizes}


def most_pruned(labels: np.ndarray, max_prune_fraction: float) -> dict[int, int]:
    """Returns how many examples of every class `per_class` prunes at most, for all prune fractions up to a maximum.

    Rounding may prune one example more than the share of a class, also at a fraction below the maximum.

    Args:
        labels: [N] integers, not negative.
        max_prune_fraction: the largest prune fraction, greater than 0 and less than 1.

    Returns:
        For every label, in ascending order, a number less than the size of its class.

    Raises:
        InputError: `max_prune_fraction` is out of range.
    """
    if not isinstance(max_prune_fraction, Real) or not 0 < max_prune_fraction < 1:
        raise InputError("max_prune_fraction", max_prune_fraction, "must be greater than 0 and less than 1")
    class_sizes = grouping.class_sizes(labels)
    count = min(num_pruned(len(labels), max_prune_fraction), len(labels) - len(class_sizes))
    exhausted = _exhausted(class_sizes, count)
    total = sum(size for label, size in class_sizes.items() if label not in exhausted)
    rest = count - sum(class_sizes[label] - 1 for label in exhausted)
    return {
        label: size - 1 if label in exhausted else min(size - 1, size * rest // total + 1)
        for label, size in class_sizes.items()
    }


def _exhausted(class_sizes: Mapping[int, int], num_pruned: int) -> set[int]:
    """Returns the classes that keep only one example, because their share is larger than what they can give up."""
    exhausted: set[int] = set()
    while True:
        sharing = {label: size for label, size in class_sizes.items() if label not in exhausted}
        total = sum(sharing.values())
        rest = num_pruned - sum(class_sizes[label] - 1 for label in exhausted)
        more = {label for label, size in sharing.items() if size * rest > (size - 1) * total}
        if not more:
            return exhausted
        exhausted |= more


def _largest_remainder(sizes: Mapping[int, int], count: int) -> dict[int, int]:
    """Splits `count` in proportion to `sizes`, in integer arithmetic so that equal remainders compare as equal."""
    total = sum(sizes.values())
    shares = {label: size * count // total for label, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda label: (-(sizes[label] * count % total), label))
    for label in by_remainder[: count - sum(shares.values())]:
        shares[label] += 1
    return shares


def global_height(heights: Mapping[int, np.ndarray], class_sizes: Mapping[int, int], num_pruned: int) -> dict[int, int]:
    """Cuts all trees at one height: makes the lowest merges of all classes, each of which prunes one example.

    Args:
        heights: for every class, the heights of the merges of its tree, not decreasing: [n-1], or the first of them if
            the tree is truncated.
        class_sizes: the number of examples of every class, n.
        num_pruned: how many examples to prune in all.

    Returns:
        How many examples to prune from every class; the sum is exactly `num_pruned`. Of merges at equal heights, the
        merges of the lower label come first.

    Raises:
        InputError: not every class could keep one example, or truncated trees may lack some of the lowest merges.
    """
    labels = sorted(heights)
    num_examples = sum(class_sizes.values())
    _check_one_of_each_is_kept(num_examples, len(labels), num_pruned)
    num_merges = [len(heights[label]) for label in labels]
    order = np.argsort(np.concatenate([heights[label] for label in labels]), kind="stable")
    known = _num_known_lowest(order, num_merges, [class_sizes[label] for label in labels])
    if num_pruned > known:
        largest = _rounded_down(known / num_examples)
        raise InputError(
            "prune_fraction",
            None,
            f"prunes {num_pruned} of {num_examples} examples at one height of all trees, but the trees are truncated "
            f"and hold only the {known} lowest merges",
            f"Prune at most {largest:g}, or cluster again with a larger max_prune_fraction or without one",
        )
    owners = np.repeat(np.arange(len(labels)), num_merges)
    counts = np.bincount(owners[order[:num_pruned]], minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _num_known_lowest(order: np.ndarray, num_merges: list[int], class_sizes: list[int]) -> int:
    """Returns how many of the lowest merges are certain, given that truncated trees lack their higher merges.

    Args:
        order: [M] integers, the merges of all trees, tree after tree, sorted by height.
        num_merges: of every tree.
        class_sizes: of every tree.
    """
    rank = np.argsort(order)
    last = np.cumsum(num_merges) - 1
    truncated = [i for i, size in enumerate(class_sizes) if num_merges[i] < size - 1]
    return min((int(rank[last[i]]) + 1 if num_merges[i] else 0 for i in truncated), default=len(order))


def _check_one_of_each_is_kept(num_examples: int, num_classes: int, num_pruned: int) -> None:
    most = num_examples - num_classes
    if num_pruned > most:
        raise InputError(
            "prune_fraction",
            None,
            f"prunes {num_pruned} of {num_examples} examples, but each of {num_classes} classes must keep one",
            f"Prune at most {_rounded_down(most / num_examples)}",
        )


def _rounded_down(fraction: float) -> float:
    return math.floor(fraction * 10_000) / 10_000
