"""Training, evaluation and embedding over all devices."""

from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.inference import embed, evaluate
from data_redundancy.training.schedule import learning_rates, num_steps
from data_redundancy.training.step import DeviceData, channel_statistics
from data_redundancy.training.trainer import Trainer, TrainSettings

__all__ = [
    "Checkpoints",
    "DeviceData",
    "TrainSettings",
    "Trainer",
    "channel_statistics",
    "embed",
    "evaluate",
    "learning_rates",
    "num_steps",
]
