"""Near-duplicates that indicate errors: training images with different labels, test images in the training split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_redundancy.clustering.distances import check_embeddings, fixed_point_unit_vectors
from data_redundancy.clustering.memory import default_limit
from data_redundancy.clustering.neighbours import Neighbours

Progress = Callable[[int, int], None]
"""A function of the number of blocks done and the number of blocks in all."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of examples, the nearest first.

    Attributes:
        first: [P] int64, indices.
        second: [P] int64, indices.
        distance: [P] float64, cosine distances.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, which: np.ndarray | slice) -> "Pairs":
        return Pairs(self.first[which], self.second[which], self.distance[which])


NO_PAIRS = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def find_near_duplicates(
    embeddings: np.ndarray,
    labels: np.ndarray,
    test_embeddings: np.ndarray | None = None,
    *,
    height: float,
    limit: int,
    progress: Progress | None = None,
) -> tuple[Pairs, Pairs]:
    """Finds near-duplicates among training images with different labels, and between training and test images.

    All pairs are compared, exactly; the result is the same on every machine.

    Args:
        embeddings: [N, D] floats, of the training images.
        labels: [N] integers.
        test_embeddings: [M, D] floats; None to compare training images only.
        height: the largest cosine distance of a near-duplicate.
        limit: the largest number of pairs to return, of label errors and of leaks each. A larger limit takes more time
            and memory.
        progress: called after every block of comparisons.

    Returns:
        Label errors: the nearest pairs of training images with different labels, first < second. Leaks: the test images
        (first) nearest to a training image, with their nearest training image (second). Of pairs at equal distances,
        those with the lowest indices come first.

    Raises:
        InputError: the embeddings contain NaN, an infinity or a zero vector.
    """
    check_embeddings(embeddings)
    parts = [embeddings]
    if test_embeddings is not None:
        parts.append(check_embeddings(test_embeddings, "test_embeddings"))
    nearest = _NearestPairs(labels, sum(map(len, parts)), height, limit)
    units = fixed_point_unit_vectors(parts[0] if len(parts) == 1 else np.concatenate(parts))
    for found in Neighbours(units).stream(nearest.height, wanted=nearest.is_wanted, progress=progress):
        nearest.add(Pairs(found.first, found.second, found.distance))
    return nearest.label_errors, nearest.leaks


def fits_memory(num_examples: int, num_dimensions: int) -> bool:
    """Returns whether there is memory for `find_near_duplicates`, which takes four float32 copies of all embeddings.

    Args:
        num_examples: the number of training and test images.
        num_dimensions: D.
    """
    return 4 * 4 * num_examples * num_dimensions <= default_limit()


class _NearestPairs:
    """The nearest pairs found so far. Rows from N on are test images."""

    def __init__(self, labels: np.ndarray, num_rows: int, height: float, limit: int):
        self._labels, self._height, self._limit = labels, height, limit
        self._has_test = num_rows > len(labels)
        self.label_errors, self.leaks = NO_PAIRS, NO_PAIRS

    def height(self) -> float:
        """Returns the largest distance of a pair that may still be among the nearest."""
        heights = [self._height_of(self.label_errors), *([self._height_of(self.leaks)] if self._has_test else [])]
        return max(heights)

    def is_wanted(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Returns which pairs of rows, first < second, are label errors or leaks if they are near, [p] bool."""
        num_train = len(self._labels)
        both_train = second < num_train
        differ = self._labels[first % num_train] != self._labels[second % num_train]
        return (both_train & differ) | ((first < num_train) & ~both_train)

    def add(self, found: Pairs) -> None:
        """Adds pairs, all of which are wanted."""
        is_error = found.second < len(self._labels)
        errors, leaks = found[is_error], found[~is_error]
        if len(errors):
            self.label_errors = _sorted(_joined(self.label_errors, errors))[: self._limit]
        if len(leaks):
            leaks = Pairs(leaks.second - len(self._labels), leaks.first, leaks.distance)
            leaks = _sorted(_joined(self.leaks, leaks))
            _, nearest = np.unique(leaks.first, return_index=True)
            self.leaks = leaks[np.sort(nearest)[: self._limit]]

    def _height_of(self, pairs: Pairs) -> float:
        return self._height if len(pairs) < self._limit else min(self._height, float(pairs.distance[-1]))


def _joined(a: Pairs, b: Pairs) -> Pairs:
    first, second, distance = (
        np.concatenate([getattr(a, name), getattr(b, name)]) for name in ("first", "second", "distance")
    )
    return Pairs(first, second, distance)


def _sorted(pairs: Pairs) -> Pairs:
    return pairs[np.lexsort((pairs.second, pairs.first, pairs.distance))]
