"""Pre-activation residual networks for small images.

References:
    He et al. (2016), "Identity Mappings in Deep Residual Networks", for the block and the depths 6n+2.
    Zagoruyko and Komodakis (2016), "Wide Residual Networks", for the width multiplier. Their depths, 6n+4, count
        the three projections too.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from data_redundancy.models import residual

STAGE_CHANNELS = (16, 32, 64)


class CifarResNet(nn.Module):
    """Three stages of pre-activation blocks with 16, 32 and 64 times `width` channels.

    Attributes:
        num_classes: number of logits.
        blocks: residual blocks per stage (n).
        width: multiplies the channels of every stage; the first convolution always has 16 channels.
        dtype: dtype of activations and convolutions; parameters, batch statistics, embedding and logits are float32.
        axis_name: mapped axis over which BatchNorm averages its statistics in training, or None for one device.
    """

    num_classes: int
    blocks: int
    width: int = 1
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies normalised images.

        Args:
            images: [B, H, W, C] floats.
            train: whether BatchNorm uses the statistics of this batch, and updates its running averages with them, or
                uses the running averages.

        Returns:
            Logits [B, num_classes] float32 and embeddings [B, 64 * width] float32, which are the activations after the
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
