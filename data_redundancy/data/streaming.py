"""Images of a TFDS data set, read record by record as they are asked for, decoded and cropped by tf.data.

Which images come, and in which order, is up to the caller; what a random crop takes follows from (seed, epoch, index)
alone. So a keep list costs nothing, since what is pruned is never read; a run that goes on in mid-epoch sees what the
uninterrupted one would have; and it does not matter how many processes share the work.
"""

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from data_redundancy.data.catalog import FRAME_BYTES
from data_redundancy.data.dataset import StreamedSplit
from data_redundancy.data.tfds_source import import_tfds, one_line
from data_redundancy.errors import InputError

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Of random crops (Szegedy et al. 2015)."""
_ATTEMPTS = 10

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
        self._told: set[int] = set()

    def train(
        self,
        rows: Iterable[tuple[np.ndarray, np.ndarray]],
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
            crop: "random": of `min_area` to 1 of the image's area and an aspect ratio of 3/4 to 4/3, both uniform
                (Szegedy et al. 2015, "Going Deeper with Convolutions"); the whole image where 10 attempts find none.
                "center": as for inference.
            min_area: least share of the image that a random crop takes.
            central_fraction: see `inference`.

        Yields:
            A batch for every entry of `rows`.

        Raises:
            InputError: at a file that cannot be read, or an image that cannot be decoded, unless these are skipped.
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

    def _read(self, rows: Iterable[tuple[np.ndarray, np.ndarray]], box: Any) -> Iterator[Batch]:
        tf, _ = import_tfds()
        rows = iter(rows)
        first = next(rows, None)
        if first is None:
            return
        batch_size, failed = len(first[0]), []
        places = tf.data.Dataset.from_generator(
            lambda: self._places(first, rows, failed),
            output_signature=(
                tf.TensorSpec([batch_size], tf.string),
                *(tf.TensorSpec([batch_size], tf.int64) for _ in range(4)),
            ),
        ).unbatch()
        images = places.interleave(
            self._decoder(box),
            cycle_length=self._threads,
            num_parallel_calls=self._threads,
            deterministic=True,
        )
        images = images.batch(batch_size).prefetch(self._prefetch).with_options(self._options())
        batches = iter(images)
        while True:
            try:
                image, index, valid = (array.numpy() for array in next(batches))
            except StopIteration:
                return
            except tf.errors.OpError as error:
                if failed:
                    raise failed[0] from error
                raise InputError(f"data_dir: {self._split.name} cannot be read ({one_line(error)})") from error
            self._check_valid(index, valid)
            yield Batch(image=image, label=self._split.labels[index], index=index.astype(np.int32), valid=valid)

    def _places(self, first: Any, rows: Iterator[Any], failed: list[Exception]) -> Iterator[tuple[np.ndarray, ...]]:
        """Where the records of every batch lie; runs in a thread of TensorFlow's, which hides what is raised."""
        records = self._split.records
        try:
            while first is not None:
                index, epoch = first
                path = records.paths[records.file[index]]
                yield path, records.offset[index], records.length[index], index.astype(np.int64), epoch.astype(np.int64)
                first = next(rows, None)
        except Exception as error:
            failed.append(error)
            raise

    def _decoder(self, box: Any) -> Any:
        """The traceable function from a record's place to a data set of one element: image, index, valid."""
        tf, _ = import_tfds()
        shape = (self._size, self._size, self._split.num_channels)
        black = tf.zeros(shape, tf.uint8)

        @tf.autograph.experimental.do_not_convert  # there are no Python loops in it to be turned into graphs
        def crop(path, offset, length, index, epoch):
            # Not a data set of its own: where a file cannot be opened, `ignore_errors` would try for ever.
            record = _record(path, offset, length).take(1).get_single_element()
            encoded = self._split.parse_image(record)
            return _resize(_decode_box(encoded, box, index, epoch, shape[-1]), shape), index, True

        @tf.autograph.experimental.do_not_convert
        def decode(*place):
            # What fails gives no element, and then the second part is the first that there is.
            decoded = tf.data.Dataset.from_tensors(place).map(crop).ignore_errors()
            return decoded.concatenate(tf.data.Dataset.from_tensors((black, place[3], False))).take(1)

        return decode

    def _options(self) -> Any:
        tf, _ = import_tfds()
        options = tf.data.Options()
        options.threading.private_threadpool_size = self._threads
        options.threading.max_intra_op_parallelism = 1
        options.autotune.enabled = False
        return options

    def _check_valid(self, index: np.ndarray, valid: np.ndarray) -> None:
        for i in index[~valid].tolist():
            name, records = self._split.tfds_id(i), self._split.records
            path = records.paths[records.file[i]].decode()
            if not os.path.exists(path) and "://" not in path:
                raise InputError(f"data_dir: {path} is not there any more")
            if self._on_corrupt == "stop":
                raise InputError(
                    f"{self._split.name}: the image of {name} (index {i}) cannot be decoded; mend it, or give "
                    "--config.input.corrupt=skip"
                )
            if i not in self._told:
                self._told.add(i)
                log.warning("%s: the image of %s (index %d) cannot be decoded: skipped", self._split.name, name, i)


def _record(path: Any, offset: Any, length: Any) -> Any:
    """A data set of the record that begins at a byte of a TFRecord file, and those after it."""
    tf, _ = import_tfds()
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None], compression_type="", buffer_size=length + FRAME_BYTES, byte_offsets=offset[None]
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


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
