"""Training on digits, for tests in this process and in processes with other numbers of devices or that are killed.

python training_script.py devices DIRECTORY RUN
python training_script.py parallel DIRECTORY
python training_script.py resume DIRECTORY STEPS_PER_CALL [KIND:STEP]

Runs and their outcomes (.npz) are written to DIRECTORY. `parallel` trains several runs in parallel. `devices` also
restores the checkpoint of RUN, a directory. `resume` resumes the run "cut" and then trains the run "uninterrupted".
With KIND:STEP the process kills itself meanwhile: for `save`, when the checkpoint of STEP is about to be renamed to its
final name; for `line`, when half of the line of STEP is written and the checkpoints before are complete.
"""

import functools
import importlib.util
import json
import os
import pathlib
import signal
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data_redundancy import models, training
from data_redundancy.runtime import devices
from data_redundancy.store import metrics
from data_redundancy.training import checkpoint

SETTINGS = {
    "batch_size": 64,
    "learning_rate": 0.1,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "trust_coefficient": 1e-3,
    "label_smoothing": 0.0,
    "ema_decay": None,
    "pad": 1,
    "flip": False,
    "cutout": 0,
    "steps_per_call": 1,
    "log_every_steps": 3,
    "checkpoint_every_steps": 4,
    "keep_checkpoints": 2,
    "profile_steps": 0,
    "eval_batch_size": 64,
}
NUM_STEPS = 11
# At this rate, rounding errors do not grow over these few steps, but the losses change.
DEVICES_SETTINGS = {"learning_rate": 0.02, "log_every_steps": 1}


class TinyNet(nn.Module):
    """A minimal model that compiles quickly."""

    num_classes: int = 10
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = devices.AXIS

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Conv(8, (3, 3), strides=(2, 2), use_bias=False, dtype=self.dtype, name="stem")(images)
        axis_name = self.axis_name if train else None
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=self.dtype, axis_name=axis_name)(x)
        embedding = nn.relu(x).astype(jnp.float32).reshape(len(x), -1)
        return nn.Dense(self.num_classes, name="head")(embedding), embedding


@functools.cache
def digits():
    """Images [1797, 8, 8, 1] uint8 and labels [1797] int32; the first 1,400 are for training.

    Scikit-learn's file is read without scikit-learn, which a new process would take seconds to import.
    """
    folder = pathlib.Path(importlib.util.find_spec("sklearn").origin).parent
    rows = np.loadtxt(folder / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return (rows[:, :64].reshape(-1, 8, 8, 1) * 15).astype(np.uint8), rows[:, 64].astype(np.int32)


def make_trainer(model, **settings):
    images, labels = digits()
    return training.Trainer(
        model,
        training.TrainSettings(**{**SETTINGS, **settings}),
        num_classes=10,
        train=in_memory(images[:1400], labels[:1400], images[:1400]),
        test=in_memory(images[1400:], labels[1400:], images[:1400]),
    )


def in_memory(images, labels, normalised_by):
    mean, std = training.channel_statistics(normalised_by)
    return training.InMemory(images, labels, mean=mean, std=std)


def resnet8(axis_name=devices.AXIS):
    return models.create("resnet8", num_classes=10, dtype=jnp.float32, axis_name=axis_name)


def make_run(directory, *, seed=3, num_steps=NUM_STEPS, warmup_steps=2, keep=None):
    keep = np.arange(0, 1400, 2) if keep is None else keep
    return training.Run(
        name="test", directory=directory, keep=keep, seed=seed, num_steps=num_steps, warmup_steps=warmup_steps
    )


def make_runs(directory, count=3, **changes):
    """Returns runs with different seeds, on keep lists of different lengths."""
    return [make_run(directory / str(k), seed=k, keep=np.arange(k, 1400 - 50 * k, 2), **changes) for k in range(count)]


def outcome(trainer, run, result):
    """Returns the files and the result of a run as arrays by name."""
    lines = read_metrics(run.directory)
    return {
        "lines": np.array([[line["step"], line["loss"], line["accuracy"], line["learning_rate"]] for line in lines]),
        "class_accuracy": result["class_accuracy"],
        "test": np.array([result["loss"], result["accuracy"]]),
        **flatten(trainer.restore(run)),
    }


def flatten(state):
    """Returns every array of a state by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(state))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def read_metrics(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@functools.cache
def tiny_trainer(**settings):
    """Returns a trainer shared by tests, so that its functions are compiled once."""
    return make_trainer(TinyNet(), **settings)


def train_and_embed(directory, axis_name=devices.AXIS, num_steps=12):
    """Returns all results that must not depend on the number of devices, by name."""
    model = TinyNet(axis_name=axis_name)
    trainer = make_trainer(model, **DEVICES_SETTINGS)
    run = make_run(directory, num_steps=num_steps)
    result = trainer.train(run)
    state = trainer.restore(run)
    blocks = training.embed(
        model, devices.replicate(state.variables), trainer.train_split, batch_size=256, chunk_rows=100
    )
    return {
        "devices": np.asarray(jax.device_count()),
        "loss": np.array([line["loss"] for line in read_metrics(directory)]),
        "accuracy": np.array([line["accuracy"] for line in read_metrics(directory)]),
        "test_loss": np.asarray(result["loss"]),
        "class_accuracy": result["class_accuracy"],
        "embedding": np.concatenate([rows for _, rows in blocks]),
        **flatten(state),
    }


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_save(step):
    def hook(event, args):
        if event == "os.rename":
            source, target = pathlib.Path(os.fsdecode(args[0])), pathlib.Path(os.fsdecode(args[1]))
            if target.name == str(step) and target.parent.name == "checkpoints" and source != target:
                die()

    sys.addaudithook(hook)


def die_at_line(step):
    def deadly(self, at, scalars, timing):
        if at >= step:
            self._file.write(json.dumps({"step": at, **scalars})[:21])
            self._file.flush()
            for checkpoints in opened:
                checkpoints.wait()
            die()
        write(self, at, scalars, timing)

    def noted(self, *args, **kwargs):
        opened.append(self)
        init(self, *args, **kwargs)

    opened = []
    init, checkpoint.Checkpoints.__init__ = checkpoint.Checkpoints.__init__, noted
    write, metrics.MetricWriter.write = metrics.MetricWriter.write, deadly


def main(mode, directory, *arguments):
    sys.modules["tensorflow"] = None  # takes seconds to import
    directory = pathlib.Path(directory)
    if mode == "devices":
        np.savez(directory / "outcome.npz", **train_and_embed(directory))
        restored = make_trainer(TinyNet()).restore(make_run(pathlib.Path(*arguments)))
        np.savez(directory / "restored.npz", **flatten(restored))
        return
    if mode == "parallel":
        trainer, runs = make_trainer(TinyNet(), **DEVICES_SETTINGS), make_runs(directory)
        for k, (run, result) in enumerate(zip(runs, trainer.train_in_parallel(runs), strict=True)):
            np.savez(directory / f"{k}.npz", devices=jax.device_count(), **outcome(trainer, run, result))
        return
    steps_per_call, *deadly = arguments
    for spec in deadly:
        kind, step = spec.split(":")
        {"save": die_at_save, "line": die_at_line}[kind](int(step))
    trainer = make_trainer(TinyNet(), steps_per_call=int(steps_per_call))
    for name in ("cut", "uninterrupted"):
        run = make_run(directory / name)
        trainer.train(run)
        np.savez(directory / f"{name}.npz", **flatten(trainer.restore(run)))


if __name__ == "__main__":
    main(*sys.argv[1:])
