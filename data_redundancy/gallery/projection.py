"""A map of the embeddings: two dimensions of many."""

from typing import Any

import numpy as np

from data_redundancy.errors import InputError

METHODS = ("pca", "umap", "none")
_SEED = 0
_NEIGHBOURS = 15  # UMAP's own default
_FEW = 10


def check_method(method: str, field: str) -> None:
    """Raises InputError, naming `field`, for a map that needs a package which is not there."""
    if method != "umap":
        return
    try:
        import umap  # noqa: F401
    except ImportError:
        raise InputError(f"{field}=umap: needs the package umap-learn; pip install 'data_redundancy[umap]'") from None


def sample(labels: np.ndarray, kept: np.ndarray, max_points: int) -> np.ndarray:
    """Chooses points for the map: of every class, and of what it keeps and prunes, the same share, evenly spaced.

    Args:
        labels: [N] integers.
        kept: [N] bool.
        max_points: the most to choose.

    Returns:
        Indices, ascending; always the same.
    """
    if len(labels) <= max_points:
        return np.arange(len(labels))
    order = np.lexsort((np.arange(len(labels)), kept, labels))
    places = (np.arange(max_points) + 0.5) * len(labels) / max_points
    return np.sort(order[places.astype(np.int64)])


def project(vectors: np.ndarray, method: str) -> tuple[np.ndarray, str, str]:
    """Lays vectors out in the plane by their directions.

    Args:
        vectors: [n, D] floats, none of them zero.
        method: `pca` or `umap`.

    Returns:
        [n, 2] float64, the method's name, and what there is to know about it.
    """
    vectors = vectors.astype(np.float64)
    vectors /= np.abs(vectors).max(axis=1, keepdims=True)  # squares neither vanish nor overflow
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if len(vectors) <= _FEW:
        method = "pca"  # neighbours say nothing of so few
    return _umap(vectors) if method == "umap" else _pca(vectors)


def _pca(vectors: np.ndarray) -> tuple[np.ndarray, str, str]:
    from sklearn.decomposition import PCA

    if len(vectors) == 1:
        return np.zeros((1, 2)), "PCA", "A single point."
    pca = PCA(min(2, *vectors.shape), svd_solver="covariance_eigh")
    with np.errstate(invalid="ignore", divide="ignore"):  # vectors that are all the same have no variance to share
        points = pca.fit_transform(vectors)
    shown = np.nan_to_num(pca.explained_variance_ratio_).sum()
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    return points, "PCA", f"The first two principal components, with {100 * shown:.0f}% of the variance."


def _umap(vectors: np.ndarray) -> tuple[np.ndarray, str, str]:
    import umap

    neighbours = min(_NEIGHBOURS, len(vectors) - 1)
    mapper = umap.UMAP(n_components=2, n_neighbors=neighbours, metric="cosine", random_state=_SEED, n_jobs=1)
    points = np.asarray(mapper.fit_transform(vectors), np.float64)
    return points, "UMAP", f"UMAP with {neighbours} neighbours: who is near to whom, not how far apart."


def map_content(
    points: np.ndarray, name: str, note: str, *, index: np.ndarray, labels: np.ndarray, kept: np.ndarray
) -> dict[str, Any]:
    """The map as the page takes it, but for the images of points.

    Args:
        points: [n, 2] floats.
        name: of the method.
        note: about it.
        index: [n] integers, the examples that the points are.
        labels: [N] integers, of all examples.
        kept: [N] bool, the same.
    """
    shown = "" if len(index) == len(labels) else f" {len(index):,} of {len(labels):,} images, of every class its share."
    # Digits that no screen shows would only make the page larger.
    digits = 4 - int(np.floor(np.log10(max(np.abs(points).max(), 1e-12))))
    return {
        "method": name,
        "note": note + shown,
        "x": np.round(points[:, 0], digits).tolist(),
        "y": np.round(points[:, 1], digits).tolist(),
        "label": labels[index].tolist(),
        "kept": kept[index].astype(int).tolist(),
        "index": index.tolist(),
    }
