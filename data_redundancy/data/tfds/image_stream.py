"""Images of a TFDS data set, read record by record as they are asked for, decoded and cropped by tf.data.

Which images come, and in which order, is up to the caller; what a random crop takes follows from (seed, epoch, index)
alone. So a keep list costs nothing, since what is pruned is never read; a run that goes on in mid-epoch sees what the
uninterrupted one would have; and it does not matter how many processes share the work.
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
from data_redundancy.data.tfds.builder import import_tfds, one_line
from data_redundancy.data.tfds.catalog import HEADER_BYTES, digest_of
from data_redundancy.errors import InputError

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Of random crops (Szegedy et al. 2015)."""
_ATTEMPTS = 10
_READERS = 8
"""Records read at the same time: a disk across the network takes long for each, and a processor hardly anything."""
Rows = tuple[np.ndarray, np.ndarray]
"""What is asked for: index [b] and epoch [b]."""

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Decoded images.

    Attributes:
        image: [b, S, S, C] uint8.
        label: [b] int32.
        index: [b] int32, positions in canonical order.
        valid: [b] bool; False for an image that could not be decoded, which is black.
    """

    image: np.ndarray
    label: np.ndarray
    index: np.ndarray
    valid: np.ndarray


class ImageStream:
    """Reads images of one split."""

    def __init__(
        self,
        split: StreamedSplit,
        *,
        image_size: int,
        threads: int | None = None,
        on_corrupt: str = "stop",
        prefetch: int = 2,
    ):
        """Opens nothing yet.

        Args:
            split: what to read.
            image_size: side S of the square that images become.
            threads: that read and decode; None: one for every core.
            on_corrupt: what to do at an image that cannot be decoded: "stop", by an InputError, or "skip", by a warning
                and a black image that is not valid.
            prefetch: batches decoded ahead.
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
        """Crops for training.

        Args:
            rows: index [b] and epoch [b] of every batch; taken a few batches ahead.
            seed: of the run.
            crop: "random": an aspect ratio of 3/4 to 4/3, uniform, and of the heights that give `min_area` to 1 of the
                image's area with it any one, as TensorFlow draws them (after Szegedy et al. 2015, "Going Deeper with
                Convolutions", who draw the area); the whole image where 10 attempts find none. "center": as for
                inference.
            min_area: least share of the image that a random crop takes.
            central_fraction: see `inference`.

        Yields:
            A batch for every entry of `rows`.

        Raises:
            InputError: at a file that cannot be read, a record that is not the one listed, or an image that cannot be
                decoded, unless these are skipped.
        """
        box = _random_box(seed, min_area) if crop == "random" else _central_box(central_fraction)
        return self._read(rows, box)

    def inference(self, indices: Iterable[np.ndarray], *, central_fraction: float) -> Iterator[Batch]:
        """Central squares, whose side is `central_fraction` of the image's shorter side.

        Args:
            indices: [b] of every batch; taken a few batches ahead.
            central_fraction: in (0, 1]; with 1, an image of S x S pixels comes as it is.

        Yields:
            A batch for every entry of `indices`.

        Raises:
            InputError: as `train`.
        """
        rows = ((index, np.zeros_like(index)) for index in indices)
        return self._read(rows, _central_box(central_fraction))

    def _read(self, rows: Iterable[Rows], box: Any) -> Iterator[Batch]:
        tf, _ = import_tfds()
        asked, failed = _Asked(rows), []
        batches = iter(self._pipeline(asked, failed, box))
        while True:
            try:
                # Not by numpy(), which copies.
                image, index, valid = (np.asarray(memoryview(array)) for array in next(batches))
            except StopIteration:
                return
            except tf.errors.OpError as error:
                if failed:
                    raise failed[0] from error
                self._find_corrupt(asked.oldest(), box, error)
                # What is corrupt is known now, and another one goes on without it.
                batches = iter(self._pipeline(asked, failed, box))
                continue
            asked.answered()
            yield Batch(image=image, label=self._split.labels[index], index=index.astype(np.int32), valid=valid)

    def _pipeline(self, asked: "_Asked", failed: list[Exception], box: Any) -> Any:
        """The data set of batches of image, index and valid, from what is asked for on.

        Nothing is caught in it, as that takes a data set for every image, and a quarter of the time.
        """
        tf, _ = import_tfds()
        records = tf.data.Dataset.from_generator(
            lambda: self._records(asked, failed),
            output_signature=(
                tf.TensorSpec([asked.batch_size], tf.string),
                *(tf.TensorSpec([asked.batch_size], tf.int64) for _ in range(2)),
            ),
        )
        images = records.unbatch().map(self._decoder(box), num_parallel_calls=self._threads + 1, deterministic=True)
        return images.batch(asked.batch_size).prefetch(self._prefetch).with_options(self._options())

    def _records(self, asked: "_Asked", failed: list[Exception]) -> Iterator[tuple[np.ndarray, ...]]:
        """The records of every batch; runs in a thread of TensorFlow's, which hides what is raised."""
        try:
            for index, epoch in asked.ahead():
                parts = self._readers.map(self._read_records, np.array_split(index, _READERS))
                records = np.array([record for part in parts for record in part], object)
                yield records, index.astype(np.int64), epoch.astype(np.int64)
        except Exception as error:
            failed.append(error)
            raise

    def _read_records(self, indices: np.ndarray) -> list[bytes]:
        return [self._record(index) for index in indices.tolist()]

    def _record(self, index: int) -> bytes:
        """The bytes of one example; none of one that is known to be corrupt."""
        if index in self._corrupt:
            return b""
        records = self._split.records
        path = records.paths[records.file[index]].decode()
        try:
            with epath.Path(path).open("rb") if "://" in path else open(path, "rb", buffering=0) as file:
                file.seek(records.offset[index] + HEADER_BYTES)
                record = file.read(records.length[index])
        except FileNotFoundError:
            raise InputError(f"data_dir: {path} is not there any more") from None
        except OSError as error:
            raise InputError(f"data_dir: {path} cannot be read ({error.strerror or one_line(error)})") from error
        if not self._checked[index] and digest_of(record) != records.digest[index]:
            raise InputError(
                f"data_dir: {path} has changed or is damaged: the record of {self._split.tfds_id(index)} (index "
                f"{index}) is not the one listed in the catalogue; remove the catalogue, or mend the file"
            )
        self._checked[index] = True  # once is enough to know that it is this data set
        return record

    def _decoder(self, box: Any) -> Any:
        """The traceable function from record, index and epoch to image, index and valid."""
        tf, _ = import_tfds()
        shape = (self._size, self._size, self._split.num_channels)

        @tf.autograph.experimental.do_not_convert  # there are no Python loops in it to be turned into graphs
        def decode(record, index, epoch):
            def image():
                encoded = self._split.parse_image(record)
                return _resize(_decode_box(encoded, box, index, epoch, shape[-1]), shape)

            valid = tf.strings.length(record) > 0
            return tf.cond(valid, image, lambda: tf.zeros(shape, tf.uint8)), index, valid

        return decode

    def _options(self) -> Any:
        tf, _ = import_tfds()
        options = tf.data.Options()
        options.threading.private_threadpool_size = self._threads + 2  # those that make batches of images wait as well
        options.threading.max_intra_op_parallelism = 1
        options.autotune.enabled = False
        return options

    def _find_corrupt(self, rows: Rows, box: Any, error: Exception) -> None:
        """Tells which images of a batch cannot be decoded, and stops or remembers them, as `on_corrupt` says."""
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
            raise InputError(f"data_dir: {self._split.name} cannot be read ({one_line(error)})") from error
        name = f"{self._split.name}: the image of %s (index %d) cannot be decoded"
        if self._on_corrupt == "stop":
            told = name % (self._split.tfds_id(found[0]), found[0])
            raise InputError(f"{told}; mend it, or give --config.input.corrupt=skip")
        for index in sorted(set(found)):
            log.warning("%s: skipped", name % (self._split.tfds_id(index), index))
        self._corrupt.update(found)


class _Asked:
    """Batches that are asked for, each kept until its images are there: a pipeline may fail, and another go on."""

    def __init__(self, rows: Iterable[Rows]):
        self._rows = iter(rows)
        self._open: collections.deque[Rows] = collections.deque()
        self._lock = threading.Lock()
        self._pipelines = 0
        first = self._take()
        self.batch_size = 1 if first is None else len(first[0])

    def oldest(self) -> Rows:
        """The batch whose images come next."""
        return self._open[0]

    def answered(self) -> None:
        """The images of the oldest one are there."""
        with self._lock:
            self._open.popleft()

    def ahead(self) -> Iterator[Rows]:
        """What is open, and then what comes; ends when another pipeline calls this."""
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


def _random_box(seed: int, min_area: float) -> Any:
    tf, _ = import_tfds()

    def box(shape, index, epoch):
        # Two 64-bit words: every (seed, epoch, index) has its own stream of random numbers.
        key = tf.stack([np.int64(seed) + epoch * 2**32, index])
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            bounding_boxes=tf.zeros([1, 0, 4]),
            seed=key,
            area_range=(min_area, 1.0),
            aspect_ratio_range=ASPECT_RATIOS,
            # By default no crop of less than a tenth of the image is taken, whatever `area_range` says.
            min_object_covered=0.0,
            max_attempts=_ATTEMPTS,
            use_image_if_no_bounding_boxes=True,
        )
        return begin[0], begin[1], size[0], size[1]

    return box


def _central_box(fraction: float) -> Any:
    tf, _ = import_tfds()

    def box(shape, index, epoch):
        del index, epoch
        height, width = shape[0], shape[1]
        side = tf.cast(tf.round(fraction * tf.cast(tf.minimum(height, width), tf.float32)), tf.int32)
        side = tf.maximum(side, 1)
        return (height - side) // 2, (width - side) // 2, side, side

    return box


def _decode_box(encoded: Any, box: Any, index: Any, epoch: Any, channels: int) -> Any:
    """Decodes no more of a JPEG than the box; other formats as a whole."""
    tf, _ = import_tfds()

    def jpeg():
        window = tf.stack(box(tf.image.extract_jpeg_shape(encoded), index, epoch))
        return tf.image.decode_and_crop_jpeg(encoded, window, channels=channels)

    def other():
        image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        top, left, height, width = box(tf.shape(image), index, epoch)
        return tf.slice(image, [top, left, 0], [height, width, channels])

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, other)


def _resize(image: Any, shape: tuple[int, int, int]) -> Any:
    """Bicubic, with the kernel widened where pixels become fewer; back to uint8."""
    tf, _ = import_tfds()
    resized = tf.image.resize(image, shape[:2], method="bicubic", antialias=True)
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8), shape)
