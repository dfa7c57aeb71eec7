"""k-means of unit vectors, by scikit-learn."""

import warnings

import numpy as np


def cluster_unit_vectors(unit: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Returns the k-means cluster of every row, [n] int64.

    For unit vectors, Euclidean and cosine distance give the same order.

    Args:
        unit: [n, D] floats of length one.
        num_clusters: at least 1. If there are fewer distinct rows, that many clusters are found.
        seed: seeds the k-means++ start.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    kmeans = KMeans(min(num_clusters, len(unit)), n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # raised if there are fewer distinct rows than clusters
        return kmeans.fit_predict(unit.astype(np.float32)).astype(np.int64)
