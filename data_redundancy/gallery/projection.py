"""A map of the embeddings: their projection to two dimensions."""

from typing import Any

import numpy as np

from data_redundancy.errors import InputError

METHODS = ("pca", "umap", "none")
"""Names of the maps; "none" for no map."""

_SEED = 0
_NEIGHBOURS = 15  # the default of UMAP
_FEW = 10


def check_method(method: str) -> None:
    """Validates that the package of a map is installed.

    Args:
        method: one of `METHODS`.

    Raises:
        InputError: naming the argument `map`, if the package is not installed.
    """
    if method != "umap":
        return
    try:
        import umap  # noqa: F401
    except ImportError:
        raise InputError(
            "map",
            method,
            "needs the package umap-learn, which is not installed",
            "Install it with pip install 'data_redundancy[umap]'",
        ) from None


def make_map(
    embeddings: np.ndarray, labels: np.ndarray, kept: np.ndarray, *, method: str, max_points: int
) -> dict[str, Any] | None:
    """Projects the embeddings of training images.

    Args:
        embeddings: [N, D] floats.
        labels: [N] integers.
        kept: [N] bool.
        method: one of `METHODS`.
        max_points: the most images to show.

    Returns:
        The content "map" that `page.write` takes, without the rows of images; None for the method "none".
    """
    if method == "none":
        return None
    index = sample(labels, kept, max_points)
    points, name, note = project(embeddings[index], method)
    return map_content(points, name, note, index=index, labels=labels, kept=kept)


def sample(labels: np.ndarray, kept: np.ndarray, max_points: int) -> np.ndarray:
    """Chooses points for the map: the same share of the kept and of the pruned images of every class, evenly spaced.

    Args:
        labels: [N] integers.
        kept: [N] bool.
        max_points: the most points to choose.

    Returns:
        Indices, ascending; the same for the same arguments.
    """
    if len(labels) <= max_points:
        return np.arange(len(labels))
    order = np.lexsort((np.arange(len(labels)), kept, labels))
    places = (np.arange(max_points) + 0.5) * len(labels) / max_points
    return np.sort(order[places.astype(np.int64)])


def project(vectors: np.ndarray, method: str) -> tuple[np.ndarray, str, str]:
    """Projects the directions of vectors to two dimensions.

    Args:
        vectors: [n, D] floats, none of them zero.
        method: "pca" or "umap".

    Returns:
        Points [n, 2] float64, the displayed name of the method, and a note on how to read the map.
    """
    vectors = vectors.astype(np.float64)
    vectors /= np.abs(vectors).max(axis=1, keepdims=True)  # so that squares neither underflow nor overflow
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if len(vectors) <= _FEW:
        method = "pca"  # neighbourhoods of so few points are meaningless
    return _umap(vectors) if method == "umap" else _pca(vectors)


def _pca(vectors: np.ndarray) -> tuple[np.ndarray, str, str]:
    from sklearn.decomposition import PCA

    if len(vectors) == 1:
        return np.zeros((1, 2)), "PCA", "A single point."
    pca = PCA(min(2, *vectors.shape), svd_solver="covariance_eigh")
    with np.errstate(invalid="ignore", divide="ignore"):  # equal vectors have no variance to explain
        points = pca.fit_transform(vectors)
    shown = np.nan_to_num(pca.explained_variance_ratio_).sum()
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    return points, "PCA", f"The first two principal components, with {100 * shown:.0f}% of the variance."


def _umap(vectors: np.ndarray) -> tuple[np.ndarray, str, str]:
    import umap

    neighbours = min(_NEIGHBOURS, len(vectors) - 1)
    mapper = umap.UMAP(n_components=2, n_neighbors=neighbours, metric="cosine", random_state=_SEED, n_jobs=1)
    points = np.asarray(mapper.fit_transform(vectors), np.float64)
    note = f"UMAP with {neighbours} neighbours: it shows which images are near each other, not how far apart they are."
    return points, "UMAP", note


def map_content(
    points: np.ndarray, name: str, note: str, *, index: np.ndarray, labels: np.ndarray, kept: np.ndarray
) -> dict[str, Any]:
    """Returns the content "map" that `page.write` takes, without the rows of images.

    Args:
        points: [n, 2] floats.
        name: the displayed name of the method.
        note: how to read the map.
        index: [n] integers, the image of each point.
        labels: [N] integers of all images.
        kept: [N] bool of all images.
    """
    shown = "" if len(index) == len(labels) else f" {len(index):,} of {len(labels):,} images, evenly from every class."
    # Digits that no screen can show would only make the page larger.
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
