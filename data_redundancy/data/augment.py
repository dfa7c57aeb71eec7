"""Random augmentation of images on the device, as pure functions of (seed, epoch, index).

There is no state: the same example in the same epoch with the same seed is always augmented in the same way, in every
batch and on every device.
"""

import jax
import jax.numpy as jnp


def normalise(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Normalises uint8 images [..., C] to float32 by the mean and std [C] of each channel (both in units of 0..255)."""
    return (images.astype(jnp.float32) - mean) / std


def example_keys(seed: jax.Array, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """Returns random keys [B] for the examples `index` [B] in the epochs `epoch` [B] of a run with a scalar `seed`."""
    key = jax.random.key(seed)
    return jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(key, e), i))(epoch, index)


def augment(keys: jax.Array, images: jax.Array, *, pad: int, flip: bool, cutout: int) -> jax.Array:
    """Pads and crops, flips and cuts out a square of each image, at random.

    Args:
        keys: [B] random keys, one per image.
        images: [B, H, W, C] float, normalised, so that zero is the mean of the data set.
        pad: width in pixels of the zeros added on every side before a crop of the original size; 0: no crop.
        flip: whether to mirror left and right with probability one half.
        cutout: side in pixels of a square around a random centre that is set to zero, clipped at the border (DeVries
            and Taylor 2017); 0: no square.

    Returns:
        [B, H, W, C], of the dtype of `images`.
    """

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        crop_key, flip_key, cutout_key = jax.random.split(key, 3)
        if pad:
            image = _pad_and_crop(crop_key, image, pad)
        if flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        if cutout:
            image = _cutout(cutout_key, image, cutout)
        return image

    return jax.vmap(one)(keys, images)


def _pad_and_crop(key: jax.Array, image: jax.Array, pad: int) -> jax.Array:
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def _cutout(key: jax.Array, image: jax.Array, size: int) -> jax.Array:
    height, width, _ = image.shape
    centre_key = jax.random.split(key)
    top = jax.random.randint(centre_key[0], (), 0, height) - size // 2
    left = jax.random.randint(centre_key[1], (), 0, width) - size // 2
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    return jnp.where(inside[..., None], 0, image)
