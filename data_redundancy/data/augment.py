"""Random augmentation of images on the device, as pure functions of (seed, epoch, index).

Nothing here keeps an iterator's state: the same example in the same epoch of the same seed is always augmented the same
way, whatever batch or device it lands on.
"""

import jax
import jax.numpy as jnp


def normalise(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Maps uint8 images [..., C] to float32 with the given per-channel mean and std [C] (both in units of 0..255)."""
    return (images.astype(jnp.float32) - mean) / std


def example_keys(seed: jax.Array, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """Random keys [B] for examples `index` [B] in epochs `epoch` [B] of the run `seed` (a scalar)."""
    key = jax.random.key(seed)
    return jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(key, e), i))(epoch, index)


def augment(keys: jax.Array, images: jax.Array, *, pad: int, flip: bool, cutout: int) -> jax.Array:
    """Pad-and-crop, horizontal flip and cutout, each example with its own key.

    Args:
        keys: [B] random keys.
        images: [B, H, W, C] float, normalised (zero is the data set's mean).
        pad: pixels of zeros added on every side before a crop of the original size; 0 for none.
        flip: whether to mirror left-right with probability one half.
        cutout: side of a square set to zero around a random centre, clipped at the border (DeVries and Taylor 2017); 0
            for none.

    Returns:
        [B, H, W, C], the dtype of `images`.
    """

    def one(key, image):
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
