"""Keep lists as files for other software: one line, row or number for every image that is kept."""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.store import workdir

COLUMNS = ("index", "tfds_id", "file_name", "label", "class_name")
"""Of csv and parquet; always all of them, empty where the source does not say."""


def write(path: pathlib.Path, format: str, table: pa.Table) -> None:
    """Writes a keep list, in order of the index; what was at `path` before stays until the new one is whole.

    Args:
        path: the file.
        format: `txt`: lines of file names, where the source has no file names its ids, where it has no ids indices;
            `csv`, `parquet`: rows of COLUMNS; `npy`: [K] int64 indices.
        table: a selection's examples.parquet: COLUMNS, and kept, of N examples in order.

    Raises:
        InputError: if lines of text cannot tell the images apart, or the file cannot be written.
    """
    kept = table.filter(table["kept"]).select(COLUMNS)
    content = _lines(kept, table) if format == "txt" else None
    with workdir.atomic_file(epath.Path(path)) as partial, open(partial, "wb") as file:
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
            raise InputError(f"--format=txt: {column} {name!r} has a line end in it; allowed: csv, parquet, npy")
    repeated = _repeated(table[column], kept[column])
    if repeated is not None:
        raise InputError(
            f"--format=txt: several images have the {column} {repeated!r}, so a line does not say which is kept; "
            "allowed: csv, parquet, npy"
        )
    return "".join(f"{name}\n" for name in names).encode()


def _all_named(column: pa.ChunkedArray) -> bool:
    return column.null_count == 0 and pc.all(pc.not_equal(column, "")).as_py()


def _repeated(column: pa.ChunkedArray, kept: pa.ChunkedArray):
    """The first name of what is kept that is there more than once."""
    counts = column.value_counts()
    several = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1)).field("values")
    found = kept.filter(pc.is_in(kept, value_set=several))
    return found[0].as_py() if len(found) else None
