"""Keep lists as files for other software: one line, row or number per kept image."""

import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.store import files

COLUMNS = ("index", "tfds_id", "file_name", "label", "class_name")
"""The columns of csv and parquet files; empty if the source does not have them."""
_OTHER_FORMATS = "Use csv, parquet or npy"


def write(path: pathlib.Path, format: str, table: pa.Table) -> None:
    """Writes a keep list, in the order of the index. An older file stays until the new one is complete.

    Args:
        path: the file.
        format: `txt`: lines of file names, or else of ids, or else of indices, whichever all kept images have; `csv`,
            `parquet`: rows of COLUMNS; `npy`: [K] int64 indices.
        table: examples.parquet of a selection: COLUMNS, and `kept`, of N examples in order.

    Raises:
        InputError: naming `format`, if lines of text do not identify the images; naming the path, if it cannot be
            written.
    """
    kept = table.filter(table["kept"]).select(COLUMNS)
    content = _lines(kept, table) if format == "txt" else None
    with files.atomic_file(epath.Path(path)) as partial, open(partial, "wb") as file:
        if content is not None:
            file.write(content)
        elif format == "npy":
            np.save(file, kept["index"].to_numpy().astype(np.int64))
        elif format == "parquet":
            pq.write_table(kept, file)
        else:
            pyarrow.csv.write_csv(kept, file)


def _lines(kept: pa.Table, table: pa.Table) -> bytes:
    column = next((name for name in ("file_name", "tfds_id") if _all_named(kept[name])), "index")
    names = [str(name) for name in kept[column].to_pylist()]
    for name in names:
        if "\n" in name or "\r" in name:
            requirement = f"cannot list the images, because the {column} {name!r} has a line break"
            raise InputError("format", "txt", requirement, _OTHER_FORMATS)
    repeated = _repeated(table[column], kept[column])
    if repeated is not None:
        requirement = f"cannot list the images, because several of them have the {column} {repeated!r}"
        raise InputError("format", "txt", requirement, _OTHER_FORMATS)
    return "".join(f"{name}\n" for name in names).encode()


def _all_named(column: pa.ChunkedArray) -> bool:
    return column.null_count == 0 and pc.all(pc.not_equal(column, "")).as_py()


def _repeated(column: pa.ChunkedArray, kept: pa.ChunkedArray) -> Any:
    """Returns the first entry of `kept` that occurs in `column` more than once, or None."""
    counts = column.value_counts()
    several = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1)).field("values")
    found = kept.filter(pc.is_in(kept, value_set=several))
    return found[0].as_py() if len(found) else None
