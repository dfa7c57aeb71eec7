"""The training state and its optimiser."""

from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


class TrainState(flax.struct.PyTreeNode):
    """All that a training run carries from step to step; everything else follows from (seed, step).

    Attributes:
        step: int32 scalar, the number of steps taken.
        params: float32 parameters.
        batch_stats: BatchNorm's running averages.
        opt_state: the optimiser's state.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def make_initializer(
    model: nn.Module, optimizer: optax.GradientTransformation, *, image_shape: tuple[int, int, int]
) -> Callable[[int], TrainState]:
    """Builds the jitted function from a seed to a state at step 0, whose parameters depend on the seed alone."""

    @jax.jit
    def create_state(seed):
        variables = model.init(jax.random.key(seed), jnp.zeros((1, *image_shape)), train=False)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables["batch_stats"],
            opt_state=optimizer.init(params),
        )

    return create_state


def sgd(*, momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; weight decay is added to the gradients of kernels only, not of biases and BatchNorm.

    The learning rate is left to the caller, who multiplies the update by minus it: then one compiled step serves
    schedules of any length.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_is_kernel),
        optax.trace(decay=momentum, nesterov=True),
    )


def _is_kernel(params: Any) -> Any:
    return flax.traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", params)
