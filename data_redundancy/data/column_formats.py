"""The file formats of embeddings and labels: each is opened as named columns."""

import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_redundancy.data.columns import Arrays, Columns, Invalid, Table
from data_redundancy.store.filesystems import reason

FORMATS = (
    "an .npy or .npz file, a Parquet file or a folder of them, a Zarr array or group, or a folder written by Hugging "
    "Face's save_to_disk"
)
_ROWS = 4096  # of a table, decoded at a time

_Opener = Callable[[pathlib.Path, Invalid], Columns]


def open_columns(path: pathlib.Path, invalid: Invalid) -> Columns:
    """Opens a file or folder; its format is recognised by its content.

    Args:
        path: an existing file or folder.
        invalid: makes errors.

    Raises:
        InputError: if it cannot be read or has none of the formats.
    """
    return _opener(path, invalid)(path, invalid)


def _opener(path: pathlib.Path, invalid: Invalid) -> _Opener:
    if path.is_dir():
        return _folder_opener(path, invalid)
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise invalid(f"cannot be read ({reason(error)})") from None
    openers: tuple[tuple[bytes, _Opener], ...] = (
        (b"\x93NUMPY", _open_npy),
        (b"PK", _open_npz),
        (b"PAR1", _open_parquet),
    )
    for magic, opener in openers:
        if start.startswith(magic):
            return opener
    raise invalid(f"must be {FORMATS}")


def _folder_opener(path: pathlib.Path, invalid: Invalid) -> _Opener:
    if (path / "dataset_dict.json").is_file():
        raise _is_not_one_split(path, invalid)
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return _open_hugging_face
    if any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")):
        return _open_zarr
    if _parquet_files(path):
        return _open_parquet
    raise invalid(f"must be {FORMATS}")


def _is_not_one_split(path: pathlib.Path, invalid: Invalid) -> Exception:
    """Returns the error for a Hugging Face data set with several splits, each of which has its own folder."""
    try:
        splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
    except (OSError, ValueError, LookupError, TypeError):
        return invalid(f"must have a list of splits in {path / 'dataset_dict.json'}")
    if not splits:
        return invalid("must be one split of a data set, but this data set has none")
    return invalid(f"must be one split of the data set: {', '.join(splits)}", f"Name {path / splits[0]}, for example")


def _open_npy(path: pathlib.Path, invalid: Invalid) -> Arrays:
    def read() -> np.ndarray:
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise invalid(f"must be an .npy file of numbers or strings ({reason(error)})") from None

    return Arrays({"": read})


def _open_npz(path: pathlib.Path, invalid: Invalid) -> Arrays:
    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                    return np.asarray(arrays[name])
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise invalid(f"must have numbers or strings in array {name!r} ({reason(error)})") from None

        return read

    try:
        # Opened here, because NumPy does not close a file that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Arrays({name: reader(name) for name in arrays.files})
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise invalid(f"must be an .npz file ({reason(error)})") from None


def _open_parquet(path: pathlib.Path, invalid: Invalid) -> Table:
    """Opens a file, or all files below a folder, sorted by path."""
    paths = [path] if path.is_file() else _parquet_files(path)

    def pieces(name: str) -> Iterator[pa.Array]:
        kind = files[0].schema_arrow.field(name).type
        for path, file in zip(paths, files, strict=True):
            found = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True)).get(name)
            if found != kind:
                what = f"no column {name!r}" if found is None else f"a column {name!r} of type {found}"
                raise invalid(f"must have equal columns in all files: {path} has {what}, {paths[0]} one of type {kind}")
            try:
                for batch in file.iter_batches(_ROWS, columns=[name]):
                    yield batch.column(0)
            except (OSError, pa.ArrowException) as error:
                raise invalid(f"must have readable files, but {path} is not ({reason(error)})") from None

    try:
        # Without these two options a whole row group, usually of a million rows, would be in memory at a time.
        files = [pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) for path in paths]
    except (OSError, pa.ArrowException) as error:
        raise invalid(f"must be Parquet ({reason(error)})") from None
    schema = files[0].schema_arrow
    return Table(invalid, schema, sum(file.metadata.num_rows for file in files), pieces, _classes_of_schema(schema))


def _parquet_files(folder: pathlib.Path) -> list[pathlib.Path]:
    # Unlike rglob, os.walk passes over directories that vanish meanwhile or cannot be read.
    paths = (pathlib.Path(directory, name) for directory, _, names in os.walk(folder) for name in names)
    return sorted(path for path in paths if path.suffix == ".parquet" and path.is_file())


def _classes_of_schema(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Returns class names from the metadata that Hugging Face's `datasets` writes to Parquet files."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}  # there is no metadata, or another program wrote it; class names are optional


def _open_hugging_face(path: pathlib.Path, invalid: Invalid) -> Table:
    try:
        import datasets
    except ImportError:
        fix = "Install it with pip install 'data_redundancy[huggingface]'"
        raise invalid("needs the package datasets, which is not installed", fix) from None
    try:
        dataset = datasets.load_from_disk(os.fspath(path))
    except Exception as error:  # a damaged folder raises errors of many types
        raise invalid(f"must be a Hugging Face data set ({reason(error)})") from None

    def pieces(name: str) -> Iterator[pa.Array]:
        for table in dataset.select_columns([name]).with_format("arrow").iter(_ROWS):
            yield from table.column(0).chunks

    features = dataset.features.items()
    classes = {name: tuple(feature.names) for name, feature in features if isinstance(feature, datasets.ClassLabel)}
    return Table(invalid, dataset.features.arrow_schema, len(dataset), pieces, classes)


def _open_zarr(path: pathlib.Path, invalid: Invalid) -> Arrays:
    arrays = _zarr_arrays(path, "", invalid)
    return Arrays({name: _zarr_reader(driver, array, invalid) for name, driver, array in arrays})


def _zarr_arrays(path: pathlib.Path, name: str, invalid: Invalid) -> Iterator[tuple[str, str, pathlib.Path]]:
    """Yields the name, TensorStore's driver and the path of every array in an array or group, at any depth."""
    if (path / ".zarray").is_file():
        yield name, "zarr", path
    elif _zarr3_node(path, invalid) == "array":
        yield name, "zarr3", path
    elif (path / ".zgroup").is_file() or _zarr3_node(path, invalid) == "group":
        for child in sorted(child for child in path.iterdir() if child.is_dir()):
            yield from _zarr_arrays(child, f"{name}/{child.name}".strip("/"), invalid)


def _zarr3_node(path: pathlib.Path, invalid: Invalid) -> str | None:
    try:
        return json.loads((path / "zarr.json").read_text()).get("node_type")
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, OSError):
        raise invalid(f"must have the metadata of a Zarr array or group in {path / 'zarr.json'}") from None


def _zarr_reader(driver: str, path: pathlib.Path, invalid: Invalid) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        import tensorstore as ts

        specification = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.absolute()}/"}}
        try:
            return np.asarray(ts.open(specification, open=True).result().read().result())
        except ValueError as error:
            raise invalid(f"must have a Zarr array in {path} ({reason(error)})") from None

    return read
