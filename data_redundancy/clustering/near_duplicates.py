"""Near-duplicates that should not be: training images with different labels, test images that were trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_redundancy.clustering.distances import check_embeddings, unit_vectors
from data_redundancy.clustering.memory import default_limit
from data_redundancy.clustering.neighbours import Neighbours

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of examples, the nearest first.

    Attributes:
      first: [P] int64, indices.
      second: [P] int64, the same.
      distance: [P] float64, cosine distances.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


NONE = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def find_suspects(
    embeddings: np.ndarray,
    labels: np.ndarray,
    test_embeddings: np.ndarray | None = None,
    *,
    height: float,
    limit: int,
    progress: Progress | None = None,
) -> tuple[Pairs, Pairs]:
    """Compares all training images with each other and with all test images; exact, the same everywhere.

    Args:
      embeddings: [N, D] floats.
      labels: [N] integers.
      test_embeddings: [M, D] floats, or None to look among the training images only.
      height: the largest distance of a near-duplicate.
      limit: how many to find of either kind; more of them make it slower and take memory.
      progress: is told how many blocks of how many are done.

    Returns:
      Label errors: the nearest pairs of training images with different labels, first < second. Leaks: test images (as
      first) that are nearest to a training image (as second), each with the nearest one. Of equally near ones those
      with the lowest indices.

    Raises:
      InputError: embeddings that hold NaN, an infinity or a zero vector.
    """
    check_embeddings(embeddings)
    parts = [embeddings] if test_embeddings is None else [embeddings, check_embeddings(test_embeddings, "test images")]
    search = _Search(labels, sum(map(len, parts)), height, limit)
    units = unit_vectors(parts[0] if len(parts) == 1 else np.concatenate(parts))
    for found in Neighbours(units).stream(search.height, wanted=search.is_wanted, progress=progress):
        search.add(Pairs(found.first, found.second, found.distance))
    return search.label_errors, search.leaks


def fits_memory(num_examples: int, num_dimensions: int) -> bool:
    """Whether there is memory to compare so many training and test images: four copies of all of them in float32."""
    return 4 * 4 * num_examples * num_dimensions <= default_limit()


class _Search:
    """The nearest found so far; rows from N on are test images."""

    def __init__(self, labels: np.ndarray, num_rows: int, height: float, limit: int):
        self._labels, self._height, self._limit = labels, height, limit
        self._has_test = num_rows > len(labels)
        self.label_errors, self.leaks = NONE, NONE

    def height(self) -> float:
        """Beyond it there is nothing left to find."""
        heights = [self._height_of(self.label_errors), *([self._height_of(self.leaks)] if self._has_test else [])]
        return max(heights)

    def is_wanted(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of pairs of rows, first < second."""
        num_train = len(self._labels)
        both_train = second < num_train
        differ = self._labels[first % num_train] != self._labels[second % num_train]
        return (both_train & differ) | ((first < num_train) & ~both_train)

    def add(self, found: Pairs) -> None:
        """Takes in pairs that are wanted."""
        is_error = found.second < len(self._labels)
        errors, leaks = (_some(found, rows) for rows in (is_error, ~is_error))
        if len(errors):
            self.label_errors = _some(_sorted(_joined(self.label_errors, errors)), slice(self._limit))
        if len(leaks):
            leaks = Pairs(leaks.second - len(self._labels), leaks.first, leaks.distance)
            leaks = _sorted(_joined(self.leaks, leaks))
            _, nearest = np.unique(leaks.first, return_index=True)
            self.leaks = _some(leaks, np.sort(nearest)[: self._limit])

    def _height_of(self, pairs: Pairs) -> float:
        return self._height if len(pairs) < self._limit else min(self._height, float(pairs.distance[-1]))


def _joined(a: Pairs, b: Pairs) -> Pairs:
    return Pairs(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in ("first", "second", "distance")))


def _sorted(pairs: Pairs) -> Pairs:
    return _some(pairs, np.lexsort((pairs.second, pairs.first, pairs.distance)))


def _some(pairs: Pairs, rows: np.ndarray | slice) -> Pairs:
    return Pairs(pairs.first[rows], pairs.second[rows], pairs.distance[rows])
