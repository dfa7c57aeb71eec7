"""Files of serialised examples, TFRecord and ArrayRecord, which are read and written without parsing the examples.

A TFRecord file frames every record with its length and checksums (CRC-32C). They are verified when a record is read, so
that a damaged record is never copied with a valid checksum.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import google_crc32c
from etils import epath

from data_redundancy.data.tfds.catalog import HEADER_BYTES
from data_redundancy.errors import InputError
from data_redundancy.store import filesystems
from data_redundancy.store.filesystems import reason

_BUFFER = 2**20
_ARRAY_RECORDS = 16
"""The number of records of an ArrayRecord file that are read at once."""
_MASK_DELTA = 0xA282EAD8


class Record(NamedTuple):
    """A serialised example.

    Attributes:
        content: its bytes.
        checksum: their CRC-32C; None if it has not been computed yet.
        appended: bytes to write after the content.
    """

    content: bytes
    checksum: int | None = None
    appended: bytes = b""


def read(path: epath.Path, file_format: str, numbers: Iterable[int]) -> Iterator[Record]:
    """Reads some records of a file.

    Args:
        path: the file, local or in a bucket.
        file_format: one of FILE_FORMATS.
        numbers: positions of the records in the file, ascending.

    Yields:
        The records, in order.

    Raises:
        InputError: naming the path, if the file cannot be read, is damaged or too short, or has another format.
    """
    found = (_read_tfrecord if file_format == "tfrecord" else _read_array_record)(path, numbers)
    while True:
        try:
            record = next(found, None)
        except OSError as error:
            raise InputError(path, None, f"cannot be read ({reason(error)})") from error
        if record is None:
            return
        yield record


def write(path: os.PathLike, file_format: str, records: Iterable[Record]) -> None:
    """Writes a file of records.

    Args:
        path: a local file.
        file_format: one of FILE_FORMATS.
        records: the records, which are written one by one.

    Raises:
        OSError: if the file cannot be written.
    """
    (_write_tfrecord if file_format == "tfrecord" else _write_array_record)(path, records)


def _read_tfrecord(path: epath.Path, numbers: Iterable[int]) -> Iterator[Record]:
    wanted = iter(numbers)
    number = next(wanted, None)
    if number is None:
        return
    for position, (framed, checksum) in enumerate(_all_tfrecords(path)):
        if position < number:
            continue
        content = bytes(framed)
        if _masked(crc := google_crc32c.value(content)) != checksum:
            raise _damaged(path)
        yield Record(content, crc)
        number = next(wanted, None)
        if number is None:
            return
    raise _damaged(path)


def _all_tfrecords(path: epath.Path) -> Iterator[tuple[memoryview, int]]:
    """Yields the content of every record, which is valid until the next one is read, and its stored checksum."""
    with path.open("rb") if filesystems.is_remote(path) else open(path, "rb", buffering=0) as file:
        window = _Window(file)
        while header := bytes(window.take(HEADER_BYTES)):
            length, checksum = header[:8], header[8:]
            if len(header) < HEADER_BYTES or _masked(google_crc32c.value(length)) != int.from_bytes(checksum, "little"):
                raise _damaged(path)
            size = int.from_bytes(length, "little")
            framed = window.take(size + 4)
            if len(framed) < size + 4:
                raise _damaged(path)
            yield framed[:size], int.from_bytes(framed[size:], "little")


class _Window:
    """Reads a file in large pieces into the same memory, because allocating memory takes as long as reading."""

    def __init__(self, file: Any):
        self._file, self._memory = file, memoryview(bytearray(_BUFFER))
        self._begin = self._end = 0

    def take(self, size: int) -> memoryview:
        """Returns the next bytes, fewer at the end of the file; they are valid until the next call."""
        if self._end - self._begin < size:
            self._fill(size)
        begin, self._begin = self._begin, min(self._begin + size, self._end)
        return self._memory[begin : self._begin]

    def _fill(self, size: int) -> None:
        left = bytes(self._memory[self._begin : self._end])
        if size > len(self._memory):
            self._memory = memoryview(bytearray(size))
        self._memory[: len(left)] = left
        self._begin, self._end = 0, len(left)
        while self._end < size and (read := self._file.readinto(self._memory[self._end :])):
            self._end += read


def _damaged(path: epath.Path) -> InputError:
    return InputError(path, None, "is damaged or not a complete TFRecord file", "Prepare the data set again")


def _read_array_record(path: epath.Path, numbers: Iterable[int]) -> Iterator[Record]:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    numbers = list(numbers)
    try:
        with ArrayRecordDataSource([os.fspath(path)]) as file:
            for start in range(0, len(numbers), _ARRAY_RECORDS):
                yield from map(Record, file.__getitems__(numbers[start : start + _ARRAY_RECORDS]))
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(path, None, f"is damaged ({reason(error)})", "Prepare the data set again") from error


def _write_tfrecord(path: os.PathLike, records: Iterable[Record]) -> None:
    with open(path, "wb", buffering=_BUFFER) as file:
        for content, checksum, appended in records:
            length = struct.pack("<Q", len(content) + len(appended))
            crc = google_crc32c.value(content) if checksum is None else checksum
            file.write(length + struct.pack("<I", _masked(google_crc32c.value(length))))
            file.write(content)
            file.write(appended + struct.pack("<I", _masked(google_crc32c.extend(crc, appended))))


def _write_array_record(path: os.PathLike, records: Iterable[Record]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    # Groups of one record, as in TFDS, allow any record to be read alone.
    file = ArrayRecordWriter(os.fspath(path), "group_size:1")
    try:
        for content, _, appended in records:
            _array_record(file.write, content + appended)
    finally:
        _array_record(file.close)


def _array_record(call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except RuntimeError as error:
        raise OSError(reason(error)) from error


def _masked(crc: int) -> int:
    """Returns a checksum as TFRecord files store it."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
