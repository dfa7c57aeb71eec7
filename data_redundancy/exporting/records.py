"""Files of serialised examples, TFRecord and ArrayRecord: read and written without looking into the examples.

A TFRecord file frames every record with its length and checksums (CRC-32C). The checksum of a record with something
appended follows from the one that is stored, so that a copy needs no other look at an image's bytes; and a record that
is damaged does not become sound by being copied.
"""

import functools
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from data_redundancy import storage
from data_redundancy.data.catalog import HEADER_BYTES
from data_redundancy.data.tfds_source import import_tfds
from data_redundancy.errors import InputError

FILE_FORMATS = ("tfrecord", "array_record")

_READ_BUFFER, _WRITE_BUFFER = 2**18, 2**18
_ARRAY_RECORDS = 16
"""Records of an ArrayRecord file that are read at once."""
_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78
_PAIR = struct.Struct("<H")


class Record(NamedTuple):
    """A serialised example.

    Attributes:
        content: its bytes.
        checksum: their CRC-32C as the file has it; None where it is not known.
        appended: what is to be written behind it.
    """

    content: memoryview
    checksum: int | None = None
    appended: bytes = b""


def read(path: epath.Path, file_format: str, numbers: Iterable[int]) -> Iterator[Record]:
    """Reads some records of a file, one after the other.

    Args:
        path: local or in a bucket.
        file_format: one of FILE_FORMATS.
        numbers: positions in the file, ascending.

    Raises:
        InputError: if the file cannot be read, ends before, or is not of this format.
    """
    found = (_read_tfrecord if file_format == "tfrecord" else _read_array_record)(path, numbers)
    while True:
        try:
            record = next(found, None)
        except OSError as error:
            raise unreadable(path, error) from error
        if record is None:
            return
        yield record


def write(path: epath.Path, file_format: str, records: Iterable[Record], *, checked: bool) -> None:
    """Writes a file.

    Args:
        path: of a local file.
        file_format: one of FILE_FORMATS.
        records: not held in memory.
        checked: whether all have a checksum.

    Raises:
        OSError: if the file cannot be written.
    """
    if file_format == "array_record":
        _write_array_record(path, records)
    elif checked:
        _write_tfrecord(path, records)
    else:
        _write_unchecked_tfrecord(path, records)


def unreadable(path: epath.Path, error: OSError) -> InputError:
    """What to tell of a file of the source that the system does not give."""
    return InputError(f"data_dir: {path} cannot be read ({error.strerror or error})")


def open_to_read(path: epath.Path) -> Any:
    """Opens a file, local or in a bucket."""
    return path.open("rb") if storage.is_remote(path) else open(path, "rb", buffering=_READ_BUFFER)


def _read_tfrecord(path: epath.Path, numbers: Iterable[int]) -> Iterator[Record]:
    with open_to_read(path) as file:
        position = 0
        for number in numbers:
            for _ in range(position, number):
                file.seek(_read_length(file, path) + 4, os.SEEK_CUR)
            length = _read_length(file, path)
            framed = file.read(length + 4)
            if len(framed) < length + 4:
                raise _damaged(path)
            yield Record(memoryview(framed)[:length], _unmasked(int.from_bytes(framed[length:], "little")))
            position = number + 1


def _read_length(file: Any, path: epath.Path) -> int:
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or _masked(crc32c(header[:8])) != int.from_bytes(header[8:], "little"):
        raise _damaged(path)
    return int.from_bytes(header[:8], "little")


def _damaged(path: epath.Path) -> InputError:
    return InputError(f"data_dir: {path} is damaged or not a whole TFRecord file; prepare the data set again")


def _read_array_record(path: epath.Path, numbers: Iterable[int]) -> Iterator[Record]:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    numbers = list(numbers)
    try:
        with ArrayRecordDataSource([os.fspath(path)]) as file:
            for start in range(0, len(numbers), _ARRAY_RECORDS):
                for content in file.__getitems__(numbers[start : start + _ARRAY_RECORDS]):
                    yield Record(memoryview(content))
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"data_dir: {path} is damaged ({str(error).splitlines()[0]}); prepare it again") from error


def _write_tfrecord(path: epath.Path, records: Iterable[Record]) -> None:
    with open(path, "wb", buffering=_WRITE_BUFFER) as file:
        for content, checksum, appended in records:
            length = struct.pack("<Q", len(content) + len(appended))
            file.write(length + struct.pack("<I", _masked(crc32c(length))))
            file.write(content)
            file.write(appended + struct.pack("<I", _masked(crc32c(appended, checksum))))


def _write_unchecked_tfrecord(path: epath.Path, records: Iterable[Record]) -> None:
    tf, _ = import_tfds()
    try:
        with tf.io.TFRecordWriter(os.fspath(path)) as file:
            for content, _, appended in records:
                file.write(bytes(content) + appended)
    except tf.errors.OpError as error:
        raise OSError(error.message.splitlines()[0]) from error


def _write_array_record(path: epath.Path, records: Iterable[Record]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    # Groups of one record, as TFDS has it: any one can be read alone.
    file = ArrayRecordWriter(os.fspath(path), "group_size:1")
    try:
        for content, _, appended in records:
            _array_record(file.write, bytes(content) + appended)
    finally:
        _array_record(file.close)


def _array_record(call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from error


def crc32c(data: bytes, before: int = 0) -> int:
    """The CRC-32C of a few bytes, or of those behind others.

    Args:
        data: some bytes; in Python it takes some 50 nanoseconds for each.
        before: the CRC-32C of the bytes before them.
    """
    table = _table()
    even = len(data) & ~1
    crc = before ^ 0xFFFFFFFF
    for (pair,) in _PAIR.iter_unpack(data[:even]):
        crc = table[(crc ^ pair) & 0xFFFF] ^ (crc >> 16)
    for byte in data[even:]:
        # The table is for two bytes: before this one comes a zero that leaves no trace.
        crc = table[((crc ^ byte) & 0xFF) << 8] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@functools.cache
def _table() -> list[int]:
    """What two bytes at a time do to the checksum."""
    crc = np.arange(2**16, dtype=np.uint32)
    for _ in range(16):
        crc = (crc >> 1) ^ np.where(crc & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return crc.tolist()


def _masked(crc: int) -> int:
    """As TFRecord files store a checksum."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _unmasked(stored: int) -> int:
    rotated = (stored - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF
