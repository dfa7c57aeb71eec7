"""The parts of residual networks: convolution, batch normalisation and the four residual blocks.

References:
    He et al. (2015), "Deep Residual Learning for Image Recognition", for blocks that end with ReLU.
    He et al. (2016), "Identity Mappings in Deep Residual Networks", for pre-activation.
    Goyal et al. (2017), "Accurate, Large Minibatch SGD", for the bottleneck's stride (in the 3x3 convolution) and the
        initial value of the last BatchNorm's scale (section 5.1).
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jax.typing import DTypeLike


def conv(
    channels: int, *, kernel: int, stride: int = 1, padding: str | int = "SAME", dtype: DTypeLike, name: str
) -> nn.Conv:
    """Returns a square convolution without bias; its kernel has He's normal initialisation (variance 2 / fan-out)."""
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=padding,
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        dtype=dtype,
        name=name,
    )


def batch_norm(*, train: bool, dtype: DTypeLike, axis_name: str | None) -> functools.partial[nn.BatchNorm]:
    """Returns the constructor of the BatchNorm modules of one forward pass.

    Args:
        train: whether to use the statistics of this batch, and update the running averages with them, or to use the
            running averages.
        dtype: dtype of the normalised values; statistics and parameters are float32.
        axis_name: mapped axis over which statistics are averaged in training, or None for one device.
    """
    return functools.partial(
        nn.BatchNorm,
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=dtype,
        axis_name=axis_name if train else None,
    )


class Block(nn.Module):
    """The base of all blocks; each maps [B, H, W, C] to [B, H/stride, W/stride, C'].

    Attributes:
        channels: channels of the 3x3 convolutions. The output of a basic block has as many, that of a bottleneck four
            times as many.
        stride: stride of the first 3x3 convolution and of the projection.
        conv: `conv` with dtype and padding set.
        norm: the result of `batch_norm`.
    """

    channels: int
    stride: int
    conv: Callable[..., nn.Conv]
    norm: Callable[..., nn.BatchNorm]

    def _project(self, x: jax.Array, *, channels: int) -> jax.Array:
        return self.conv(channels, kernel=1, stride=self.stride, name="projection")(x)

    def _shapes_change(self, x: jax.Array, *, channels: int) -> bool:
        return self.stride != 1 or x.shape[-1] != channels


class BasicBlock(Block):
    """conv3x3-BN-ReLU-conv3x3-BN plus shortcut, then ReLU; the last scale starts at zero as in `BottleneckBlock`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H/stride, W/stride, channels]."""
        y = self.conv(self.channels, kernel=3, stride=self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.channels, kernel=3, name="conv2")(y)
        y = self.norm(name="norm2", scale_init=nn.initializers.zeros)(y)
        if self._shapes_change(x, channels=self.channels):
            x = self.norm(name="projection_norm")(self._project(x, channels=self.channels))
        return nn.relu(x + y)


class BottleneckBlock(Block):
    """conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN plus shortcut, then ReLU.

    The scale of the last BatchNorm starts at zero: initially the block equals its shortcut, so that a deep network
    passes signals on unchanged. The first step makes the scale nonzero; only then do the parameters before it receive
    gradients.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H/stride, W/stride, 4 * channels]."""
        y = self.conv(self.channels, kernel=1, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.channels, kernel=3, stride=self.stride, name="conv2")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(4 * self.channels, kernel=1, name="conv3")(y)
        y = self.norm(name="norm3", scale_init=nn.initializers.zeros)(y)
        if self._shapes_change(x, channels=4 * self.channels):
            x = self.norm(name="projection_norm")(self._project(x, channels=4 * self.channels))
        return nn.relu(x + y)


class PreActivationBlock(Block):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3 plus shortcut (a 1x1 projection of the activated input where shapes change)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H/stride, W/stride, channels]."""
        activated = nn.relu(self.norm(name="norm1")(x))
        if self._shapes_change(x, channels=self.channels):
            x = self._project(activated, channels=self.channels)
        y = self.conv(self.channels, kernel=3, stride=self.stride, name="conv1")(activated)
        y = nn.relu(self.norm(name="norm2")(y))
        return x + self.conv(self.channels, kernel=3, name="conv2")(y)


class PreActivationBottleneckBlock(Block):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1 plus shortcut (a 1x1 projection as in `PreActivationBlock`).

    No scale starts at zero, as in the paper: the shortcuts are identities already. A scale of zero would also never
    change: every BatchNorm is followed by ReLU and a convolution, which would receive zeros and pass back zero
    gradients.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H/stride, W/stride, 4 * channels]."""
        activated = nn.relu(self.norm(name="norm1")(x))
        if self._shapes_change(x, channels=4 * self.channels):
            x = self._project(activated, channels=4 * self.channels)
        y = self.conv(self.channels, kernel=1, name="conv1")(activated)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(self.channels, kernel=3, stride=self.stride, name="conv2")(y)
        y = nn.relu(self.norm(name="norm3")(y))
        return x + self.conv(4 * self.channels, kernel=1, name="conv3")(y)
