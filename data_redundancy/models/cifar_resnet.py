"""Pre-activation residual networks for small images.

References:
    He et al. (2016), "Identity Mappings in Deep Residual Networks", for the block and the depths 6n+2.
    Zagoruyko and Komodakis (2016), "Wide Residual Networks", for the width multiplier (their depths count the
    three projections too: 6n+4).
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from data_redundancy.models import residual

STAGE_CHANNELS = (16, 32, 64)


class CifarResNet(nn.Module):
    """Three stages of `blocks` pre-activation blocks with 16, 32 and 64 times `width` channels.

    Attributes:
        num_classes: number of logits.
        blocks: residual blocks per stage (n).
        width: multiplies every stage's channels; the first convolution has 16 always.
        dtype: dtype of activations and convolutions; parameters, batch statistics, embedding and logits are float32.
        axis_name: mapped axis over which BatchNorm's training statistics are averaged, or None for one device.
    """

    num_classes: int
    blocks: int
    width: int = 1
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: ArrayLike, *, train: bool):
        """Classifies normalised images.

        Args:
            images: [B, H, W, C] float.
            train: whether BatchNorm uses (and updates) the statistics of this batch or its running averages.

        Returns:
            logits [B, num_classes] float32 and the embedding [B, 64 * width] float32: the activations after the
            global average pool.
        """
        conv = functools.partial(residual.conv, dtype=self.dtype)
        norm = residual.batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name)
        x = conv(STAGE_CHANNELS[0], kernel=3, name="stem")(images)
        for stage, channels in enumerate(STAGE_CHANNELS):
            for block in range(self.blocks):
                x = residual.PreActivationBlock(
                    channels=channels * self.width,
                    stride=2 if stage > 0 and block == 0 else 1,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x)
        x = nn.relu(norm(name="final_norm")(x))
        embedding = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        return nn.Dense(self.num_classes, name="head")(embedding), embedding
