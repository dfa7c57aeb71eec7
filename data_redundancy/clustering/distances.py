"""Cosine distances between embeddings, by a jitted matrix product in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.errors import InputError


def check_embeddings(x: ArrayLike, name: str = "embeddings", *, indices: np.ndarray | None = None) -> np.ndarray:
    """Returns `x` as a floating-point matrix in which every row has a direction.

    Args:
      x: [n, D] floats or integers.
      name: what to call `x` in an error.
      indices: [n] integers, what to call the rows in an error where `x` is a part of something larger; by default a
        row is called by its position.

    Returns:
      [n, D] float32 or float64: `x` itself where it already is one, otherwise a copy (float16 becomes float32, integers
      become float64).

    Raises:
      InputError: `x` is not a numeric matrix with rows and columns, or holds NaN, an infinity or a zero vector (the
        first offending row is named).
    """
    x = _as_float_matrix(x, name)
    # Reductions over rows rather than a mask over elements: no temporary of the size of x.
    with np.errstate(invalid="ignore"):
        largest = np.maximum(x.max(axis=1), -x.min(axis=1))
    has_direction = np.isfinite(largest) & (largest > 0)
    if not has_direction.all():
        row = int(np.argmin(has_direction))
        index = row if indices is None else int(indices[row])
        fault = "holds NaN" if np.isnan(largest[row]) else "is a zero vector" if largest[row] == 0 else "is infinite"
        raise InputError(f"{name}: index {index} {fault}; cosine distances need finite vectors other than zero")
    return x


def _as_float_matrix(x: ArrayLike, name: str) -> np.ndarray:
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise InputError(f"{name}: not a matrix of numbers ({error})") from error
    if x.dtype.kind not in "fiu":
        raise InputError(f"{name}: data type {x.dtype}, but floats or integers are needed")
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"{name}: shape {x.shape}, but [examples, dimensions] with at least one of each is needed")
    with np.errstate(over="ignore"):  # a long double too large for float64 becomes infinite, and is reported as that
        return x.astype(np.float32 if x.dtype.kind == "f" and x.dtype.itemsize <= 4 else np.float64, copy=False)


def unit_vectors(x: ArrayLike) -> np.ndarray:
    """Scales every row to length one.

    Args:
      x: [n, D] floats or integers, of any magnitude.

    Returns:
      [n, D] float64.

    Raises:
      InputError: see `check_embeddings`.
    """
    x = check_embeddings(x, "x").astype(np.float64)
    # The squares of very large or very small values overflow or vanish; those of values up to one do not.
    x /= np.abs(x).max(axis=1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def cosine_distances(x: ArrayLike) -> np.ndarray:
    """Cosine distances `1 - <u,v> / (|u||v|)` between all pairs of rows.

    The computation is in float64 although float32 would be faster: a tree depends on the order of the distances, and
    ours are to equal those that SciPy builds. Distances of at most `(D + 8) * 2**-52` are set to zero: rounding alone
    can make that much of the distance between two parallel vectors (norms and product each contribute up to
    `D * 2**-53` to `1 - <u,v>`), so they cannot be told from zero, and duplicates should tie exactly.

    Args:
      x: [n, D] floats or integers.

    Returns:
      [n, n] float64 within [0, 2], exactly symmetric, with a zero diagonal.

    Raises:
      InputError: see `check_embeddings`.
    """
    unit = unit_vectors(x)
    num_rows, num_dimensions = unit.shape
    padded = np.zeros((_padded_size(num_rows), num_dimensions))
    padded[:num_rows] = unit
    indistinguishable = (num_dimensions + 8) * np.finfo(np.float64).eps
    with jax.enable_x64(True):
        distances = _cosine_distances(jax.device_put(padded, _float64_device()), indistinguishable)
        return np.array(np.asarray(distances)[:num_rows, :num_rows])


@jax.jit
def _cosine_distances(unit: jax.Array, indistinguishable: float) -> jax.Array:
    similarities = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    distances = jnp.clip(1.0 - similarities, 0.0, 2.0)
    distances = (distances + distances.T) / 2  # a blocked product need not be symmetric to the last bit
    distances = jnp.where(distances <= indistinguishable, 0.0, distances)
    return jnp.fill_diagonal(distances, 0.0, inplace=False)


def _padded_size(num_rows: int) -> int:
    """The number of rows to compute with: few distinct sizes, so that hundreds of class sizes share a few programs.

    Eight sizes for every doubling, hence at most an eighth more rows once there are 256; below that multiples of 32.
    """
    step = max(32, 2 ** ((num_rows - 1).bit_length() - 4))
    return -(-num_rows // step) * step


def _float64_device() -> jax.Device:
    device = jax.local_devices()[0]
    # TPUs have no float64 arithmetic; the host next to them has.
    return jax.local_devices(backend="cpu")[0] if device.platform == "tpu" else device
