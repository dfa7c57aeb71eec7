"""Keep the examples farthest from a prototype, or the nearest."""

import math
from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.by_class import embeddings_of, highest, keep_by_class, without_last_digits
from data_redundancy.selection.kmeans import cluster_unit_vectors
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import unit_vectors
from data_redundancy.selection.result import Selection

CENTRES = ("class", "kmeans")
ENDS = ("hard", "easy")
EXAMPLES_PER_PROTOTYPE = 1000
"""Without classes; in the paper's ImageNet it is 1,281, and it says that their number matters little."""


def select(
    pool: Pool, num_pruned: Mapping[int, int], *, centre: str = "kmeans", end: str = "hard", seed: int = 0
) -> Selection:
    """Keeps what is far from its prototype (`hard`) or near to it (`easy`), by cosine distance.

    Prototypes are the means of k-means clusters of the whole data set, as many as there are classes (one per 1,000
    examples where there are none), found without labels as in the paper, or (`class`) the means of the classes. An
    example's prototype is that of its own cluster; k-means, of unit vectors, takes the nearest by Euclidean distance,
    which now and then is not the one of least angle. The paper's embedding is self-supervised, here it is whichever is
    given; it also prunes regardless of classes, but for a part that all keep, as this does where the scope is the data
    set. Of equal distances (to 1e-12) the lowest index is kept.

    Args:
      pool: with embeddings.
      num_pruned: for every label, how many of its examples go.
      centre: which prototypes, one of `CENTRES`.
      end: which examples to keep, one of `ENDS`. The paper keeps hard ones where data abound, easy ones where they are
        scarce.
      seed: of k-means.

    Raises:
      InputError: the pool has no embeddings, or an unknown option.

    References:
      Sorscher, Geirhos, Shekhar, Ganguli, Morcos, "Beyond neural scaling laws: beating power law scaling via data
      pruning", NeurIPS 2022, section 5.
    """
    for name, value, allowed in (("centre", centre, CENTRES), ("end", end, ENDS)):
        if value not in allowed:
            raise InputError(f"{name}: {value!r}, but one of {', '.join(allowed)} is needed")
    unit = unit_vectors(embeddings_of(pool, "prototypes"))
    classes = pool.labels if pool.classes is None else pool.classes
    group = classes if centre == "class" else cluster_unit_vectors(unit, num_prototypes(classes), seed)
    distance = without_last_digits(distance_to_mean(unit, group))
    score = distance if end == "hard" else -distance
    return keep_by_class("prototypes", pool, num_pruned, lambda members, num_kept, _: highest(score[members], num_kept))


def num_prototypes(classes: np.ndarray) -> int:
    """How many prototypes k-means finds for examples of these classes [N]."""
    num_classes = len(np.unique(classes))
    return num_classes if num_classes > 1 else math.ceil(len(classes) / EXAMPLES_PER_PROTOTYPE)


def distance_to_mean(unit: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The cosine distance of every row to the mean of its group, [n] float64; 1 where that mean is zero.

    Args:
      unit: [n, D] float64 of length one.
      group: [n] integers.
    """
    _, inverse = np.unique(group, return_inverse=True)
    total = np.zeros((inverse.max() + 1, unit.shape[1]))
    np.add.at(total, inverse, unit)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    mean = np.divide(total, length, out=np.zeros_like(total), where=length > 0)
    return 1 - np.einsum("nd,nd->n", unit, mean[inverse])
