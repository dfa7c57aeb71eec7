"""What is left without this project: a forward pass in JAX, and images read by tf.data."""

import pathlib

from benchmarks.training import inputs, rounds


def forward(
    directory: pathlib.Path,
    *,
    model: str,
    image_size: int,
    num_classes: int,
    dtype: str,
    batch_size: int,
    num_images: int,
) -> rounds.Measured:
    """The jitted model on one normalised batch that is on the device, in full float32; the outcome stays there."""
    import jax
    import numpy as np

    from data_redundancy import models

    del directory
    network = models.create(model, num_classes=num_classes, dtype=dtype)
    images = np.random.default_rng(0).standard_normal((batch_size, image_size, image_size, 3), np.float32)
    images = jax.device_put(images)
    variables = jax.jit(lambda key: network.init(key, images[:1], train=False))(jax.random.key(0))

    @jax.jit
    def apply(variables, images):
        with jax.default_matmul_precision("highest"):
            return network.apply(variables, images, train=False)[1]

    def work() -> int:
        for _ in range(num_images // batch_size):
            embedding = apply(variables, images)
        embedding.block_until_ready()
        return num_images // batch_size * batch_size

    return rounds.repeat(work)


def read(directory: pathlib.Path, *, source: str, image_size: int, batch_size: int) -> rounds.Measured:
    """Files one after the other through a shuffle buffer, then the same decoding, cropping and resizing."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tf.config.set_visible_devices([], "GPU")
    builder = tfds.builder(inputs.NAME, data_dir=directory / source)
    num_examples = builder.info.splits["train"].num_examples
    random = tf.random.Generator.from_seed(0)

    def decode(example):
        encoded = example["image"]
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(encoded),
            tf.zeros([1, 0, 4]),
            seed=random.make_seeds()[:, 0],
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            min_object_covered=0.0,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
        image = tf.image.resize(image, (image_size, image_size), method="bicubic", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8), example["label"]

    batches = (
        builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})
        .repeat()
        .shuffle(1024)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
        .as_numpy_iterator()
    )
    per_epoch = num_examples // batch_size
    return rounds.stream(batches, batch_size=batch_size, warm=per_epoch, count=2 * per_epoch)
