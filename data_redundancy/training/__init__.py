"""Training, evaluation and embedding over all devices."""

from data_redundancy.training.inference import embed
from data_redundancy.training.schedule import duration
from data_redundancy.training.trainer import Run, Trainer, TrainSettings

__all__ = ["Run", "TrainSettings", "Trainer", "duration", "embed"]
