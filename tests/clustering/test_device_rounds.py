"""Trees from rounds on devices equal trees from the host, to the last bit."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from sklearn.datasets import load_digits

from data_redundancy.clustering import dense
from data_redundancy.clustering.device_rounds import agglomerate_on_device, class_bytes, trees
from data_redundancy.clustering.distances import Units, fixed_point_unit_vectors
from data_redundancy.clustering.merges import Merges
from data_redundancy.errors import InputError

LINKAGES = ("complete", "average")
PLENTY = 1e9


def on_host(units: Units, linkage: str, sizes: np.ndarray | None = None) -> Merges:
    sizes = np.ones(len(units), np.int64) if sizes is None else sizes
    between = dense.cluster_distances(units, np.arange(len(units)), linkage)
    if linkage == "average":
        between *= np.outer(sizes, sizes)
    return dense.agglomerate(between, sizes, linkage)


def assert_equal(found: Merges, expected: Merges) -> None:
    for name in ("height", "low", "high", "round"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name, strict=True)


def vectors(kind: str, num_rows: int, seed: int) -> Units:
    rng = np.random.default_rng(seed)
    if kind == "random":
        return fixed_point_unit_vectors(rng.normal(size=(num_rows, 4)))
    if kind == "ties":  # few directions, at few different distances
        return fixed_point_unit_vectors(rng.integers(1, 4, (num_rows, 4)))
    if kind == "copies":
        return fixed_point_unit_vectors(rng.normal(size=(5, 4))[rng.integers(5, size=num_rows)])
    return fixed_point_unit_vectors(np.c_[np.ones((num_rows, 3)), 1e-4 * rng.integers(9, size=num_rows)])


def mixed(seed: int = 0) -> list[Units]:
    """Classes of two padded lengths, and some with nothing to merge."""
    lengths = (256, 1, 128, 7, 2, 255, 64, 33, 140, 1)
    return [vectors(("random", "ties")[i % 2], n, seed + i) for i, n in enumerate(lengths)]


some_vectors = st.builds(
    vectors, st.sampled_from(["random", "ties", "copies", "collinear"]), st.integers(2, 140), st.integers(0, 2**32)
)


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("linkage", LINKAGES)
@settings(max_examples=15)
@given(classes=st.lists(some_vectors, min_size=4, max_size=4))
def test_as_on_the_host(linkage: str, num_devices: int, classes: list[Units]):
    classes = [*classes, vectors("ties", 140, 0)]  # the largest class is fixed, so that all examples share a program
    found = trees(classes, linkage, memory_limit=PLENTY, devices=jax.devices()[:num_devices])
    for merges, units in zip(found, classes, strict=True):
        assert_equal(merges, on_host(units, linkage))


@pytest.mark.parametrize(("num_devices", "num_fitting", "linkage"), [(3, 5, "complete"), (1, 1, "average")])
def test_small_batches_of_several_lengths(num_devices: int, num_fitting: int, linkage: str):
    classes = mixed()
    limit = (num_fitting + 0.1) * class_bytes(256, 4)
    found = trees(classes, linkage, memory_limit=limit, devices=jax.devices()[:num_devices])
    for merges, units in zip(found, classes, strict=True):
        assert_equal(merges, on_host(units, linkage))


def test_average_counts_copies():
    classes = [vectors("random", 70, 1), vectors("ties", 50, 2)]
    sizes = [np.random.default_rng(i).integers(1, 6, len(classes[i])) for i in range(2)]
    found = trees(classes, "average", memory_limit=PLENTY, sizes=sizes)
    unweighted = trees(classes, "average", memory_limit=PLENTY)
    for i in range(2):
        assert_equal(found[i], on_host(classes[i], "average", sizes[i]))
        assert not np.array_equal(found[i].height, unweighted[i].height)


def test_nothing_to_merge():
    assert trees([], "complete", memory_limit=PLENTY) == []
    assert [len(m) for m in trees([vectors("random", 1, 0)] * 2, "complete", memory_limit=PLENTY)] == [0, 0]


@pytest.mark.parametrize("linkage", LINKAGES)
def test_real_images(linkage: str):
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels[labels < 2]  # 360: the matrix shrinks twice
    (found,) = trees([fixed_point_unit_vectors(pixels)], linkage, memory_limit=PLENTY)
    assert_equal(found, on_host(fixed_point_unit_vectors(pixels), linkage))
    expected = hierarchy.linkage(pixels, linkage, "cosine")[:, 2]
    np.testing.assert_allclose(np.sort(found.height), expected, atol=1e-12)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_from_a_matrix(linkage: str):
    starts = np.r_[0, 1 + np.flatnonzero(np.random.default_rng(0).random(189) < 0.8)]
    between = dense.cluster_distances(vectors("ties", 190, 3), starts, linkage)
    between = np.triu(between) + np.triu(between, 1).T  # sums of several distances are rounded
    sizes = np.diff(starts, append=190)
    unchanged = between.copy()
    found = agglomerate_on_device(between, sizes, linkage, jax.devices()[1])
    np.testing.assert_array_equal(between, unchanged)
    assert_equal(found, dense.agglomerate(between, sizes, linkage))


@pytest.mark.parametrize("distance", [0.1, 0.3, 0.7])
def test_means_that_rounding_lowers(distance: float):
    found = agglomerate_on_device(np.full((150, 150), distance), np.ones(150, np.int64), "average")
    assert_equal(found, dense.agglomerate(np.full((150, 150), distance), np.ones(150, np.int64), "average"))


def test_matrix_of_one_cluster():
    assert len(agglomerate_on_device(np.zeros((1, 1)), np.array([5]), "complete")) == 0


def test_too_large_for_the_device():
    with pytest.raises(
        InputError, match=r"^memory_limit_gb=0\.00\d+: must be at least 0\.00\d+ for the whole tree of 256 examples"
    ):
        trees(mixed(), "complete", memory_limit=0.9 * class_bytes(256, 4))


def test_single_linkage_is_not_for_rounds():
    with pytest.raises(ValueError, match="'single': rounds are only for complete and average"):
        trees([fixed_point_unit_vectors(np.eye(3))], "single", memory_limit=1e9)
