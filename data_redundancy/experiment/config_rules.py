"""Every config field with its type, its bounds and the reason for them.

Checks, `--help`, the command `fields` and the docs use this table. Defaults and comments are in `configs/default.py`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from data_redundancy.errors import InputError
from data_redundancy.experiment.rules import Choice, Flag, Number, Optional, Rule, Several, Text


@dataclasses.dataclass(frozen=True)
class Field:
    """The values that a config field may have.

    Attributes:
        rule: type and bounds.
        reason: reason for the bounds; empty if the rule needs no reason.
    """

    rule: Rule
    reason: str = ""


def _names(*names: str) -> Choice:
    return Choice(lambda: names)


def _linkages() -> Sequence[str]:
    from data_redundancy.clustering.linkage import LINKAGES

    return tuple(LINKAGES)


def _methods() -> Sequence[str]:
    from data_redundancy.selection import METHODS

    return tuple(METHODS)


def _allocations() -> Sequence[str]:
    from data_redundancy.selection import ALLOCATIONS

    return ALLOCATIONS


def _option(name: str) -> Callable[[], Sequence[str]]:
    def names() -> Sequence[str]:
        from data_redundancy.selection import OPTIONS

        return OPTIONS[name] or ()

    return names


def _models() -> Sequence[str]:
    from data_redundancy import models

    return models.names()


def _stems() -> Sequence[str]:
    from data_redundancy import models

    return models.STEMS


def _optimizers() -> Sequence[str]:
    from data_redundancy.training.optimizers import NAMES

    return NAMES


def _maps() -> Sequence[str]:
    from data_redundancy.gallery import MAPS

    return MAPS


MOST_STEPS = 10_000_000
"""The largest number of steps of a training run: the learning rates of all steps are in memory, 4 bytes each."""

_COUNT = functools.partial(Number, int)
_NUMBER = functools.partial(Number, float)
_FRACTION = _NUMBER(0, 1, below=True)
_OPEN_FRACTION = _NUMBER(0, 1, above=True, below=True)
_SEED = _COUNT(0, 2**32 - 1)
_SEED_REASON = "a seed is an unsigned integer of 32 bits"
_STEPS = _COUNT(1, MOST_STEPS)
_STEPS_REASON = "the learning rates of all steps are held in memory"
_EPOCHS = _NUMBER(0, 100_000, above=True)
_EPOCHS_REASON = "published schedules are much shorter"
_BATCH = _COUNT(1, 2**20)
_BATCH_REASON = "a million images of 32 x 32 take 12 GB as float32"
_CHANNEL_REASON = "pixels are 0 to 255; images have 1, 3 or 4 channels"

FIELDS: dict[str, Field] = {
    "dataset.name": Field(Text()),
    "dataset.version": Field(Optional(Text())),
    "dataset.data_dir": Field(Optional(Text())),
    "dataset.train_split": Field(Text()),
    "dataset.test_split": Field(Text()),
    "dataset.class_names": Field(Several(Text(), may_be_empty=True, most=1_000_000, distinct=False)),
    "input.mode": Field(_names("memory", "stream")),
    "input.mean": Field(Several(_NUMBER(0, 255), lengths=(0, 1, 3, 4), distinct=False), _CHANNEL_REASON),
    "input.std": Field(Several(_NUMBER(0.001, 255), lengths=(0, 1, 3, 4), distinct=False), _CHANNEL_REASON),
    "input.image_size": Field(_COUNT(1, 4096), "a square of 4,096 takes 50 MB"),
    "input.crop": Field(_names("random", "center")),
    "input.min_area": Field(_NUMBER(0, 1, above=True), "a share of the image"),
    "input.central_fraction": Field(_NUMBER(0, 1, above=True), "a share of the shorter side"),
    "input.corrupt": Field(_names("stop", "skip")),
    "input.threads": Field(Optional(_COUNT(1, 1024)), "more threads than cores do not decode faster"),
    "input.prefetch": Field(_COUNT(1, 256), "this number of batches is held in memory"),
    "input.catalog_dir": Field(Optional(Text())),
    "prepare.source": Field(Optional(Text())),
    "prepare.test_fraction": Field(_OPEN_FRACTION, "both splits need an image"),
    "prepare.seed": Field(_SEED, _SEED_REASON),
    "model.name": Field(Choice(_models)),
    "model.width": Field(_COUNT(1, 64), "parameters grow with the square of the width"),
    "model.stem": Field(Optional(Choice(_stems))),
    "train.epochs": Field(_EPOCHS, _EPOCHS_REASON),
    "train.steps": Field(Optional(_STEPS), _STEPS_REASON),
    "train.warmup_epochs": Field(_NUMBER(0, 100_000), _EPOCHS_REASON),
    "train.warmup_steps": Field(Optional(_COUNT(0, MOST_STEPS)), _STEPS_REASON),
    "train.batch_size": Field(_BATCH, f"{_BATCH_REASON}; at most the number of training images"),
    "train.learning_rate": Field(_NUMBER(0, 10_000, above=True), "training diverges at larger rates"),
    "train.learning_rate_batch_size": Field(Optional(_BATCH), _BATCH_REASON),
    "train.optimizer": Field(Choice(_optimizers)),
    "train.momentum": Field(_FRACTION, "a momentum of 1 never forgets a gradient"),
    "train.trust_coefficient": Field(_NUMBER(0, 100, above=True), "updates would exceed the weights"),
    "train.ema_decay": Field(Optional(_OPEN_FRACTION), "a decay of 1 never changes the average"),
    "train.weight_decay": Field(_NUMBER(0, 100), "a larger decay sets the weights to zero"),
    "train.label_smoothing": Field(_FRACTION, "a smoothing of 1 removes the label"),
    "train.dtype": Field(_names("float32", "bfloat16")),
    "train.pad": Field(_COUNT(0, 256), "the padded image is held in memory"),
    "train.flip": Field(Flag()),
    "train.cutout": Field(_COUNT(0, 4096), "a larger square covers every image"),
    "train.seed": Field(_SEED, _SEED_REASON),
    "train.steps_per_call": Field(Optional(_COUNT(1, 10_000)), "all batches of a call are on the devices"),
    "train.log_every_steps": Field(_STEPS, _STEPS_REASON),
    "train.checkpoint_every_steps": Field(_STEPS, _STEPS_REASON),
    "train.keep_checkpoints": Field(_COUNT(1, 1000), "every checkpoint holds the model and the optimizer's state"),
    "train.profile_steps": Field(_COUNT(0, 10_000), "a trace of one step can take a megabyte"),
    "embed.batch_size": Field(_BATCH, _BATCH_REASON),
    "cluster.linkage": Field(Choice(_linkages)),
    "cluster.scope": Field(_names("class", "dataset")),
    "cluster.max_prune_fraction": Field(Optional(_OPEN_FRACTION), "a tree without merges prunes nothing"),
    "cluster.memory_limit_gb": Field(Optional(_NUMBER(0, 1_000_000, above=True)), "1,000,000 GB are a petabyte"),
    "score.seeds": Field(Several(_SEED, most=1000), _SEED_REASON),
    "score.epochs": Field(Optional(_EPOCHS), "at most the length of a training run"),
    "score.forgetting_epochs": Field(Optional(_EPOCHS), "at most the length of a training run"),
    "select.method": Field(Choice(_methods)),
    "select.fraction": Field(_FRACTION, "0 keeps all images; any other fraction must prune at least one"),
    "select.allocation": Field(Choice(_allocations)),
    "select.representative": Field(Choice(_option("representative"))),
    "select.centre": Field(Choice(_option("centre"))),
    "select.end": Field(Choice(_option("end"))),
    "select.score": Field(Choice(_option("score"))),
    "select.hardest_pruned": Field(_FRACTION, "every class keeps an image"),
    "select.seed": Field(_SEED, _SEED_REASON),
    "sweep.fractions": Field(Several(_OPEN_FRACTION, most=1000), "trials on the full set are always run"),
    "sweep.methods": Field(Several(Choice(_methods))),
    "sweep.seeds": Field(Several(_SEED), _SEED_REASON),
    "sweep.equal": Field(_names("steps", "epochs")),
    "sweep.trials_per_device": Field(Optional(_COUNT(0, 1024)), "0 trains one trial at a time"),
    "evidence.confidence": Field(_OPEN_FRACTION, "an interval of confidence 1 has no bounds"),
    "evidence.margin": Field(_NUMBER(0, 0.5, above=True, below=True), "a fraction: 0.005 is half a percentage point"),
    "evidence.first_look": Field(_COUNT(2, 1000), "an interval needs two seeds"),
    "evidence.look_every": Field(_COUNT(1, 1000), "evidence.max_trials limits the total"),
    "evidence.max_trials": Field(_COUNT(1, 3000), "levels for more looks are not computed"),
    "evidence.seed": Field(_SEED, _SEED_REASON),
    "report.near_duplicate": Field(Optional(_NUMBER(0, 2)), "cosine distances are 0 to 2"),
    "report.max_warnings": Field(_COUNT(0, 1_000_000), "the page lists all of them"),
    "report.max_groups": Field(_COUNT(0, 10_000_000), "the page lists all of them"),
    "report.map": Field(Choice(_maps)),
    "report.max_points": Field(_COUNT(1, 1_000_000), "the browser draws all of them"),
    "report.max_html_mb": Field(_NUMBER(2, 1000), "the page itself takes up to 2 MB; browsers fail beyond 1,000"),
}


def check(config: ConfigDict) -> None:
    """Raises InputError for the first field whose value is not allowed."""
    for name, field in FIELDS.items():
        section, key = name.split(".")
        field.rule.check(name, config[section][key])
    mean, std = config.input.mean, config.input.std
    if len(mean) != len(std):
        raise InputError("input.std", std, f"must have as many numbers as input.mean, which has {len(mean)}")
    fractions = config.sweep.fractions
    if len({f"{fraction:g}" for fraction in fractions}) < len(fractions):
        raise InputError(
            "sweep.fractions", tuple(fractions), "must differ in the first six digits, which name selections"
        )
    if config.sweep.trials_per_device and config.input.mode == "stream":
        raise InputError(
            "sweep.trials_per_device",
            config.sweep.trials_per_device,
            "must be 0 or None with input.mode=stream: only one trial at a time can read streamed images",
        )
