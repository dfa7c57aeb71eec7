"""Near-duplicates that the page warns about, and the distance up to which images count as near-duplicates."""

import dataclasses

import numpy as np

from data_redundancy.gallery.content import Selected

_NEAREST = 0.1
"""The share of pruned images, nearest first, that are near-duplicates of their representative by default."""


@dataclasses.dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of near-duplicates that indicate errors in a data set, the nearest pairs first.

    Attributes:
        label_errors: pairs of training images with different labels: [P] and [P] integer indices and [P] float
            distances.
        leaks: the same for pairs of a test image and a training image.
    """

    label_errors: tuple[np.ndarray, np.ndarray, np.ndarray]
    leaks: tuple[np.ndarray, np.ndarray, np.ndarray]


def default_near_duplicate(selected: Selected) -> float | None:
    """Returns the distance up to which images are near-duplicates by default.

    It is the distance that a tenth of the pruned images have at most to their representatives. So it adapts to the
    embeddings, and stays small where much is pruned and a larger part of the pruned images is merely similar.

    Returns:
        The distance; None if no pruned image has a representative.
    """
    distances = selected.distance[~selected.kept & (selected.representative >= 0)]
    distances = distances[~np.isnan(distances)]
    return float(np.quantile(distances, _NEAREST)) if len(distances) else None
