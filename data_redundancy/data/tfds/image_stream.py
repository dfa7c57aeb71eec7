"""Streams of images from a TFDS data set: read record by record, decoded and cropped by tf.data.

The caller chooses the images and their order, and a random crop depends on (seed, epoch, index) alone. Therefore pruned
images are never read, a run that resumes within an epoch sees the same images as an uninterrupted one, and the number
of processes that share the work makes no difference.
"""

import collections
import concurrent.futures
import dataclasses
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.data.splits import StreamedSplit
from data_redundancy.data.tfds.builder import import_tfds
from data_redundancy.data.tfds.catalog import HEADER_BYTES, digest_of
from data_redundancy.data.tfds.crops import Box, central_box, decode_box, random_box, resize
from data_redundancy.errors import InputError
from data_redundancy.store.filesystems import reason

_READERS = 8
"""Records read at the same time, because reading from a network disk needs much time and little computation."""

Rows = tuple[np.ndarray, np.ndarray]
"""The examples of a batch: index [b] and epoch [b]."""

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch of decoded images.

    Attributes:
        image: [b, S, S, C] uint8.
        label: [b] int32.
        index: [b] int32, positions in canonical order.
        valid: [b] bool, False for an image that could not be decoded, which is black.
    """

    image: np.ndarray
    label: np.ndarray
    index: np.ndarray
    valid: np.ndarray


class _OpenBatches:
    """The batches whose images have not been returned yet, so that a new pipeline can continue after one has failed."""

    def __init__(self, rows: Iterable[Rows]):
        self._rows = iter(rows)
        self._open: collections.deque[Rows] = collections.deque()
        self._lock = threading.Lock()
        self._pipelines = 0
        first = self._take()
        self.batch_size = 1 if first is None else len(first[0])

    def oldest(self) -> Rows:
        """Returns the batch whose images are due next."""
        return self._open[0]

    def close_oldest(self) -> None:
        """Removes the oldest batch, whose images have been returned."""
        with self._lock:
            self._open.popleft()

    def upcoming(self) -> Iterator[Rows]:
        """Yields the open batches, then the following ones; ends when another pipeline calls this."""
        with self._lock:
            self._pipelines += 1
            pipeline, still_open = self._pipelines, list(self._open)
        yield from still_open
        while True:
            with self._lock:
                rows = self._take() if pipeline == self._pipelines else None
            if rows is None:
                return
            yield rows

    def _take(self) -> Rows | None:
        rows = next(self._rows, None)
        if rows is not None:
            self._open.append(rows)
        return rows


class ImageStream:
    """Reads the images of one split."""

    def __init__(
        self,
        split: StreamedSplit,
        *,
        image_size: int,
        threads: int | None = None,
        on_corrupt: str = "stop",
        prefetch: int = 2,
    ):
        """Stores the settings; opens no files.

        Args:
            split: the split to read.
            image_size: the images become squares with this side S, in pixels.
            threads: the number of threads that read and decode; None: one per core.
            on_corrupt: what to do about an image that cannot be decoded: "stop" raises an InputError, "skip" logs a
                warning and returns a black image that is not valid.
            prefetch: the number of batches that are decoded ahead.
        """
        self._split, self._size = split, image_size
        self._threads = threads or len(os.sched_getaffinity(0))
        self._on_corrupt, self._prefetch = on_corrupt, prefetch
        self._corrupt: set[int] = set()
        self._checked = np.zeros(len(split.labels), bool)
        self._readers = concurrent.futures.ThreadPoolExecutor(_READERS, thread_name_prefix="read")

    def train(
        self,
        rows: Iterable[Rows],
        *,
        seed: int,
        crop: str,
        min_area: float,
        central_fraction: float,
    ) -> Iterator[Batch]:
        """Reads crops for training.

        Args:
            rows: index [b] and epoch [b] of every batch; read a few batches ahead.
            seed: seed of the run.
            crop: "random": the aspect ratio is uniform in 3/4 to 4/3, and the height is uniform among those with which
                the crop has `min_area` to 1 of the area of the image, as TensorFlow draws them (Szegedy et al. 2015,
                "Going Deeper with Convolutions", draw the area instead). If 10 attempts find no such crop, it is the
                whole image. "center": as in `inference`.
            min_area: the least share of the area of the image that a random crop has.
            central_fraction: see `inference`.

        Yields:
            A batch for every entry of `rows`.

        Raises:
            InputError: naming the file, if it cannot be read or has changed; naming `on_corrupt`, if an image cannot be
                decoded and such images are not skipped.
        """
        box = random_box(seed, min_area) if crop == "random" else central_box(central_fraction)
        return self._read(rows, box)

    def inference(self, indices: Iterable[np.ndarray], *, central_fraction: float) -> Iterator[Batch]:
        """Reads central squares.

        Args:
            indices: index [b] of every batch; read a few batches ahead.
            central_fraction: the side of the square as a share of the shorter side of the image, in (0, 1]. With 1, an
                image of S x S pixels stays as it is.

        Yields:
            A batch for every entry of `indices`.

        Raises:
            InputError: see `train`.
        """
        rows = ((index, np.zeros_like(index)) for index in indices)
        return self._read(rows, central_box(central_fraction))

    def _read(self, rows: Iterable[Rows], box: Box) -> Iterator[Batch]:
        tf, _ = import_tfds()
        waiting = _OpenBatches(rows)
        failed: list[Exception] = []
        batches = iter(self._pipeline(waiting, failed, box))
        while True:
            try:
                # The method numpy() would copy the array.
                image, index, valid = (np.asarray(memoryview(array)) for array in next(batches))
            except StopIteration:
                return
            except tf.errors.OpError as error:
                if failed:
                    raise failed[0] from error
                self._find_corrupt(waiting.oldest(), box, error)
                # The corrupt images are known now, and a new pipeline skips them.
                batches = iter(self._pipeline(waiting, failed, box))
                continue
            waiting.close_oldest()
            yield Batch(image=image, label=self._split.labels[index], index=index.astype(np.int32), valid=valid)

    def _pipeline(self, waiting: _OpenBatches, failed: list[Exception], box: Box) -> Any:
        """Returns the tf.data.Dataset of batches of image, index and valid, from the oldest open batch on.

        It does not catch errors of single images, which would need a Dataset per image, and a quarter of the time.
        """
        tf, _ = import_tfds()
        records = tf.data.Dataset.from_generator(
            lambda: self._records(waiting, failed),
            output_signature=(
                tf.TensorSpec([waiting.batch_size], tf.string),
                *(tf.TensorSpec([waiting.batch_size], tf.int64) for _ in range(2)),
            ),
        )
        images = records.unbatch().map(self._decoder(box), num_parallel_calls=self._threads + 1, deterministic=True)
        return images.batch(waiting.batch_size).prefetch(self._prefetch).with_options(self._options())

    def _records(self, waiting: _OpenBatches, failed: list[Exception]) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields the records, indices and epochs of every batch.

        It runs in a thread of TensorFlow, which hides the type of an exception; so the exception is added to `failed`.
        """
        try:
            for index, epoch in waiting.upcoming():
                parts = self._readers.map(self._read_records, np.array_split(index, _READERS))
                records = np.array([record for part in parts for record in part], object)
                yield records, index.astype(np.int64), epoch.astype(np.int64)
        except Exception as error:
            failed.append(error)
            raise

    def _read_records(self, indices: np.ndarray) -> list[bytes]:
        return [self._record(index) for index in indices.tolist()]

    def _record(self, index: int) -> bytes:
        """Returns the record of one example; it is empty if its image is known to be corrupt."""
        if index in self._corrupt:
            return b""
        records = self._split.records
        path = records.paths[records.file[index]].decode()
        file: Any
        try:
            with epath.Path(path).open("rb") if "://" in path else open(path, "rb", buffering=0) as file:
                file.seek(records.offset[index] + HEADER_BYTES)
                record = file.read(records.length[index])
        except FileNotFoundError:
            raise InputError(path, None, "does not exist any more") from None
        except OSError as error:
            raise InputError(path, None, f"cannot be read ({reason(error)})") from error
        if not self._checked[index] and digest_of(record) != records.digest[index]:
            raise InputError(
                path,
                None,
                f"has changed or is damaged: the record of {self._split.tfds_id(index)} (index {index}) differs from "
                "that in the catalog",
                "Repair the file, or remove the catalog",
            )
        self._checked[index] = True  # checking it once shows that it is the same data set
        return record

    def _decoder(self, box: Box) -> Any:
        """Returns the traceable function from record, index and epoch to image, index and valid."""
        tf, _ = import_tfds()
        shape = (self._size, self._size, self._split.num_channels)

        @tf.autograph.experimental.do_not_convert  # it contains no Python control flow that has to be converted
        def decode(record: Any, index: Any, epoch: Any) -> tuple[Any, Any, Any]:
            def image() -> Any:
                encoded = self._split.parse_image(record)
                return resize(decode_box(encoded, box, index, epoch, shape[-1]), shape)

            valid = tf.strings.length(record) > 0
            return tf.cond(valid, image, lambda: tf.zeros(shape, tf.uint8)), index, valid

        return decode

    def _options(self) -> Any:
        tf, _ = import_tfds()
        options = tf.data.Options()
        options.threading.private_threadpool_size = self._threads + 2  # two more, because those that make batches wait
        options.threading.max_intra_op_parallelism = 1
        options.autotune.enabled = False
        return options

    def _find_corrupt(self, rows: Rows, box: Box, error: Exception) -> None:
        """Finds the images of a batch that cannot be decoded, and raises an error or marks them as corrupt."""
        tf, _ = import_tfds()
        decode, found = tf.function(self._decoder(box)), []
        for index, epoch in zip(*rows, strict=True):
            try:
                decode(
                    tf.constant(self._record(int(index))), tf.constant(index, tf.int64), tf.constant(epoch, tf.int64)
                )
            except tf.errors.OpError:
                found.append(int(index))
        if not found:
            directory = os.path.dirname(self._split.records.paths[0].decode())
            raise InputError(directory, None, f"cannot be read ({reason(error)})") from error
        if self._on_corrupt == "stop":
            requirement = f"an image cannot be decoded: {self._describe(found[0])}"
            raise InputError("on_corrupt", "stop", requirement, "Repair the image, or use skip")
        for index in sorted(set(found)):
            log.warning("%s: cannot be decoded, skipped", self._describe(index))
        self._corrupt.update(found)

    def _describe(self, index: int) -> str:
        return f"{self._split.tfds_id(index)} (index {index} of {self._split.name})"
