"""Cosine distances that are equal to the last bit on every machine.

The rounding of a floating-point sum of products depends on the order of the additions, and therefore on the device, the
library and the block size. Here, every sum is exact, so that the order does not matter. A unit vector u is represented
as u = high + low, two fixed-point numbers per coordinate: `high` is a multiple of 2^-24, and `low`, at most 2^-25 in
magnitude, is a multiple of 2^-(24+b). (This is the error-free splitting of Ozaki et al. 2012.) Then in

    |u - v|^2 = sum (dh)^2 + 2 sum dh dl + sum (dl)^2,    dh = high_u - high_v,  dl = low_u - low_v

each of the three sums adds multiples of one power of two. By the Cauchy-Schwarz inequality no partial sum, in any
order, reaches 2^53 of them:

    sum (dh)^2    <= 4 (1 + sqrt(D) 2^-25)^2          multiples of 2^-48
    2 sum |dh dl| <= 2 * 2 * sqrt(D) 2^-24           multiples of 2^-(48+b):   sqrt(D) 2^(26+b) <= 2^53
    sum (dl)^2    <= D 2^-48                         multiples of 2^-(48+2b):  D 2^(2b) <= 2^53

(up to a factor close to one, as in the first line) with b = (53 - ceil(log2 D)) / 2, rounded down and at most 24. The
products themselves have at most 48 bits. Float64 therefore represents all of these numbers exactly. Only two roundings
remain, in a fixed order: (dh)^2 + (2 dh dl + (dl)^2). Matrix products give the same bits, because sum (dh)^2 is
(s_i - s_ij) + (s_j - s_ij) with s_ij = sum high_i high_j, which is exact as well; so are the other two sums.

The cosine distance is half of the result, 1 - <u,v> = |u-v|^2 / 2, which has no cancellation for close vectors.
Rounding the coordinates of u to multiples of 2^-(24+b) changes a distance by at most sqrt(D) 2^-(24+b) |u-v|: less than
2e-13 for 64 dimensions, and 3e-12 for 2,048.

References:
    Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix multiplication by using fast routines of matrix
    multiplication and its applications", Numerical Algorithms 59, 2012
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.errors import InputError

INDISTINGUISHABLE = 2.0**-47
"""Distances up to this count as zero. Rounding the coordinates of two multiples of one vector to float32 turns them
against each other by up to 2^-23, which is a distance of 2^-47. Duplicates therefore have distance zero, also if one is
a multiple of the other."""

_ELEMENTS_AT_ONCE = 2**16  # elements of a temporary array, so that it stays in the cache


@dataclass(frozen=True, eq=False)
class Units:
    """Unit vectors in fixed point, see the module.

    Attributes:
        high: [n, D] float32, the vectors rounded to multiples of 2^-24.
        low: [n, D] float32, the remainder, at most 2^-25 in magnitude.
    """

    high: np.ndarray
    low: np.ndarray

    def __len__(self) -> int:
        return len(self.high)

    def __getitem__(self, rows: np.ndarray | slice) -> "Units":
        return Units(self.high[rows], self.low[rows])

    @property
    def num_dimensions(self) -> int:
        """The number of dimensions D."""
        return self.high.shape[1]


def check_embeddings(x: ArrayLike, argument: str = "embeddings") -> np.ndarray:
    """Returns `x` as a floating-point matrix after validating that every row has a direction.

    Args:
        x: [n, D] floats or integers.
        argument: the name of `x` in an error.

    Returns:
        [n, D] float32 or float64: `x` itself if it has such a type, otherwise a copy (float16 becomes float32, integers
        become float64).

    Raises:
        InputError: `x` is not a numeric matrix with at least one row and column, or contains NaN, an infinity or a zero
            vector (the first such row is named).
    """
    x = as_float_matrix(x, argument)
    # One pass over the data. A sum may also overflow or cancel, so it only selects rows to inspect.
    with np.errstate(invalid="ignore", over="ignore"):
        total = x.sum(axis=1)
    for row in np.flatnonzero(~np.isfinite(total) | (total == 0)).tolist():
        fault = _fault(x[row])
        if fault:
            raise InputError(argument, None, f"must have finite vectors other than zero, but index {row} {fault}")
    return x


def _fault(row: np.ndarray) -> str | None:
    if np.isnan(row).any():
        return "contains NaN"
    if np.isinf(row).any():
        return "is infinite"
    return None if row.any() else "is a zero vector"


def as_float_matrix(x: ArrayLike, argument: str) -> np.ndarray:
    """Returns `x` as a matrix of float32 or float64 like `check_embeddings`, without reading its values."""
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise InputError(argument, None, f"must be a matrix of numbers ({error})") from error
    if x.dtype.kind not in "fiu":
        raise InputError(argument, None, f"must have floats or integers, but has data type {x.dtype}")
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(
            argument,
            None,
            f"must be a matrix [examples, dimensions] with at least one of each, but has shape {x.shape}",
        )
    with np.errstate(over="ignore"):  # a long double too large for float64 becomes infinite and is reported as that
        return x.astype(np.float32 if x.dtype.kind == "f" and x.dtype.itemsize <= 4 else np.float64, copy=False)


def fixed_point_unit_vectors(x: ArrayLike) -> Units:
    """Scales every row to length one, in fixed point.

    Args:
        x: [n, D] floats or integers, of any magnitude.

    Returns:
        The unit vectors, equal to the last bit on every machine.

    Raises:
        InputError: about the argument `x`, see `check_embeddings`.
    """
    x = check_embeddings(x, "x")
    return fixed_point_unit_vectors_of(x, np.arange(len(x)))


def fixed_point_unit_vectors_of(x: np.ndarray, rows: np.ndarray) -> Units:
    """Scales some rows of a validated matrix to length one, in fixed point.

    Args:
        x: [N, D] floats, as returned by `check_embeddings`.
        rows: [n] integers.

    Returns:
        The unit vectors, equal to the last bit on every machine.
    """
    shape = len(rows), x.shape[1]
    units = Units(np.empty(shape, np.float32), np.empty(shape, np.float32))
    bits = min(24, (53 - (x.shape[1] - 1).bit_length()) // 2)
    is_contiguous = bool((np.diff(rows) == 1).all())  # then the rows need not be gathered
    x = x[rows[0] : rows[-1] + 1] if is_contiguous else x
    for some in _slices(*shape):
        unit = (x[some] if is_contiguous else x[rows[some]]).astype(np.float64)
        _normalise(unit)
        high = _rounded(unit, 24)
        units.high[some] = high
        unit -= high  # exact, since both are multiples of the last bit of the smaller number
        units.low[some] = _rounded(unit, 24 + bits)
    return units


def _slices(num_rows: int, num_dimensions: int) -> Iterator[slice]:
    step = max(1, _ELEMENTS_AT_ONCE // num_dimensions)
    return (slice(start, start + step) for start in range(0, num_rows, step))


def _normalise(x: np.ndarray) -> None:
    """Scales the rows of x [n, D] float64 to length one, in place."""
    with np.errstate(over="ignore", under="ignore"):
        square = _ordered_sum(np.square(x))
    if square.min() < 2.0**-400 or square.max() > 2.0**400:
        # Squares under- or overflow. Scaling by powers of two changes no digits.
        largest = np.maximum(x.max(axis=1), -x.min(axis=1))
        np.ldexp(x, -np.frexp(largest)[1][:, None], out=x)
        square = _ordered_sum(np.square(x))
    x *= (1 / np.sqrt(square))[:, None]


def _ordered_sum(x: np.ndarray) -> np.ndarray:
    """Sums x [n, D] over the last axis in a fixed order; NumPy's order depends on the processor's vector registers."""
    lanes = 64
    if (width := x.shape[1]) > lanes:
        whole = width - width % lanes
        folded = x[:, :whole].reshape(len(x), -1, lanes).sum(axis=1)  # NumPy adds along this axis in order
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
    """Rounds to multiples of 2^-bits; zeros become +0, so that equal vectors have equal bits."""
    magnitude = 1.5 * 2.0 ** (52 - bits)  # float64 numbers of this magnitude are multiples of 2^-bits
    rounded = x + magnitude
    rounded -= magnitude
    return rounded


def pair_distances(units: Units, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the cosine distances of given pairs of rows.

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
    """Returns the cosine distances between two sets of vectors, by matrix products.

    Args:
        rows: n unit vectors.
        columns: m unit vectors.

    Returns:
        [n, m] float64, the same numbers as returned by `pair_distances`; may be read-only.
    """
    if float64_device().platform == "cpu" and rows.num_dimensions > 512:
        # On CPUs, NumPy multiplies wide float64 matrices up to twice as fast as XLA.
        high, low, other_high, other_low = (
            a.astype(np.float64) for a in (rows.high, rows.low, columns.high, columns.low)
        )
        return _distances_of_parts(high, low, other_high, other_low, np)
    with jax.enable_x64(True):
        parts = [_padded(part) for units in (rows, columns) for part in (units.high, units.low)]
        arguments = jax.device_put(parts, float64_device())
        return np.asarray(distances_of_parts(*arguments))[: len(rows), : len(columns)]


@jax.jit
def distances_of_parts(high: jax.Array, low: jax.Array, other_high: jax.Array, other_low: jax.Array) -> jax.Array:
    """Returns the cosine distances between two sets of vectors, given as parts of `Units`.

    Must be called with 64-bit types enabled. The distances of zero vectors, such as padding, are meaningless.

    Args:
        high: [n, D] float32.
        low: [n, D] float32.
        other_high: [m, D] float32.
        other_low: [m, D] float32.

    Returns:
        [n, m] float64.
    """
    high, low, other_high, other_low = (a.astype(jnp.float64) for a in (high, low, other_high, other_low))
    return _distances_of_parts(high, low, other_high, other_low, jnp)


def _distances_of_parts(high: Any, low: Any, other_high: Any, other_low: Any, xp: ModuleType) -> Any:
    """Computes `distances_of_parts` of float64 arrays with NumPy or JAX; both give the same, since all sums are exact.

    Args:
        high: [n, D] float64.
        low: [n, D] float64.
        other_high: [m, D] float64.
        other_low: [m, D] float64.
        xp: `numpy` or `jax.numpy`, the module of the arrays.
    """
    squares = _squared_differences((high**2).sum(1), (other_high**2).sum(1), high @ other_high.T)
    cross = _squared_differences(
        2 * (high * low).sum(1), 2 * (other_high * other_low).sum(1), high @ other_low.T + low @ other_high.T
    )
    low_squares = _squared_differences((low**2).sum(1), (other_low**2).sum(1), low @ other_low.T)
    distances = (squares + (cross + low_squares)) / 2
    # Rounded coordinates may make a vector longer than one by up to 1e-13, and opposite vectors farther apart than 2.
    return xp.minimum(xp.where(distances <= INDISTINGUISHABLE, 0.0, distances), 2.0)


def _squared_differences(of_rows: Any, of_columns: Any, of_pairs: Any) -> Any:
    """Returns (s_i - s_ij) + (s_j - s_ij), which is exact, given s_i [n], s_j [m] and s_ij [n, m]."""
    return (of_rows[:, None] - of_pairs) + (of_columns[None, :] - of_pairs)


def _padded(rows: np.ndarray) -> np.ndarray:
    padding = padded_size(len(rows)) - len(rows)
    return np.pad(rows, ((0, padding), (0, 0))) if padding else rows


def padded_size(num_rows: int) -> int:
    """Returns a number of rows to pad to, one of few sizes, so that many class sizes share few compiled programs.

    There are eight sizes per doubling, so that padding adds at most an eighth to 256 or more rows. Below that, sizes
    are multiples of 32.
    """
    step = max(32, 2 ** ((num_rows - 1).bit_length() - 4))
    return -(-num_rows // step) * step


def float64_device() -> jax.Device:
    """Returns the first local device, or that of the host if it is a TPU, which has no float64."""
    device = jax.local_devices()[0]
    return jax.local_devices(backend="cpu")[0] if device.platform == "tpu" else device
