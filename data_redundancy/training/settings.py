"""What is trained, and how."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.training.step import Augmentation


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How to train; the fields mean what configs/default.py says of them."""

    batch_size: int
    learning_rate: float
    optimizer: str
    momentum: float
    weight_decay: float
    trust_coefficient: float
    label_smoothing: float
    ema_decay: float | None
    pad: int
    flip: bool
    cutout: int
    steps_per_call: int
    log_every_steps: int
    checkpoint_every_steps: int
    keep_checkpoints: int
    profile_steps: int
    eval_batch_size: int

    @property
    def of_steps(self) -> dict[str, Any]:
        """What `step.make_train_steps` takes."""
        return {
            "label_smoothing": self.label_smoothing,
            "augmentation": Augmentation(pad=self.pad, flip=self.flip, cutout=self.cutout),
            "ema_decay": self.ema_decay,
        }


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: shown beside its progress.
        directory: absolute; gets checkpoints/, metrics.jsonl and TensorBoard's files.
        keep: [K] indices to train on.
        seed: of initialisation, order and augmentation.
        num_steps: length of the run.
        warmup_steps: steps of linear warm-up.
    """

    name: str
    directory: epath.Path
    keep: np.ndarray
    seed: int
    num_steps: int
    warmup_steps: int


@dataclasses.dataclass(frozen=True)
class Visits:
    """Where a run halts.

    Attributes:
        steps: ascending; a checkpoint is saved at each, and the run ends with the last.
        look: is given each of these steps and the state; None for nothing.
    """

    steps: tuple[int, ...]
    look: Callable[[int, Any], None] | None = None
