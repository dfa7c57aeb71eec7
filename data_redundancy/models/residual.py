"""The parts residual networks are made of: convolution, batch normalisation and the four residual blocks.

References:
    He et al. (2015), "Deep Residual Learning for Image Recognition", for blocks that end with ReLU.
    He et al. (2016), "Identity Mappings in Deep Residual Networks", for pre-activation.
    Goyal et al. (2017), "Accurate, Large Minibatch SGD", for the bottleneck's stride (in the 3x3 convolution) and the
    first value of the last BatchNorm's scale (section 5.1).
"""

import functools
from collections.abc import Callable

import flax.linen as nn
from jax.typing import DTypeLike


def conv(
    channels: int, *, kernel: int, stride: int = 1, padding: str | int = "SAME", dtype: DTypeLike, name: str
) -> nn.Conv:
    """A square convolution without bias, its kernel from He's normal distribution (variance 2 / fan-out)."""
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


def batch_norm(*, train: bool, dtype: DTypeLike, axis_name: str | None) -> functools.partial:
    """Makes the BatchNorm modules of one forward pass.

    Args:
        train: whether to use (and update) the statistics of this batch or the running averages.
        dtype: dtype of the normalised values; statistics and parameters are float32.
        axis_name: mapped axis over which the statistics of training are averaged, or None for one device.
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
    """What all blocks are made with; each maps [B, H, W, C] to [B, H/stride, W/stride, C'].

    Attributes:
        channels: of the 3x3 convolutions; the output of a basic block has as many, of a bottleneck four times.
        stride: of the first 3x3 convolution and of the projection.
        conv: `conv` with dtype and padding set.
        norm: what `batch_norm` gives.
    """

    channels: int
    stride: int
    conv: Callable[..., nn.Conv]
    norm: Callable[..., nn.BatchNorm]

    def _project(self, x, *, channels: int):
        return self.conv(channels, kernel=1, stride=self.stride, name="projection")(x)

    def _shapes_change(self, x, *, channels: int) -> bool:
        return self.stride != 1 or x.shape[-1] != channels


class BasicBlock(Block):
    """conv3x3-BN-ReLU-conv3x3-BN plus shortcut, then ReLU; the last scale starts at zero, as in `BottleneckBlock`."""

    @nn.compact
    def __call__(self, x):
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

    The scale of the last BatchNorm starts at zero: at first the block is its shortcut, and signals pass a deep network
    unhindered. One step gives the scale a value; only then do the parameters before it receive gradients.
    """

    @nn.compact
    def __call__(self, x):
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
    def __call__(self, x):
        """Maps [B, H, W, C] to [B, H/stride, W/stride, channels]."""
        activated = nn.relu(self.norm(name="norm1")(x))
        if self._shapes_change(x, channels=self.channels):
            x = self._project(activated, channels=self.channels)
        y = self.conv(self.channels, kernel=3, stride=self.stride, name="conv1")(activated)
        y = nn.relu(self.norm(name="norm2")(y))
        return x + self.conv(self.channels, kernel=3, name="conv2")(y)


class PreActivationBottleneckBlock(Block):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1 plus shortcut (a 1x1 projection as in `PreActivationBlock`).

    No scale starts at zero, here as in the paper: the shortcuts are bare identities already. Nor could one: every
    BatchNorm is followed by ReLU and a convolution, which would see zeros and send none but zero gradients back, for
    good.
    """

    @nn.compact
    def __call__(self, x):
        """Maps [B, H, W, C] to [B, H/stride, W/stride, 4 * channels]."""
        activated = nn.relu(self.norm(name="norm1")(x))
        if self._shapes_change(x, channels=4 * self.channels):
            x = self._project(activated, channels=4 * self.channels)
        y = self.conv(self.channels, kernel=1, name="conv1")(activated)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(self.channels, kernel=3, stride=self.stride, name="conv2")(y)
        y = nn.relu(self.norm(name="norm3")(y))
        return x + self.conv(4 * self.channels, kernel=1, name="conv3")(y)
