"""Find the training images that can go.

The public Python API, for embeddings from anywhere:

    import data_redundancy as dr

    dendrograms = dr.cluster_classes(embeddings, labels)  # [N, D] floats, [N] integers
    selection = dr.select(dendrograms, prune_fraction=0.1)
    images[selection.keep]
    dr.write_gallery("gallery", selection, embeddings=embeddings, labels=labels, images=images)  # to look at it
"""

import importlib
import math
import os
from numbers import Real
from typing import TYPE_CHECKING, Any

from data_redundancy.errors import InputError, choice_error
from data_redundancy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etils import epath
    from numpy.typing import ArrayLike

    from data_redundancy.clustering.dendrograms import Dendrogram, Dendrograms
    from data_redundancy.clustering.linkage import cut, linkage
    from data_redundancy.selection import Selection

__all__ = [
    "Dendrogram",
    "Dendrograms",
    "InputError",
    "Selection",
    "__version__",
    "cluster_classes",
    "cut",
    "linkage",
    "select",
    "write_gallery",
]

# Loaded when first asked for: JAX and SciPy take longer to import than `data-redundancy --help` should take to answer.
_HOMES = {
    "Dendrogram": "data_redundancy.clustering.dendrograms",
    "Dendrograms": "data_redundancy.clustering.dendrograms",
    "Selection": "data_redundancy.selection",
    "cut": "data_redundancy.clustering.linkage",
    "linkage": "data_redundancy.clustering.linkage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOMES.keys())


def cluster_classes(
    embeddings: "ArrayLike",
    labels: "ArrayLike | None" = None,
    *,
    linkage: str = "complete",
    scope: str = "class",
    max_prune_fraction: float | None = None,
    memory_limit_gb: float | None = None,
    progress: "Callable[[Sequence[int]], Sequence[int]] | None" = None,
) -> "Dendrograms":
    """Clusters every class, or the whole data set, bottom-up under the cosine distance; exact, the same everywhere.

    Args:
      embeddings: [N, D] floats or integers.
      labels: [N] integers, not negative; not needed where `scope` is `dataset`.
      linkage: `complete`, `average` or `single`.
      scope: `class` gives every class a tree of its own; `dataset` ignores the labels, for one tree of everything.
      max_prune_fraction: the largest fraction that will be pruned, the same share of every class; trees are truncated
        there, which takes a small part of the time and memory. By default they are whole, as cuts at one height of all
        trees (`allocation="global"`) may need them.
      memory_limit_gb: in 1e9 bytes; by default 60% of what is free.
      progress: wraps the list of classes that is being worked through, as `tqdm.tqdm` does.

    Returns:
      The trees.

    Raises:
      InputError: an argument that is not allowed, lengths that differ, embeddings that hold NaN, an infinity or a zero
        vector (the first offending index is named), or more examples than there is memory for.
    """
    import numpy as np

    from data_redundancy.clustering import classwise
    from data_redundancy.clustering.distances import as_float_matrix
    from data_redundancy.selection import allocation
    from data_redundancy.selection.grouping import check_labels

    if scope not in ("class", "dataset"):
        raise choice_error("scope", scope, ("class", "dataset"))
    is_number = isinstance(memory_limit_gb, Real) and not isinstance(memory_limit_gb, bool)
    if memory_limit_gb is not None and not (is_number and 0 < memory_limit_gb < math.inf):
        raise InputError("memory_limit_gb", memory_limit_gb, "must be a number greater than 0")
    embeddings = as_float_matrix(embeddings, "embeddings")
    if labels is None and scope == "class":
        raise InputError("labels", None, "must be given if scope is 'class'")
    labels = np.zeros(len(embeddings), np.int64) if labels is None else check_labels(labels, len(embeddings))
    if scope == "dataset":
        labels = np.zeros_like(labels)
    return classwise.cluster_classes(
        embeddings,
        labels,
        linkage=linkage,
        num_merges=None if max_prune_fraction is None else allocation.most_pruned(labels, max_prune_fraction),
        memory_limit=None if memory_limit_gb is None else memory_limit_gb * 1e9,
        progress=progress,
    )


def select(
    dendrograms: "Dendrograms",
    prune_fraction: float = 0.1,
    *,
    method: str = "agglomerative",
    allocation: str = "per_class",
    representative: str = "centroid",
    seed: int = 0,
) -> "Selection":
    """Selects the examples to keep from a clustered data set.

    Args:
      dendrograms: as from `cluster_classes`. Cutting costs little: select as often as you like.
      prune_fraction: the share of examples to remove, at least 0 and less than 1; of N examples exactly
        `round(prune_fraction * N)` go, and every class keeps at least one.
      method: `agglomerative` keeps one representative of every cluster, `random` a random subset of every class.
      allocation: `per_class` takes the same share of every class, `global` cuts all trees at one height.
      representative: for `agglomerative`, the member that stands for its cluster: `centroid`, the nearest to the
        cluster's centre; `medoid`, the nearest to all members; `nested`, one that already stood for a part of the
        cluster, so that a class which gives up more keeps a subset of what it kept.
      seed: for `random`; not negative.

    Returns:
      The selection: `.keep` [K] int64, and for every example `.cluster`, `.representative` and `.distance`.

    Raises:
      InputError: an unknown method, allocation or rule for representatives, a negative seed, or a prune fraction that
        is out of range, too large to leave one example of every class, or deeper than truncated trees go.
    """
    from data_redundancy import selection

    pool = selection.Pool(dendrograms.labels, dendrograms.embeddings, dendrograms)
    return selection.select(
        pool,
        method=method,
        prune_fraction=prune_fraction,
        allocation=allocation,
        representative=representative,
        seed=seed,
    )


def write_gallery(
    directory: str | os.PathLike,
    selection: "Selection",
    *,
    embeddings: "ArrayLike",
    labels: "ArrayLike | None" = None,
    images: "ArrayLike | None" = None,
    class_names: "Sequence[str] | None" = None,
    ids: "Sequence[str] | None" = None,
    title: str = "Redundant images",
    max_warnings: int = 200,
) -> "epath.Path":
    """Writes a gallery of what a selection prunes, one HTML file that opens from disk.

    Args:
      directory: becomes the gallery's; index.html in it is replaced, and thumbnails lie beside that where there are too
        many to be part of it.
      selection: as from `select`, of N examples.
      embeddings: [N, D] floats or integers, for the map and for near-duplicates with different labels.
      labels: [N] integers, not negative; with them, near-duplicates that have different labels are shown.
      images: [N, H, W, C] uint8, or [N, H, W]; without them, the groups are shown by index and id.
      class_names: a name for every label.
      ids: [N] strings to search by.
      title: of the page.
      max_warnings: how many near-duplicates to show, the nearest; 0 leaves out comparing all pairs.

    Returns:
      The path of index.html.

    Raises:
      InputError: arguments that do not belong together, or a directory that cannot be written.
    """
    import numpy as np

    from data_redundancy.clustering import near_duplicates
    from data_redundancy.clustering.distances import check_embeddings
    from data_redundancy.gallery import NearDuplicates, arrays, default_near_duplicate
    from data_redundancy.selection.grouping import check_labels

    embeddings = check_embeddings(embeddings)
    if len(embeddings) != selection.num_examples:
        requirement = f"must have one row per example, but has {len(embeddings)} for {selection.num_examples} examples"
        raise InputError("embeddings", None, requirement)
    if max_warnings < 0:
        raise InputError("max_warnings", max_warnings, "must be at least 0")
    has_labels = labels is not None
    labels = check_labels(labels, len(embeddings)) if has_labels else np.zeros(len(embeddings), np.int64)
    train, names = arrays.split(labels, images=images, class_names=class_names, ids=ids)
    selected = arrays.selected(selection)
    height, errors, notes = default_near_duplicate(selected), near_duplicates.NO_PAIRS, []
    if has_labels and max_warnings and height is not None:
        errors, _ = near_duplicates.find_near_duplicates(embeddings, labels, height=height, limit=max_warnings)
        notes.append(f"Near-duplicates are images at a cosine distance of at most {height:.3g}.")
    else:
        notes.append("Near-duplicates with different labels were not looked for.")
    found = NearDuplicates(*((p.first, p.second, p.distance) for p in (errors, near_duplicates.NO_PAIRS)))
    return arrays.write(
        directory,
        selected,
        embeddings=embeddings,
        train=train,
        class_names=names,
        title=title,
        near_duplicates=found,
        notes=notes,
    )
