"""Compares two selections with each other and with the agreement expected by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Overlap:
    """The overlap of two sets of examples.

    Attributes:
        size_a: the size of set a.
        size_b: the size of set b.
        both: the number of examples in both sets.
        expected: the mean of `both` for two sets drawn independently, of the same sizes in every stratum.
        std: the standard deviation of `both` for such sets.
    """

    size_a: int
    size_b: int
    both: int
    expected: float
    std: float

    @property
    def jaccard(self) -> float:
        """The size of the intersection over the size of the union; 1 if both sets are empty."""
        either = self.size_a + self.size_b - self.both
        return self.both / either if either else 1.0

    @property
    def of_smaller(self) -> float:
        """The share of the smaller set that is in the other set; 1 if the smaller set is empty."""
        smaller = min(self.size_a, self.size_b)
        return self.both / smaller if smaller else 1.0

    @property
    def times_chance(self) -> float:
        """`both` in multiples of `expected`; 1 if that is 0."""
        return self.both / self.expected if self.expected else 1.0

    def interval(self) -> tuple[float, float]:
        """Returns the interval in which `both` lies by chance with probability 95%, by the normal approximation.

        Returns:
            The lower and the upper end, at least 0 and at most the size of the smaller set.
        """
        margin = norm.ppf(0.975) * self.std
        low, high = self.expected - margin, self.expected + margin
        return max(low, 0.0), min(high, float(min(self.size_a, self.size_b)))


def overlap(a: np.ndarray, b: np.ndarray, strata: np.ndarray) -> Overlap:
    """Compares two sets with two sets drawn at random and independently, of the same sizes in every stratum.

    In a stratum of n examples, of which a and b are in the sets, the number in both random sets is hypergeometric, with
    mean a b / n and variance a b (n-a) (n-b) / (n^2 (n-1)). Strata are independent.

    Args:
        a: [N] bool, membership in one set.
        b: [N] bool, membership in the other set.
        strata: [N] integers from 0, such as labels.
    """
    n, in_a, in_b = (np.bincount(strata, weights=w).astype(float) for w in (np.ones(len(a)), a, b))
    not_empty = n > 0
    n, in_a, in_b = n[not_empty], in_a[not_empty], in_b[not_empty]
    mean = in_a * in_b / n
    variance = mean * (n - in_a) * (n - in_b) / (n * np.maximum(n - 1, 1))
    both = int(np.count_nonzero(a & b))
    return Overlap(int(a.sum()), int(b.sum()), both, float(mean.sum()), float(np.sqrt(variance.sum())))


def agreement(a: np.ndarray, b: np.ndarray, strata: np.ndarray) -> float:
    """Returns Cohen's kappa of two selections: their agreement beyond chance, relative to the largest possible.

    Args:
        a: [N] bool, the examples that one selection keeps.
        b: [N] bool, the examples that the other selection keeps.
        strata: [N] integers from 0; chance is computed within strata, see `overlap`.

    Returns:
        1 if the selections are equal, about 0 if they agree as by chance, NaN if chance alone makes them equal.
    """
    expected = (overlap(a, b, strata).expected + overlap(~a, ~b, strata).expected) / len(a)
    observed = float(np.mean(a == b))
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


@dataclass(frozen=True)
class ClassShare:
    """The numbers of examples of one class that two selections keep.

    Attributes:
        label: the label of the class.
        size: the number of its examples.
        kept_a: how many of them selection a keeps.
        kept_b: how many of them selection b keeps.
        pruned_by_both: how many of them neither selection keeps.
    """

    label: int
    size: int
    kept_a: int
    kept_b: int
    pruned_by_both: int

    @property
    def difference(self) -> float:
        """The share of the class that b keeps minus the share that a keeps."""
        return (self.kept_b - self.kept_a) / self.size


def class_shares(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> Sequence[ClassShare]:
    """Returns the numbers that two selections keep of every class, by descending difference, then by label.

    Args:
        a: [N] bool, the examples that one selection keeps.
        b: [N] bool, the examples that the other selection keeps.
        labels: [N] integers from 0.
    """
    columns = (np.bincount(labels, weights=w) for w in (np.ones(len(a)), a, b, ~a & ~b))
    counts = np.stack([*columns], axis=1).astype(int).tolist()
    shares = [ClassShare(label, *row) for label, row in enumerate(counts) if row[0]]
    return sorted(shares, key=lambda share: (-abs(share.difference), share.label))
