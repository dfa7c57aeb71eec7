"""What every artifact depends on: flat mappings of field names to values, each with those of what it is made from."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import training
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset
from data_redundancy.selection import METHODS
from data_redundancy.training import optimizers

# These change how a run is carried out, not what comes out of it; durations count in steps, seeds one by one.
_NOT_COMPARED = (
    "seed",
    "steps",
    "epochs",
    "warmup_steps",
    "warmup_epochs",
    "steps_per_call",
    "log_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "profile_steps",
)
# The same of input.*; where nothing streams, only how images are normalised matters.
_INPUT_NOT_COMPARED = ("threads", "prefetch", "catalog_dir", "corrupt")
_INPUT_IN_MEMORY = ("mean", "std")


def durations(config: ConfigDict, num_kept: int) -> tuple[int, int]:
    """Steps of training and of warm-up on `num_kept` examples.

    They are those of the full set, or their share where the config compares at an equal number of epochs.

    Raises:
        InputError: if the warm-up takes all of the training.
    """
    train, num_full = config.train, len(dataset.load_dataset(config).train.labels)
    full = [
        training.duration(steps=steps, epochs=epochs, num_examples=num_full, batch_size=train.batch_size, field=field)
        for steps, epochs, field in (
            (train.steps, train.epochs, "train."),
            (train.warmup_steps, train.warmup_epochs, "train.warmup_"),
        )
    ]
    share = num_kept / num_full if config.sweep.equal == "epochs" else 1
    num_steps, num_warmup_steps = max(1, round(full[0] * share)), round(full[1] * share)
    if num_warmup_steps >= num_steps:
        raise InputError(
            f"--config.train.warmup_steps or .warmup_epochs: {num_warmup_steps} steps of warm-up, but training on "
            f"{num_kept} images has only {num_steps} steps; allowed: fewer than that"
        )
    return num_steps, num_warmup_steps


def trial(config: ConfigDict, keep: np.ndarray, seed: int) -> dict[str, Any]:
    """A training run on the indices `keep`."""
    num_steps, num_warmup_steps = durations(config, len(keep))
    return {
        **dataset.load_dataset(config).fingerprint(),
        **_input(config),
        **{f"model.{k}": v for k, v in config.model.to_dict().items()},
        **_train(config),
        "train.steps": num_steps,
        "train.warmup_steps": num_warmup_steps,
        "train.seed": seed,
        "keep list": hashlib.sha256(keep.astype("<i8").tobytes()).hexdigest()[:16],
    }


def _train(config: ConfigDict) -> dict[str, Any]:
    """What decides how training goes, its length and seed apart; nothing that the optimiser leaves alone."""
    optimizer = config.train.optimizer
    return {
        f"train.{k}": v
        for k, v in config.train.to_dict().items()
        if k not in _NOT_COMPARED and optimizers.ONLY_FOR.get(k, optimizer) == optimizer
    }


def _input(config: ConfigDict) -> dict[str, Any]:
    fields = {k: v for k, v in config.input.to_dict().items() if k not in _INPUT_NOT_COMPARED}
    if config.input.mode == "memory":
        fields = {k: fields[k] for k in _INPUT_IN_MEMORY if fields[k]}
    return {f"input.{k}": v for k, v in fields.items()}


def embeddings(config: ConfigDict) -> dict[str, Any]:
    """The embeddings, which come from the run on the full set with `train.seed`."""
    return _without_test_split(embeddings_test(config))


def embeddings_test(config: ConfigDict) -> dict[str, Any]:
    """Those of the test split, by the same run."""
    full = np.arange(len(dataset.load_dataset(config).train.labels))
    return trial(config, full, config.train.seed)


def dendrograms(config: ConfigDict) -> dict[str, Any]:
    """The trees; how deep they are is seen from them."""
    return {**embeddings(config), "cluster.linkage": config.cluster.linkage, "cluster.scope": config.cluster.scope}


def score_steps(config: ConfigDict, name: str) -> tuple[int, ...]:
    """The steps after which a score is taken, one of `selection.SCORES`.

    Error and gradient norms once; what is forgotten at the ends of epochs, all of which have the same number of steps.

    Raises:
        InputError: if a run on the full set is shorter, or for forgetting without two ends of epochs.
    """
    if name != "forgetting":
        return (_steps_of(config, config.score.epochs, "epochs", default_share=0.1),)
    last = _steps_of(config, config.score.forgetting_epochs, "forgetting_epochs", default_share=1)
    epoch = max(1, round(len(dataset.load_dataset(config).train.labels) / config.train.batch_size))
    if last < 2 * epoch:
        raise InputError(
            f"--config.score.forgetting_epochs={config.score.forgetting_epochs}: forgetting is counted from one end of "
            f"an epoch to the next, which takes at least {2 * epoch} steps; here are {last}"
        )
    return tuple(range(epoch, last + 1, epoch))


def _steps_of(config: ConfigDict, epochs: float | None, field: str, *, default_share: float) -> int:
    """So many epochs of a run on the full set in steps; without a number, a share of the run."""
    num_examples, batch_size = len(dataset.load_dataset(config).train.labels), config.train.batch_size
    num_steps, _ = durations(config, num_examples)
    steps = round(default_share * num_steps if epochs is None else epochs * num_examples / batch_size)
    if steps > num_steps:
        raise InputError(
            f"--config.score.{field}={epochs}: must be at most {num_steps * batch_size / num_examples:.6g}, the epochs "
            "of a run on the full set"
        )
    return max(1, steps)


def scores(config: ConfigDict, names: Sequence[str], seed: int) -> dict[str, Any]:
    """Scores, as a run with this seed gives them."""
    full = np.arange(len(dataset.load_dataset(config).train.labels))
    steps = [score_steps(config, name)[-1] for name in names]
    return {**_without_test_split(trial(config, full, seed)), "scores": list(names), "score.steps": steps}


def score_name(config: ConfigDict, method: str) -> str | None:
    """The score that a selection method goes by, a mean over runs; None for one that goes by none."""
    if "scores" not in METHODS[method].needs:
        return None
    return config.select.score if "score" in METHODS[method].takes else method


def _mean_score(config: ConfigDict, method: str) -> dict[str, Any]:
    name = score_name(config, method)
    if name is None:
        return {}
    seeds = sorted(config.score.seeds)
    of_one = scores(config, [name], seeds[0])
    return {k: v for k, v in of_one.items() if k != "train.seed"} | {"score.seeds": seeds}


def selection(config: ConfigDict, method: str, prune_fraction: float, seed: int) -> dict[str, Any]:
    """A selection; one that looks at no tree depends on trees only where these decide how many go from each class."""
    if needs_trees(config, method):
        made_from = dendrograms(config)
    else:
        made_from = embeddings(config) if "embeddings" in METHODS[method].needs else _training_split(config)
    made_from |= _mean_score(config, method)
    return {**made_from, "select.fraction": prune_fraction, **selection_options(config, method, seed)}


def selection_options(config: ConfigDict, method: str, seed: int) -> dict[str, Any]:
    """What a selection method looks at besides the fraction; nothing that it leaves alone."""
    options = {
        "select.method": method,
        "select.allocation": config.select.allocation,
        "cluster.scope": config.cluster.scope,
    }
    takes = METHODS[method].takes
    chosen = {f"select.{name}": config.select[name] for name in takes if name != "seed"}
    return options | chosen | ({"select.seed": seed} if "seed" in takes else {})


def answer(config: ConfigDict, method: str, prune_fraction: float | None, seed: int) -> dict[str, Any]:
    """What the answer about a fraction depends on, or with None the search for the largest; `seed` is its first one."""
    full = np.arange(len(dataset.load_dataset(config).train.labels))
    made_from = trial(config, full, seed) | selection(config, method, prune_fraction or 0.0, seed)
    made_from["sweep.equal"] = config.sweep.equal
    return made_from if prune_fraction else {k: v for k, v in made_from.items() if k != "select.fraction"}


def needs_trees(config: ConfigDict, method: str) -> bool:
    """Whether a selection depends on the trees."""
    return "dendrograms" in METHODS[method].needs or config.select.allocation == "global"


def _training_split(config: ConfigDict) -> dict[str, Any]:
    return _without_test_split(dataset.load_dataset(config).fingerprint())


def _without_test_split(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Only trials, and embeddings of the test split, look at test images."""
    return {
        k: v
        for k, v in fingerprint.items()
        if k not in ("dataset.test_split", "dataset.num_test", "dataset.test_digest")
    }
