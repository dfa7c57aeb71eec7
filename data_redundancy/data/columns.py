"""Named columns of a file: whole arrays, or Arrow columns that are read piece by piece.

One column at a time is read, directly into the array that is returned.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_redundancy.errors import InputError

Invalid = functools.partial[InputError]
"""Makes an error about a certain argument and value; takes the requirement and the fix."""


class Columns(Protocol):
    """The columns of a file."""

    @property
    def names(self) -> Sequence[str]:
        """The names of the columns. A file with a single array without a name has the name ""."""

    def matrix(self, name: str) -> np.ndarray:
        """Reads a column whose rows are lists of numbers of the same length.

        Raises:
            InputError: if the column cannot be read or is of another type.
        """

    def values(self, name: str) -> np.ndarray:
        """Reads a column of numbers or strings.

        Raises:
            InputError: if the column cannot be read or is of another type.
        """

    def texts(self, name: str) -> np.ndarray | None:
        """Reads a column of strings or integers as an object array of str; None for a column of another type.

        Raises:
            InputError: if the column cannot be read.
        """

    def class_names(self, name: str) -> tuple[str, ...] | None:
        """Returns the name of every class in a column of labels, or None if the file has none."""


@dataclass(frozen=True)
class Arrays:
    """Columns that are whole arrays; see `Columns`.

    Attributes:
        readers: for each column, the function that reads it.
    """

    readers: Mapping[str, Callable[[], np.ndarray]]

    @property
    def names(self) -> Sequence[str]:
        """See `Columns`."""
        return list(self.readers)

    def matrix(self, name: str) -> np.ndarray:
        """See `Columns`. The type of the array is not checked."""
        return self.readers[name]()

    def values(self, name: str) -> np.ndarray:
        """See `Columns`. The type of the array is not checked."""
        return self.readers[name]()

    def texts(self, name: str) -> np.ndarray | None:
        """See `Columns`. Ids and file names in array files are ignored."""
        return None

    def class_names(self, name: str) -> tuple[str, ...] | None:
        """See `Columns`. Array files have no class names."""
        return None


@dataclass(frozen=True)
class Table:
    """Arrow columns; see `Columns`.

    Attributes:
        invalid: makes errors.
        schema: names and types of the columns.
        num_rows: the number of rows of every column.
        pieces: reads a column, in pieces.
        classes: the class names of columns that have any.
    """

    invalid: Invalid
    schema: pa.Schema
    num_rows: int
    pieces: Callable[[str], Iterator[pa.Array]]
    classes: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> Sequence[str]:
        """See `Columns`."""
        return self.schema.names

    def matrix(self, name: str) -> np.ndarray:
        """See `Columns`; float32 for columns of float32 or float16, else float64."""
        rows = np.empty((self.num_rows, 0), self._element_type(name))
        start = 0
        for piece in self.pieces(name):
            lists = piece.storage if isinstance(piece, pa.ExtensionArray) else piece
            self._check_no_nulls(lists, start)
            widths = pc.list_value_length(lists).to_numpy()
            if start == 0 and len(widths):
                rows = np.empty((self.num_rows, widths[0]), rows.dtype)
            if len(wrong := np.flatnonzero(widths != rows.shape[1])):
                raise self.invalid(
                    f"must have lists of the same length: row {start + wrong[0]} has {widths[wrong[0]]} numbers, those "
                    f"before it have {rows.shape[1]}"
                )
            numbers = lists.flatten().to_numpy(zero_copy_only=False)
            rows[start : start + len(lists)] = numbers.reshape(len(lists), rows.shape[1])
            start += len(lists)
        return rows

    def values(self, name: str) -> np.ndarray:
        """See `Columns`."""
        kind = self.schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (_is_text(kind) or _is_number(kind)):
            raise self.invalid(f"must have integers or strings in column {name!r}, but it is of type {kind}")
        return self._cast(name, kind).to_numpy()

    def texts(self, name: str) -> np.ndarray | None:
        """See `Columns`."""
        kind = self.schema.field(name).type
        if not (_is_text(kind) or pa.types.is_integer(kind)):
            return None
        return np.array(self._cast(name, pa.string()).to_pylist(), object)

    def class_names(self, name: str) -> tuple[str, ...] | None:
        """See `Columns`."""
        return self.classes.get(name)

    def _element_type(self, name: str) -> type[np.floating[Any]]:
        kind = self.schema.field(name).type
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not is_list or not _is_number(kind.value_type):
            raise self.invalid(f"must have lists of numbers in column {name!r}, but it is of type {kind}")
        is_single = pa.types.is_float32(kind.value_type) or pa.types.is_float16(kind.value_type)
        return np.float32 if is_single else np.float64

    def _cast(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        values = pa.chunked_array([piece.cast(kind) for piece in self.pieces(name)], kind)
        self._check_no_nulls(values, 0, f" in column {name!r}")
        return values

    def _check_no_nulls(self, values: pa.Array | pa.ChunkedArray, start: int, column: str = "") -> None:
        if values.null_count:
            row = start + pc.index(values.is_null(), True).as_py()
            raise self.invalid(f"must not have nulls, but row {row} is null{column}")


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
