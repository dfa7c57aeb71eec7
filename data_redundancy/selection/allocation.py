"""How many examples go, and how many of them from each class."""

import math
from collections.abc import Mapping
from numbers import Real

import numpy as np

from data_redundancy.errors import InputError


def num_pruned(num_examples: int, prune_fraction: float) -> int:
    """The number of examples that a prune fraction removes: `round(prune_fraction * num_examples)`.

    Args:
      num_examples: how many there are.
      prune_fraction: the share to remove, at least 0 and less than 1.

    Returns:
      The number to remove; halves are rounded to the even number, as Python does.

    Raises:
      InputError: `prune_fraction` is out of range.
    """
    if not isinstance(prune_fraction, Real) or not 0 <= prune_fraction < 1:
        raise InputError(f"prune_fraction: {prune_fraction!r}, but at least 0 and less than 1 is needed")
    return round(prune_fraction * num_examples)


def per_class(class_sizes: Mapping[int, int], num_pruned: int) -> dict[int, int]:
    """Takes the same share of every class, by the method of largest remainder.

    Every class keeps at least one example. What a class cannot give up for that reason is taken from the others, in
    proportion to their sizes. Of equal remainders that of the lower class is rounded up.

    Args:
      class_sizes: the number of examples of every class.
      num_pruned: how many are to go in all.

    Returns:
      How many go from every class; exactly `num_pruned` in all.

    Raises:
      InputError: more are to go than can, with one of every class left.
    """
    _check_one_of_each_stays(sum(class_sizes.values()), len(class_sizes), num_pruned)
    exhausted = _exhausted(class_sizes, num_pruned)
    counts = {label: class_sizes[label] - 1 for label in exhausted}
    sharing = {label: size for label, size in class_sizes.items() if label not in exhausted}
    counts |= _largest_remainder(sharing, num_pruned - sum(counts.values()))
    return {label: counts[label] for label in class_sizes}


def most_pruned(labels: np.ndarray, max_prune_fraction: float) -> dict[int, int]:
    """How many examples of every class go at the most when any prune fraction up to a largest is shared out per class.

    Rounding can give a class one more than its share, and at a smaller fraction one more than at a larger.

    Args:
      labels: [N] integers, not negative.
      max_prune_fraction: more than 0, less than 1.

    Returns:
      For every label, ascending, a number up to the size of its class less one.

    Raises:
      InputError: `max_prune_fraction` is out of range.
    """
    if not isinstance(max_prune_fraction, Real) or not 0 < max_prune_fraction < 1:
        raise InputError(f"max_prune_fraction: {max_prune_fraction!r}, but more than 0 and less than 1 is needed")
    classes, sizes = np.unique(labels, return_counts=True)
    class_sizes = dict(zip(classes.tolist(), sizes.tolist(), strict=True))
    count = min(num_pruned(len(labels), max_prune_fraction), len(labels) - len(class_sizes))
    exhausted = _exhausted(class_sizes, count)
    total = sum(size for label, size in class_sizes.items() if label not in exhausted)
    rest = count - sum(class_sizes[label] - 1 for label in exhausted)
    return {
        label: size - 1 if label in exhausted else min(size - 1, size * rest // total + 1)
        for label, size in class_sizes.items()
    }


def _exhausted(class_sizes: Mapping[int, int], num_pruned: int) -> set[int]:
    """The classes of which only one example is left: their share would be more than they can give."""
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
    """Splits `count` in proportion to `sizes`, in integers so that equal remainders are equal."""
    total = sum(sizes.values())
    shares = {label: size * count // total for label, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda label: (-(sizes[label] * count % total), label))
    for label in by_remainder[: count - sum(shares.values())]:
        shares[label] += 1
    return shares


def global_height(heights: Mapping[int, np.ndarray], class_sizes: Mapping[int, int], num_pruned: int) -> dict[int, int]:
    """Cuts all trees at one height: the lowest merges of all classes together are made, and each costs one example.

    Args:
      heights: for every class, the heights of its tree's merges, not decreasing: [n-1], or the first of them only where
        the tree is truncated.
      class_sizes: the number of examples of every class, n.
      num_pruned: how many examples are to go in all.

    Returns:
      How many go from every class; exactly `num_pruned` in all. Of equal heights that of the lower class comes first.

    Raises:
      InputError: more are to go than can, with one of every class left, or merges are missing that may be among the
        lowest.
    """
    labels = sorted(heights)
    _check_one_of_each_stays(sum(class_sizes.values()), len(labels), num_pruned)
    num_merges = [len(heights[label]) for label in labels]
    owners = np.repeat(np.arange(len(labels)), num_merges)
    order = np.argsort(np.concatenate([heights[label] for label in labels]), kind="stable")
    place = np.argsort(order)  # of every merge among all
    last = np.cumsum(num_merges) - 1
    truncated = [i for i, label in enumerate(labels) if num_merges[i] < class_sizes[label] - 1]
    known = min((int(place[last[i]]) + 1 if num_merges[i] else 0 for i in truncated), default=len(order))
    if num_pruned > known:
        num_examples = sum(class_sizes.values())
        raise InputError(
            f"prune_fraction: removes {num_pruned} of {num_examples} examples at one height of all trees, but they are "
            f"truncated and hold the {known} lowest merges only: {math.floor(known / num_examples * 1e4) / 1e4:g} is "
            "the largest possible; cluster again with a larger max_prune_fraction, or without one"
        )
    counts = np.bincount(owners[order[:num_pruned]], minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _check_one_of_each_stays(num_examples: int, num_classes: int, num_pruned: int) -> None:
    most = num_examples - num_classes
    if num_pruned > most:
        largest = math.floor(most / num_examples * 10_000) / 10_000
        raise InputError(
            f"prune_fraction: removes {num_pruned} of {num_examples} examples, but each of {num_classes} classes keeps "
            f"at least one: {largest} is the largest possible"
        )
