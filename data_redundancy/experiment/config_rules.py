"""What the fields of a config may be; checked before any stage starts."""

import math
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from data_redundancy import models
from data_redundancy.clustering.linkage import LINKAGES
from data_redundancy.errors import InputError
from data_redundancy.gallery import MAPS
from data_redundancy.selection import ALLOCATIONS, METHODS, OPTIONS
from data_redundancy.training.optimizers import NAMES as OPTIMIZERS

_Rule = tuple[Callable[[Any], bool], str]


def _one_of(values) -> _Rule:
    return lambda value: value in tuple(values), f"one of {', '.join(map(str, values))}"


def _at_least(least: float) -> _Rule:
    return lambda value: _is_number(value) and value >= least, f"at least {least}"


def _optional(rule: _Rule) -> _Rule:
    allowed, text = rule
    return lambda value: value is None or allowed(value), text


def _each(rule: _Rule) -> _Rule:
    allowed, text = rule
    return (
        lambda values: len(values) > 0 and len(set(values)) == len(values) and all(map(allowed, values)),
        f"one or more different values in brackets, each {text}",
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_POSITIVE: _Rule = (lambda value: _is_number(value) and value > 0, "greater than 0")
_FRACTION: _Rule = (lambda value: _is_number(value) and 0 <= value < 1, "at least 0 and less than 1")
_OPEN_FRACTION: _Rule = (lambda value: _is_number(value) and 0 < value < 1, "greater than 0 and less than 1")
_SHARE: _Rule = (lambda value: _is_number(value) and 0 < value <= 1, "greater than 0 and at most 1")
_SEED: _Rule = (lambda value: type(value) is int and 0 <= value < 2**32, "a whole number from 0 to 2**32 - 1")

_CHANNELS: _Rule = (
    lambda values: len(values) in (0, 1, 3, 4) and all(_is_number(v) and 0 <= v <= 255 for v in values),
    "(), or a number from 0 to 255 for every channel",
)

RULES: dict[str, _Rule] = {
    "input.mode": _one_of(("memory", "stream")),
    "input.mean": _CHANNELS,
    "input.std": _CHANNELS,
    "input.image_size": _at_least(1),
    "input.crop": _one_of(("random", "center")),
    "input.min_area": _SHARE,
    "input.central_fraction": _SHARE,
    "input.corrupt": _one_of(("stop", "skip")),
    "input.threads": _optional(_at_least(1)),
    "input.prefetch": _at_least(1),
    "prepare.test_fraction": _OPEN_FRACTION,
    "prepare.seed": _SEED,
    "model.name": _one_of(models.names()),
    "model.width": _at_least(1),
    "model.stem": _optional(_one_of(models.STEMS)),
    "train.epochs": _POSITIVE,
    "train.steps": _optional(_at_least(1)),
    "train.warmup_epochs": _at_least(0),
    "train.warmup_steps": _optional(_at_least(0)),
    "train.batch_size": _at_least(1),
    "train.learning_rate": _POSITIVE,
    "train.learning_rate_batch_size": _optional(_at_least(1)),
    "train.optimizer": _one_of(OPTIMIZERS),
    "train.trust_coefficient": _POSITIVE,
    "train.ema_decay": _optional(_OPEN_FRACTION),
    "train.momentum": _FRACTION,
    "train.weight_decay": _at_least(0),
    "train.label_smoothing": _FRACTION,
    "train.dtype": _one_of(("float32", "bfloat16")),
    "train.pad": _at_least(0),
    "train.cutout": _at_least(0),
    "train.seed": _SEED,
    "train.steps_per_call": _optional(_at_least(1)),
    "train.log_every_steps": _at_least(1),
    "train.checkpoint_every_steps": _at_least(1),
    "train.keep_checkpoints": _at_least(1),
    "train.profile_steps": _at_least(0),
    "embed.batch_size": _at_least(1),
    "cluster.linkage": _one_of(LINKAGES),
    "cluster.scope": _one_of(("class", "dataset")),
    "cluster.max_prune_fraction": _optional(_OPEN_FRACTION),
    "cluster.memory_limit_gb": _optional(_POSITIVE),
    "score.seeds": _each(_SEED),
    "score.epochs": _optional(_POSITIVE),
    "score.forgetting_epochs": _optional(_POSITIVE),
    "select.method": _one_of(METHODS),
    "select.fraction": _FRACTION,
    "select.allocation": _one_of(ALLOCATIONS),
    **{f"select.{name}": _one_of(values) if values else _FRACTION for name, values in OPTIONS.items()},
    "select.seed": _SEED,
    "sweep.fractions": _each(_OPEN_FRACTION),
    "sweep.methods": _each(_one_of(METHODS)),
    "sweep.seeds": _each(_SEED),
    "sweep.equal": _one_of(("steps", "epochs")),
    "sweep.trials_per_device": _optional(_at_least(0)),
    "evidence.confidence": _OPEN_FRACTION,
    "evidence.margin": (lambda value: _is_number(value) and 0 < value < 0.5, "greater than 0 and less than 0.5"),
    "evidence.first_look": _at_least(2),
    "evidence.look_every": _at_least(1),
    "evidence.max_trials": (lambda value: _is_number(value) and 1 <= value <= 3000, "at least 1 and at most 3000"),
    "evidence.seed": _SEED,
    "report.near_duplicate": _optional(_at_least(0)),
    "report.max_warnings": _at_least(0),
    "report.max_groups": _at_least(0),
    "report.map": _one_of(MAPS),
    "report.max_points": _at_least(1),
    "report.max_html_mb": _at_least(2),
}


def check(config: ConfigDict) -> None:
    """Raises InputError for the first field whose value is not allowed."""
    for field, (allowed, text) in RULES.items():
        section, name = field.split(".")
        value = config[section][name]
        if not allowed(value):
            raise InputError(f"--config.{field}={value!r}: must be {text}")
    if len(config.input.mean) != len(config.input.std):
        raise InputError(
            f"--config.input.std={config.input.std!r}: must have as many numbers as --config.input.mean, "
            f"{len(config.input.mean)}"
        )
    if config.sweep.trials_per_device and config.input.mode == "stream":
        raise InputError(
            f"--config.sweep.trials_per_device={config.sweep.trials_per_device}: must be 0 or None with "
            "--config.input.mode=stream, for streamed images go to one trial"
        )
