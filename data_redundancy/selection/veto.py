"""A user's word on single images, above any method's: these stay, those go."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.representative import distance_to
from data_redundancy.selection.result import Selection

_SHOWN = 10  # of many, in an error


@dataclasses.dataclass(frozen=True, eq=False)
class Veto:
    """Which images stay and which go, whatever a method says.

    Attributes:
      keep: [k] int64, indices, ascending and unique.
      drop: [d] int64, the same; none is in both.
    """

    keep: np.ndarray
    drop: np.ndarray

    @functools.cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over both lists."""
        lists = {"keep": self.keep.tolist(), "drop": self.drop.tolist()}
        return hashlib.sha256(json.dumps(lists).encode()).hexdigest()[:16]


def apply(selection: Selection, veto: Veto, embeddings: np.ndarray | None = None) -> Selection:
    """Keeps and drops what the veto says, and leaves the rest as it is.

    Images to keep are kept in addition. Images to drop go. A cluster whose representative goes is then represented by
    one of its members: by the nearest to the old representative, of those to keep if it has any, else of those not to
    drop; of equally near ones by the lowest index. A cluster of which all go has no representative. Where the selection
    has no clusters, nothing takes the place of what goes. So the number kept may change.

    Args:
      selection: of N examples.
      veto: of the same.
      embeddings: [N, D] floats, what the clusters are of; for distances to new representatives.

    Returns:
      The selection, its representatives and distances as they are now.

    Raises:
      InputError: embeddings are needed, and there are none.
    """
    indices = np.arange(selection.num_examples)
    to_keep, to_drop = np.isin(indices, veto.keep), np.isin(indices, veto.drop)
    kept = (selection.kept | to_keep) & ~to_drop
    representative, distance = selection.representative.copy(), selection.distance.copy()
    lost = np.unique(selection.cluster[selection.kept & to_drop])
    rows = np.flatnonzero(np.isin(selection.cluster, lost[lost >= 0]))
    if len(rows):
        if embeddings is None:
            raise InputError("embeddings: needed, for the veto drops representatives of clusters")
        heir = _heirs(selection, rows, to_keep, to_drop)
        kept[heir[heir >= 0]] = True
        representative[rows] = heir
        distance[rows] = _distances(embeddings, rows, heir)
    gone = to_drop & (selection.representative == indices) & (selection.cluster < 0)
    representative[gone], distance[gone] = -1, np.nan
    representative[kept], distance[kept] = indices[kept], 0.0
    return dataclasses.replace(selection, keep=np.flatnonzero(kept), representative=representative, distance=distance)


def _heirs(selection: Selection, rows: np.ndarray, to_keep: np.ndarray, to_drop: np.ndarray) -> np.ndarray:
    """Who represents each row's cluster now, [n] int64; -1 where all members go."""
    staying = rows[~to_drop[rows]]
    order = np.lexsort((staying, selection.distance[staying], ~to_keep[staying], selection.cluster[staying]))
    staying = staying[order]
    clusters, first = np.unique(selection.cluster[staying], return_index=True)
    heir = np.full(selection.cluster.max() + 1, -1)
    heir[clusters] = staying[first]
    return heir[selection.cluster[rows]]


def _distances(embeddings: np.ndarray, rows: np.ndarray, representative: np.ndarray) -> np.ndarray:
    """Of every row to its representative, [n] float64; NaN where it has none."""
    distance = np.full(len(rows), np.nan)
    has_one = representative >= 0
    rows, representative = rows[has_one], representative[has_one]
    if len(rows):
        distance[has_one] = distance_to(embeddings[rows], np.searchsorted(rows, representative))
    return distance


def check_classes(
    before: Selection, after: Selection, labels: np.ndarray | None, class_names: Sequence[str] | None
) -> None:
    """Raises InputError, beginning with `veto:`, for classes of which `before` keeps an example and `after` none.

    Args:
      before: of N examples.
      after: of the same.
      labels: [N] integers; None where all are of one class.
      class_names: a name for every label, or None.
    """
    if labels is None:
        if not len(after.keep):
            raise InputError("veto: drops all images; at least one must stay")
        return
    emptied = np.setdiff1d(labels[before.keep], labels[after.keep]).tolist()
    if emptied:
        names = [repr(class_names[label]) if class_names else str(label) for label in emptied[:_SHOWN]]
        more = ", ..." if len(emptied) > _SHOWN else ""
        classes = f"class {names[0]}" if len(emptied) == 1 else f"{len(emptied)} classes ({', '.join(names)}{more})"
        raise InputError(f"veto: drops every image of {classes}; at least one of a class must stay")
