"""The data set that a selection method chooses from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection import grouping


class CuttableTrees(Protocol):
    """The trees of all classes as selection uses them, such as `clustering.dendrograms.ClassDendrograms`."""

    def heights(self, label: int) -> np.ndarray:
        """Returns the heights of a class's merges, [m] float64, not decreasing; m < n-1 if the tree is truncated."""

    def merges(self, label: int) -> np.ndarray:
        """Returns a class's merges, [m, 4] float64, as rows of a SciPy linkage over positions in its members."""

    def cut(self, num_clusters: Mapping[int, int]) -> np.ndarray:
        """Returns the cluster of every example, [N] int64 from 0, given the number of clusters of every class."""


def check_scores(scores: np.ndarray, num_examples: int, argument: str) -> None:
    """Validates that `scores` has one finite number per example.

    Args:
        scores: the array to validate.
        num_examples: N.
        argument: the name of the scores in an error.

    Raises:
        InputError: the shape is not [N], the type is not numeric, or a number is not finite (the first such index is
            named).
    """
    scores = np.asarray(scores)
    if scores.shape != (num_examples,):
        raise InputError(
            argument, None, f"must have one number for each of {num_examples:,} examples, but has shape {scores.shape}"
        )
    if scores.dtype.kind not in "fiub":
        raise InputError(argument, None, f"must have numbers, but has type {scores.dtype}")
    if len(not_finite := np.flatnonzero(~np.isfinite(scores))):
        index = not_finite[0]
        raise InputError(argument, None, f"must have finite numbers, but index {index} is {scores[index]}")


@dataclass(frozen=True, eq=False)
class Pool:
    """A data set to select from.

    Attributes:
        labels: [N] integers, not negative; each method selects within every label on its own.
        embeddings: [N, D] floats, for methods that compare embeddings.
        dendrograms: the trees of the classes, for methods that cut them.
        scores: [N] floats for every name of a score, for methods that rank examples by a score.
        classes: [N] integers, the true classes, if `labels` differs from them, for example because the whole data set
            is one class to select from; None if `labels` holds the classes or they are unknown.

    Raises:
        InputError: labels that are not integers of at least 0, lengths that differ, or scores that are not finite (the
            first such index is named).
    """

    labels: np.ndarray
    embeddings: np.ndarray | None = None
    dendrograms: CuttableTrees | None = None
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: np.ndarray | None = None

    def __post_init__(self) -> None:
        num_examples = len(
            grouping.check_labels(self.labels, None if self.embeddings is None else len(self.embeddings))
        )
        if self.classes is not None and len(self.classes) != num_examples:
            raise InputError(
                "classes", None, f"must have one entry per label, but has {len(self.classes)} for {num_examples} labels"
            )
        for name, values in self.scores.items():
            check_scores(values, num_examples, f"scores[{name!r}]")

    def members_by_class(self) -> dict[int, np.ndarray]:
        """Returns the indices of every label's examples, see `grouping.members_by_class`."""
        return grouping.members_by_class(self.labels)

    def class_sizes(self) -> dict[int, int]:
        """Returns the number of every label's examples, see `grouping.class_sizes`."""
        return grouping.class_sizes(self.labels)
