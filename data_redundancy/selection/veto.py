"""A veto: a user's decision to keep or drop single images, whatever a selection method says."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.representative import distance_to
from data_redundancy.selection.result import SelectionArrays

_MAX_SHOWN = 10  # names in an error


@dataclasses.dataclass(frozen=True, eq=False)
class Veto:
    """The images to keep and to drop, whatever a selection method says.

    Attributes:
        keep: [k] int64, indices, ascending and unique.
        drop: [d] int64, indices, ascending and unique; none is also in `keep`.
    """

    keep: np.ndarray
    drop: np.ndarray

    @functools.cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 hash of both lists."""
        lists = {"keep": self.keep.tolist(), "drop": self.drop.tolist()}
        return hashlib.sha256(json.dumps(lists).encode()).hexdigest()[:16]


def apply(selection: SelectionArrays, veto: Veto, embeddings: np.ndarray | None = None) -> SelectionArrays:
    """Applies a veto to a selection.

    Images in `veto.keep` are kept in addition, and images in `veto.drop` are pruned; the number of kept images may
    therefore change. If the representative of a cluster is dropped, another member takes its place: the nearest to the
    old representative among the members to keep, or, if there are none, among the members that are not dropped; of
    equally near members, the lowest index. If all members of a cluster are dropped, it has no representative. In a
    selection without clusters, nothing takes the place of a dropped image.

    Args:
        selection: of N examples.
        veto: of the same examples.
        embeddings: [N, D] floats, the embeddings that the clusters were made of, for distances to new representatives.

    Returns:
        The changed selection, with updated representatives and distances.

    Raises:
        InputError: embeddings are needed but not given.
    """
    indices = np.arange(selection.num_examples)
    to_keep, to_drop = np.isin(indices, veto.keep), np.isin(indices, veto.drop)
    kept = (selection.kept | to_keep) & ~to_drop
    representative, distance = selection.representative.copy(), selection.distance.copy()
    headless = np.unique(selection.cluster[selection.kept & to_drop])
    rows = np.flatnonzero(np.isin(selection.cluster, headless[headless >= 0]))
    if len(rows):
        if embeddings is None:
            raise InputError("embeddings", None, "must be given, since the veto drops representatives of clusters")
        successor = _successors(selection, rows, to_keep, to_drop)
        kept[successor[successor >= 0]] = True
        representative[rows] = successor
        distance[rows] = _distances(embeddings, rows, successor)
    unrepresented = to_drop & (selection.representative == indices) & (selection.cluster < 0)
    representative[unrepresented], distance[unrepresented] = -1, np.nan
    representative[kept], distance[kept] = indices[kept], 0.0
    return dataclasses.replace(selection, keep=np.flatnonzero(kept), representative=representative, distance=distance)


def _successors(selection: SelectionArrays, rows: np.ndarray, to_keep: np.ndarray, to_drop: np.ndarray) -> np.ndarray:
    """Returns the new representative of each row's cluster, [n] int64; -1 if all members are dropped.

    Args:
        selection: of N examples.
        rows: [n] integers, all members of the clusters whose representative is dropped.
        to_keep: [N] bool.
        to_drop: [N] bool.
    """
    remaining = rows[~to_drop[rows]]
    order = np.lexsort((remaining, selection.distance[remaining], ~to_keep[remaining], selection.cluster[remaining]))
    remaining = remaining[order]
    clusters, first = np.unique(selection.cluster[remaining], return_index=True)
    successor = np.full(selection.cluster.max() + 1, -1)
    successor[clusters] = remaining[first]
    return successor[selection.cluster[rows]]


def _distances(embeddings: np.ndarray, rows: np.ndarray, representative: np.ndarray) -> np.ndarray:
    """Returns the cosine distance of each of some rows to its representative, [n] float64; NaN if that is -1."""
    distance = np.full(len(rows), np.nan)
    has_one = representative >= 0
    rows, representative = rows[has_one], representative[has_one]
    if len(rows):
        distance[has_one] = distance_to(embeddings[rows], np.searchsorted(rows, representative))
    return distance


def check_classes(
    before: SelectionArrays, after: SelectionArrays, labels: np.ndarray | None, class_names: Sequence[str] | None
) -> None:
    """Validates that a veto leaves at least one example of every class.

    Args:
        before: the selection of N examples before the veto.
        after: the selection after the veto.
        labels: [N] integers; None if all examples are of one class.
        class_names: a name for every label, or None.

    Raises:
        InputError: about the argument `veto`, if `after` keeps no example of a class of which `before` keeps one.
    """
    if labels is None:
        if not len(after.keep):
            raise InputError("veto", None, "drops all images", "Keep at least one image")
        return
    emptied = np.setdiff1d(labels[before.keep], labels[after.keep]).tolist()
    if emptied:
        names = [repr(class_names[label]) if class_names else str(label) for label in emptied[:_MAX_SHOWN]]
        more = ", ..." if len(emptied) > _MAX_SHOWN else ""
        classes = f"class {names[0]}" if len(emptied) == 1 else f"{len(emptied)} classes ({', '.join(names)}{more})"
        raise InputError("veto", None, f"drops every image of {classes}", "Keep at least one image of every class")
