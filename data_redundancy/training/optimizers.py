"""Optimizers by name.

Their updates take the learning rate of a step as an argument, so that one compiled step serves any schedule.
"""

from typing import Any

import flax
import jax
import optax

from data_redundancy.errors import choice_error

NAMES = ("sgd", "lars")
"""Names of the optimizers."""

ONLY_FOR = {"trust_coefficient": "lars"}
"""Settings that only one optimizer reads, with its name."""


def create(
    name: str, *, momentum: float, weight_decay: float, trust_coefficient: float = 1e-3
) -> optax.GradientTransformationExtraArgs:
    """Creates the named optimizer. Weight decay applies to kernels, not to biases and BatchNorm (Goyal et al. 2017).

    Args:
        name: "sgd", with Nesterov momentum; or "lars" (You, Gitman and Ginsburg 2017), for batches of many thousand
            images, which scales the update of every kernel to the size of that kernel.
        momentum: factor of the last update in the next one. As in the publications, the learning rate scales the sum of
            updates in "sgd", and each update in "lars".
        weight_decay: coefficient of half the squared norm of the kernels.
        trust_coefficient: size of an update relative to its kernel's, at a learning rate of 1; "lars" only.

    Returns:
        A transformation whose update takes the keyword `learning_rate`, a scalar.

    Raises:
        InputError: if the name is unknown.
    """
    if name not in NAMES:
        raise choice_error("name", name, NAMES)
    decay = optax.add_decayed_weights(weight_decay, mask=_is_kernel)
    if name == "lars":
        trust = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), _is_kernel)
        return optax.chain(decay, trust, _scale_by_learning_rate(), optax.trace(decay=momentum))
    return optax.chain(decay, optax.trace(decay=momentum, nesterov=True), _scale_by_learning_rate())


def _scale_by_learning_rate() -> optax.GradientTransformationExtraArgs:
    def update(updates: Any, state: Any, params: Any = None, *, learning_rate: jax.Array) -> tuple[Any, Any]:
        return optax.tree.scale(-learning_rate, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _is_kernel(params: Any) -> Any:
    """Returns a tree of bools: whether each parameter is a kernel."""
    return flax.traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", params)
