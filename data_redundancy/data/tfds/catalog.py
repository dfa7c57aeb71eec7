"""Catalogs: the place of every record of a TFDS split, so that examples can be read in any order.

One scan of the files lists the place, the label, the file name and a digest of every record, in canonical order. It
decodes no images. Training then reads only the records of its keep list, in its own order.
"""

import concurrent.futures
import dataclasses
import hashlib
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.data.tfds.builder import (
    FILE_NAME_KEY,
    NotPreparedError,
    ShardSlice,
    has_file_names,
    import_tfds,
    silenced_tfds,
)
from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.store import files, metrics
from data_redundancy.store.filesystems import reason

HEADER_BYTES, FRAME_BYTES = 12, 16
"""Bytes that a TFRecord file adds before a record (its length and a checksum), and in total (one more checksum)."""
_BATCH = 64
_ARRAYS = ("offset", "length", "label", "digest", "file_name")

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """The records of a whole TFDS split, in canonical order.

    Attributes:
        files: [F] str, the names of its files.
        sizes: [F] int64, the sizes of the files in bytes.
        counts: [F] int64, the number of records of each file.
        offset: [N] int64, the position in its file at which the frame of a record begins, in bytes.
        length: [N] int64, the size of a record without its frame, in bytes.
        label: [N] int64, the label of each example.
        digest: [N] uint64, the `digest_of` each record.
        file_name: [N] bytes, the file name of each image in UTF-8; empty if the data set has no file names.
    """

    files: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    label: np.ndarray
    digest: np.ndarray
    file_name: np.ndarray

    def checksum(self) -> int:
        """Returns a digest of all records and their places."""
        return digest_of(b"".join(array.tobytes() for array in vars(self).values()))

    def rows(self, shards: Sequence[ShardSlice]) -> tuple[np.ndarray, np.ndarray]:
        """Finds the records of a split expression.

        Args:
            shards: the examples of the expression, from `split_shards`.

        Returns:
            The rows [n] of this catalog, and the number [n] of the file of each row.
        """
        begins = np.concatenate([[0], np.cumsum(self.counts)])
        number = {name: position for position, name in enumerate(self.files.tolist())}
        parts = [(number[shard.file_name], shard) for shard in shards]
        rows = [np.arange(shard.length) + begins[file] + shard.start for file, shard in parts]
        files = [np.full(shard.length, file) for file, shard in parts]
        return np.concatenate(rows), np.concatenate(files)


def digest_of(record: bytes) -> int:
    """Returns a digest of 64 bits: BLAKE2b of this size."""
    return int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "little")


def read_or_make(
    builder: Any, split: str, *, directory: epath.Path, image_key: str, label_key: str, may_make: bool = True
) -> Catalog:
    """Returns the catalog of a whole TFDS split: reads it from `directory`, or else makes it.

    All processes call this together, and share the work.

    Args:
        builder: a `tfds.core.DatasetBuilder`.
        split: the name of one of its splits.
        directory: the directory of the file SPLIT.npz, which is written if it is missing.
        image_key: the name of the image feature.
        label_key: the name of the label feature.
        may_make: whether to make a catalog that does not exist.

    Raises:
        NotPreparedError: if the catalog does not exist, and `may_make` is false.
        InputError: naming a file that is missing or damaged; `name`, if the data set is not stored as TFRecord; or
            `catalog_dir`, if the directory cannot be written.
    """
    if (file_format := builder.info.file_format.value) != "tfrecord":
        requirement = f"must be stored as tfrecord to stream images, but is stored as {file_format}"
        raise InputError("name", builder.info.full_name, requirement)
    paths = [epath.Path(path) for path in builder.info.splits[split].filepaths]
    sizes = _sizes(paths)
    path = directory / f"{split}.npz"
    found = _read(path, [file.name for file in paths], sizes)
    # Processes that do not share a disk may have different catalogs.
    found_by_all = devices.gather_rows(np.array([found.checksum() if found else 0], np.uint64))
    if found and (found_by_all == found_by_all[0]).all():
        return found
    if not may_make:
        raise NotPreparedError("name", builder.info.full_name, f"has no list of its records ({path})")
    with metrics.progress(f"list {split}", total=len(paths), unit="files") as bar:
        parts = _scan_share(builder, paths, image_key, label_key, bar)
    catalog = Catalog(files=np.array([p.name for p in paths]), sizes=sizes, **parts)
    declared = np.array(builder.info.splits[split].shard_lengths)
    if not np.array_equal(catalog.counts, declared):
        file = int(np.flatnonzero(catalog.counts != declared)[0])
        requirement = f"must have {declared[file]} records according to its data set, but has {catalog.counts[file]}"
        raise InputError(paths[file], None, requirement, "Prepare the data set again")
    if devices.is_main_process():
        try:
            with files.atomic_file(path) as partial, partial.open("wb") as output:
                np.savez(output, **vars(catalog))
        except InputError as error:
            directory_text = os.fspath(directory)
            raise InputError("catalog_dir", directory_text, error.requirement, "Use another directory") from error
    devices.barrier(f"wrote {path}")
    log.info("listed the %s records of %s (%s)", f"{len(catalog.label):,}", split, path)
    return catalog


def _sizes(paths: Sequence[epath.Path]) -> np.ndarray:
    def size(path: epath.Path) -> int:
        try:
            return path.stat().length
        except OSError as error:
            raise InputError(path, None, f"cannot be read ({reason(error)})") from error

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return np.array(list(pool.map(size, paths)), np.int64)


def _read(path: epath.Path, files: list[str], sizes: np.ndarray) -> Catalog | None:
    """Returns the catalog at `path`, or None if it is missing, damaged, or describes other files."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            catalog = Catalog(**arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # another file, or a damaged one, which will be replaced
        log.warning("%s cannot be read (%s): listing the records again", path, reason(error))
        return None
    if catalog.files.tolist() != files or not np.array_equal(catalog.sizes, sizes):
        log.warning("%s lists other files than the data set has: listing the records again", path)
        return None
    return catalog


def _scan_share(builder: Any, paths: Sequence[epath.Path], image_key: str, label_key: str, bar: Any) -> dict[str, Any]:
    """Scans the files that are this process's share, and returns the arrays of all processes by field of `Catalog`."""
    parse = _parser(builder, image_key, label_key)
    start, stop = devices.row_share(len(paths), 1)
    found = []
    with silenced_tfds(), concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, part in enumerate(pool.map(lambda path: _scan(path, parse), paths[start:stop]), start + 1):
            found.append(part)
            bar.update(done)
    counts = devices.gather_rows(np.array([len(part["label"]) for part in found], np.int64))
    dtypes = {"offset": np.int64, "length": np.int64, "label": np.int64, "digest": np.uint64}
    parts = {name: np.concatenate([np.empty(0, d), *(p[name] for p in found)]) for name, d in dtypes.items()}
    names = np.array([name for part in found for name in part["file_name"]], "S")
    widest = devices.gather_rows(np.array([max(1, names.dtype.itemsize)])).max()
    parts["file_name"] = names.astype(f"S{widest}")
    return {"counts": counts, **{name: devices.gather_rows(parts[name]) for name in _ARRAYS}}


def _parser(builder: Any, image_key: str, label_key: str) -> Any:
    """Returns the traceable function from a serialised example to itself, its label and its file name."""
    tf, tfds = import_tfds()
    features = builder.info.features
    has_names = has_file_names(features)
    wanted = {image_key: True, label_key: True, **({FILE_NAME_KEY: True} if has_names else {})}
    part = tfds.decode.PartialDecoding(wanted).extract_features(features)

    @tf.autograph.experimental.do_not_convert  # it contains no Python control flow that has to be converted
    def parse(record: Any) -> tuple[Any, Any, Any]:
        example = part.deserialize_example(record, decoders={image_key: tfds.decode.SkipDecoding()})
        return record, example[label_key], example[FILE_NAME_KEY] if has_names else ""

    return parse


def _scan(path: epath.Path, parse: Any) -> dict[str, Any]:
    """Lists the records of one file: arrays by field of `Catalog`, and the file names as a list of bytes."""
    tf, _ = import_tfds()
    lengths: list[int] = []
    labels: list[int] = []
    digests: list[int] = []
    names: list[bytes] = []
    try:
        examples = tf.data.TFRecordDataset(os.fspath(path)).map(parse).batch(_BATCH).prefetch(1)
        for records, label, name in examples.as_numpy_iterator():
            lengths += [len(record) for record in records]
            digests += [digest_of(record) for record in records]
            labels += label.tolist()
            names += name.tolist()
    except tf.errors.OpError as error:
        raise InputError(path, None, f"is damaged ({reason(error)})", "Prepare the data set again") from error
    length = np.array(lengths, np.int64)
    offset = np.concatenate([[0], np.cumsum(length + FRAME_BYTES)[:-1]]).astype(np.int64)[: len(length)]
    return {
        "offset": offset,
        "length": length,
        "label": np.array(labels, np.int64),
        "digest": np.array(digests, np.uint64),
        "file_name": names,
    }
