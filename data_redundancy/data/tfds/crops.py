"""Crops of images in tf.data, as traceable functions: boxes, decoding of a box, resizing."""

from collections.abc import Callable
from typing import Any

import numpy as np

from data_redundancy.data.tfds.builder import import_tfds

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""The range of aspect ratios of random crops (Szegedy et al. 2015)."""
_ATTEMPTS = 10

Box = Callable[[Any, Any, Any], tuple[Any, Any, Any, Any]]
"""Traceable function from the shape, index and epoch of an image to the top, left, height and width of a box."""


def random_box(seed: int, min_area: float) -> Box:
    """Returns a function that draws boxes; see `ImageStream.train`."""
    tf, _ = import_tfds()

    def box(shape: Any, index: Any, epoch: Any) -> tuple[Any, Any, Any, Any]:
        # Two 64-bit words give every (seed, epoch, index) its own random numbers.
        key = tf.stack([np.int64(seed) + epoch * 2**32, index])
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            bounding_boxes=tf.zeros([1, 0, 4]),
            seed=key,
            area_range=(min_area, 1.0),
            aspect_ratio_range=ASPECT_RATIOS,
            # The default would exclude crops of less than a tenth of the image, whatever `area_range` is.
            min_object_covered=0.0,
            max_attempts=_ATTEMPTS,
            use_image_if_no_bounding_boxes=True,
        )
        return begin[0], begin[1], size[0], size[1]

    return box


def central_box(fraction: float) -> Box:
    """Returns a function that gives a central square; its side is `fraction` of the shorter side of the image."""
    tf, _ = import_tfds()

    def box(shape: Any, index: Any, epoch: Any) -> tuple[Any, Any, Any, Any]:
        del index, epoch
        height, width = shape[0], shape[1]
        side = tf.cast(tf.round(fraction * tf.cast(tf.minimum(height, width), tf.float32)), tf.int32)
        side = tf.maximum(side, 1)
        return (height - side) // 2, (width - side) // 2, side, side

    return box


def decode_box(encoded: Any, box: Box, index: Any, epoch: Any, channels: int) -> Any:
    """Decodes the box of an image: of a JPEG only the part that is needed, of other formats the whole image."""
    tf, _ = import_tfds()

    def jpeg() -> Any:
        window = tf.stack(box(tf.image.extract_jpeg_shape(encoded), index, epoch))
        return tf.image.decode_and_crop_jpeg(encoded, window, channels=channels)

    def other() -> Any:
        image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        top, left, height, width = box(tf.shape(image), index, epoch)
        return tf.slice(image, [top, left, 0], [height, width, channels])

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, other)


def resize(image: Any, shape: tuple[int, int, int]) -> Any:
    """Resizes an image to uint8 by bicubic interpolation, with a wider kernel if it becomes smaller."""
    tf, _ = import_tfds()
    resized = tf.image.resize(image, shape[:2], method="bicubic", antialias=True)
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8), shape)
