"""Finds the training images that a classifier does not need.

The Python API, for embeddings from any model:

    import data_redundancy as dr

    selection = dr.select(embeddings, labels, prune_fraction=0.1)  # [N, D] floats; [N] integers or strings
    images[selection.keep]

`dr.cluster` clusters once for selections at several fractions. `selection.save`, `.to_pandas`, `.groups` and `.plot`
write and show a selection, `dr.load_selection` reads one, and `dr.write_gallery` writes a page to look at the images.
"""

import importlib
import os
import warnings
from numbers import Integral
from typing import TYPE_CHECKING, Any

from data_redundancy.deprecation import accept_old_names
from data_redundancy.errors import InputError
from data_redundancy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from etils import epath
    from numpy.typing import ArrayLike

    from data_redundancy.api import Dendrograms, Selection, cluster, load_selection, select
    from data_redundancy.clustering.dendrograms import Dendrogram
    from data_redundancy.selection import result

__all__ = [
    "Dendrogram",
    "Dendrograms",
    "InputError",
    "Selection",
    "__version__",
    "cluster",
    "cut",
    "linkage",
    "load_selection",
    "select",
    "write_gallery",
]

# Imported when first used: JAX and SciPy take longer to import than `data-redundancy --help` should take.
_HOMES = {
    "Dendrogram": "data_redundancy.clustering.dendrograms",
    **dict.fromkeys(("Dendrograms", "Selection", "cluster", "load_selection", "select"), "data_redundancy.api"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


@accept_old_names(method="linkage")
def linkage(x: "ArrayLike", linkage: str = "complete") -> "np.ndarray":
    """Clusters the rows of `x` bottom-up by cosine distance, exactly and equally on every machine.

    Args:
        x: [n, D] floats or integers.
        linkage: the distance between clusters: of their farthest members (`complete`), of their nearest members
            (`single`), or the mean over all pairs of members (`average`).

    Returns:
        Z [n-1, 4] float64 as `scipy.cluster.hierarchy.linkage` defines it: row i merges clusters `Z[i, 0]` and
        `Z[i, 1]` at height `Z[i, 2]` into cluster n+i of `Z[i, 3]` rows.

    Raises:
        InputError: a parameter is invalid, a row has NaN, an infinity or only zeros, or memory does not suffice.

    Example:
        >>> dr.linkage([[1, 0], [2, 0], [0, 1]])
        array([[0., 1., 0., 2.],
               [2., 3., 1., 3.]])

    References:
        Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011, https://arxiv.org/abs/1109.2378
    """
    from data_redundancy.api import as_matrix
    from data_redundancy.clustering import linkage as exact

    return exact.linkage(as_matrix(x, "x"), linkage)


@accept_old_names(method="linkage")
def cut(x: "ArrayLike", num_clusters: int, linkage: str = "complete") -> "np.ndarray":
    """Clusters the rows of `x` bottom-up by cosine distance until `num_clusters` are left.

    Only the merges down to that number are computed, which is much faster than the whole tree if it is close to n.

    Args:
        x: [n, D] floats or integers.
        num_clusters: from 1 to n.
        linkage: as of `linkage`.

    Returns:
        [n] int64, the cluster of every row, from 0; clusters are numbered by their lowest members.

    Raises:
        InputError: a parameter is invalid, a row has NaN, an infinity or only zeros, or memory does not suffice.

    Example:
        >>> dr.cut([[1, 0], [0, 1], [2, 0]], num_clusters=2)
        array([0, 1, 0])
    """
    from data_redundancy.api import as_matrix
    from data_redundancy.clustering import linkage as exact

    return exact.cut(as_matrix(x, "x"), num_clusters, linkage)


@accept_old_names(method="linkage")
def cluster_classes(
    embeddings: "ArrayLike", labels: "ArrayLike | None" = None, *, scope: str = "class", **options: Any
) -> "Dendrograms":
    """Clusters as `cluster` does, which is its new name; the default scope is `class`."""
    from data_redundancy.api import cluster

    warnings.warn("cluster_classes is now called cluster", DeprecationWarning, stacklevel=3)
    return cluster(embeddings, labels, scope=scope, **options)


def write_gallery(
    directory: str | os.PathLike[str],
    selection: "result.SelectionArrays",
    *,
    embeddings: "ArrayLike",
    labels: "ArrayLike | None" = None,
    images: "ArrayLike | None" = None,
    class_names: "Sequence[str] | None" = None,
    ids: "Sequence[str] | None" = None,
    title: str = "Redundant images",
    max_warnings: int = 200,
) -> "epath.Path":
    """Writes a gallery of the images that a selection prunes: one HTML file that a browser opens from disk.

    Args:
        directory: where index.html is written or replaced, with the thumbnails in a folder if there are many.
        selection: as returned by `select`, of N examples.
        embeddings: [N, D] floats or integers, for the map and the search for near-duplicates.
        labels: [N] integers, not negative, or strings; by default the labels of the selection. With labels, the gallery
            shows near-duplicates that have different labels.
        images: [N, H, W, C] or [N, H, W] uint8; without images, the gallery shows indices and ids.
        class_names: a name for every label; by default the class names of the selection, or the labels.
        ids: [N] strings to search for; by default the ids or file names of the selection.
        title: the title of the page.
        max_warnings: the largest number of near-duplicates to show; 0 skips the search, which compares all pairs.

    Returns:
        The path of index.html.

    Raises:
        InputError: a parameter is invalid or does not fit the others, or `directory` cannot be written.
    """
    from data_redundancy.api import as_classes, as_matrix
    from data_redundancy.clustering.near_duplicates import NO_PAIRS, find_near_duplicates
    from data_redundancy.gallery import NearDuplicates, arrays, default_near_duplicate
    from data_redundancy.store import filesystems

    x = as_matrix(embeddings, "embeddings")
    if len(x) != selection.num_examples:
        requirement = f"must have one row per example, but has {len(x)} for {selection.num_examples} examples"
        raise InputError("embeddings", None, requirement)
    if not isinstance(max_warnings, Integral) or max_warnings < 0:
        raise InputError("max_warnings", max_warnings, "must be an integer of at least 0")
    labels, class_names, ids = _defaults_from(selection, labels, class_names, ids)
    classes, given, label_names = as_classes(labels, len(x), None)
    class_names = label_names if class_names is None else class_names
    train, names = arrays.split(classes, images=images, class_names=class_names, ids=ids)
    selected = arrays.selected(selection)
    height, errors = default_near_duplicate(selected), NO_PAIRS
    note = "Near-duplicates with different labels were not looked for."
    if given is not None and max_warnings and height is not None:
        errors, _ = find_near_duplicates(x, classes, height=height, limit=max_warnings)
        note = f"Near-duplicates are images at a cosine distance of at most {height:.3g}."
    return arrays.write(
        filesystems.locate(directory, "directory"),
        selected,
        embeddings=x,
        train=train,
        class_names=names,
        title=title,
        near_duplicates=NearDuplicates(*((p.first, p.second, p.distance) for p in (errors, NO_PAIRS))),
        notes=[note],
    )


def _defaults_from(selection: Any, labels: Any, class_names: Any, ids: Any) -> tuple[Any, Any, Any]:
    """Returns labels, class names and ids, with those that are None from the selection if it has them."""
    known = {name: getattr(selection, name, None) for name in ("labels", "class_names", "ids", "file_names")}
    if labels is None:
        labels, class_names = known["labels"], known["class_names"] if class_names is None else class_names
    if ids is None:
        ids = known["file_names"] if known["ids"] is None else known["ids"]
    return labels, class_names, ids
