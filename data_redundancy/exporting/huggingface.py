"""The Hugging Face export: a folder that `datasets.load_dataset` reads.

The files are `data/SPLIT-00000-of-00004.parquet`, ... and the card README.md. The columns are image (undecoded), label,
source_index, source_tfds_id, file_name, and the further features of the source: numbers, text, arrays and images as
such, lists of different lengths as JSON text.
"""

import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_redundancy.exporting import about as descriptions
from data_redundancy.exporting import files
from data_redundancy.exporting.format import Description, Example, Shard
from data_redundancy.exporting.paths import image_name, unique_name_of
from data_redundancy.exporting.values import json_value

_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_COLUMNS = {
    "image": _IMAGE,
    "label": pa.int64(),
    "source_index": pa.int64(),
    "source_tfds_id": pa.string(),
    "file_name": pa.string(),
}
_SCALARS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
_GROUP_ROWS, _GROUP_BYTES = 1000, 2**25
"""A row group, which is written and read at once, ends after this many images or bytes of images."""


class HuggingFace:
    """Writes Parquet files; a `Format`."""

    def write_shard(
        self, directory: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description
    ) -> None:
        """See `Format`."""
        groups = _groups(examples)
        first = next(groups)
        schema = _schema(first[0].features, about.class_names)
        with (
            files.renamed(directory / _path(shard, about)) as partial,
            pq.ParquetWriter(partial, schema) as writer,
        ):
            for group in itertools.chain([first], groups):
                writer.write_table(_table(group, schema))

    def finish(self, directory: pathlib.Path, shards: list[Shard], about: Description) -> None:
        """See `Format`."""
        patterns = {shard.split: _pattern(shard, about) for shard in shards}
        splits: list[dict[str, Any]] = [
            {
                "name": descriptions.split_name(split),
                "num_bytes": sum(path.stat().st_size for path in directory.glob(pattern)),
                "num_examples": about.num_examples[split],
            }
            for split, pattern in patterns.items()
        ]
        total = sum(split["num_bytes"] for split in splits)
        front = {
            "task_categories": ["image-classification"],
            "configs": descriptions.configs(patterns),
            "dataset_info": {"splits": splits, "download_size": total, "dataset_size": total},
        }
        files.write_text(directory / "README.md", descriptions.card(about, front))


def _path(shard: Shard, about: Description) -> str:
    return f"data/{unique_name_of(shard.split, about.num_examples)}-{shard.number:05d}-of-{shard.of:05d}.parquet"


def _pattern(shard: Shard, about: Description) -> str:
    """Returns the pattern of the paths of all shards of a split."""
    return _path(shard, about).replace(f"-{shard.number:05d}-of-", f"-{'[0-9]' * 5}-of-")


def _groups(examples: Iterable[Example]) -> Iterator[list[Example]]:
    group: list[Example] = []
    size = 0
    for example in examples:
        group.append(example)
        size += len(example.encoded)
        if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _schema(features: Mapping[str, Any], class_names: Iterable[str]) -> pa.Schema:
    """Returns the columns and their types, with the metadata by which `datasets` recognises images and classes."""
    names = _column_names(features)
    types = {**_COLUMNS, **{names[name]: _type(value) for name, value in features.items()}}
    described: dict[str, Any] = {name: {"_type": "Image"} for name, type_ in types.items() if type_ == _IMAGE}
    described["label"] = {"names": list(class_names), "_type": "ClassLabel"}
    return pa.schema(types, metadata={"huggingface": json.dumps({"info": {"features": described}})})


def _column_names(features: Iterable[str]) -> dict[str, str]:
    """Returns the name of the column of every feature: `source_` is put before a name that is already used."""
    names, taken = {}, {*_COLUMNS, *features}
    for feature in features:
        name = feature
        while name in _COLUMNS or (name != feature and name in taken):
            name = f"source_{name}"
        names[feature] = name
        taken.add(name)
    return names


def _type(value: Any) -> pa.DataType:
    if isinstance(value, bytes):
        return _IMAGE
    if isinstance(value, np.ndarray | np.generic):
        type_ = _type_of_dtype(value.dtype)
        for _ in range(value.ndim if type_ is not None else 0):
            type_ = pa.list_(type_)
        return type_ or pa.string()
    return _SCALARS.get(type(value), pa.string())


def _type_of_dtype(dtype: np.dtype) -> pa.DataType | None:
    """Returns Arrow's type for a NumPy type, or None if Arrow has none."""
    if dtype.kind in "OSU":
        return pa.string()
    try:
        return pa.from_numpy_dtype(dtype)
    except pa.ArrowNotImplementedError:
        return None


def _table(examples: list[Example], schema: pa.Schema) -> pa.Table:
    names = _column_names(examples[0].features)
    columns: dict[str, list] = {
        "image": [_image(e.encoded, image_name(e.file_name, e.index, e.extension)) for e in examples],
        "label": [e.label for e in examples],
        "source_index": [e.index for e in examples],
        "source_tfds_id": [e.tfds_id for e in examples],
        "file_name": [e.file_name for e in examples],
    }
    for feature, name in names.items():
        type_ = schema.field(name).type
        columns[name] = [_cell(example.features[feature], type_) for example in examples]
    return pa.table(columns, schema=schema)


def _cell(value: Any, type_: pa.DataType) -> Any:
    if type_ == _IMAGE:
        return _image(value, None)
    found = json_value(value)
    return json.dumps(found, ensure_ascii=False) if type_ == pa.string() and not isinstance(found, str) else found


def _image(encoded: bytes, path: str | None) -> dict[str, Any]:
    return {"bytes": encoded, "path": path}
