import concurrent.futures
import functools
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training_script as script
from jax.experimental.compilation_cache import compilation_cache

from data_redundancy import models, parallel, training
from data_redundancy.errors import InputError
from data_redundancy.training import trainer as trainer_module
from data_redundancy.training.inference import evaluate, make_evaluator
from data_redundancy.training.schedule import learning_rates
from data_redundancy.training.state import make_initializer, sgd
from data_redundancy.training.step import DeviceData, channel_statistics, make_embed, make_evaluate, make_train_steps

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch):
    """TensorFlow takes seconds to import; `test_metrics` reads TensorBoard's files."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Compiles what several trainers and processes share once, and random numbers in a way that compiles faster."""
    directory = tmp_path_factory.mktemp("compilation_cache")
    names = {
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_threefry_partitionable": False,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield {name.upper(): str(value) for name, value in names.items()}
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def tiny():
    return script.make_trainer(script.TinyNet())


def run_script(*arguments, num_devices, cache):
    environment = {
        **os.environ,
        **cache,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }
    command = [sys.executable, ROOT / "tests" / "training_script.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def assert_same(a, b):
    """The same arrays, bit for bit."""
    assert a.keys() == b.keys()
    different = [name for name in a if a[name].dtype != b[name].dtype or not np.array_equal(a[name], b[name])]
    assert not different


def largest_difference(a, b, prefix=""):
    names = [name for name in a if name.startswith(prefix)]
    assert names
    return max(np.abs(a[name].astype(np.float64) - b[name]).max() for name in names)


def data_of(images, labels, *, mean=0.0, std=1.0):
    channels = images.shape[-1]
    mean, std = np.full(channels, mean, np.float32), np.full(channels, std, np.float32)
    return parallel.replicate(DeviceData(images, labels.astype(np.int32), mean, std))


# Durations and the schedule


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"),
    [(7, None, 7), (7, 100.0, 7), (0, 3.0, 0), (None, 2.0, 20), (None, 0.0, 0), (None, 0.26, 3), (None, 1.04, 10)],
)
def test_duration(steps, epochs, expected):
    result = training.duration(steps=steps, epochs=epochs, num_examples=1000, batch_size=100, field="train.")
    assert result == expected
    assert type(result) is int


@pytest.mark.parametrize(
    ("steps", "epochs", "message"),
    [
        (None, None, r"train.warmup_steps=None, train.warmup_epochs=None: one of them must be set"),
        (-1, 2.0, r"train.warmup_steps=-1: must not be negative"),
        (None, -0.5, r"train.warmup_epochs=-0.5: must not be negative"),
    ],
)
def test_duration_refuses(steps, epochs, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        training.duration(steps=steps, epochs=epochs, num_examples=10, batch_size=1, field="train.warmup_")


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
    with pytest.raises(InputError, match=rf"^train.warmup: {warmup_steps} steps .* only {num_steps} steps$"):
        learning_rates(peak=0.1, num_steps=num_steps, warmup_steps=warmup_steps)


# The optimiser and one step of training


def test_sgd_is_nesterov_with_decay_of_kernels():
    rng = np.random.default_rng(0)
    shapes = {"conv": {"kernel": (3, 3, 2)}, "norm": {"scale": (4,), "bias": (4,)}, "head": {"kernel": (4,)}}
    draw = lambda: jax.tree.map(lambda s: rng.normal(size=s), shapes, is_leaf=lambda x: isinstance(x, tuple))  # noqa: E731
    optimizer = sgd(momentum=0.8, weight_decay=0.05)
    params, velocity = draw(), jax.tree.map(np.zeros, shapes, is_leaf=lambda x: isinstance(x, tuple))
    state = optimizer.init(params)
    for _ in range(3):
        gradients = draw()
        updates, state = optimizer.update(gradients, state, params)
        for layer, name in (("conv", "kernel"), ("norm", "scale"), ("norm", "bias"), ("head", "kernel")):
            decay = 0.05 if name == "kernel" else 0.0
            gradient = gradients[layer][name] + decay * params[layer][name]
            velocity[layer][name] = 0.8 * velocity[layer][name] + gradient
            assert np.allclose(updates[layer][name], gradient + 0.8 * velocity[layer][name], rtol=1e-5, atol=1e-6)


def test_steps_are_those_of_one_device_by_hand():
    """Two steps over eight devices against the whole batch at once, every formula written out."""
    images, labels = (x[:200] for x in script.digits())
    mean, std = channel_statistics(images)
    decay, momentum, smoothing, rates = 0.01, 0.9, 0.1, np.float32([0.1, 0.05])
    optimizer = sgd(momentum=momentum, weight_decay=decay)
    state = make_initializer(script.TinyNet(), optimizer, image_shape=(8, 8, 1))(np.uint32(0))
    state = jax.device_get(state)  # the steps may take the arrays themselves over
    params, stats = state.params, state.batch_stats
    velocity = jax.tree.map(jnp.zeros_like, params)
    index = np.random.default_rng(0).permutation(200)[:128].reshape(2, 64).astype(np.int32)
    train_steps = make_train_steps(script.TinyNet(), optimizer, label_smoothing=smoothing, pad=0, flip=False, cutout=0)
    batches = (parallel.split_batch(x, axis=1) for x in (index, np.zeros_like(index)))
    data = parallel.replicate(DeviceData(images, labels, mean, std))
    state, sums = train_steps(parallel.replicate(state), data, np.uint32(0), *batches, rates)

    alone, loss_sum, num_correct = script.TinyNet(axis_name=None), 0.0, 0

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def mean_loss(params, stats, x, y):
        (logits, _), updated = alone.apply(
            {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
        )
        targets = (1 - smoothing) * jnp.eye(10)[y] + smoothing / 10
        loss = -(targets * (logits - jax.nn.logsumexp(logits, axis=1, keepdims=True))).sum(1).mean()
        return loss, (updated["batch_stats"], (logits.argmax(1) == y).sum())

    for rows, rate in zip(index, rates, strict=True):
        x = (images[rows].astype(np.float32) - mean) / std
        (loss, (stats, correct)), gradients = mean_loss(params, stats, x, labels[rows])
        loss_sum, num_correct = loss_sum + 64 * loss, num_correct + correct
        for layer, name in (("stem", "kernel"), ("BatchNorm_0", "scale"), ("BatchNorm_0", "bias"), ("head", "kernel")):
            gradients[layer][name] += (decay if name == "kernel" else 0) * params[layer][name]
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradients)
        params = jax.tree.map(lambda p, v, g, r=rate: p - r * (g + momentum * v), params, velocity, gradients)

    assert largest_difference(script.flatten(state.params), script.flatten(params)) < 1e-5
    assert largest_difference(script.flatten(state.batch_stats), script.flatten(stats)) < 1e-5
    assert int(state.step) == 2
    assert float(sums["loss"]) == pytest.approx(float(loss_sum), rel=1e-5)
    assert (int(sums["accuracy"]), int(sums["count"])) == (num_correct, 128)


def test_channel_statistics():
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)
    images[..., 2] = 9
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float32
    assert np.allclose(mean, images.mean((0, 1, 2)))
    assert np.allclose(std, [*images[..., :2].std((0, 1, 2)), 1.0]), "a constant channel is not blown up"


def test_initial_parameters_depend_on_the_seed_alone():
    create_state = make_initializer(script.TinyNet(), sgd(momentum=0.9, weight_decay=0.0), image_shape=(8, 8, 1))
    first, again, other = (script.flatten(create_state(np.uint32(seed))) for seed in (1, 1, 2))
    assert_same(first, again)
    assert largest_difference(first, other, ".params['stem']") > 0.01
    assert {x.dtype for name, x in first.items() if name != ".step"} == {np.dtype("float32")}


# Evaluation and embedding, with fixed logits


class FixedLogits(nn.Module):
    """A pixel says which row of a table to answer with; the embedding is the pixel."""

    table: tuple

    @nn.compact
    def __call__(self, images, *, train):
        pixel = images[:, 0, 0, 0]
        return jnp.asarray(self.table)[pixel.astype(int)], pixel[:, None] * jnp.ones(3)


def fixed(num_examples, *, num_classes=4, seed=0):
    """A table of logits, and labels that leave the last class empty."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(num_examples, num_classes)).astype(np.float32)
    labels = rng.integers(0, num_classes - 1, num_examples)
    images = np.arange(num_examples, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return FixedLogits(tuple(map(tuple, table))), table, images, labels


@pytest.mark.parametrize("num_examples", [1, 7, 8, 9, 23, 24, 25])
def test_evaluation_counts_every_example_once(num_examples):
    model, table, images, labels = fixed(num_examples)
    correct = table.argmax(1) == labels
    losses = np.log(np.exp(table.astype(np.float64)).sum(1)) - table[np.arange(num_examples), labels]
    for batch_size in (8, 24):
        result = make_evaluator(model, 4, batch_size=batch_size)({}, data_of(images, labels))
        assert set(result) == {"accuracy", "loss", "class_accuracy"}
        assert result["accuracy"] == correct.mean()
        assert result["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert result["class_accuracy"].shape == (4,)
        for c, accuracy in enumerate(result["class_accuracy"]):
            if (labels == c).any():
                assert accuracy == correct[labels == c].mean()
            else:
                assert np.isnan(accuracy)
    assert np.isnan(result["class_accuracy"][3])


def test_padding_is_never_counted():
    """Row 0, with which batches are filled up, is scored extremely; counting it twice would show."""
    model, table, images, labels = fixed(9)
    table[0] = [1000, 0, 0, 0]
    labels[:] = 1
    model = FixedLogits(tuple(map(tuple, table)))
    function = make_evaluate(model, 4)
    result = evaluate(function, {}, data_of(images, labels), batch_size=16)
    losses = np.log(np.exp(table[1:].astype(np.float64)).sum(1)) - table[1:, 1]
    assert result["loss"] == pytest.approx((1000 + losses.sum()) / 9, rel=1e-6)


@pytest.mark.parametrize("num_examples", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("batch_size", [8, 16, 64])
def test_embeds_every_row_in_order(num_examples, batch_size):
    model, _, images, labels = fixed(num_examples)
    blocks = list(training.embed(model, {}, data_of(images, labels), batch_size=batch_size, chunk_rows=5))
    rows = np.concatenate([rows for _, rows in blocks])
    assert rows.dtype == np.float32
    assert np.array_equal(rows, np.arange(num_examples)[:, None] * np.ones(3))
    assert [first for first, _ in blocks] == list(range(0, num_examples, batch_size))


@pytest.mark.parametrize("num_examples", [3, 30, 41])
def test_processes_embed_a_share_each_in_equally_many_batches(num_examples):
    """Processes wait for each other in every batch: also one without rows of its own goes along."""
    model, _, images, labels = fixed(num_examples)
    data, found, calls = data_of(images, labels), np.full(num_examples, -1.0), []
    for process in range(2):
        with (
            mock.patch.object(jax, "process_count", return_value=2),
            mock.patch.object(jax, "process_index", return_value=process),
            mock.patch.object(parallel, "stack_local", wraps=parallel.stack_local) as stacked,
        ):
            for first, rows in training.embed(model, {}, data, batch_size=16, chunk_rows=5):
                assert (found[first : first + len(rows)] == -1).all()
                found[first : first + len(rows)] = rows[:, 0]
        calls.append(stacked.call_count)
    assert np.array_equal(found, np.arange(num_examples))
    assert calls[0] == calls[1]


# Whole runs


def test_embeddings_are_computed_in_full_float32():
    """On accelerators the default precision of a float32 product is lower: a CPU cannot show it, the program can."""
    model = models.create("resnet8", num_classes=10, dtype=jnp.float32)
    images = jnp.zeros((4, 8, 8, 1), jnp.uint8)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images.astype(jnp.float32), train=False))
    data = DeviceData(images, jnp.zeros(4, jnp.int32), jnp.zeros(1), jnp.ones(1))
    program = str(jax.make_jaxpr(make_embed(model).__wrapped__)(variables, data, jnp.arange(4)))
    assert program.count("conv_general_dilated") >= 9
    assert "HIGHEST" in program
    assert "precision=None" not in program


def test_batch_sizes_must_fit_the_devices():
    with pytest.raises(InputError, match=r"^train.batch_size=12: .*devices, 8$"):
        script.make_trainer(script.TinyNet(), batch_size=12)
    with pytest.raises(InputError, match=r"^embed.batch_size=4: .*devices, 8$"):
        script.make_trainer(script.TinyNet(), eval_batch_size=4)


def test_a_run_gives_its_result_and_lines(tiny, tmp_path):
    run = script.make_run(tmp_path)
    assert tiny.restore(run) is None
    result = tiny.train(run)
    assert set(result) == {"accuracy", "loss", "class_accuracy", "steps", "train_seconds"}
    assert result["steps"] == script.NUM_STEPS
    assert result["train_seconds"] > 0
    lines = script.read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [3, 4, 6, 8, 9, 11], "also at every checkpoint"
    rates = learning_rates(peak=0.1, num_steps=11, warmup_steps=2)
    assert [line["learning_rate"] for line in lines] == [float(rates[line["step"] - 1]) for line in lines]
    assert int(tiny.restore(run).step) == 11
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {"8", "11"}, "keep_checkpoints of them"


def test_a_finished_run_is_only_evaluated_again(tiny, tmp_path):
    run = script.make_run(tmp_path)
    first, text = tiny.train(run), (tmp_path / "metrics.jsonl").read_text()
    state = script.flatten(tiny.restore(run))
    again = tiny.train(run)
    assert (again["loss"], again["accuracy"]) == (first["loss"], first["accuracy"])
    assert (tmp_path / "metrics.jsonl").read_text() == text
    assert_same(script.flatten(tiny.restore(run)), state)


def test_only_kept_examples_are_trained_on(tmp_path):
    """Images outside of the keep list change nothing but the statistics that normalise, which are kept equal here."""
    images, labels = script.digits()
    keep = np.arange(0, 1400, 3)
    outcomes = []
    for name, shuffle in (("a", False), ("b", True)):
        other = np.setdiff1d(np.arange(1400), keep)
        order = np.arange(1400)
        order[other] = np.random.default_rng(0).permutation(other) if shuffle else other
        trainer = training.Trainer(
            script.TinyNet(),
            training.TrainSettings(**script.SETTINGS),
            num_classes=10,
            train_images=images[order],
            train_labels=labels[order],
            test_images=images[1400:],
            test_labels=labels[1400:],
        )
        run = script.make_run(tmp_path / name, keep=keep, num_steps=8)
        trainer.train(run)
        outcomes.append(script.flatten(trainer.restore(run)))
    assert_same(*outcomes)


def test_seeds_and_keep_lists_matter(tiny, tmp_path):
    runs = {
        "a": script.make_run(tmp_path / "a"),
        "seed": script.make_run(tmp_path / "seed", seed=4),
        "keep": script.make_run(tmp_path / "keep", keep=np.arange(1, 1400, 2)),
    }
    states = {}
    for name, run in runs.items():
        tiny.train(run)
        states[name] = script.flatten(tiny.restore(run))
    assert largest_difference(states["a"], states["seed"], ".params") > 1e-3
    assert largest_difference(states["a"], states["keep"], ".params") > 1e-3


@pytest.mark.slow
def test_steps_per_call_does_not_matter(tiny, tmp_path):
    """Not bitwise: XLA fuses differently what it compiles as one program."""
    run = script.make_run(tmp_path / "1", num_steps=12)
    result = tiny.train(run)
    several = script.make_trainer(script.TinyNet(), steps_per_call=4)
    run_of_several = script.make_run(tmp_path / "4", num_steps=12)
    result_of_several = several.train(run_of_several)
    one, four = script.flatten(tiny.restore(run)), script.flatten(several.restore(run_of_several))
    assert one[".step"] == four[".step"] == 12
    assert largest_difference(one, four) < 1e-5
    assert result["loss"] == pytest.approx(result_of_several["loss"], rel=1e-5)
    assert [line["step"] for line in script.read_metrics(tmp_path / "4")] == [4, 8, 12]


traces = []


class CountingNet(script.TinyNet):
    """Notes every time that its training pass is traced."""

    @nn.compact
    def __call__(self, images, *, train):
        if train:
            traces.append(images.shape)
        return super().__call__(images, train=train)


def compilations(caplog):
    return sum("Finished XLA compilation" in record.getMessage() for record in caplog.records)


def test_all_trials_share_one_compiled_step(tmp_path, caplog):
    trainer = script.make_trainer(CountingNet())
    traces.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        trainer.train(script.make_run(tmp_path / "first"))
        assert traces == [(8, 8, 8, 1)], "one trace, of a device's share of the batch"
        assert compilations(caplog) > 0
        caplog.clear()
        trainer.train(script.make_run(tmp_path / "seed", seed=5))
        trainer.train(script.make_run(tmp_path / "keep", keep=np.arange(1000), warmup_steps=3))
        assert compilations(caplog) == 0
    trainer.train(script.make_run(tmp_path / "shorter", num_steps=5))
    trainer.train(script.make_run(tmp_path / "shorter", num_steps=9))
    assert len(traces) == 1


# A run that is cut off and resumed is the run that was not, bit for bit


class CutError(Exception):
    pass


def cut_at(step):
    """`train_batches` that fails where the call that begins at `step` or later is prepared."""

    def failing(*args, first_step, **kwargs):
        if first_step >= step:
            raise CutError
        return train_batches(*args, first_step=first_step, **kwargs)

    train_batches = trainer_module.train_batches
    return mock.patch.object(trainer_module, "train_batches", failing)


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_cut_off_before_any_call(steps_per_call, tmp_path):
    """With three steps a call, checkpoints (every four) lie at 6, 9 and 11."""
    trainer = script.make_trainer(script.TinyNet(), steps_per_call=steps_per_call)
    uninterrupted = script.make_run(tmp_path / "uninterrupted")
    trainer.train(uninterrupted)
    expected = script.flatten(trainer.restore(uninterrupted))
    for step in range(0, script.NUM_STEPS, steps_per_call):
        run = script.make_run(tmp_path / f"cut{step}")
        with cut_at(step), pytest.raises(CutError):
            trainer.train(run)
        trainer.train(run)
        assert_same(script.flatten(trainer.restore(run)), expected)
        assert script.read_metrics(run.directory) == script.read_metrics(uninterrupted.directory)


@pytest.mark.slow
def test_killed_and_resumed(tmp_path, cache):
    """Processes that die by SIGKILL one after the other, each going on where the last one fell."""
    deaths = {1: ["save:4", "line:8", None], 3: ["step:9", "save:11", None]}

    def live(steps_per_call):
        directory = tmp_path / str(steps_per_call)
        for end in deaths[steps_per_call]:
            code = run_script("resume", directory, steps_per_call, *filter(None, [end]), num_devices=2, cache=cache)
            saved = [int(p.name) for p in (directory / "cut" / "checkpoints").iterdir() if p.name.isdigit()]
            yield code, max(saved, default=None)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        one, three = pool.map(lambda steps_per_call: list(live(steps_per_call)), deaths)
    assert one == [(-signal.SIGKILL, None), (-signal.SIGKILL, 4), (0, 11)]
    assert three == [(-signal.SIGKILL, 9), (-signal.SIGKILL, 9), (0, 11)]
    for directory in (tmp_path / "1", tmp_path / "3"):
        cut, uninterrupted = (dict(np.load(directory / f"{name}.npz")) for name in ("cut", "uninterrupted"))
        assert {name.split("[")[0] for name in cut} == {".step", ".params", ".batch_stats", ".opt_state"}
        assert_same(cut, uninterrupted)
        lines = [(directory / name / "metrics.jsonl").read_text() for name in ("cut", "uninterrupted")]
        assert lines[0] == lines[1]
        assert json.loads(lines[0].splitlines()[-1])["step"] == 11


# The number of devices


@pytest.mark.slow
def test_devices_do_not_matter(tmp_path, cache):
    """Seen: all differences below 1e-6, and far over the tolerance where BatchNorm knows no axis."""
    outcomes = {8: script.train_and_embed(tmp_path / "8")}

    def run_on(num_devices):
        directory = tmp_path / str(num_devices)
        assert run_script("devices", directory, num_devices=num_devices, cache=cache) == 0
        return dict(np.load(directory / "outcome.npz"))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        outcomes |= dict(zip((1, 2), pool.map(run_on, (1, 2)), strict=True))
    one = outcomes[1]
    assert [int(outcome["devices"]) for outcome in outcomes.values()] == [8, 1, 2]
    assert one["loss"][-1] < one["loss"][0] - 0.1, "the run has gone somewhere"
    assert len(one["loss"]) == 12
    assert one["embedding"].shape == (1400, 64)
    for outcome in (outcomes[2], outcomes[8]):
        for prefix in ("loss", "test_loss", "embedding", ".params", ".batch_stats", ".opt_state"):
            assert largest_difference(one, outcome, prefix) < 2e-5, prefix
        assert np.array_equal(outcome["accuracy"], one["accuracy"])
        assert np.array_equal(outcome["class_accuracy"], one["class_accuracy"])


# Learning


@pytest.mark.slow
def test_learns_digits(tmp_path):
    trainer = script.make_trainer(script.resnet8(), log_every_steps=20, checkpoint_every_steps=1000)
    result = trainer.train(script.make_run(tmp_path, keep=np.arange(1400), num_steps=120, warmup_steps=20))
    lines = script.read_metrics(tmp_path)
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"]
    assert result["accuracy"] > 0.9
    assert np.nanmin(result["class_accuracy"]) > 0.7


def test_bfloat16_trains(tmp_path):
    trainer = script.make_trainer(script.TinyNet(dtype=jnp.bfloat16), log_every_steps=10)
    run = script.make_run(tmp_path, num_steps=40)
    trainer.train(run)
    state = script.flatten(trainer.restore(run))
    assert {x.dtype for name, x in state.items() if name != ".step"} == {np.dtype("float32")}
    lines = script.read_metrics(tmp_path)
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
