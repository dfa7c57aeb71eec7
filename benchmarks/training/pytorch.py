"""PyTorch's contestants: the same networks, `channels_last`, autocast to bfloat16 and `torch.compile`."""

import pathlib
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.training import rounds

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3 plus shortcut (a 1x1 projection of the activated input where shapes change)."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels_in), nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        changes = stride != 1 or channels_in != channels
        self.projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False) if changes else None

    def forward(self, x):
        """Maps [B, C, H, W] to [B, channels, H/stride, W/stride]."""
        activated = functional.relu(self.norm1(x))
        shortcut = x if self.projection is None else self.projection(activated)
        return shortcut + self.conv2(functional.relu(self.norm2(self.conv1(activated))))


class CifarResNet(nn.Module):
    """`data_redundancy.models.cifar_resnet.CifarResNet` of width 1."""

    def __init__(self, blocks: int, num_classes: int):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        layers, channels_in = [], 16
        for stage, channels in enumerate((16, 32, 64)):
            for block in range(blocks):
                layers.append(PreActivationBlock(channels_in, channels, 2 if stage > 0 and block == 0 else 1))
                channels_in = channels
        self.stages, self.norm, self.head = nn.Sequential(*layers), nn.BatchNorm2d(64), nn.Linear(64, num_classes)

    def forward(self, images):
        """Logits [B, num_classes] of normalised images [B, C, H, W]."""
        return self.head(functional.relu(self.norm(self.stages(self.stem(images)))).mean((2, 3)))


def create(model: str, num_classes: int) -> nn.Module:
    """The network of this name, with as many parameters as ours."""
    if model == "resnet50":
        import timm

        return timm.create_model(model, num_classes=num_classes)
    return CifarResNet((int(model.removeprefix("resnet")) - 2) // 6, num_classes)


def augment(images: torch.Tensor, pad: int) -> torch.Tensor:
    """Random crops after padding and mirror images, of a batch [B, C, H, W] at once."""
    count, _, height, width = images.shape
    flipped = torch.rand(count, device=images.device) < 0.5
    images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    if not pad:
        return images
    padded = functional.pad(images, (pad,) * 4)
    top, left = torch.randint(0, 2 * pad + 1, (2, count), device=images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(count, device=images.device)
    return padded.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def make_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; weight decay on kernels only."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": kernels, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=DEVICE == "cuda")


def train(
    directory: pathlib.Path,
    *,
    model: str,
    image_size: int,
    num_classes: int,
    dtype: str,
    batch_size: int,
    num_images: int,
    num_steps: int,
    pad: int,
    mode: str,
) -> rounds.Measured:
    """Steps on uint8 images that are on the device, drawn in random order and augmented there, in compiled functions.

    Args:
        directory: not used.
        model: the network's name.
        image_size: side of its images.
        num_classes: number of classes.
        dtype: of autocast; with float32 there is none.
        batch_size: images a step.
        num_images: on the device.
        num_steps: steps of the long run.
        pad: of the augmentation.
        mode: of `torch.compile`.
    """
    del directory
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (num_images, 3, image_size, image_size), np.uint8)).to(DEVICE)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.from_numpy(rng.integers(0, num_classes, num_images)).to(DEVICE)
    network = create(model, num_classes).to(DEVICE, memory_format=torch.channels_last)
    optimizer = make_optimizer(network)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)

    @torch.compile(mode=mode)
    def load(index):
        return augment((images[index].float() - 124.0) / 58.0, pad).contiguous(memory_format=torch.channels_last)

    @torch.compile(mode=mode)
    def loss_fn(x, y):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16"):
            return loss_of(network(x), y)

    def work(steps: int) -> int:
        order = torch.randperm(steps * batch_size, device=DEVICE).remainder(num_images).view(steps, batch_size)
        total = torch.zeros((), device=DEVICE)
        for index in order:
            torch.compiler.cudagraph_mark_step_begin()
            loss = loss_fn(load(index), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()  # waits for the device
        return steps * batch_size

    return rounds.difference(work, short=num_steps // 10, long=num_steps)
