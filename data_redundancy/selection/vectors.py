"""Unit vectors in floating point, and cosines rounded so that equal ones compare as equal."""

import numpy as np


def float64_unit_vectors(embeddings: np.ndarray) -> np.ndarray:
    """Scales every row to length one, in ordinary float64 arithmetic.

    The last digits depend on the machine. `clustering.distances.fixed_point_unit_vectors` gives the same bits on every
    machine, in a form that only its distances can use.

    Args:
        embeddings: [n, D] floats of any magnitude, no zero vectors.

    Returns:
        [n, D] float64.
    """
    unit = embeddings.astype(np.float64)
    unit /= np.abs(unit).max(axis=1, keepdims=True)  # the squares of very large or small values over- or underflow
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit


def rounded_cosines(cosine: np.ndarray) -> np.ndarray:
    """Rounds cosines or cosine distances [n] to 1e-12, since their last digits depend on the machine."""
    return np.round(cosine, 12)
