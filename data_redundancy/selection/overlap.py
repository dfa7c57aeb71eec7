"""How much two selections have in common, and how much they would by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Overlap:
    """What two sets of examples have in common.

    Attributes:
      size_a: the size of one.
      size_b: the size of the other.
      both: how many examples are in both.
      expected: the mean of that for two sets drawn independently, with these sizes in every stratum.
      std: its standard deviation.
    """

    size_a: int
    size_b: int
    both: int
    expected: float
    std: float

    @property
    def jaccard(self) -> float:
        """The share of those in either that are in both; 1 where there are none."""
        either = self.size_a + self.size_b - self.both
        return self.both / either if either else 1.0

    @property
    def of_smaller(self) -> float:
        """The share of the smaller set that is in the other; 1 where that is empty."""
        smaller = min(self.size_a, self.size_b)
        return self.both / smaller if smaller else 1.0

    @property
    def times_chance(self) -> float:
        """`both` in multiples of what is expected by chance; 1 where nothing is expected."""
        return self.both / self.expected if self.expected else 1.0

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Where `both` falls by chance with this probability, by the normal approximation, cut off at what can be."""
        margin = norm.ppf((1 + confidence) / 2) * self.std
        low, high = self.expected - margin, self.expected + margin
        return max(low, 0.0), min(high, float(min(self.size_a, self.size_b)))


def overlap(a: np.ndarray, b: np.ndarray, strata: np.ndarray) -> Overlap:
    """Compares two sets with two that are drawn at random and independently, of the same sizes in every stratum.

    In a stratum of n, of which sets have a and b examples, the number in both is then hypergeometric, of mean a b / n
    and variance a b (n-a) (n-b) / (n^2 (n-1)); strata are independent.

    Args:
      a: [N] bool, what is in one set.
      b: [N] bool, what is in the other.
      strata: [N] integers from 0, such as labels.

    Returns:
      The overlap.
    """
    n, in_a, in_b = (np.bincount(strata, weights=w).astype(float) for w in (np.ones(len(a)), a, b))
    there = n > 0
    n, in_a, in_b = n[there], in_a[there], in_b[there]
    mean = in_a * in_b / n
    variance = mean * (n - in_a) * (n - in_b) / (n * np.maximum(n - 1, 1))
    both = int(np.count_nonzero(a & b))
    return Overlap(int(a.sum()), int(b.sum()), both, float(mean.sum()), float(np.sqrt(variance.sum())))


def agreement(a: np.ndarray, b: np.ndarray, strata: np.ndarray) -> float:
    """Cohen's kappa: how much oftener than by chance two selections agree on an example, in parts of what is possible.

    Args:
      a: [N] bool, what is kept by one.
      b: [N] bool, what is kept by the other.
      strata: [N] integers from 0; chance is within these, see `overlap`.

    Returns:
      1 where they are the same, about 0 where they agree as by chance, NaN where chance alone makes them the same.
    """
    expected = (overlap(a, b, strata).expected + overlap(~a, ~b, strata).expected) / len(a)
    observed = float(np.mean(a == b))
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


@dataclass(frozen=True)
class ClassShare:
    """What two selections keep of a class.

    Attributes:
      label: of the class.
      size: its number of examples.
      kept_a: how many of them one keeps.
      kept_b: how many the other keeps.
      pruned_by_both: how many neither keeps.
    """

    label: int
    size: int
    kept_a: int
    kept_b: int
    pruned_by_both: int

    @property
    def difference(self) -> float:
        """The share that the other keeps less the share that one keeps."""
        return (self.kept_b - self.kept_a) / self.size


def class_shares(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> Sequence[ClassShare]:
    """What two selections keep of every class, those that differ most first, then by label.

    Args:
      a: [N] bool, what is kept by one.
      b: [N] bool, what is kept by the other.
      labels: [N] integers from 0.
    """
    columns = (np.bincount(labels, weights=w) for w in (np.ones(len(a)), a, b, ~a & ~b))
    counts = np.stack([*columns], axis=1).astype(int).tolist()
    shares = [ClassShare(label, *row) for label, row in enumerate(counts) if row[0]]
    return sorted(shares, key=lambda share: (-abs(share.difference), share.label))
