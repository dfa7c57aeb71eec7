import decimal
import math
import re
from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from data_redundancy.clustering import distances
from data_redundancy.clustering.distances import (
    INDISTINGUISHABLE,
    Units,
    block_distances,
    check_embeddings,
    distances_of_parts,
    fixed_point_unit_vectors,
    fixed_point_unit_vectors_of,
    padded_size,
    pair_distances,
)
from data_redundancy.errors import InputError
from helpers.clustering_oracles import cosine_distances, embeddings, few_examples, make_rows, same_units

DIMENSIONS = [1, 2, 3, 64, 100, 2048]


def fraction_bits(num_dimensions: int) -> int:
    """Returns b as the module defines it."""
    return min(24, math.floor((53 - math.ceil(math.log2(num_dimensions))) / 2))


def integer_parts(units: Units) -> tuple[np.ndarray, np.ndarray]:
    """Returns high in units of 2^-24 and low in units of 2^-(24+b), as Python integers; asserts that they are whole."""
    parts = []
    for part, bits in ((units.high, 24), (units.low, 24 + fraction_bits(units.num_dimensions))):
        multiples = part.astype(np.float64) * 2.0**bits
        assert np.array_equal(multiples, np.rint(multiples))
        parts.append(multiples.astype(np.int64).astype(object))
    return parts[0], parts[1]


def exact_distance(units: Units, i: int, j: int) -> float:
    """Evaluates the module's formula in integers, with only its two roundings."""
    high, low = integer_parts(units[np.array([i, j])])
    high, low = high[0] - high[1], low[0] - low[1]
    bits = fraction_bits(units.num_dimensions)
    squares = Fraction(int((high**2).sum()), 2**48)
    cross = Fraction(int((2 * high * low).sum()), 2 ** (48 + bits))
    low_squares = Fraction(int((low**2).sum()), 2 ** (48 + 2 * bits))
    distance = float(squares + Fraction(float(cross + low_squares))) / 2
    return 0.0 if distance <= INDISTINGUISHABLE else min(distance, 2.0)


def all_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(i.ravel() for i in np.indices((n, n)))


def by_pairs(units: Units) -> np.ndarray:
    return pair_distances(units, *all_pairs(len(units))).reshape(len(units), -1)


def by_jax(rows: Units, columns: Units) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(distances_of_parts(rows.high, rows.low, columns.high, columns.low))


def worst_units(num_dimensions: int) -> Units:
    """Returns unit vectors with the largest possible sums: equal coordinates, and `low` as large as allowed."""
    high = np.full((6, num_dimensions), np.rint(2.0**24 / np.sqrt(num_dimensions)) * 2.0**-24, np.float32)
    high[::2] *= -1
    low = np.full((6, num_dimensions), 2.0**-25, np.float32)
    low[[0, 1, 4]] *= -1
    low[4:] -= np.copysign(np.float32(2.0 ** -(24 + fraction_bits(num_dimensions))), low[4:])
    return Units(high, low)


def varied(num_rows: int, num_dimensions: int) -> np.ndarray:
    """Random, post-ReLU, nearly equal, equal and opposite rows."""
    rng = np.random.default_rng(num_dimensions)
    x = rng.normal(size=(num_rows, num_dimensions))
    x[1::4] = np.maximum(x[1::4], 0.01)
    x[2::4] = x[0] + 1e-6 * x[2::4]
    x[3] = -x[0]
    x[-1] = x[0]
    return x


# The same to the last bit


@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
def test_all_ways_to_compute_distances_agree_bit_for_bit(num_dimensions):
    units = fixed_point_unit_vectors(varied(37, num_dimensions))
    expected = by_pairs(units)
    assert np.array_equal(block_distances(units, units), expected)
    assert np.array_equal(by_jax(units, units), expected)
    for rows in (slice(0, 1), slice(3, 20), slice(20, None)):
        for columns in (slice(0, 5), slice(5, 37, 3)):
            block = units[rows], units[columns]
            assert np.array_equal(block_distances(*block), expected[rows, columns])
            assert np.array_equal(by_jax(*(Units(u.high.copy(), u.low.copy()) for u in block)), expected[rows, columns])


@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
def test_distances_equal_the_formula_in_integers(num_dimensions):
    for units in (fixed_point_unit_vectors(varied(8, num_dimensions)), worst_units(num_dimensions)):
        n = len(units)
        expected = np.array([[exact_distance(units, i, j) for j in range(n)] for i in range(n)])
        assert np.array_equal(by_pairs(units), expected)
        assert np.array_equal(block_distances(units, units), expected)
        assert np.array_equal(by_jax(units, units), expected)


def test_the_device_with_float64_computes_on_padded_rows(monkeypatch):
    units = fixed_point_unit_vectors(varied(45, 20))
    expected = block_distances(units[:33], units)
    seen = []

    def on_device(*parts):
        seen.append([(part.shape, *part.devices()) for part in parts])
        return distances_of_parts(*parts)

    # Not the default device, like the CPU of a machine with a TPU.
    device = jax.local_devices()[5]
    monkeypatch.setattr(distances, "float64_device", lambda: device)
    monkeypatch.setattr(distances, "distances_of_parts", on_device)
    assert np.array_equal(block_distances(units[:33], units), expected)
    assert seen == [[((64, 20), device)] * 4]


@few_examples
@given(embeddings(), st.randoms(use_true_random=False))
def test_distances_do_not_depend_on_the_order_of_coordinates(x, random):
    # The norm is summed in a fixed order, so the same fixed-point numbers are shuffled here.
    units = fixed_point_unit_vectors(x)
    order = random.sample(range(x.shape[1]), x.shape[1])
    shuffled = Units(units.high[:, order], units.low[:, order])
    assert np.array_equal(by_pairs(units), by_pairs(shuffled))
    assert np.array_equal(by_pairs(units), block_distances(shuffled, shuffled))


@pytest.mark.parametrize("num_dimensions", [*DIMENSIONS, 5, 4096, 10_000])
def test_no_partial_sum_reaches_what_float64_cannot_hold(num_dimensions):
    for units in (fixed_point_unit_vectors(varied(8, num_dimensions)), worst_units(num_dimensions)):
        high, low = integer_parts(units)
        assert abs(low).max() <= 2 ** (fraction_bits(num_dimensions) - 1)
        # Sums of absolute values: no order of adding can exceed them.
        for i in range(len(units)):
            for j in range(i):
                dh, dl = abs(high[i] - high[j]), abs(low[i] - low[j])
                assert (dh**2).sum() <= 2**53
                assert (2 * dh * dl).sum() <= 2**53
                assert (dl**2).sum() <= 2**53
                # By matrix products: (s_i - s_ij) + (s_j - s_ij).
                (h, k), (m, o) = abs(high[[i, j]]), abs(low[[i, j]])
                assert (h * h + k * k + 2 * h * k).sum() <= 2**53
                assert (2 * h * m + 2 * k * o + 2 * (h * o + m * k)).sum() <= 2**53
                assert (m * m + o * o + 2 * m * o).sum() <= 2**53


def test_units_hold_no_negative_zeros_so_that_equal_means_equal_bits():
    x = np.array([[1.0, -0.0, -1e-30], [1.0, 0.0, 1e-30]])
    units = fixed_point_unit_vectors(x)
    assert same_units(units[:1], units[1:])


def test_rows_are_the_same_alone_and_among_many():
    x = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)  # enough for several threads
    units = fixed_point_unit_vectors(x)
    some = np.array([0, 1, 4_095, 4_096, 12_345, 19_999])
    assert same_units(units[some], fixed_point_unit_vectors(x[some]))
    first, second = np.random.default_rng(1).integers(0, 20_000, (2, 30_000))
    distance = pair_distances(units, first, second)
    chosen = np.arange(0, 30_000, 1_234)
    assert np.array_equal(distance[chosen], pair_distances(units, first[chosen], second[chosen]))
    assert np.array_equal(distance[:50], np.diag(block_distances(units[first[:50]], units[second[:50]])))


@few_examples
@given(embeddings())
def test_float32_and_float64_of_the_same_numbers_give_the_same_units(x):
    x = x.astype(np.float32)
    assert same_units(fixed_point_unit_vectors(x), fixed_point_unit_vectors(x.astype(np.float64)))
    assert same_units(fixed_point_unit_vectors(x), fixed_point_unit_vectors(np.asfortranarray(x)))
    assert same_units(fixed_point_unit_vectors(x), fixed_point_unit_vectors(np.repeat(x, 2, axis=1)[:, ::2]))


def test_half_precision_and_integers_are_computed_with_in_full_precision():
    x = np.array([[30000, 40000], [60000, 1], [2, 60000]])
    expected = fixed_point_unit_vectors(x.astype(np.float64))
    assert same_units(fixed_point_unit_vectors(x), expected)
    half = x.astype(np.float16)
    assert same_units(fixed_point_unit_vectors(half), fixed_point_unit_vectors(half.astype(np.float64)))
    np.testing.assert_allclose(fixed_point_unit_vectors(half).high, expected.high, atol=1e-3)
    assert check_embeddings(half).dtype == np.float32
    assert check_embeddings(x).dtype == np.float64
    same = x.astype(np.float32)
    assert check_embeddings(same) is same


def test_half_precision_invents_no_ties():
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float16)
    upper = cosine_distances(x)[np.triu_indices(60, 1)]
    assert len(np.unique(upper.astype(np.float16))) < 0.7 * len(upper)  # many would be equal
    assert len(np.unique(upper)) == len(upper)


# How exact


def documented_error(num_dimensions: int, distance: np.ndarray) -> np.ndarray:
    """Returns the documented error of rounding the coordinates, plus some units in the last place of float64."""
    moved = np.sqrt(num_dimensions) * 2.0 ** -(24 + fraction_bits(num_dimensions))
    apart = np.sqrt(2 * distance)
    return moved * apart + moved**2 / 2 + 1e-15 * (apart + distance)


def decimal_distance(u: np.ndarray, v: np.ndarray) -> float:
    with decimal.localcontext(prec=60):
        u, v = ([decimal.Decimal(float(a)) for a in vector] for vector in (u, v))
        uu, vv, uv = (sum(a * b for a, b in zip(p, q, strict=True)) for p, q in ((u, u), (v, v), (u, v)))
        return float(1 - uv / (uu * vv).sqrt())


@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_are_off_by_no_more_than_documented(num_dimensions, dtype):
    x = varied(10, num_dimensions).astype(dtype)
    first, second = np.triu_indices(10, 1)
    exact = np.array([decimal_distance(x[i], x[j]) for i, j in zip(first, second, strict=True)])
    ours = pair_distances(fixed_point_unit_vectors(x), first, second)
    exact = np.where((exact <= INDISTINGUISHABLE) & (ours == 0), 0, exact)
    assert (abs(ours - exact) <= documented_error(num_dimensions, exact)).all()


def test_the_figures_in_the_documentation_hold_for_vectors_at_right_angles():
    assert documented_error(64, np.array(1.0)) < 1e-13
    assert documented_error(2048, np.array(1.0)) < 2e-12


@few_examples
@given(embeddings())
def test_distances_equal_scipy(x):
    d = cosine_distances(x)
    np.testing.assert_allclose(d, squareform(pdist(x.astype(np.float64), "cosine")), atol=1e-12)
    assert d.dtype == np.float64
    assert np.array_equal(d, d.T)
    assert (np.diag(d) == 0).all()
    assert d.min() >= 0
    assert d.max() <= 2


@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
def test_opposite_vectors_are_2_apart_and_no_more(num_dimensions):
    x = np.random.default_rng(0).normal(size=(50, num_dimensions))
    units = fixed_point_unit_vectors(np.concatenate([x, -x]))
    distance = pair_distances(units, np.arange(50), np.arange(50, 100))
    assert distance.max() == 2
    assert distance.min() > 2 - 1e-11
    assert block_distances(units[:50], units[50:]).max() == 2
    assert by_jax(units[:50], units[50:]).max() == 2


@pytest.mark.parametrize("num_dimensions", [1, 2, 64, 2048])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicates_have_distance_zero_also_up_to_scale(num_dimensions, dtype):
    rng = np.random.default_rng(0)
    originals = rng.normal(size=(20, num_dimensions))
    group = np.arange(80) % 20 if num_dimensions > 1 else (originals[np.arange(80) % 20, 0] > 0).astype(int)
    x = (originals[np.arange(80) % 20] * rng.uniform(1e-3, 1e3, (80, 1))).astype(dtype)
    assert np.array_equal(cosine_distances(x) == 0, group[:, None] == group)
    assert np.array_equal(by_pairs(fixed_point_unit_vectors(x)) == 0, group[:, None] == group)


@pytest.mark.parametrize("angle", [1e-5, 3e-6, 1e-6, 4e-7, 2e-7])
@pytest.mark.parametrize("num_dimensions", [2, 64])
def test_small_distances_are_not_lost(angle, num_dimensions):
    u, v = np.linalg.qr(np.random.default_rng(0).normal(size=(num_dimensions, 2)))[0].T
    x = np.array([u, np.cos(angle) * u + np.sin(angle) * v])
    assert cosine_distances(x)[0, 1] == pytest.approx(angle**2 / 2, rel=2e-6)


def test_directions_that_float32_cannot_tell_apart_are_equal():
    angles = np.array([0, 1e-7, 1.3e-7, 1e-8])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert (cosine_distances(x)[0] == 0).tolist() == [True, True, False, True]


@pytest.mark.parametrize("width", [*range(1, 20), 64, 100, 2048])
def test_ordered_sums_are_sums(width):
    x = np.square(np.random.default_rng(width).normal(size=(7, width)))
    expected = np.array([math.fsum(row) for row in x])
    before = x.copy()
    got = distances._ordered_sum(x)
    assert (abs(got - expected) <= (1 + math.log2(width)) * 2.0**-53 * expected).all()
    assert np.array_equal(got, distances._ordered_sum(np.asfortranarray(x)))
    assert np.array_equal(x, before)


# Any magnitude


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-160, 1e160, 1e308])
def test_unit_vectors_of_any_magnitude(scale):
    units = fixed_point_unit_vectors(np.array([[1.0, -1.0], [0.0, 1.0]]) * scale)
    u = units.high.astype(np.float64) + units.low
    np.testing.assert_allclose(u, [[0.5**0.5, -(0.5**0.5)], [0, 1]], rtol=1e-14)


@pytest.mark.parametrize("exponent", [-1000, -700, -201, -100, 100, 199, 300, 1000])
def test_powers_of_two_change_nothing(exponent):
    x = make_rows("random", 9, 7, np.random.default_rng(0))
    mixed = x.copy()
    mixed[4] = np.ldexp(mixed[4], exponent)
    assert same_units(fixed_point_unit_vectors(x), fixed_point_unit_vectors(np.ldexp(x, exponent)))
    assert same_units(fixed_point_unit_vectors(x), fixed_point_unit_vectors(mixed))


# Sizes


def test_class_sizes_share_few_compiled_shapes():
    padded = np.array([padded_size(n) for n in range(1, 5001)])
    assert (padded >= np.arange(1, 5001)).all()
    assert (padded[256:] <= 1.125 * np.arange(257, 5001)).all()
    assert len(np.unique(padded)) <= 44


def test_inputs_are_not_changed():
    for dtype in (np.float16, np.float32, np.float64, np.int64):
        x = make_rows("integers", 20, 6, np.random.default_rng(0)).astype(dtype)
        x[3] *= 2
        before = x.copy()
        x.setflags(write=False)
        units = fixed_point_unit_vectors(x)
        for part in (units.high, units.low):
            part.setflags(write=False)
        copy = Units(units.high.copy(), units.low.copy())
        by_pairs(units), block_distances(units, units), cosine_distances(x)
        assert np.array_equal(x, before)
        assert same_units(units, copy)


# Bad input


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(3), r"shape (3,)"),
        (np.ones((2, 2, 2)), r"shape (2, 2, 2)"),
        (np.ones((0, 3)), r"shape (0, 3)"),
        (np.ones((3, 0)), r"shape (3, 0)"),
        (np.ones((3, 2), bool), "data type bool"),
        (np.array([["a"]]), "data type <U1"),
        (np.array([[None]]), "data type object"),
        (np.ones((3, 2), complex), "data type complex128"),
        ([[1, 2], [3]], "must be a matrix of numbers"),
    ],
)
def test_what_is_not_a_matrix_is_refused(bad, message):
    with pytest.raises(InputError, match=f"^vectors: .*{re.escape(message)}"):
        check_embeddings(bad, "vectors")
    with pytest.raises(InputError, match=f"^x: .*{re.escape(message)}"):
        fixed_point_unit_vectors(bad)


@pytest.mark.parametrize(
    ("value", "fault"),
    [(np.nan, "contains NaN"), (np.inf, "is infinite"), (-np.inf, "is infinite"), (0, "zero vector")],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_first_row_without_direction_is_named(value, fault, dtype):
    x = np.ones((9, 4), dtype)
    x[5, :] = value
    x[7, 2] = np.nan
    with pytest.raises(InputError, match=f"^embeddings: .* index 5 .*{fault}$"):
        check_embeddings(x)


def test_one_bad_element_is_enough_but_a_zero_is_not():
    x = np.eye(3)
    check_embeddings(x)
    for value in (np.nan, np.inf, -np.inf):
        bad = x.copy()
        bad[1, 2] = value
        with pytest.raises(InputError, match=r"index 1 "):
            check_embeddings(bad)


def test_large_values_that_overflow_when_added_and_those_that_cancel_are_fine():
    largest = np.finfo(np.float32).max
    x = np.array([[largest, largest], [1, -1], [-largest, largest]], np.float32)
    assert check_embeddings(x) is x
    assert np.array_equal(fixed_point_unit_vectors(x).high, fixed_point_unit_vectors(np.sign(x)).high)


@pytest.mark.parametrize("num_dimensions", [1, 7, 64, 65, 130, 2048])
def test_sums_are_added_in_the_documented_order(num_dimensions):
    """Adds lane by lane, then halves of the lanes, in Python floats, which no vector register reorders."""
    x = np.random.default_rng(0).normal(size=(5, num_dimensions)) ** 2
    for row, found in zip(x.tolist(), distances._ordered_sum(x).tolist(), strict=True):
        lanes = row
        if num_dimensions > 64:
            lanes = row[:64]
            for start in range(64, num_dimensions, 64):
                for lane, value in enumerate(row[start : start + 64]):
                    lanes[lane] += value
        while len(lanes) > 1:
            half = len(lanes) // 2
            folded = [a + b for a, b in zip(lanes[:half], lanes[half : 2 * half], strict=True)]
            if len(lanes) % 2:
                folded[0] += lanes[-1]
            lanes = folded
        assert found == lanes[0]


def test_rows_apart_are_scaled_like_rows_together():
    x = np.random.default_rng(0).normal(size=(40, 70))
    rows = np.array([3, 4, 9, 30])
    assert same_units(fixed_point_unit_vectors_of(x, rows), fixed_point_unit_vectors(x[rows]))
    assert same_units(fixed_point_unit_vectors_of(x, np.arange(5, 15)), fixed_point_unit_vectors(x[5:15]))
