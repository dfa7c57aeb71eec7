"""What a selection method may choose from, and by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from data_redundancy.errors import InputError


class Dendrograms(Protocol):
    """The trees of all classes, as far as selection needs them."""

    def heights(self, label: int) -> np.ndarray:
        """The heights of a class's merges, [m] float64, not decreasing; m is n-1, or less of a truncated tree."""

    def linkage(self, label: int) -> np.ndarray:
        """A class's merges, [m, 4] float64 over positions in its ascending members, as SciPy defines it."""

    def cut(self, num_clusters: Mapping[int, int]) -> np.ndarray:
        """The cluster of every example, [N] int64 from 0, given each class's number of clusters."""


def check_scores(scores: np.ndarray, num_examples: int, name: str) -> None:
    """Raises InputError unless `scores` is one finite number for every example; names the first that is not.

    Args:
      scores: anything.
      num_examples: N.
      name: what to call the scores in an error.
    """
    scores = np.asarray(scores)
    if scores.shape != (num_examples,):
        raise InputError(
            f"{name}: shape {scores.shape}, but one number for each of {num_examples:,} examples is needed"
        )
    if scores.dtype.kind not in "fiub":
        raise InputError(f"{name}: of type {scores.dtype}, but numbers are needed")
    if len(wrong := np.flatnonzero(~np.isfinite(scores))):
        raise InputError(f"{name}: index {wrong[0]} is {scores[wrong[0]]}, but finite numbers are needed")


@dataclass(frozen=True, eq=False)
class Pool:
    """A data set to select from.

    Attributes:
      labels: [N] integers, not negative.
      embeddings: [N, D] floats, for methods that look at them.
      dendrograms: the trees of the classes, for methods that cut them.
      scores: by name, how much training makes of every example, [N] floats each, for methods that go by them.
      classes: [N] integers, what the examples show, where `labels` says otherwise, as where the whole data set is one
        class to select from; None where that is `labels`, or unknown.

    Raises:
      InputError: labels that are not integers from 0, lengths that differ, or scores that are not finite numbers (the
        first offending index is named).
    """

    labels: np.ndarray
    embeddings: np.ndarray | None = None
    dendrograms: Dendrograms | None = None
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: np.ndarray | None = None

    def __post_init__(self) -> None:
        labels = self.labels
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0 or labels.min() < 0:
            raise InputError(f"labels: shape {labels.shape}, type {labels.dtype}, but integers from 0 are needed")
        if self.embeddings is not None and len(self.embeddings) != len(labels):
            raise InputError(f"labels: {len(labels)} labels for {len(self.embeddings)} embeddings")
        if self.classes is not None and len(self.classes) != len(labels):
            raise InputError(f"classes: {len(self.classes)} for {len(labels)} labels")
        for name, values in self.scores.items():
            check_scores(values, len(labels), f"scores: {name!r}")

    def members_by_class(self) -> dict[int, np.ndarray]:
        """For every label, ascending, its examples' indices [n] int64, ascending."""
        order = np.argsort(self.labels, kind="stable")
        classes, starts = np.unique(self.labels[order], return_index=True)
        return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))

    def class_sizes(self) -> dict[int, int]:
        """For every label, ascending, the number of its examples."""
        classes, sizes = np.unique(self.labels, return_counts=True)
        return dict(zip(classes.tolist(), sizes.tolist(), strict=True))
