"""Optimisers by name.

Each takes the learning rate of a step as an argument, so that one compiled step serves any schedule.
"""

from typing import Any

import flax
import jax
import optax

NAMES = ("sgd", "lars")
ONLY_FOR = {"trust_coefficient": "lars"}
"""Settings that one optimiser alone reads."""


def create(
    name: str, *, momentum: float, weight_decay: float, trust_coefficient: float = 1e-3
) -> optax.GradientTransformationExtraArgs:
    """Makes the named optimiser; weight decay is for kernels only, not for biases and BatchNorm (Goyal et al. 2017).

    Args:
        name: "sgd", with Nesterov momentum; or "lars" (You, Gitman and Ginsburg 2017), for batches of many thousand
            images: the update of every kernel is scaled to the size of that kernel.
        momentum: share of the last update that goes on. Of "sgd" the learning rate scales the sum, of "lars" each
            summand, as their authors have it.
        weight_decay: coefficient of the squared norm's half.
        trust_coefficient: of "lars": size of an update relative to its kernel's, at a learning rate of 1.

    Returns:
        A transformation whose update takes the keyword `learning_rate`, a scalar.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=_is_kernel)
    if name == "lars":
        trust = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), _is_kernel)
        return optax.chain(decay, trust, _scale_by_learning_rate(), optax.trace(decay=momentum))
    return optax.chain(decay, optax.trace(decay=momentum, nesterov=True), _scale_by_learning_rate())


def _scale_by_learning_rate() -> optax.GradientTransformationExtraArgs:
    def update(updates, state, params=None, *, learning_rate: jax.Array):
        return optax.tree.scale(-learning_rate, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _is_kernel(params: Any) -> Any:
    return flax.traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", params)
