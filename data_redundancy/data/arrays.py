"""Conversion of embeddings and labels to arrays that NumPy can compute with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.errors import InputError, show


def as_embeddings(values: ArrayLike) -> np.ndarray:
    """Returns embeddings as an array of a dtype that NumPy can compute with.

    Args:
        values: [N, D] numbers of any dtype, including bfloat16 and the float8 dtypes of JAX.

    Returns:
        [N, D]: bfloat16 and float8 as float32, any other dtype unchanged.
    """
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.name.startswith(("bfloat16", "float8")) else array


def as_labels(values: ArrayLike, argument: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Returns labels as integers.

    Args:
        values: [N] integers, strings, UTF-8 bytes, or Python objects of one of these types.
        argument: the argument that errors name.

    Returns:
        Integers, and names for strings and bytes: these are numbered in sorted order, so that label i has the i-th
        name. Integers stay as they are and have no names (None). Numbers of other dtypes stay as they are as well.

    Raises:
        InputError: naming `argument`, for objects of other or mixed types, or bytes that are not UTF-8.
    """
    array = np.asarray(values)
    kind = array.dtype.kind
    if kind not in "OSTU":
        return array, None
    entries = array.ravel().tolist()
    if kind == "O" and entries and all(_is_integer(entry) for entry in entries):
        return np.array(entries).reshape(array.shape), None
    texts = array if kind == "U" else np.array(_texts(entries, argument), object)
    names, inverse = np.unique(texts, return_inverse=True)
    return inverse.reshape(array.shape), tuple(names.tolist())


def _texts(entries: Sequence[Any], argument: str) -> list[str]:
    texts = []
    for row, entry in enumerate(entries):
        try:
            text = entry.decode() if isinstance(entry, bytes) else entry
        except UnicodeDecodeError:
            text = None
        if not isinstance(text, str):
            requirement = f"must be all integers or all UTF-8 strings, but row {row} has {show(entry)}"
            raise InputError(argument, None, requirement)
        texts.append(text)
    return texts


def _is_integer(entry: Any) -> bool:
    return isinstance(entry, int | np.integer) and not isinstance(entry, bool)
