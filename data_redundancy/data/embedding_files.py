"""Embeddings and labels made elsewhere, in the formats that `select --embeddings` and `--labels` take.

Every format becomes named columns, of which one is read at a time, straight into the array that is handed on.
"""

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_redundancy.errors import InputError

EMBEDDINGS = ("embedding", "embeddings")
LABELS = ("label", "labels")
IDS = ("tfds_id", "id")
FILE_NAMES = ("file_name",)
"""What columns are called where the user does not say."""
FORMATS = (
    "an .npy or .npz file, a Parquet file or a folder of them, a Zarr array or group, or a folder written by Hugging "
    "Face's save_to_disk"
)
_ROWS = 4096  # of a table, decoded at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """What there is to select from.

    Attributes:
        embeddings: [N, D] numbers, not checked otherwise.
        labels: [N] numbers, not checked otherwise; None where there are none.
        labels_from: where the labels came from, as a flag with its value, for errors; None where there are none.
        class_names: a name for every label, None where the source has none.
        tfds_ids: [N] object array of str, None where the source has none.
        file_names: the same.
    """

    embeddings: np.ndarray
    labels: np.ndarray | None = None
    labels_from: str | None = None
    class_names: tuple[str, ...] | None = None
    tfds_ids: np.ndarray | None = None
    file_names: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Arrays:
    """Whole arrays; the only one of a file that names none is called ""."""

    readers: Mapping[str, Callable[[], np.ndarray]]

    @property
    def names(self) -> Sequence[str]:
        return list(self.readers)

    def matrix(self, name: str) -> np.ndarray:
        return self.readers[name]()

    def values(self, name: str) -> np.ndarray:
        return self.readers[name]()

    def texts(self, name: str) -> np.ndarray | None:
        return None

    def class_names(self, name: str) -> tuple[str, ...] | None:
        return None


@dataclasses.dataclass(frozen=True)
class _Table:
    """Columns of Arrow arrays, which come in pieces; `where` begins every error."""

    where: str
    schema: pa.Schema
    num_rows: int
    pieces: Callable[[str], Iterator[pa.Array]]
    classes: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> Sequence[str]:
        return self.schema.names

    def matrix(self, name: str) -> np.ndarray:
        rows = np.empty((self.num_rows, 0), self._element_type(name))
        start = 0
        for piece in self.pieces(name):
            lists = piece.storage if isinstance(piece, pa.ExtensionArray) else piece
            widths = self._widths(lists, start)
            if start == 0 and len(widths):
                rows = np.empty((self.num_rows, widths[0]), rows.dtype)
            if len(wrong := np.flatnonzero(widths != rows.shape[1])):
                found, row = widths[wrong[0]], start + wrong[0]
                raise InputError(f"{self.where}: row {row} has {found} numbers, those before it have {rows.shape[1]}")
            numbers = lists.flatten().to_numpy(zero_copy_only=False)
            rows[start : start + len(lists)] = numbers.reshape(len(lists), rows.shape[1])
            start += len(lists)
        return rows

    def values(self, name: str) -> np.ndarray:
        kind = self.schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (_is_text(kind) or _is_number(kind)):
            raise InputError(f"{self.where}: column {name!r} is of type {kind}, but integers or strings are needed")
        return self._plain(name, kind).to_numpy()

    def texts(self, name: str) -> np.ndarray | None:
        kind = self.schema.field(name).type
        if not (_is_text(kind) or pa.types.is_integer(kind)):
            return None
        return np.array(self._plain(name, pa.string()).to_pylist(), object)

    def class_names(self, name: str) -> tuple[str, ...] | None:
        return self.classes.get(name)

    def _element_type(self, name: str) -> type[np.floating]:
        kind = self.schema.field(name).type
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not is_list or not _is_number(kind.value_type):
            raise InputError(f"{self.where}: column {name!r} is of type {kind}, but lists of floats are needed")
        is_single = pa.types.is_float32(kind.value_type) or pa.types.is_float16(kind.value_type)
        return np.float32 if is_single else np.float64

    def _widths(self, lists: pa.Array, start: int) -> np.ndarray:
        self._check_no_nulls(lists, start)
        return pc.list_value_length(lists).to_numpy()

    def _plain(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        values = pa.chunked_array([piece.cast(kind) for piece in self.pieces(name)], kind)
        self._check_no_nulls(values, 0, f" in column {name!r}")
        return values

    def _check_no_nulls(self, values: pa.Array | pa.ChunkedArray, start: int, column: str = "") -> None:
        if values.null_count:
            row = start + pc.index(values.is_null(), True).as_py()
            raise InputError(f"{self.where}: row {row} is null{column}")


def load(embeddings: str, labels: str | None, *, needs_labels: bool) -> Examples:
    """Reads what `--embeddings` and `--labels` name: PATH, or PATH:NAME for an array or column of that name.

    Where `labels` is None they are an array or column `label` or `labels` beside the embeddings, if there is one.

    Raises:
        InputError: of one line, for what cannot be read or does not hold what is needed.
    """
    where = f"--embeddings={embeddings}"
    columns, wanted = _open(embeddings, where)
    found = {
        "embeddings": columns.matrix(_choose(columns.names, wanted, EMBEDDINGS, where)),
        "tfds_ids": _texts(columns, IDS),
        "file_names": _texts(columns, FILE_NAMES),
    }
    if labels is not None:
        where = f"--labels={labels}"
        columns, wanted = _open(labels, where)
        name = _choose(columns.names, wanted, LABELS, where)
        return Examples(**found, **_labels(columns, name, where, "--labels"))
    name = _first(LABELS, columns.names)
    if name is not None:
        return Examples(**found, **_labels(columns, name, where, f"{where}:{name}"))
    if needs_labels:
        raise InputError(
            f"--labels: must be given, unless --config.cluster.scope=dataset: beside the embeddings there is no "
            f"{' or '.join(LABELS)} ({embeddings} holds {_listed(columns.names)})"
        )
    return Examples(**found)


def _labels(columns, name: str, where: str, labels_from: str) -> dict:
    """Labels as numbers; strings are numbered in sorted order."""
    values, names = columns.values(name), columns.class_names(name)
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: labels must be integers or text, but {error.object!r} is not UTF-8") from None
    if values.dtype.kind in "UO":
        texts, values = np.unique(values, return_inverse=True)
        names = tuple(map(str, texts))
    if names is not None and values.size and values.max() >= len(names):
        row = int(np.argmax(values >= len(names)))
        raise InputError(f"{where}: row {row} has label {values[row]}, but there are names for {len(names)} classes")
    return {"labels": values, "labels_from": labels_from, "class_names": names}


def _texts(columns, candidates: Sequence[str]) -> np.ndarray | None:
    name = _first(candidates, columns.names)
    return None if name is None else columns.texts(name)


def _first(candidates: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in candidates if name in names), None)


def _choose(names: Sequence[str], wanted: str | None, usual: Sequence[str], where: str) -> str:
    """The column that was named, or is called as usual, or is the only one."""
    there = _listed(names)
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{where}: there is no {wanted!r}; it holds {there}")
        return wanted
    name = _first(usual, names) if len(names) != 1 else names[0]
    if name is None:
        raise InputError(f"{where}: holds {there}, none of them called {' or '.join(usual)}; say which by {where}:NAME")
    return name


def _listed(names: Sequence[str]) -> str:
    return "one array without a name" if list(names) == [""] else ", ".join(names) or "nothing"


def _open(text: str, where: str) -> tuple[_Arrays | _Table, str | None]:
    """The columns at PATH or PATH:NAME, and the name."""
    if "://" in text:
        raise InputError(f"{where}: must be a local path")
    path, wanted = pathlib.Path(text).expanduser(), None
    if not path.exists() and ":" in text:
        before, _, wanted = text.rpartition(":")
        path = pathlib.Path(before).expanduser()
    if not path.exists():
        raise InputError(f"{where}: no such file")
    return _opener(path, where)(path, where), wanted


def _opener(path: pathlib.Path, where: str) -> Callable[[pathlib.Path, str], _Arrays | _Table]:
    """Goes by what a file begins with, and by what a folder holds."""
    if path.is_dir():
        return _folder_opener(path, where)
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    for magic, opener in ((b"\x93NUMPY", _open_npy), (b"PK", _open_npz), (b"PAR1", _open_parquet)):
        if start.startswith(magic):
            return opener
    raise InputError(f"{where}: must be {FORMATS}")


def _folder_opener(path: pathlib.Path, where: str) -> Callable[[pathlib.Path, str], _Arrays | _Table]:
    if (path / "dataset_dict.json").is_file():
        try:
            splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
        except (OSError, ValueError, LookupError, TypeError):
            raise InputError(f"{where}: {path / 'dataset_dict.json'} does not list the splits of a data set") from None
        raise InputError(
            f"{where}: holds the splits {', '.join(splits)}; name one of them, such as {path / splits[0]}"
            if splits
            else f"{where}: holds no split"
        )
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return _open_hugging_face
    if any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")):
        return _open_zarr
    if _parquet_files(path):
        return _open_parquet
    raise InputError(f"{where}: must be {FORMATS}")


def _open_npy(path: pathlib.Path, where: str) -> _Arrays:
    def read() -> np.ndarray:
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{where}: cannot be read as an .npy file of numbers or strings ({error})") from None

    return _Arrays({"": read})


def _open_npz(path: pathlib.Path, where: str) -> _Arrays:
    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                    return np.asarray(arrays[name])
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise InputError(f"{where}: array {name!r} is not of numbers or strings ({error})") from None

        return read

    try:
        # Opened here: of a file that it cannot read, NumPy leaves closing to others.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _Arrays({name: reader(name) for name in arrays.files})
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{where}: cannot be read as an .npz file ({error})") from None


def _open_parquet(path: pathlib.Path, where: str) -> _Table:
    """A file, or all below a folder in the order of their names."""
    paths = [path] if path.is_file() else _parquet_files(path)

    def pieces(name: str) -> Iterator[pa.Array]:
        kind = files[0].schema_arrow.field(name).type
        for path, file in zip(paths, files, strict=True):
            there = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True)).get(name)
            if there != kind:
                what = f"no column {name!r}" if there is None else f"a column {name!r} of type {there}"
                raise InputError(f"{where}: {path} has {what}; in {paths[0]} it is of type {kind}")
            try:
                for batch in file.iter_batches(_ROWS, columns=[name]):
                    yield batch.column(0)
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"{where}: {path} cannot be read ({error})") from None

    try:
        # Without these two a whole row group is held at a time; the usual one has a million rows.
        files = [pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) for path in paths]
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{where}: cannot be read as Parquet ({error})") from None
    schema = files[0].schema_arrow
    return _Table(where, schema, sum(file.metadata.num_rows for file in files), pieces, _classes_of_schema(schema))


def _parquet_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*.parquet") if path.is_file())


def _classes_of_schema(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Class names, as Hugging Face's `datasets` notes them in the Parquet files it writes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}  # another program's notes, or none: names are a bonus


def _open_hugging_face(path: pathlib.Path, where: str) -> _Table:
    try:
        import datasets
    except ImportError:
        raise InputError(f"{where}: needs the package datasets; pip install 'data_redundancy[huggingface]'") from None
    try:
        dataset = datasets.load_from_disk(os.fspath(path))
    except Exception as error:  # of many kinds: whatever keeps a folder from being read
        raise InputError(f"{where}: cannot be read as a Hugging Face data set ({error})") from None

    def pieces(name: str) -> Iterator[pa.Array]:
        for table in dataset.select_columns([name]).with_format("arrow").iter(_ROWS):
            yield from table.column(0).chunks

    features = dataset.features.items()
    classes = {name: tuple(feature.names) for name, feature in features if isinstance(feature, datasets.ClassLabel)}
    return _Table(where, dataset.features.arrow_schema, len(dataset), pieces, classes)


def _open_zarr(path: pathlib.Path, where: str) -> _Arrays:
    return _Arrays({name: _zarr_reader(driver, array, where) for name, driver, array in _zarr_arrays(path, "", where)})


def _zarr_arrays(path: pathlib.Path, name: str, where: str) -> Iterator[tuple[str, str, pathlib.Path]]:
    """Name, TensorStore's driver and path of all arrays in an array or group, the groups in it included."""
    if (path / ".zarray").is_file():
        yield name, "zarr", path
    elif _zarr3_node(path, where) == "array":
        yield name, "zarr3", path
    elif (path / ".zgroup").is_file() or _zarr3_node(path, where) == "group":
        for child in sorted(child for child in path.iterdir() if child.is_dir()):
            yield from _zarr_arrays(child, f"{name}/{child.name}".strip("/"), where)


def _zarr3_node(path: pathlib.Path, where: str) -> str | None:
    try:
        return json.loads((path / "zarr.json").read_text()).get("node_type")
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, OSError):
        raise InputError(f"{where}: {path / 'zarr.json'} is not the metadata of a Zarr array or group") from None


def _zarr_reader(driver: str, path: pathlib.Path, where: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        import tensorstore as ts

        specification = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.absolute()}/"}}
        try:
            array = np.asarray(ts.open(specification, open=True).result().read().result())
        except ValueError as error:
            raise InputError(f"{where}: {path} cannot be read as a Zarr array ({str(error).splitlines()[0]})") from None
        return array.astype(np.float32) if array.dtype.name == "bfloat16" else array

    return read


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
