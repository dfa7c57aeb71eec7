"""Digits with names, scores and the comparison of selections for the tests of the Python API."""

import dataclasses

import numpy as np
from sklearn.datasets import load_digits

from data_redundancy.selection import result

N = 300
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels [N, 64] float32 and labels [N] int64."""
    pixels, labels = load_digits(return_X_y=True)
    return pixels[:N].astype(np.float32), labels[:N]


def scores() -> dict[str, np.ndarray]:
    """Returns scores [N] float64 by name."""
    rng = np.random.default_rng(7)
    return {name: rng.gamma(2.0, size=N) for name in ("el2n", "grad_norm", "forgetting")}


def assert_equal(a: result.SelectionArrays, b: result.SelectionArrays) -> None:
    """Asserts that all attributes of the library's selections are equal, including their types."""
    for field in dataclasses.fields(result.SelectionArrays):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), strict=True)
