"""Steps, evaluation, embedding and whole runs of training."""

import concurrent.futures
import functools
import json
import logging
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_redundancy import models, training
from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts
from data_redundancy.training import optimizers
from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.inference import evaluate, make_evaluator
from data_redundancy.training.inputs import DeviceData, InMemory, Normalisation, channel_statistics
from data_redundancy.training.schedule import learning_rates
from data_redundancy.training.state import make_initializer
from data_redundancy.training.step import Augmentation, StepSettings, make_embed, make_evaluate, make_train_steps
from helpers import training_runs
from helpers import training_script as script
from helpers.command import run_here, write_digits
from helpers.training_runs import assert_same, largest_difference, run_script

without_tensorboard = pytest.fixture(autouse=True)(training_runs.without_tensorboard)
cache = pytest.fixture(scope="module", autouse=True)(training_runs.shared_compilations)


@pytest.fixture(scope="module")
def tiny():
    return script.tiny_trainer()


def data_of(images, labels, *, mean=0.0, std=1.0):
    channels = images.shape[-1]
    mean, std = np.full(channels, mean, np.float32), np.full(channels, std, np.float32)
    return InMemory(images, labels.astype(np.int32), mean=mean, std=std)


# One step of training


def test_steps_are_those_of_one_device_by_hand():
    """Two steps on eight devices, against formulas for the whole batch on one device."""
    images, labels = (x[:200] for x in script.digits())
    mean, std = channel_statistics(images)
    decay, momentum, smoothing, rates = 0.01, 0.9, 0.1, np.float32([0.1, 0.05])
    optimizer = optimizers.create("sgd", momentum=momentum, weight_decay=decay)
    state = make_initializer(script.TinyNet(), optimizer, image_shape=(8, 8, 1))(np.uint32(0))
    state = jax.device_get(state)  # the steps may reuse the memory of the arrays
    params, stats = state.params, state.batch_stats
    velocity = jax.tree.map(jnp.zeros_like, params)
    index = np.random.default_rng(0).permutation(200)[:128].reshape(2, 64).astype(np.int32)
    split = InMemory(images, labels, mean=mean, std=std)
    still = Augmentation(pad=0, flip=False, cutout=0)
    settings = StepSettings(label_smoothing=smoothing, augmentation=still)
    train_steps = make_train_steps(script.TinyNet(), optimizer, split.load, settings)
    batch = {"index": index, "epoch": np.zeros_like(index)}
    batch = {name: devices.stack_local(x, axis=1) for name, x in batch.items()}
    flags = np.arange(8, dtype=np.int32)
    state, sums, stop = train_steps(devices.replicate(state), split.data, np.uint32(0), batch, rates, flags)
    assert int(stop) == 28

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


def test_steps_average_what_they_lead_to():
    """Every step updates the averages with its new variables, with the decay for its number."""
    images, labels = (x[:200] for x in script.digits())
    split = InMemory(images, labels, **dict(zip(("mean", "std"), channel_statistics(images), strict=True)))
    optimizer = optimizers.create("sgd", momentum=0.9, weight_decay=0.0)
    create_state = make_initializer(script.TinyNet(), optimizer, image_shape=(8, 8, 1), with_average=True)
    still = Augmentation(pad=0, flip=False, cutout=0)
    settings = StepSettings(label_smoothing=0.0, augmentation=still, ema_decay=0.2)
    train_steps = make_train_steps(script.TinyNet(), optimizer, split.load, settings)

    def variables(state):
        return script.flatten({"params": state.params, "batch_stats": state.batch_stats})

    state = jax.device_get(create_state(np.uint32(0)))
    expected = variables(state)
    assert_same(script.flatten(state.average), expected)
    state = devices.replicate(state)
    batch = {"index": np.arange(64, dtype=np.int32)[None], "epoch": np.zeros((1, 64), np.int32)}
    batch = {name: devices.stack_local(x, axis=1) for name, x in batch.items()}
    for decay in (0.1, 2 / 11, 0.2, 0.2):
        state, _, _ = train_steps(state, split.data, np.uint32(0), batch, np.float32([0.1]), np.zeros(8, np.int32))
        now = variables(state)
        expected = {name: decay * expected[name] + (1 - decay) * now[name] for name in now}
        assert largest_difference(script.flatten(state.average), expected) < 1e-6
    assert largest_difference(expected, now) > 1e-3


def test_channel_statistics():
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)
    images[..., 2] = 9
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float32
    assert np.allclose(mean, images.mean((0, 1, 2)))
    assert np.allclose(std, [*images[..., :2].std((0, 1, 2)), 1.0]), "the deviation of a constant channel is 1"


def test_initial_parameters_depend_on_the_seed_alone():
    optimizer = optimizers.create("sgd", momentum=0.9, weight_decay=0.0)
    create_state = make_initializer(script.TinyNet(), optimizer, image_shape=(8, 8, 1))
    first, again, other = (script.flatten(create_state(np.uint32(seed))) for seed in (1, 1, 2))
    assert_same(first, again)
    assert largest_difference(first, other, ".params['stem']") > 0.01
    assert {x.dtype for name, x in first.items() if name != ".step"} == {np.dtype("float32")}


# Evaluation and embedding, with fixed logits


class FixedLogits(nn.Module):
    """A model whose logits are the row of a table that a pixel names; the embedding is the pixel."""

    table: tuple

    @nn.compact
    def __call__(self, images, *, train):
        pixel = images[:, 0, 0, 0]
        return jnp.asarray(self.table)[pixel.astype(int)], pixel[:, None] * jnp.ones(3)


def fixed(num_examples, *, num_classes=4, seed=0):
    """Returns a model with its table of logits, images, and labels without the last class."""
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
        result = make_evaluator(model, 4, data_of(images, labels), batch_size=batch_size)({})
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
    """Row 0, which pads the batches, has an extreme loss, so that counting it twice would be detected."""
    model, table, images, labels = fixed(9)
    table[0] = [1000, 0, 0, 0]
    labels[:] = 1
    model = FixedLogits(tuple(map(tuple, table)))
    split = data_of(images, labels)
    result = evaluate(make_evaluate(model, 4, split.load), {}, split, batch_size=16)
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
    """Processes wait for each other in every batch, so a process without rows takes part too."""
    model, _, images, labels = fixed(num_examples)
    data, found, calls = data_of(images, labels), np.full(num_examples, -1.0), []
    for process in range(2):
        with (
            mock.patch.object(jax, "process_count", return_value=2),
            mock.patch.object(jax, "process_index", return_value=process),
            mock.patch.object(devices, "stack_local", wraps=devices.stack_local) as stacked,
        ):
            for first, rows in training.embed(model, {}, data, batch_size=16, chunk_rows=5):
                assert (found[first : first + len(rows)] == -1).all()
                found[first : first + len(rows)] = rows[:, 0]
        calls.append(stacked.call_count)
    assert np.array_equal(found, np.arange(num_examples))
    assert calls[0] == calls[1]


# Whole runs


def test_embeddings_are_computed_in_full_float32():
    """The default precision of a float32 product is lower on accelerators; the program shows the requested one."""
    model = models.create("resnet8", num_classes=10, dtype=jnp.float32)
    images = jnp.zeros((4, 8, 8, 1), jnp.uint8)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images.astype(jnp.float32), train=False))
    data = DeviceData(images, jnp.zeros(4, jnp.int32), Normalisation(jnp.zeros(1), jnp.ones(1)))
    embed = make_embed(model, InMemory.load).__wrapped__
    program = str(jax.make_jaxpr(embed)(variables, data, {"index": jnp.arange(4)}))
    assert program.count("conv_general_dilated") >= 9
    assert "HIGHEST" in program
    assert "precision=None" not in program


def test_batch_sizes_must_fit_the_devices():
    with pytest.raises(InputError, match=r"^batch_size=12: .*devices, 8$"):
        script.make_trainer(script.TinyNet(), batch_size=12)
    with pytest.raises(InputError, match=r"^eval_batch_size=4: .*devices, 8$"):
        script.make_trainer(script.TinyNet(), eval_batch_size=4)


def test_the_optimizer_must_be_known():
    with pytest.raises(InputError, match=r"^optimizer=sdg: must be one of sgd, lars. Did you mean sgd\?$"):
        script.make_trainer(script.TinyNet(), optimizer="sdg")


def test_a_run_returns_its_result_and_writes_metrics(tiny, tmp_path):
    run = script.make_run(tmp_path)
    assert tiny.restore(run) is None
    result = tiny.train(run)
    assert set(result) == {"accuracy", "loss", "class_accuracy", "steps", "train_seconds"}
    assert result["steps"] == script.NUM_STEPS
    assert result["train_seconds"] > 0
    lines = script.read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [3, 4, 6, 8, 9, 11], "at every checkpoint too"
    rates = learning_rates(peak=0.1, num_steps=11, warmup_steps=2)
    assert [line["learning_rate"] for line in lines] == [float(rates[line["step"] - 1]) for line in lines]
    assert int(tiny.restore(run).step) == 11
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {"8", "11"}, "the newest two"


def test_a_finished_run_is_only_evaluated_again(tiny, tmp_path):
    run = script.make_run(tmp_path)
    first, text = tiny.train(run), (tmp_path / "metrics.jsonl").read_text()
    state = script.flatten(tiny.restore(run))
    again = tiny.train(run)
    assert (again["loss"], again["accuracy"]) == (first["loss"], first["accuracy"])
    assert (tmp_path / "metrics.jsonl").read_text() == text
    assert_same(script.flatten(tiny.restore(run)), state)


def test_only_kept_examples_are_trained_on(tmp_path):
    """Images outside of the keep list affect only the statistics for normalisation, which are equal here."""
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
            train=script.in_memory(images[order], labels[order], images[:1400]),
            test=script.in_memory(images[1400:], labels[1400:], images[:1400]),
        )
        run = script.make_run(tmp_path / name, keep=keep, num_steps=8)
        trainer.train(run)
        outcomes.append(script.flatten(trainer.restore(run)))
    assert_same(*outcomes)


def test_averages_are_evaluated_and_embedded(tmp_path, capfd):
    """Both stages use the averages, not the parameters of the last step."""

    def tiny_net(*args, dtype, axis_name=None, **kwargs):
        return script.TinyNet(dtype=dtype, axis_name=axis_name)

    data = np.load(write_digits(tmp_path / "d.npz"))
    flags = (
        "--config=digits",
        f"--config.dataset.name={tmp_path / 'd.npz'}",
        f"--workdir={tmp_path / 'w'}",
        "--config.train.steps=8",
        "--config.train.warmup_steps=2",
        "--config.train.batch_size=32",
        "--config.train.ema_decay=0.9",
        "--config.embed.batch_size=64",
    )
    with mock.patch.object(models, "create", tiny_net):
        for stage in ("train", "embed"):
            assert run_here(capfd, stage, *flags).code == 0
    directory = tmp_path / "w" / "trials" / "full" / "seed0"
    result = json.loads((directory / "result.json").read_text())
    embedding, _ = artifacts.read_embeddings(tmp_path / "w" / "embeddings")
    with Checkpoints(directory / "checkpoints", keep=1) as checkpoints:
        optimizer = optimizers.create("sgd", momentum=0.9, weight_decay=0.0)
        create_state = make_initializer(script.TinyNet(), optimizer, image_shape=(8, 8, 1), with_average=True)
        state = jax.device_get(checkpoints.restore(create_state)[0])
    mean, std = channel_statistics(data["image_train"][..., None])

    def outcome(variables):
        net = script.TinyNet(axis_name=None)
        x = {split: (data[f"image_{split}"][..., None] - mean) / std for split in ("train", "test")}
        logits, _ = net.apply(variables, x["test"], train=False)
        losses = jax.nn.logsumexp(logits, axis=1) - logits[np.arange(60), data["label_test"]]
        return float(losses.mean()), net.apply(variables, x["train"], train=False)[1]

    loss, rows = outcome(state.average)
    assert result["loss"] == pytest.approx(loss, rel=1e-4)
    assert np.allclose(embedding, rows, atol=1e-4)
    loss, rows = outcome({"params": state.params, "batch_stats": state.batch_stats})
    assert abs(result["loss"] - loss) > 1e-2
    assert np.abs(embedding - rows).max() > 1e-2


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
    """Not bitwise, because XLA fuses operations differently in one program."""
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
    """Records every time that its training pass is traced."""

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
        assert traces == [(8, 8, 8, 1)], "one trace, with a device's share of the batch"
        assert compilations(caplog) > 0
        caplog.clear()
        trainer.train(script.make_run(tmp_path / "seed", seed=5))
        trainer.train(script.make_run(tmp_path / "keep", keep=np.arange(1000), warmup_steps=3))
        assert compilations(caplog) == 0
    trainer.train(script.make_run(tmp_path / "shorter", num_steps=5))
    trainer.train(script.make_run(tmp_path / "shorter", num_steps=9))
    assert len(traces) == 1


# The number of devices


@pytest.mark.slow
def test_devices_do_not_matter(tmp_path, cache):
    """Differences seen are below 1e-6; without BatchNorm's axis they are far above the tolerance."""
    outcomes = {8: script.train_and_embed(tmp_path / "8")}

    def run_on(num_devices):
        directory = tmp_path / str(num_devices)
        assert run_script("devices", directory, tmp_path / "8", num_devices=num_devices, cache=cache) == 0
        return [dict(np.load(directory / f"{name}.npz")) for name in ("outcome", "restored")]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        (outcomes[1], restored_on_one), (outcomes[2], restored_on_two) = pool.map(run_on, (1, 2))
    one = outcomes[1]
    assert [int(outcome["devices"]) for outcome in outcomes.values()] == [8, 1, 2]
    assert one["loss"][-1] < one["loss"][0] - 0.1, "the loss has fallen"
    assert len(one["loss"]) == 12
    assert one["embedding"].shape == (1400, 128)
    for outcome in (outcomes[2], outcomes[8]):
        for prefix in ("loss", "test_loss", "embedding", ".params", ".batch_stats", ".opt_state"):
            assert largest_difference(one, outcome, prefix) < 2e-5, prefix
        assert np.array_equal(outcome["accuracy"], one["accuracy"])
        assert np.array_equal(outcome["class_accuracy"], one["class_accuracy"])
    # A checkpoint restores onto any number of devices.
    state_of_eight = {name: array for name, array in outcomes[8].items() if name in restored_on_one}
    assert len(state_of_eight) > 10
    assert_same(restored_on_one, state_of_eight)
    assert_same(restored_on_two, state_of_eight)
    restored = script.flatten(script.tiny_trainer().restore(script.make_run(tmp_path / "2")))
    assert_same(restored, {name: outcomes[2][name] for name in restored})


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
