"""Cosine distances that come out the same, to the last bit, on every machine.

A sum of floating-point products depends on the order of the additions, and so on the device, the library and the block
size. Ours does not, because every sum in it is exact. A unit vector u is held as u = high + low, two fixed-point
numbers per coordinate: `high` a multiple of 2^-24 and `low`, at most 2^-25, a multiple of 2^-(24+b) (the error-free
splitting of Ozaki et al. 2012). Then in

    |u - v|^2 = sum (dh)^2 + 2 sum dh dl + sum (dl)^2,    dh = high_u - high_v,  dl = low_u - low_v

each of the three sums adds multiples of one power of two, and by the inequality of Cauchy and Schwarz no partial sum,
in whatever order, reaches 2^53 of them:

    sum (dh)^2    <= 4 (1 + sqrt(D) 2^-25)^2          multiples of 2^-48
    2 sum |dh dl| <= 2 * 2 * sqrt(D) 2^-24           multiples of 2^-(48+b):   sqrt(D) 2^(26+b) <= 2^53
    sum (dl)^2    <= D 2^-48                         multiples of 2^-(48+2b):  D 2^(2b) <= 2^53

(but for a factor next to one, as in the first line) with b = (53 - ceil(log2 D)) / 2, rounded down, but at most 24. The
products themselves have no more than 48 bits. So float64 holds all of it without rounding, and two roundings, in an
order that is fixed, are left: (dh)^2 + (2 dh dl + (dl)^2). Matrix products give the same bits, for sum (dh)^2 is
(s_i - s_ij) + (s_j - s_ij) with s_ij = sum high_i high_j, which is as exact; and so for the other two.

The cosine distance is half of that, 1 - <u,v> = |u-v|^2 / 2, which does not cancel where vectors are close. Rounding
the coordinates of u to multiples of 2^-(24+b) moves a distance by no more than sqrt(D) 2^-(24+b) |u-v|: under 2e-13 for
64 dimensions, 3e-12 for 2,048.

References:
  Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix multiplication by using fast routines of matrix
  multiplication and its applications", Numerical Algorithms 59, 2012
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.errors import InputError

INDISTINGUISHABLE = 2.0**-47
"""Distances up to this are zero: rounding the coordinates of one vector to float32 twice, at different lengths, turns
it by up to 2^-23, hence 2^-47. So duplicates tie exactly, also up to scale."""

_ELEMENTS_AT_ONCE = 2**16  # of a temporary, so that it stays in the cache


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


def check_embeddings(x: ArrayLike, name: str = "embeddings") -> np.ndarray:
    """Returns `x` as a floating-point matrix in which every row has a direction.

    Args:
      x: [n, D] floats or integers.
      name: what to call `x` in an error.

    Returns:
      [n, D] float32 or float64: `x` itself where it already is one, otherwise a copy (float16 becomes float32, integers
      become float64).

    Raises:
      InputError: `x` is not a numeric matrix with rows and columns, or holds NaN, an infinity or a zero vector (the
        first offending row is named).
    """
    x = as_float_matrix(x, name)
    # One pass over the data. Sums also overflow and cancel, so they only say where to look.
    with np.errstate(invalid="ignore", over="ignore"):
        total = x.sum(axis=1)
    for row in np.flatnonzero(~np.isfinite(total) | (total == 0)).tolist():
        fault = _fault(x[row])
        if fault:
            raise InputError(f"{name}: index {row} {fault}; cosine distances need finite vectors other than zero")
    return x


def _fault(row: np.ndarray) -> str | None:
    if np.isnan(row).any():
        return "holds NaN"
    if np.isinf(row).any():
        return "is infinite"
    return None if row.any() else "is a zero vector"


def as_float_matrix(x: ArrayLike, name: str) -> np.ndarray:
    """Returns `x` as a matrix of float32 or float64, see `check_embeddings`, without looking at its values."""
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
    return unit_vectors_of(x, np.arange(len(x)))


def unit_vectors_of(x: np.ndarray, rows: np.ndarray) -> Units:
    """Scales some rows of a matrix to length one.

    Args:
      x: [N, D] floats, as from `check_embeddings`.
      rows: [n] integers.

    Returns:
      The unit vectors, the same to the last bit on every machine.
    """
    shape = len(rows), x.shape[1]
    units = Units(np.empty(shape, np.float32), np.empty(shape, np.float32))
    bits = min(24, (53 - (x.shape[1] - 1).bit_length()) // 2)
    lie_together = bool((np.diff(rows) == 1).all())  # then they need not be gathered
    x = x[rows[0] : rows[-1] + 1] if lie_together else x
    for some in _slices(*shape):
        unit = (x[some] if lie_together else x[rows[some]]).astype(np.float64)
        _normalise(unit)
        high = _rounded(unit, 24)
        units.high[some] = high
        unit -= high  # exact: both are multiples of the smaller one's last bit
        units.low[some] = _rounded(unit, 24 + bits)
    return units


def _slices(num_rows: int, num_dimensions: int) -> Iterator[slice]:
    step = max(1, _ELEMENTS_AT_ONCE // num_dimensions)
    return (slice(start, start + step) for start in range(0, num_rows, step))


def _normalise(x: np.ndarray) -> None:
    """Scales rows, in place, to length one."""
    with np.errstate(over="ignore", under="ignore"):
        square = _ordered_sum(np.square(x))
    if square.min() < 2.0**-400 or square.max() > 2.0**400:
        # Squares vanish or overflow. Powers of two change no other digit.
        largest = np.maximum(x.max(axis=1), -x.min(axis=1))
        np.ldexp(x, -np.frexp(largest)[1][:, None], out=x)
        square = _ordered_sum(np.square(x))
    x *= (1 / np.sqrt(square))[:, None]


def _ordered_sum(x: np.ndarray) -> np.ndarray:
    """Sums over the last axis in a fixed order: NumPy's own sum depends on the width of the processor's registers."""
    lanes = 64
    if (width := x.shape[1]) > lanes:
        whole = width - width % lanes
        folded = x[:, :whole].reshape(len(x), -1, lanes).sum(axis=1)  # lane by lane, one row of them after the other
        folded[:, : width - whole] += x[:, whole:]
        x = folded
    while (width := x.shape[1]) > 1:
        half = width // 2
        folded = x[:, :half] + x[:, half : 2 * half]
        if width % 2:
            folded[:, 0] += x[:, -1]
        x = folded
    return x[:, 0]


def _rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """Rounds to multiples of 2^-bits; what rounds to zero becomes +0, so that equal vectors are equal bit for bit."""
    magnitude = 1.5 * 2.0 ** (52 - bits)  # of numbers about as large float64 holds just these multiples
    rounded = x + magnitude
    rounded -= magnitude
    return rounded


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
    for some in _slices(len(first), units.num_dimensions):
        high = units.high[first[some]].astype(np.float64) - units.high[second[some]]
        low = units.low[first[some]].astype(np.float64) - units.low[second[some]]
        squares, low_squares = (np.einsum("pd,pd->p", a, a) for a in (high, low))
        distances[some] = squares + (2 * np.einsum("pd,pd->p", high, low) + low_squares)
    distances /= 2
    distances[distances <= INDISTINGUISHABLE] = 0
    return np.minimum(distances, 2.0, out=distances)


def block_distances(rows: Units, columns: Units) -> np.ndarray:
    """The cosine distances between two sets of vectors, by matrix products.

    Args:
      rows: n unit vectors.
      columns: m unit vectors.

    Returns:
      [n, m] float64, the same numbers as from `pair_distances`; not to be written to.
    """
    if float64_device().platform == "cpu" and rows.num_dimensions > 512:
        # On processors NumPy multiplies wide matrices of float64 up to twice as fast as XLA.
        return _distances_of_parts(
            *(a.astype(np.float64) for a in (rows.high, rows.low, columns.high, columns.low)), np
        )
    with jax.enable_x64(True):
        parts = [_padded(part) for units in (rows, columns) for part in (units.high, units.low)]
        arguments = jax.device_put(parts, float64_device())
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
