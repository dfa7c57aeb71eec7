import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_redundancy.data.augment import augment, example_keys, normalise
from data_redundancy.data.batches import inference_batches, train_batches

SEEDS = st.integers(0, 2**32 - 1)


def keep_list(size):
    """Indices that are not 0..size-1."""
    return np.sort(np.random.default_rng(size).choice(10 * size, size, replace=False))


# Training batches


@given(
    size=st.integers(1, 40), batch_size=st.integers(1, 100), steps=st.integers(1, 12), seed=st.integers(0, 2**32 - 1)
)
def test_every_example_once_per_epoch(size, batch_size, steps, seed):
    keep = keep_list(size)
    batches = train_batches(keep, batch_size=batch_size, seed=seed, first_step=0, num_steps=steps)
    assert batches.index.shape == batches.epoch.shape == (steps, batch_size)
    assert batches.index.dtype == batches.epoch.dtype == np.int32
    index, epoch = batches.index.ravel(), batches.epoch.ravel()
    assert np.array_equal(epoch, np.arange(steps * batch_size) // size), "epochs follow each other without a gap"
    for e in range(epoch[-1] + 1):
        seen = index[epoch == e]
        if e < epoch[-1] or len(seen) == size:
            assert np.array_equal(np.sort(seen), keep)
        else:
            assert len(np.unique(seen)) == len(seen)
            assert np.isin(seen, keep).all()


@given(
    size=st.integers(1, 40),
    batch_size=st.integers(1, 100),
    first_step=st.integers(0, 50),
    num_steps=st.integers(1, 9),
    seed=SEEDS,
)
def test_any_window_is_a_slice_of_the_whole(size, batch_size, first_step, num_steps, seed):
    keep, stop = keep_list(size), first_step + num_steps
    whole = train_batches(keep, batch_size=batch_size, seed=seed, first_step=0, num_steps=stop)
    window = train_batches(keep, batch_size=batch_size, seed=seed, first_step=first_step, num_steps=num_steps)
    assert np.array_equal(window.index, whole.index[first_step:])
    assert np.array_equal(window.epoch, whole.epoch[first_step:])


def test_order_depends_on_seed_and_epoch():
    keep = np.arange(50)
    first, other = (train_batches(keep, batch_size=50, seed=s, first_step=0, num_steps=3).index for s in (0, 1))
    orders = [tuple(row) for row in (*first, *other)]
    assert len(set(orders)) == 6


def test_order_does_not_depend_on_the_batch_size():
    small, large = (
        train_batches(np.arange(30), batch_size=b, seed=3, first_step=0, num_steps=120 // b).index.ravel()
        for b in (8, 60)
    )
    assert np.array_equal(small, large)


def test_keep_list_is_not_mutated():
    keep = keep_list(20)
    before = keep.copy()
    train_batches(keep, batch_size=7, seed=0, first_step=0, num_steps=9)
    assert np.array_equal(keep, before)


def test_a_late_step_of_a_long_run():
    """The positions of a long run on ImageNet do not fit in 32 bits."""
    keep = np.arange(1000)
    batches = train_batches(keep, batch_size=65536, seed=0, first_step=10**5, num_steps=1)
    assert batches.epoch[0, 0] == 65536 * 10**5 // 1000
    assert 0 <= batches.index.min() <= batches.index.max() < 1000


# Inference batches


@given(start=st.integers(0, 60), length=st.integers(0, 60), batch_size=st.integers(1, 40), extra=st.integers(0, 3))
def test_inference_covers_every_row_once_in_order(start, length, batch_size, extra):
    num_batches = -(-length // batch_size) + extra
    batches = list(inference_batches(start, start + length, batch_size=batch_size, num_batches=num_batches))
    assert len(batches) == num_batches
    for index, mask in batches:
        assert index.shape == mask.shape == (batch_size,)
        assert index.dtype == np.int32
        assert mask.dtype == bool
        assert ((index >= 0) & (index < max(start + length, 1))).all(), "padding reads a row that exists"
    rows = [row for index, mask in batches for row in index[mask]]
    assert rows == list(range(start, start + length))


@pytest.mark.parametrize("num_rows", [7, 8, 9, 15, 16, 17, 1])
def test_inference_with_one_more_and_one_less_than_devices(num_rows):
    batches = list(inference_batches(0, num_rows, batch_size=8, num_batches=-(-num_rows // 8)))
    assert sum(mask.sum() for _, mask in batches) == num_rows
    assert all(mask.all() for _, mask in batches[:-1])


# Augmentation


def unique_images(number, height=5, width=6, channels=2):
    """Images in which every pixel has another value and none is zero: a pixel says where it came from."""
    return np.arange(1.0, 1 + number * height * width * channels, dtype=np.float32).reshape(
        number, height, width, channels
    )


@functools.partial(jax.jit, static_argnames=("pad", "flip", "cutout"))
def keyed_augment(images, seed, epoch, index, *, pad, flip, cutout):
    return augment(example_keys(seed, epoch, index), images, pad=pad, flip=flip, cutout=cutout)


def augmented(images, *, seed=0, epoch=None, index=None, pad=0, flip=False, cutout=0):
    """By default the images are examples 0, 1, ... in epoch 0."""
    index = np.arange(len(images)) if index is None else index
    epoch = np.zeros_like(index) if epoch is None else epoch
    return np.asarray(keyed_augment(images, np.uint32(seed), epoch, index, pad=pad, flip=flip, cutout=cutout))


def test_normalise():
    images = np.uint8([[[[0, 255], [100, 7]]]])
    mean, std = np.float32([50, 7]), np.float32([25, 2])
    expected = (images.astype(np.float64) - mean) / std
    assert np.allclose(normalise(jnp.asarray(images), mean, std), expected)
    assert normalise(jnp.asarray(images), mean, std).dtype == jnp.float32


def test_nothing_asked_nothing_done():
    images = unique_images(10)
    assert np.array_equal(augmented(images), images)


def test_an_example_is_augmented_the_same_in_any_batch():
    images, index, epoch = unique_images(40), np.arange(40), np.arange(40) % 3
    everything = augmented(images, seed=7, epoch=epoch, index=index, pad=2, flip=True, cutout=3)
    for rows in (np.arange(39, -1, -1), np.arange(5, 12)):
        part = augmented(images[rows], seed=7, epoch=epoch[rows], index=index[rows], pad=2, flip=True, cutout=3)
        assert np.array_equal(part, everything[rows])


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": np.ones(40, int)}])
def test_augmentation_depends_on_seed_and_epoch(other):
    images = unique_images(40)
    a, b = (augmented(images, pad=2, flip=True, cutout=3, **kw) for kw in ({}, other))
    assert (a != b).any(axis=(1, 2, 3)).mean() > 0.9


def test_all_examples_epochs_and_seeds_have_keys_of_their_own():
    index, epoch = (x.ravel() for x in np.meshgrid(np.arange(20), np.arange(20)))
    keys = np.concatenate([jax.random.key_data(example_keys(seed, epoch, index)) for seed in range(5)])
    assert len(np.unique(keys, axis=0)) == 5 * 20 * 20


def crop_offset(image, crop, pad):
    """Brute force: the offset of the only window of the padded image that equals the crop."""
    height, width, _ = image.shape
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    found = [
        (top, left)
        for top in range(2 * pad + 1)
        for left in range(2 * pad + 1)
        if np.array_equal(padded[top : top + height, left : left + width], crop)
    ]
    assert len(found) == 1, "no window of the padded image, or not a unique one"
    return found[0]


@pytest.mark.parametrize("pad", [1, 2])
def test_crops_are_windows_of_the_padded_image(pad):
    images = unique_images(400)
    crops = augmented(images, pad=pad)
    offsets = collections.Counter(crop_offset(image, crop, pad) for image, crop in zip(images, crops, strict=True))
    assert len(offsets) == (2 * pad + 1) ** 2, "every offset occurs"
    assert max(offsets.values()) < 3 * 400 / (2 * pad + 1) ** 2, "none is preferred"


def test_flips_half_of_the_images_left_to_right():
    images = unique_images(1000)
    flipped = augmented(images, flip=True)
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert np.array_equal(flipped[~mirrored], images[~mirrored])
    assert 420 < mirrored.sum() < 580  # five standard deviations


def square(height, width, centre, size):
    mask = np.zeros((height, width), bool)
    top, left = centre[0] - size // 2, centre[1] - size // 2
    mask[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = True
    return mask


@pytest.mark.parametrize("size", [2, 3])
def test_cutout_zeros_a_square_clipped_at_the_border(size):
    images = unique_images(400)
    squares = {(r, c): square(5, 6, (r, c), size) for r in range(5) for c in range(6)}
    seen = set()
    for image, result in zip(images, augmented(images, cutout=size), strict=True):
        zero = (result == 0).all(-1)
        centres = [centre for centre, mask in squares.items() if np.array_equal(mask, zero)]
        assert centres, "not a square around a pixel of the image"
        assert np.array_equal(result[~zero], image[~zero])
        seen.update(centres)
    assert seen == set(squares), "every pixel is a centre"


def test_all_together_is_one_after_the_other():
    images = unique_images(40)
    for image, result in zip(images, augmented(images, pad=2, flip=True, cutout=3), strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        windows = [padded[top : top + 5, left : left + 6] for top in range(5) for left in range(5)]
        shown = result != 0
        assert any(np.array_equal(result[shown], w[shown]) for x in windows for w in (x, x[:, ::-1]))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_any_seed_will_do(seed):
    images = unique_images(40)
    result = augmented(images, seed=seed, pad=2, flip=True, cutout=3)
    assert result.shape == images.shape
    assert result.dtype == images.dtype
