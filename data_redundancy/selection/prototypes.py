"""Prototypes: keep the examples farthest from their prototype, or the nearest."""

import math
from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import choice_error
from data_redundancy.selection.by_class import embeddings_of, highest, keep_by_class
from data_redundancy.selection.kmeans import cluster_unit_vectors
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays
from data_redundancy.selection.vectors import float64_unit_vectors, rounded_cosines

CENTRES = ("class", "kmeans")
ENDS = ("hard", "easy")
EXAMPLES_PER_PROTOTYPE = 1000
"""Used if there are no classes. In the paper it is 1,281 for ImageNet, and the number matters little."""


def select(
    pool: Pool, num_pruned: Mapping[int, int], *, centre: str = "kmeans", end: str = "hard", seed: int = 0
) -> SelectionArrays:
    """Keeps the examples that are far from their prototype (`hard`) or near to it (`easy`), by cosine distance.

    With `kmeans`, prototypes are the means of k-means clusters of the whole data set. They are found without labels, as
    in the paper, as many as there are classes, or one per 1,000 examples if there are no classes. With `class`,
    prototypes are the means of the classes. The prototype of an example is the mean of its cluster. Since k-means
    assigns unit vectors to the nearest mean by Euclidean distance, that is not always the one at the smallest angle. Of
    distances that are equal (to 1e-12), the lowest index is kept.

    Differences from the paper: Its embedding is self-supervised; here it is the given one. It prunes regardless of
    classes, except for a part that every class keeps; here that is the case if the whole data set is one class
    (`scope="dataset"`).

    Args:
        pool: with embeddings.
        num_pruned: for every label, how many of its examples to prune.
        centre: the kind of prototypes, one of `CENTRES`.
        end: which examples to keep, one of `ENDS`. The paper keeps hard examples if data are abundant and easy ones if
            they are scarce.
        seed: seeds k-means.

    Raises:
        InputError: the pool has no embeddings, or an option is unknown.

    References:
        Sorscher, Geirhos, Shekhar, Ganguli, Morcos, "Beyond neural scaling laws: beating power law scaling via data
        pruning", NeurIPS 2022, section 5.
    """
    for name, value, allowed in (("centre", centre, CENTRES), ("end", end, ENDS)):
        if value not in allowed:
            raise choice_error(name, value, allowed)
    unit = float64_unit_vectors(embeddings_of(pool, "prototypes"))
    classes = pool.labels if pool.classes is None else pool.classes
    group = classes if centre == "class" else cluster_unit_vectors(unit, num_prototypes(classes), seed)
    distance = rounded_cosines(distance_to_mean(unit, group))
    score = distance if end == "hard" else -distance
    return keep_by_class("prototypes", pool, num_pruned, lambda members, num_kept, _: highest(score[members], num_kept))


def num_prototypes(classes: np.ndarray) -> int:
    """Returns the number of k-means prototypes for examples of the given classes, [N] integers."""
    num_classes = len(np.unique(classes))
    return num_classes if num_classes > 1 else math.ceil(len(classes) / EXAMPLES_PER_PROTOTYPE)


def distance_to_mean(unit: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Returns the cosine distance of every row to the mean of its group, [n] float64; 1 if that mean is zero.

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
