"""The state of a training run."""

from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


class TrainState(flax.struct.PyTreeNode):
    """The state that a training run carries from step to step; everything else is a function of (seed, step).

    Attributes:
        step: int32 scalar, the number of steps taken.
        params: float32 parameters.
        batch_stats: running averages of BatchNorm.
        opt_state: state of the optimizer.
        average: exponential moving averages of `params` and `batch_stats`, a dictionary of both; None for no averages.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    average: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for `model.apply` in evaluation and embedding: the averages, if there are any."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


def make_initializer(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    image_shape: tuple[int, int, int],
    with_average: bool = False,
) -> Callable[[ArrayLike], TrainState]:
    """Builds the jitted function that returns the state at step 0 for a seed.

    Args:
        model: the model.
        optimizer: the optimizer.
        image_shape: (H, W, C).
        with_average: whether the state has averages of the variables.

    Returns:
        A function of the seed (an unsigned integer scalar), on which alone the parameters depend.
    """

    @jax.jit
    def create_state(seed: ArrayLike) -> TrainState:
        variables = model.init(jax.random.key(seed), jnp.zeros((1, *image_shape)), train=False)
        params, batch_stats = variables["params"], variables["batch_stats"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(params),
            average={"params": params, "batch_stats": batch_stats} if with_average else None,
        )

    return create_state


def updated_average(state: TrainState, params: Any, batch_stats: Any, *, decay: float | None) -> Any:
    """Returns the averages of the variables after a step.

    The averages start with the initial variables. After t steps, the decay is at most (1 + t) / (10 + t).

    Args:
        state: the state before the step.
        params: the parameters after the step.
        batch_stats: BatchNorm's running averages after the step.
        decay: the decay of the averages; None for no averages.

    Returns:
        A dictionary of "params" and "batch_stats", or None.
    """
    if decay is None:
        return None
    steps = state.step.astype(jnp.float32)
    weight = 1 - jnp.minimum(decay, (1 + steps) / (10 + steps))
    return optax.incremental_update({"params": params, "batch_stats": batch_stats}, state.average, weight)
