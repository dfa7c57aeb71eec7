"""Embeddings and labels of any type become arrays."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_redundancy.data.arrays import as_embeddings, as_labels
from data_redundancy.errors import InputError


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64])
def test_integers_stay_as_they_are(dtype):
    labels = np.array([3, 0, 3], dtype)
    found, names = as_labels(labels, "labels")
    assert found is labels
    assert names is None


def test_lists_of_integers_are_integers():
    for values in ([3, 0, 3], np.array([3, 0, 3], object), np.array([np.int64(3), 0, 3], object)):
        found, names = as_labels(values, "labels")
        assert found.dtype == np.int64
        assert found.tolist() == [3, 0, 3]
        assert names is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), max_size=9))
def test_strings_are_numbered_in_sorted_order(texts):
    kinds = [np.array(texts, object), np.array([text.encode() for text in texts], object)]
    if texts:
        kinds += [texts, np.array(texts), np.array([text.encode() for text in texts])]
        kinds += [np.array(texts, np.dtypes.StringDType())]
    for values in kinds:
        labels, names = as_labels(values, "labels")
        assert names == tuple(sorted(set(texts)))
        assert labels.dtype == np.int64
        assert [names[label] for label in labels] == texts


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.array(["a", None], object), "row 1 has None"),
        (np.array([1, "a"], object), "row 0 has 1"),
        (np.array(["a", 1.5], object), "row 1 has 1.5"),
        (np.array([True, False], object), "row 0 has True"),
        (np.array([b"a", b"\xe9"]), r"row 1 has b'\\xe9'"),
    ],
)
def test_other_objects_are_not_labels(values, told):
    with pytest.raises(InputError, match=f"^--l: must be all integers or all UTF-8 strings, but {told}$"):
        as_labels(values, "--l")


def test_numbers_that_are_no_integers_are_left_to_others():
    labels = np.array([0.5, 1.0])
    assert as_labels(labels, "labels") == (labels, None)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float8_e4m3fn])
def test_short_floats_become_float32(dtype):
    x = jnp.array([[0.5, -2.0]], dtype)
    for values in (x, np.asarray(x)):
        found = as_embeddings(values)
        assert found.dtype == np.float32
        assert found.tolist() == [[0.5, -2.0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_other_embeddings_stay_as_they_are(dtype):
    x = np.ones((2, 3), dtype)
    assert as_embeddings(x) is x
