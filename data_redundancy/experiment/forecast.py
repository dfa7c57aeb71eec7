"""Announcements of training: the number of runs before the first run, and the expected time after a few steps."""

import logging

from data_redundancy import training
from data_redundancy.experiment.durations import duration_text

log = logging.getLogger("data_redundancy")


class Forecast:
    """Announces the training runs of one experiment, unless it has already announced as many or more."""

    def __init__(self) -> None:
        self._num_announced = 0

    def announce(self, label: str, num_runs: int, trainer: training.Trainer) -> None:
        """Logs the number of unfinished training runs, and after a few timed steps the expected time.

        Args:
            label: name of the command, with which the messages begin.
            num_runs: number of unfinished runs.
            trainer: the trainer of the runs.
        """
        if num_runs <= self._num_announced:
            return
        self._num_announced = num_runs
        log.info("%s: %d training %s to do", label, num_runs, "run" if num_runs == 1 else "runs")

        def on_speed(seconds_per_step: float, num_steps: int) -> None:
            seconds = seconds_per_step * num_steps
            total = f", all {num_runs:,} {duration_text(num_runs * seconds)}" if num_runs > 1 else ""
            log.info(
                "%s: a training run of %s steps takes %s%s", label, f"{num_steps:,}", duration_text(seconds), total
            )

        trainer.on_first_speed(on_speed)
