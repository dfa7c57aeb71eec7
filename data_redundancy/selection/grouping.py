"""Labels, and the classes of examples that they define."""

import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.errors import InputError


def check_labels(labels: ArrayLike, num_embeddings: int | None = None) -> np.ndarray:
    """Returns labels as a validated array.

    Args:
        labels: [N] integers, not negative, at least one.
        num_embeddings: the number of embeddings, which N must equal; None to accept any N.

    Returns:
        [N] integers.

    Raises:
        InputError: `labels` is something else; the first negative label is named by its index.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        requirement = f"must have one integer per example, but has shape {labels.shape} and type {labels.dtype}"
        raise InputError("labels", None, requirement, "Convert numbers with astype(int), one-hot rows with argmax(1)")
    if num_embeddings is not None and len(labels) != num_embeddings:
        raise InputError(
            "labels", None, f"must have one label per embedding, but has {len(labels)} for {num_embeddings} embeddings"
        )
    if not len(labels):
        raise InputError("labels", None, "must not be empty")
    if labels.min() < 0:
        index = int(np.argmax(labels < 0))
        raise InputError("labels", None, f"must be at least 0, but index {index} has label {labels[index]}")
    return labels


def members_by_class(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Groups examples by class.

    Args:
        labels: [N] integers.

    Returns:
        For every label, in ascending order, the indices of its examples: [n] int64, ascending.
    """
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))


def class_sizes(labels: np.ndarray) -> dict[int, int]:
    """Counts the examples of every class.

    Args:
        labels: [N] integers.

    Returns:
        For every label, in ascending order, the number of its examples.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    return dict(zip(classes.tolist(), sizes.tolist(), strict=True))
