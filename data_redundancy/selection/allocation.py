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


def global_height(heights: Mapping[int, np.ndarray], num_pruned: int) -> dict[int, int]:
    """Cuts all trees at one height: the lowest merges of all classes together are made, and each costs one example.

    Args:
      heights: for every class, the heights of its tree's merges [n-1], not decreasing.
      num_pruned: how many examples are to go in all.

    Returns:
      How many go from every class; exactly `num_pruned` in all. Of equal heights that of the lower class comes first.

    Raises:
      InputError: more are to go than can, with one of every class left.
    """
    labels = sorted(heights)
    num_merges = [len(heights[label]) for label in labels]
    _check_one_of_each_stays(sum(num_merges) + len(labels), len(labels), num_pruned)
    lowest = np.argsort(np.concatenate([heights[label] for label in labels]), kind="stable")[:num_pruned]
    owners = np.repeat(np.arange(len(labels)), num_merges)[lowest]
    counts = np.bincount(owners, minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _check_one_of_each_stays(num_examples: int, num_classes: int, num_pruned: int) -> None:
    most = num_examples - num_classes
    if num_pruned > most:
        largest = math.floor(most / num_examples * 10_000) / 10_000
        raise InputError(
            f"prune_fraction: removes {num_pruned} of {num_examples} examples, but each of {num_classes} classes keeps "
            f"at least one: {largest} is the largest possible"
        )
