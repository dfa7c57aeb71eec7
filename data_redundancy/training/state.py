"""The training state."""

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
        average: exponential moving average of params and batch_stats, a dictionary of both; None where there is none.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    average: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes to evaluate and embed: the averages, where there are any."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


def make_initializer(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    image_shape: tuple[int, int, int],
    with_average: bool = False,
) -> Callable[[int], TrainState]:
    """Builds the jitted function from a seed to a state at step 0, whose parameters depend on the seed alone."""

    @jax.jit
    def create_state(seed):
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
    """The average of the variables after a step that led to `params` and `batch_stats`; None without one.

    It begins with the variables themselves: with t steps taken, the decay is (1 + t) / (10 + t) at most.
    """
    if decay is None:
        return None
    steps = state.step.astype(jnp.float32)
    weight = 1 - jnp.minimum(decay, (1 + steps) / (10 + steps))
    return optax.incremental_update({"params": params, "batch_stats": batch_stats}, state.average, weight)
