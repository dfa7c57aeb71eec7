"""Find the training images that can go.

The public Python API, for embeddings from anywhere:

    import data_redundancy as dr

    dendrograms = dr.cluster_classes(embeddings, labels)  # [N, D] floats, [N] integers
    selection = dr.select(dendrograms, prune_fraction=0.1)
    images[selection.keep]
"""

import importlib
from typing import TYPE_CHECKING, Any

from data_redundancy.errors import InputError

if TYPE_CHECKING:
    from data_redundancy.clustering.classwise import Dendrogram, Dendrograms, cluster_classes
    from data_redundancy.clustering.linkage import cut, linkage
    from data_redundancy.selection import Selection

__version__ = "0.1.0"

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
]

# Loaded when first asked for: JAX and SciPy take longer to import than `data-redundancy --help` should take to answer.
_HOMES = {
    "Dendrogram": "data_redundancy.clustering.classwise",
    "Dendrograms": "data_redundancy.clustering.classwise",
    "Selection": "data_redundancy.selection",
    "cluster_classes": "data_redundancy.clustering.classwise",
    "cut": "data_redundancy.clustering.linkage",
    "linkage": "data_redundancy.clustering.linkage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOMES.keys())


def select(
    dendrograms: "Dendrograms",
    prune_fraction: float = 0.1,
    *,
    method: str = "agglomerative",
    allocation: str = "per_class",
    seed: int = 0,
) -> "Selection":
    """Selects the examples to keep from a clustered data set.

    Args:
      dendrograms: as from `cluster_classes`. Cutting costs little: select as often as you like.
      prune_fraction: the share of examples to remove, at least 0 and less than 1; of N examples exactly
        `round(prune_fraction * N)` go, and every class keeps at least one.
      method: `agglomerative` keeps one representative of every cluster, `random` a random subset of every class.
      allocation: `per_class` takes the same share of every class, `global` cuts all trees at one height.
      seed: for `random`; not negative.

    Returns:
      The selection: `.keep` [K] int64, and for every example `.cluster`, `.representative` and `.distance`.

    Raises:
      InputError: an unknown method or allocation, a negative seed, or a prune fraction that is out of range or too
        large to leave one example of every class.
    """
    from data_redundancy import selection

    pool = selection.Pool(dendrograms.labels, dendrograms.embeddings, dendrograms)
    return selection.select(pool, method=method, prune_fraction=prune_fraction, allocation=allocation, seed=seed)
