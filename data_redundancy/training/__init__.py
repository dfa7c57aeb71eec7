"""Training, evaluation and embedding on all devices."""

from data_redundancy.training.inference import embed
from data_redundancy.training.inputs import InMemory, Streamed, StreamSettings, channel_statistics
from data_redundancy.training.schedule import duration
from data_redundancy.training.scores import Scorer, forgetting_events
from data_redundancy.training.settings import Run, TrainSettings, default_steps_per_call
from data_redundancy.training.trainer import Trainer

__all__ = [
    "InMemory",
    "Run",
    "Scorer",
    "StreamSettings",
    "Streamed",
    "TrainSettings",
    "Trainer",
    "channel_statistics",
    "default_steps_per_call",
    "duration",
    "embed",
    "forgetting_events",
]
