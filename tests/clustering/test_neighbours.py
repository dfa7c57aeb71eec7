import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_redundancy.clustering.distances import Units, block_distances, fixed_point_unit_vectors
from data_redundancy.clustering.neighbours import (
    BFLOAT16,
    FLOAT32,
    PRECISIONS,
    TENSOR_FLOAT32,
    Neighbours,
    TooManyPairs,
    choose_precision,
    error_margin,
)
from helpers.clustering_oracles import digits, make_rows

MANY = 10**9


def rows(num_rows: int, num_dimensions: int = 6) -> Units:
    """Clustered and random rows, with copies, scaled copies and opposite ones."""
    rng = np.random.default_rng(num_rows)
    x = make_rows("clustered", num_rows, num_dimensions, rng)
    x[::3] = rng.normal(size=x[::3].shape)
    x[num_rows // 2 :: 5] = x[: len(x[num_rows // 2 :: 5])]
    x[num_rows // 3 :: 7] *= 0.3
    x[-1], x[-2] = -x[0], 3 * x[0]
    return fixed_point_unit_vectors(x)


def brute_force(units: Units, height: float) -> list[tuple[int, int, float]]:
    distances = block_distances(units, units)
    first, second = np.nonzero(np.triu(distances <= height, 1))
    return list(zip(first.tolist(), second.tolist(), distances[first, second].tolist(), strict=True))


def pairs(neighbours: Neighbours, height: float, **options) -> list[tuple[int, int, float]]:
    graph = neighbours.within(height, **{"max_pairs": MANY} | options)
    assert graph.first.dtype == graph.second.dtype == np.int64
    assert len(graph) == len(graph.first)
    return sorted(zip(graph.first.tolist(), graph.second.tolist(), graph.distance.tolist(), strict=True))


# All pairs up to a height


@pytest.mark.parametrize(
    ("num_rows", "block_rows", "num_devices"),
    [(192, 64, 1), (200, 64, 1), (129, 128, 1), (200, 256, 1), (2, 64, 1), (192, 64, 8), (200, 64, 8)],
)
def test_pairs_equal_brute_force(num_rows, block_rows, num_devices):
    units = (
        rows(num_rows)
        if num_rows > 2
        else fixed_point_unit_vectors(np.array([[1.0, 2, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0]]))
    )
    neighbours = Neighbours(units, block_rows=block_rows, devices=jax.local_devices()[:num_devices])
    for height in (0.0, 1e-6, 0.01, 0.5, 1.9999, 2.0):
        assert pairs(neighbours, height) == brute_force(units, height)


@pytest.mark.parametrize("num_rows", [1, 2, 63, 65, 1030])
def test_blocks_are_chosen_to_fit_any_number_of_rows(num_rows):
    units = fixed_point_unit_vectors(make_rows("random", num_rows, 3, np.random.default_rng(0)))
    expected = brute_force(units, 0.01)
    assert bool(expected) == (num_rows > 2)
    assert pairs(Neighbours(units), 0.01) == expected


def test_no_height_below_zero_has_pairs_and_the_largest_has_all():
    units = rows(200)
    neighbours = Neighbours(units, block_rows=64)
    zeros = pairs(neighbours, 0.0)
    assert zeros
    assert {distance for *_, distance in zeros} == {0.0}
    everything = pairs(neighbours, 2.0)
    assert len(everything) == 200 * 199 // 2
    assert everything[-1][2] <= 2.0
    assert max(distance for *_, distance in everything) == 2.0


def test_the_height_itself_belongs_to_it_to_the_last_bit():
    units = rows(150)
    neighbours = Neighbours(units, block_rows=64)
    distances = sorted({distance for *_, distance in brute_force(units, 2.0)})
    for height in (distances[5], distances[len(distances) // 2], distances[-2]):
        below = np.nextafter(height, 0)
        assert pairs(neighbours, height) == brute_force(units, height)
        assert pairs(neighbours, below) == brute_force(units, below)
        assert len(pairs(neighbours, below)) < len(pairs(neighbours, height))


@pytest.mark.parametrize("expected_pairs", [0, 10**6])
def test_blocks_with_more_hits_than_room_are_computed_again(expected_pairs, monkeypatch):
    units = fixed_point_unit_vectors(1 + 0.1 * np.random.default_rng(0).normal(size=(700, 5)))
    dispatched = []
    dispatch = Neighbours._dispatch
    monkeypatch.setattr(Neighbours, "_dispatch", lambda *args: dispatched.append(1) or dispatch(*args))
    neighbours = Neighbours(units, block_rows=512)
    assert pairs(neighbours, 0.5, expected_pairs=expected_pairs) == brute_force(units, 0.5)
    assert (len(dispatched) > 3) == (expected_pairs == 0)  # of three blocks


def test_more_pairs_than_there_is_memory_for_are_refused():
    units = rows(200)
    neighbours = Neighbours(units, block_rows=64)
    number = len(brute_force(units, 0.5))
    assert len(pairs(neighbours, 0.5, max_pairs=number)) == number
    for max_pairs in (number - 1, 0):
        with pytest.raises(TooManyPairs):
            neighbours.within(0.5, max_pairs=max_pairs)


def test_processes_that_work_together_find_the_same():
    units = rows(200)
    expected = brute_force(units, 0.5)
    neighbours = Neighbours(units, block_rows=64, together=True)
    assert pairs(neighbours, 0.5) == expected
    with pytest.raises(TooManyPairs):
        neighbours.within(0.5, max_pairs=len(expected) - 1)


def test_blocks_are_shared_out_over_processes(monkeypatch):
    units = rows(200)
    found, numbers = [], []
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr("data_redundancy.runtime.devices.gather_rows", lambda array: array)
    for process in range(3):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        share = pairs(Neighbours(units, block_rows=64, together=True), 0.5)
        numbers.append(len(share))
        found += share
    assert min(numbers) > 0
    assert sorted(found) == brute_force(units, 0.5)


def test_progress_is_told_how_many_blocks_are_done():
    told = []
    Neighbours(rows(200), block_rows=64).within(0.1, max_pairs=MANY, progress=lambda *done: told.append(done))
    assert told == [(done, 10) for done in range(1, 11)]


def test_vectors_are_not_changed():
    units = rows(200)
    before = units.high.copy(), units.low.copy()
    for part in (units.high, units.low):
        part.setflags(write=False)
    neighbours = Neighbours(units, block_rows=64)
    pairs(neighbours, 0.5)
    neighbours.height_for(2.0)
    assert np.array_equal(units.high, before[0])
    assert np.array_equal(units.low, before[1])


# Precision of the first pass


@pytest.mark.parametrize("precision", [FLOAT32, TENSOR_FLOAT32, BFLOAT16])
def test_pairs_do_not_depend_on_the_precision(precision):
    units = rows(200, num_dimensions=64)
    neighbours = Neighbours(units, block_rows=64, precision=precision)
    for height in (0.0, 1e-6, 0.3, 1.0):
        assert pairs(neighbours, height) == brute_force(units, height)


def round_significands(x: np.ndarray, bits: int) -> np.ndarray:
    significand, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(significand, bits)), exponent - bits).astype(np.float32)


def first_pass(units: Units, name: str) -> np.ndarray:
    """Returns similarities as computed by a device of that precision."""
    if name.startswith("tf32"):
        # Eleven bits of every factor; the others are rounded off, or truncated.
        truncated = (units.high.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
        rounded = truncated if name == "tf32, truncated" else round_significands(units.high, 11)
        return np.asarray(jnp.matmul(rounded, rounded.T, precision="highest"))
    precision = {"float32": FLOAT32, "bfloat16": BFLOAT16}[name]
    vectors = jnp.asarray(units.high, precision.dtype)
    return np.asarray(jnp.matmul(vectors, vectors.T, precision=precision.product, preferred_element_type=jnp.float32))


def observed_error(x: np.ndarray, name: str) -> float:
    units = fixed_point_unit_vectors(x)
    return abs(first_pass(units, name).astype(np.float64) - (1 - block_distances(units, units))).max()


NAMED = {"float32": FLOAT32, "tf32": TENSOR_FLOAT32, "tf32, truncated": TENSOR_FLOAT32, "bfloat16": BFLOAT16}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("num_dimensions", [1, 3, 64, 2048])
def test_errors_of_the_first_pass_stay_within_the_margin(num_dimensions, name):
    rng = np.random.default_rng(num_dimensions)
    random = rng.normal(size=(100, num_dimensions))
    equal = np.ones((4, num_dimensions)) * np.array([[1], [-1], [3], [0.1]])
    sparse = np.where(rng.random(random.shape) < 0.05, random, 0)
    sparse[:, 0] += 1
    # Coordinates half way between two numbers of the precision have the largest rounding errors.
    halfway = rng.choice([-1, 1], random.shape) * (1 + NAMED[name].roundoff)
    margin = error_margin(num_dimensions, NAMED[name])
    near = np.repeat(random[:50], 2, axis=0) + 1e-4 * random
    for x in (random, np.maximum(random, 0.001), np.resize(equal, random.shape), near, sparse, halfway):
        assert observed_error(x, name) <= margin


@pytest.mark.parametrize("name", ["tf32, truncated", "bfloat16"])
def test_the_margin_is_not_much_larger_than_what_can_happen(name):
    # 2 to 40 coordinates are equal and rounded in the same direction; the others are zero.
    x = np.arange(64) < np.arange(2, 40)[:, None]
    assert 0.5 < observed_error(x.astype(float), name) / error_margin(64, NAMED[name]) <= 1


def test_sums_too_long_for_the_precision_have_no_margin():
    assert error_margin(2**25, FLOAT32) == np.inf
    assert error_margin(2**11, FLOAT32) < 2e-4


def test_the_fastest_precision_that_is_good_enough_is_chosen():
    assert choose_precision(64, 0.5, "cpu") is FLOAT32
    assert choose_precision(64, 0.5, "gpu") is TENSOR_FLOAT32
    assert choose_precision(64, 0.001, "gpu") is FLOAT32
    assert choose_precision(64, 0.5, "tpu") is BFLOAT16
    assert choose_precision(64, 0.01, "tpu") is FLOAT32
    assert choose_precision(64, 0.5, "another") is FLOAT32
    for platform in PRECISIONS:
        for height in (0.0, 1e-5, 0.01, 0.02, 0.1, 1.0):
            chosen = choose_precision(2048, height, platform)
            assert chosen is FLOAT32 or error_margin(2048, chosen) <= height / 10


# Guessing the height


@pytest.mark.parametrize("pairs_per_row", [0.5, 2.0, 20.0, 200.0])
def test_heights_are_estimated_from_a_sample(pairs_per_row):
    units = fixed_point_unit_vectors(digits(1797)[0])
    height = Neighbours(units).height_for(pairs_per_row)
    number = np.count_nonzero(np.triu(block_distances(units, units) <= height, 1))
    assert pairs_per_row / 2 < number / len(units) < 2 * pairs_per_row


def test_heights_rise_with_the_pairs_and_are_never_negative():
    neighbours = Neighbours(rows(200), block_rows=64)
    heights = [neighbours.height_for(pairs) for pairs in (0.001, 0.1, 1, 10, 50, 99.5)]
    assert heights[0] >= 0
    assert heights == sorted(heights)
    assert heights[-1] > 1
    assert np.isfinite(heights).all()
    assert Neighbours(fixed_point_unit_vectors(np.ones((5, 2)))).height_for(1) < 1e-6
