"""Where every record of a TFDS split lies, so that any example can be read without reading those before it.

One scan of the files lists, for every example in canonical order, the place of its record, its label, its file name and
a digest of it. Images stay undecoded. After that, training reads just the records of its keep list, in the order it
wants.
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

from data_redundancy.data.tfds.builder import FILE_NAME_KEY, Shard, has_file_names, import_tfds, one_line, silenced_tfds
from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.store import metrics, workdir

HEADER_BYTES, FRAME_BYTES = 12, 16
"""What a TFRecord file adds to every record: its length and a checksum before it; with another one behind it."""
_BATCH = 64
_ARRAYS = ("offset", "length", "label", "digest", "file_name")

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """The records of one TFDS split, all of it, in canonical order.

    Attributes:
        files: [F] names of its files.
        sizes: [F] int64, their sizes in bytes.
        counts: [F] int64, how many records each holds.
        offset: [N] int64, the byte of its file at which the frame of a record begins.
        length: [N] int64, the bytes of a record without its frame.
        label: [N] int64.
        digest: [N] uint64, of the record's bytes.
        file_name: [N] bytes, the image's file name in UTF-8; empty where the data set has none.
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
        """A digest of all records and their places."""
        return digest_of(b"".join(array.tobytes() for array in vars(self).values()))

    def rows(self, shards: Sequence[Shard]) -> tuple[np.ndarray, np.ndarray]:
        """Finds a part of the split.

        Args:
            shards: what a split expression takes from which file.

        Returns:
            The rows [n] of this catalogue, and for each the number of its file.
        """
        begins = np.concatenate([[0], np.cumsum(self.counts)])
        number = {name: position for position, name in enumerate(self.files.tolist())}
        parts = [(number[shard.file_name], shard) for shard in shards]
        rows = [np.arange(shard.length) + begins[file] + shard.start for file, shard in parts]
        files = [np.full(shard.length, file) for file, shard in parts]
        return np.concatenate(rows), np.concatenate(files)


def digest_of(record: bytes) -> int:
    """A digest of 64 bits: the first of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "little")


def read_or_make(builder: Any, split: str, *, directory: epath.Path, image_key: str, label_key: str) -> Catalog:
    """The catalogue of a whole TFDS split: read from `directory`, or made, together by all processes.

    Args:
        builder: a `tfds.core.DatasetBuilder`.
        split: the name of one of its splits.
        directory: gets SPLIT.npz.
        image_key: the name of the image feature.
        label_key: the name of the label feature.

    Raises:
        InputError: if a file is missing or damaged, or the directory cannot be written.
    """
    if (file_format := builder.info.file_format.value) != "tfrecord":
        raise InputError(
            f"name: {builder.info.full_name} is stored as {file_format}; allowed where images stream: tfrecord"
        )
    paths = [epath.Path(path) for path in builder.info.splits[split].filepaths]
    sizes = _sizes(paths)
    path = directory / f"{split}.npz"
    found = _read(path, [p.name for p in paths], sizes)
    # Where processes do not share a disk, some may have none, or another one.
    found_by_all = devices.gather_rows(np.array([found.checksum() if found else 0], np.uint64))
    if found and (found_by_all == found_by_all[0]).all():
        return found
    with metrics.progress(f"list {split}", total=len(paths), unit="files") as bar:
        parts = _scan_share(builder, paths, image_key, label_key, bar)
    catalog = Catalog(files=np.array([p.name for p in paths]), sizes=sizes, **parts)
    declared = np.array(builder.info.splits[split].shard_lengths)
    if not np.array_equal(catalog.counts, declared):
        file = int(np.flatnonzero(catalog.counts != declared)[0])
        raise InputError(
            f"data_dir: {paths[file]} holds {catalog.counts[file]} records, its data set says {declared[file]}; "
            "prepare it again"
        )
    if devices.is_main_process():
        try:
            with workdir.atomic_file(path) as partial, partial.open("wb") as file:
                np.savez(file, **vars(catalog))
        except InputError as error:
            raise InputError(f"catalog_dir: {one_line(error)}; name another directory") from error
    devices.barrier(f"wrote {path}")
    log.info("listed the %s records of %s (%s)", f"{len(catalog.label):,}", split, path)
    return catalog


def _sizes(paths: Sequence[epath.Path]) -> np.ndarray:
    def size(path: epath.Path) -> int:
        try:
            return path.stat().length
        except OSError as error:
            raise InputError(f"data_dir: {path} cannot be read ({error.strerror or one_line(error)})") from error

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return np.array(list(pool.map(size, paths)), np.int64)


def _read(path: epath.Path, files: list[str], sizes: np.ndarray) -> Catalog | None:
    """The catalogue at `path`, if it is there, whole, and of these files."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            catalog = Catalog(**arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # a file of something else, or a damaged one: it is made again
        log.warning("%s cannot be read (%s): listing the records again", path, one_line(error))
        return None
    if catalog.files.tolist() != files or not np.array_equal(catalog.sizes, sizes):
        log.warning("%s is about other files than there are now: listing the records again", path)
        return None
    return catalog


def _scan_share(builder: Any, paths: Sequence[epath.Path], image_key: str, label_key: str, bar: Any) -> dict:
    """Scans this process's share of the files, and gathers what all have found."""
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
    """The traceable function from serialised examples to label and file name."""
    tf, tfds = import_tfds()
    features = builder.info.features
    has_names = has_file_names(features)
    wanted = {image_key: True, label_key: True, **({FILE_NAME_KEY: True} if has_names else {})}
    part = tfds.decode.PartialDecoding(wanted).extract_features(features)

    @tf.autograph.experimental.do_not_convert  # there is nothing in it to convert
    def parse(record):
        example = part.deserialize_example(record, decoders={image_key: tfds.decode.SkipDecoding()})
        return record, example[label_key], example[FILE_NAME_KEY] if has_names else ""

    return parse


def _scan(path: epath.Path, parse: Any) -> dict[str, Any]:
    tf, _ = import_tfds()
    lengths, labels, digests, names = [], [], [], []
    try:
        examples = tf.data.TFRecordDataset(os.fspath(path)).map(parse).batch(_BATCH).prefetch(1)
        for records, label, name in examples.as_numpy_iterator():
            lengths += [len(record) for record in records]
            digests += [digest_of(record) for record in records]
            labels += label.tolist()
            names += name.tolist()
    except tf.errors.OpError as error:
        raise InputError(f"data_dir: {path} is damaged ({one_line(error)}); prepare the data set again") from error
    length = np.array(lengths, np.int64)
    offset = np.concatenate([[0], np.cumsum(length + FRAME_BYTES)[:-1]]).astype(np.int64)[: len(length)]
    return {
        "offset": offset,
        "length": length,
        "label": np.array(labels, np.int64),
        "digest": np.array(digests, np.uint64),
        "file_name": names,
    }
