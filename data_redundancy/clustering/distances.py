"""Cosine distances that come out the same, to the last bit, on every machine.

A sum of floating-point products depends on the order of the additions, and so on the device, the library and the block
size. Ours does not, because every sum in it is exact. A unit vector u is held as u = high + low, two fixed-point
numbers per coordinate: `high` a multiple of 2^-24 and `low`, at most 2^-25, a multiple of 2^-(24+b) (the error-free
splitting of Ozaki et al. 2012). Then in

    |u - v|^2 = sum (dh)^2 + 2 sum dh dl + sum (dl)^2,    dh = high_u - high_v,  dl = low_u - low_v

each of the three sums adds multiples of one power of two, and by the inequality of Cauchy and Schwarz no partial sum,
in whatever order, reaches 2^53 of them:

    sum (dh)^2    <= 4                               multiples of 2^-48
    2 sum |dh dl| <= 2 * 2 * sqrt(D) 2^-24           multiples of 2^-(48+b):   sqrt(D) 2^(26+b) <= 2^53
    sum (dl)^2    <= D 2^-48                         multiples of 2^-(48+2b):  D 2^(2b) <= 2^53

with b = (53 - ceil(log2 D)) / 2, rounded down, but at most 24. So float64 holds them all without rounding, and two
roundings, in an order that is fixed, are left: (dh)^2 + (2 dh dl + (dl)^2). The cosine distance is half of that,
1 - <u,v> = |u-v|^2 / 2, which does not cancel where vectors are close. Rounding a coordinate of u to a multiple of
2^-(24+b) moves a distance by no more than sqrt(D) 2^-(24+b) |u-v|: under 1e-13 for 64 dimensions, 2e-12 for 2,048.

References:
  Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix multiplication by using fast routines of matrix
  multiplication and its applications", Numerical Algorithms 59, 2012
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.errors import InputError

INDISTINGUISHABLE = 2.0**-47
"""Distances up to this are zero: rounding the coordinates of one vector to float32 twice, at different lengths, turns
it by up to 2^-23, hence 2^-47. So duplicates tie exactly, also up to scale."""

_ELEMENTS_AT_ONCE = 2**18  # of a temporary, so that it stays in the cache


@dataclass(frozen=True, eq=False)
class Units:
    """Unit vectors in fixed point; see the module.

    Attributes:
      high: [n, D] float32, multiples of 2^-24: the vectors rounded to that.
      low: [n, D] float32, what is missing, at most 2^-25.
    """

    high: np.ndarray
    low: np.ndarray

    def __len__(self) -> int:
        return len(self.high)

    def __getitem__(self, rows: np.ndarray | slice) -> "Units":
        return Units(self.high[rows], self.low[rows])

    @property
    def num_dimensions(self) -> int:
        """D."""
        return self.high.shape[1]


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


def unit_vectors(x: ArrayLike) -> Units:
    """Scales every row to length one.

    Args:
      x: [n, D] floats or integers, of any magnitude.

    Returns:
      The unit vectors, the same to the last bit on every machine.

    Raises:
      InputError: see `check_embeddings`.
    """
    x = check_embeddings(x, "x")
    num_rows, num_dimensions = x.shape
    units = Units(np.empty(x.shape, np.float32), np.empty(x.shape, np.float32))

    def fill(rows: slice) -> None:
        _split(_normalise(x[rows].astype(np.float64)), units.high[rows], units.low[rows])

    _for_all(fill, num_rows, num_dimensions)
    return units


def _for_all(work: Callable[[slice], None], num_rows: int, num_dimensions: int) -> None:
    """Calls `work` for slices of the rows, in threads: NumPy lets others run while it computes."""
    step = max(1, _ELEMENTS_AT_ONCE // num_dimensions)
    slices = [slice(start, start + step) for start in range(0, num_rows, step)]
    if len(slices) < 4:
        deque(map(work, slices), maxlen=0)
        return
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        deque(threads.map(work, slices), maxlen=0)


def _normalise(x: np.ndarray) -> np.ndarray:
    """Scales rows, in place, to a length of 2^24."""
    largest = np.maximum(x.max(axis=1), -x.min(axis=1))
    if largest.min() < 2.0**-200 or largest.max() > 2.0**200:
        # Their squares would vanish or overflow. Powers of two change no other digit.
        np.ldexp(x, -np.frexp(largest)[1][:, None], out=x)
    x *= (2.0**24 / np.sqrt(_ordered_sum(np.square(x))))[:, None]
    return x


def _ordered_sum(x: np.ndarray) -> np.ndarray:
    """Sums over the last axis in a fixed order: NumPy's own sum depends on the width of the processor's registers."""
    while (width := x.shape[1]) > 1:
        half = width // 2
        folded = x[:, :half] + x[:, half : 2 * half]
        if width % 2:
            folded[:, 0] += x[:, -1]
        x = folded
    return x[:, 0]


def _split(scaled: np.ndarray, high: np.ndarray, low: np.ndarray) -> None:
    bits = min(24, (53 - (scaled.shape[1] - 1).bit_length()) // 2)
    rounded = np.rint(scaled)
    scaled -= rounded  # exact: both are multiples of the smaller one's last bit
    scaled *= 2.0**bits
    np.rint(scaled, out=scaled)
    # Adding zero turns -0 into 0, so that equal vectors are equal bit for bit.
    np.multiply(rounded, 2.0**-24, out=high, casting="same_kind")
    high += 0.0
    np.multiply(scaled, 2.0 ** -(24 + bits), out=low, casting="same_kind")
    low += 0.0


def pair_distances(units: Units, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine distances of given pairs of rows.

    Args:
      units: n unit vectors.
      first: [P] integers, rows.
      second: [P] integers, rows.

    Returns:
      [P] float64 within [0, 2].
    """
    distances = np.empty(len(first))

    def fill(pairs: slice) -> None:
        high = units.high[first[pairs]].astype(np.float64) - units.high[second[pairs]]
        low = units.low[first[pairs]].astype(np.float64) - units.low[second[pairs]]
        squares, low_squares = (np.einsum("pd,pd->p", a, a) for a in (high, low))
        distances[pairs] = squares + (2 * np.einsum("pd,pd->p", high, low) + low_squares)

    _for_all(fill, len(first), units.num_dimensions)
    distances /= 2
    distances[distances <= INDISTINGUISHABLE] = 0
    return np.minimum(distances, 2.0, out=distances)


def cosine_distances(x: ArrayLike) -> np.ndarray:
    """Cosine distances `1 - <u,v> / (|u||v|)` between all pairs of rows.

    Args:
      x: [n, D] floats or integers.

    Returns:
      [n, n] float64 within [0, 2], exactly symmetric, with a zero diagonal.

    Raises:
      InputError: see `check_embeddings`.
    """
    units = unit_vectors(x)
    return block_distances(units, units)


def block_distances(rows: Units, columns: Units) -> np.ndarray:
    """The cosine distances between two sets of vectors, by matrix products.

    Args:
      rows: n unit vectors.
      columns: m unit vectors.

    Returns:
      [n, m] float64, the same numbers as from `pair_distances`.
    """
    if float64_device().platform == "cpu":
        # NumPy's product in float64 is up to three times as fast as XLA's on processors.
        return _distances_of_parts(
            *(a.astype(np.float64) for a in (rows.high, rows.low, columns.high, columns.low)), np
        )
    with jax.enable_x64(True):
        arguments = [_padded(part) for units in (rows, columns) for part in (units.high, units.low)]
        return np.asarray(distances_of_parts(*arguments))[: len(rows), : len(columns)]


@jax.jit
def distances_of_parts(high: jax.Array, low: jax.Array, other_high: jax.Array, other_low: jax.Array) -> jax.Array:
    """Distances [n, m] float64 between vectors [n, D] and [m, D], from the parts of both; for use with 64 bits enabled.

    Rows of zeros, such as padding, have distances that mean nothing.
    """
    return _distances_of_parts(*(a.astype(jnp.float64) for a in (high, low, other_high, other_low)), jnp)


def _distances_of_parts(high, low, other_high, other_low, xp):
    """Computes with NumPy or with JAX: all sums are exact, so it makes no difference."""

    # (s_i - s_ij) + (s_j - s_ij), where s_i is the product of a vector with itself: exact, as the sums themselves.
    def squared_difference(of_rows, of_columns, of_pairs):
        return (of_rows[:, None] - of_pairs) + (of_columns[None, :] - of_pairs)

    squares = squared_difference((high**2).sum(1), (other_high**2).sum(1), high @ other_high.T)
    cross = squared_difference(
        2 * (high * low).sum(1), 2 * (other_high * other_low).sum(1), high @ other_low.T + low @ other_high.T
    )
    low_squares = squared_difference((low**2).sum(1), (other_low**2).sum(1), low @ other_low.T)
    distances = (squares + (cross + low_squares)) / 2
    # Rounded coordinates make a vector longer than one by up to 1e-13, and so opposite ones farther apart than 2.
    return xp.minimum(xp.where(distances <= INDISTINGUISHABLE, 0.0, distances), 2.0)


def _padded(rows: np.ndarray) -> np.ndarray:
    padding = padded_size(len(rows)) - len(rows)
    return np.pad(rows, ((0, padding), (0, 0))) if padding else rows


def padded_size(num_rows: int) -> int:
    """The number of rows to compute with: few distinct sizes, so that hundreds of class sizes share a few programs.

    Eight sizes for every doubling, hence at most an eighth more rows once there are 256; below that multiples of 32.
    """
    step = max(32, 2 ** ((num_rows - 1).bit_length() - 4))
    return -(-num_rows // step) * step


def float64_device() -> jax.Device:
    """The device that computes exactly: the first local one, or the host's where that is a TPU, without float64."""
    device = jax.local_devices()[0]
    return jax.local_devices(backend="cpu")[0] if device.platform == "tpu" else device
