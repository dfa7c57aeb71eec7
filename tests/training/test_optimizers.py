"""Durations, learning rates, the optimizers, and the average of the variables."""

import re
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_redundancy import training
from data_redundancy.cli import arguments
from data_redundancy.cli.config import resolve
from data_redundancy.configs import imagenet
from data_redundancy.errors import InputError
from data_redundancy.experiment import inputs
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.trainer import make_trainer
from data_redundancy.training import optimizers
from data_redundancy.training.schedule import learning_rates, scaled_learning_rate
from data_redundancy.training.state import TrainState, updated_average

# Durations and the schedule


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"),
    [(7, None, 7), (7, 100.0, 7), (0, 3.0, 0), (None, 2.0, 20), (None, 0.0, 0), (None, 0.26, 3), (None, 1.04, 10)],
)
def test_duration(steps, epochs, expected):
    result = training.duration(steps=steps, epochs=epochs, num_examples=1000, batch_size=100)
    assert result == expected
    assert type(result) is int


@pytest.mark.parametrize(
    ("steps", "epochs", "message"),
    [
        (None, None, r"steps: must be set, unless the duration is given in epochs"),
        (-1, 2.0, r"steps=-1: must not be negative"),
        (None, -0.5, r"epochs=-0.5: must not be negative"),
    ],
)
def test_duration_refuses(steps, epochs, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        training.duration(steps=steps, epochs=epochs, num_examples=10, batch_size=1)


@pytest.mark.parametrize(("num_steps", "warmup_steps"), [(20, 0), (20, 5), (20, 19), (1, 0)])
def test_learning_rates(num_steps, warmup_steps):
    step = np.arange(num_steps)
    cosine = 0.5 * (1 + np.cos(np.pi * (step - warmup_steps) / (num_steps - warmup_steps)))
    expected = 0.3 * np.where(step < warmup_steps, step / max(warmup_steps, 1), cosine)
    rates = learning_rates(peak=0.3, num_steps=num_steps, warmup_steps=warmup_steps)
    assert rates.dtype == np.float32
    assert rates.shape == (num_steps,)
    assert np.allclose(rates, expected, atol=1e-7)


@pytest.mark.parametrize(("num_steps", "warmup_steps"), [(5, 5), (5, 6), (0, 0), (5, -1)])
def test_warm_up_must_leave_steps(num_steps, warmup_steps):
    with pytest.raises(
        InputError, match=rf"^warmup_steps={warmup_steps}: must be at least 0 and less than num_steps={num_steps}$"
    ):
        learning_rates(peak=0.1, num_steps=num_steps, warmup_steps=warmup_steps)


@pytest.mark.parametrize(
    ("batch_size", "given_for", "expected"), [(64, 256, 0.125), (256, 256, 0.5), (1024, 256, 2), (1024, None, 0.5)]
)
def test_rates_grow_as_the_batch_does(batch_size, given_for, expected):
    assert scaled_learning_rate(0.5, batch_size=batch_size, given_for=given_for) == expected


# The recipe for ImageNet


def schedule_of(*argv):
    """The settings of training with some flags, its warm-up steps, and the rate of every step; reads no data set."""
    config = resolve(arguments.parse(("train", *argv)))
    dataset = types.SimpleNamespace(
        class_names=("a", "b"),
        train=types.SimpleNamespace(labels=np.zeros(1_281_167, np.int32)),
        test=types.SimpleNamespace(labels=np.zeros(50_000, np.int32)),
    )
    images = types.SimpleNamespace(image_shape=(224, 224, 3))
    with (
        mock.patch.object(inputs, "make", return_value=(images, images)),
        mock.patch.object(training, "Trainer") as made,
    ):
        assert make_trainer(config, dataset) is made.return_value
    num_steps, warmup_steps = Fingerprints(config, dataset).durations(len(dataset.train.labels))
    settings = made.call_args.args[1]
    rates = learning_rates(peak=settings.learning_rate, num_steps=num_steps, warmup_steps=warmup_steps)
    return settings, warmup_steps, rates


@pytest.mark.parametrize(
    ("batch_size", "peak", "warmup_steps", "num_steps"),
    [(1024, 0.4, 6256, 112_603), (2048, 0.8, 3128, 56_301), (4096, 1.6, 1564, 28_151)],
)
def test_imagenets_rates_are_goyals(batch_size, peak, warmup_steps, num_steps):
    """0.1 per 256 images after 5 of 90 epochs; these are multiples of 1,281,167 / batch_size steps."""
    settings, warmup, rates = schedule_of("--config=imagenet", f"--config.train.batch_size={batch_size}")
    assert (settings.optimizer, settings.batch_size) == ("sgd", batch_size)
    assert (warmup, len(rates)) == (warmup_steps, num_steps)
    assert rates.max() == rates[warmup] == pytest.approx(peak)
    assert np.allclose(rates[:warmup], peak * np.arange(warmup) / warmup, atol=1e-6)
    assert (np.diff(rates[warmup:]) <= 0).all()
    assert 0 <= rates[-1] < 1e-6


def test_imagenets_rate_for_lars_is_the_published_one():
    """With the flags in the config's docstring; published for ResNet-50 and a trust coefficient of 1e-3."""
    flags = re.search(r"--config\.train\.optimizer=lars( --config\.\S+[^\s,.])*", imagenet.__doc__)[0].split()
    settings, warmup, rates = schedule_of("--config=imagenet", *flags, "--config.train.batch_size=8192")
    assert (settings.optimizer, settings.trust_coefficient, settings.weight_decay) == ("lars", 1e-3, 1e-4)
    assert rates.max() == rates[warmup] == pytest.approx(9.6)
    assert 9 < rates.max() < 11


# Optimizers

SHAPES = {"conv": {"kernel": (3, 3, 2)}, "norm": {"scale": (4,), "bias": (4,)}, "head": {"kernel": (4,), "bias": (2,)}}
RATES = (0.5, 0.25, 0.0, 0.4)


def draw(rng):
    return jax.tree.map(lambda s: rng.normal(size=s).astype(np.float32), SHAPES, is_leaf=lambda x: type(x) is tuple)


def run(optimizer, rates, *, takes_rate=True):
    """Takes steps on random gradients; returns the parameters after each, and the gradients."""
    rng = np.random.default_rng(0)
    params, trajectory, gradients = draw(rng), [], []
    state = optimizer.init(params)
    for rate in rates:
        gradients.append(draw(rng))
        keyword = {"learning_rate": jnp.float32(rate)} if takes_rate else {}
        updates, state = optimizer.update(gradients[-1], state, params, **keyword)
        params = optax.apply_updates(params, updates)
        trajectory.append(params)
    return trajectory, gradients


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found, expected)


def by_hand(gradients, rates, update):
    """The parameters after each step, where `update` gives what is added to one array."""
    params, velocity = draw(np.random.default_rng(0)), jax.tree.map(np.zeros_like, draw(np.random.default_rng(0)))
    for gradient, rate in zip(gradients, rates, strict=True):
        for layer, arrays in params.items():
            for name, x in arrays.items():
                added, velocity[layer][name] = update(name, gradient[layer][name], x, velocity[layer][name], rate)
                arrays[name] = x + added
        yield jax.tree.map(np.copy, params)


def test_sgd_is_nesterov_with_decay_of_kernels():
    def update(name, gradient, x, velocity, rate):
        gradient = gradient + (0.05 * x if name == "kernel" else 0)
        velocity = 0.8 * velocity + gradient
        return -rate * (gradient + 0.8 * velocity), velocity

    found, gradients = run(optimizers.create("sgd", momentum=0.8, weight_decay=0.05), RATES)
    for params, expected in zip(found, by_hand(gradients, RATES, update), strict=True):
        assert_close(params, expected)


def test_lars_at_a_changing_rate():
    """Momentum accumulates updates, each scaled by the rate of that step (You et al. 2017, algorithm 1)."""

    def update(name, gradient, x, velocity, rate):
        if name == "kernel":
            gradient = gradient + 0.05 * x
            gradient = gradient * 0.02 * np.linalg.norm(x) / np.linalg.norm(gradient)
        velocity = 0.8 * velocity + rate * gradient
        return -velocity, velocity

    lars = optimizers.create("lars", momentum=0.8, weight_decay=0.05, trust_coefficient=0.02)
    found, gradients = run(lars, RATES)
    for params, expected in zip(found, by_hand(gradients, RATES, update), strict=True):
        assert_close(params, expected)


def test_lars_is_optaxs():
    def is_kernel(params):
        return {layer: {name: name == "kernel" for name in arrays} for layer, arrays in params.items()}

    lars = optimizers.create("lars", momentum=0.9, weight_decay=1e-2, trust_coefficient=5e-3)
    reference = optax.lars(
        0.3,
        weight_decay=1e-2,
        weight_decay_mask=is_kernel,
        trust_coefficient=5e-3,
        trust_ratio_mask=is_kernel,
        momentum=0.9,
        nesterov=False,
    )
    found, _ = run(lars, [0.3] * 6)
    expected, _ = run(reference, [0.3] * 6, takes_rate=False)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


def test_a_kernel_of_zeros_stays_finite_under_lars():
    """Such as the last scale of a residual branch, which starts at zero: there is no size to scale its update to."""
    lars = optimizers.create("lars", momentum=0.9, weight_decay=1e-4)
    params = {"kernel": jnp.zeros(3)}
    for gradient in (jnp.zeros(3), jnp.ones(3)):
        updates, _ = lars.update({"kernel": gradient}, lars.init(params), params, learning_rate=1.0)
        assert np.isfinite(updates["kernel"]).all()


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_configs_may_name_every_optimizer(name):
    config = resolve(arguments.parse(("train", "--config=default", f"--config.train.optimizer={name}")))
    assert config.train.optimizer == name


@pytest.mark.parametrize("name", ["adam", "SGD"])
def test_configs_may_name_no_other_optimizer(name):
    with pytest.raises(InputError, match=rf"train.optimizer={name}: must be one of sgd, lars$"):
        resolve(arguments.parse(("train", "--config=default", f"--config.train.optimizer={name}")))


@pytest.mark.parametrize(("name", "hint"), [("adam", ""), ("SGD", ""), ("", ""), ("lar", ". Did you mean lars?")])
def test_unknown_optimizers_are_refused(name, hint):
    with pytest.raises(InputError) as caught:
        optimizers.create(name, momentum=0.9, weight_decay=0.0)
    assert (caught.value.argument, caught.value.value) == ("name", name)
    assert str(caught.value).endswith(f": must be one of sgd, lars{hint}")


def test_what_only_one_optimizer_reads_changes_no_other():
    assert optimizers.ONLY_FOR
    for setting, reader in optimizers.ONLY_FOR.items():
        for name in optimizers.NAMES:
            (one, _), (other, _) = (
                run(optimizers.create(name, momentum=0.9, weight_decay=0.05, **{setting: value}), [0.3])
                for value in (1e-3, 1e-2)
            )
            same = jax.tree.leaves(jax.tree.map(np.array_equal, one, other))
            assert all(same) == (name != reader)


# The average of the parameters


def test_averages_by_hand():
    """The averages of parameters and of BatchNorm's averages; early ones follow the variables more closely."""
    draws, rng = [], np.random.default_rng(0)
    for _ in range(6):
        draws.append({"params": draw(rng), "batch_stats": {"norm": {"mean": rng.normal(size=4).astype(np.float32)}}})
    expected, decays = draws[0], (0.1, 2 / 11, 3 / 12, 0.3, 0.3)
    average = expected
    for step, (variables, decay) in enumerate(zip(draws[1:], decays, strict=True)):
        state = TrainState(jnp.int32(step), params=None, batch_stats=None, opt_state=None, average=average)
        average = updated_average(state, **variables, decay=0.3)
        expected = jax.tree.map(lambda a, x, d=decay: d * a + (1 - d) * x, expected, variables)
        assert_close(average, expected)
    assert TrainState(jnp.int32(5), **draws[5], opt_state=None, average=average).variables is average


def test_without_averages_the_variables_are_the_parameters():
    state = TrainState(jnp.int32(0), params={"w": 1}, batch_stats={"m": 2}, opt_state=None)
    assert updated_average(state, {"w": 3}, {"m": 4}, decay=None) is None
    assert state.variables == {"params": {"w": 1}, "batch_stats": {"m": 2}}
