"""Residual networks for ImageNet: version 1.5 and, with pre-activation, version 2.

Version 1.5 is the network of torchvision: version 1, but with the bottleneck's stride in its 3x3 convolution instead of
its first 1x1 convolution. Version 2 has its stride there too, in the first block of a stage, as in Big Transfer. Keras'
networks of that name have the stride in the last block of a stage, and biases in their convolutions.

Padding is symmetric as in torchvision (3 for the 7x7 convolution, 1 for 3x3 convolutions and the max pool), so that
weights can be converted in both directions. With a stride of 2 and even sizes, "SAME" would pad only at the bottom and
at the right.

References:
    He et al. (2015), "Deep Residual Learning for Image Recognition", table 1.
    He et al. (2016), "Identity Mappings in Deep Residual Networks", for version 2.
    Goyal et al. (2017), "Accurate, Large Minibatch SGD", section 5.1, for version 1.5 and the initial values.
    Kolesnikov et al. (2020), "Big Transfer (BiT): General Visual Representation Learning", for wider networks.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from data_redundancy.models import residual

STEMS = ("imagenet", "small")
"""The layers before the first stage: a 7x7 convolution and a max pool, both of stride 2; or a 3x3 convolution."""

STAGE_CHANNELS = (64, 128, 256, 512)


class ImageNetResNet(nn.Module):
    """Four stages of residual blocks with 64, 128, 256 and 512 times `width` channels in their 3x3 convolutions.

    Attributes:
        num_classes: number of logits.
        blocks: residual blocks in each of the four stages.
        bottleneck: whether blocks are bottlenecks, with four times as many channels between blocks, or basic.
        pre_activation: whether this is version 2 or version 1.5.
        stem: one of `STEMS`.
        width: multiplies the channels of all convolutions, including the first.
        dtype: dtype of activations and convolutions; parameters, batch statistics, embedding and logits are float32.
        axis_name: mapped axis over which BatchNorm averages its statistics in training, or None for one device.
    """

    num_classes: int
    blocks: tuple[int, int, int, int]
    bottleneck: bool
    pre_activation: bool = False
    stem: str = "imagenet"
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
            Logits [B, num_classes] float32 and embeddings [B, D] float32, which are the activations after the global
            average pool; D = 512 * width with basic blocks, 2,048 * width with bottlenecks.
        """
        conv = functools.partial(_conv, dtype=self.dtype)
        norm = residual.batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name)
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = conv(STAGE_CHANNELS[0] * self.width, kernel=kernel, stride=stride, name="stem")(images)
        if not self.pre_activation:  # in version 2, the first block does this
            x = nn.relu(norm(name="stem_norm")(x))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, (channels, blocks) in enumerate(zip(STAGE_CHANNELS, self.blocks, strict=True)):
            for block in range(blocks):
                x = _BLOCKS[self.bottleneck, self.pre_activation](
                    channels=channels * self.width,
                    stride=2 if stage > 0 and block == 0 else 1,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x)
        if self.pre_activation:
            x = nn.relu(norm(name="final_norm")(x))
        embedding = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="head")
        return head(embedding), embedding


# The block by (bottleneck, pre-activation).
_BLOCKS: dict[tuple[bool, bool], type[residual.Block]] = {
    (False, False): residual.BasicBlock,
    (True, False): residual.BottleneckBlock,
    (False, True): residual.PreActivationBlock,
    (True, True): residual.PreActivationBottleneckBlock,
}


def _conv(channels: int, *, kernel: int, **rest: Any) -> nn.Conv:
    """Returns `residual.conv` with torchvision's padding."""
    return residual.conv(channels, kernel=kernel, padding=kernel // 2, **rest)
