"""Scores of images: their values, the runs that compute them, and the selections that rank by them."""

import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_redundancy import models, training
from data_redundancy.errors import Stopped
from data_redundancy.runtime import devices as parallel
from data_redundancy.runtime import stopping
from data_redundancy.selection import Pool, select
from data_redundancy.training import scores
from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.inputs import InMemory
from data_redundancy.training.schedule import learning_rates
from data_redundancy.training.scores import Scorer, forgetting_events
from data_redundancy.training.trainer import _spans
from helpers import quick_net as quick_nets
from helpers import training_runs
from helpers import training_script as script
from helpers.command import TINY, ends, popen, run_here, start_all, write_digits
from helpers.training_runs import assert_same

TESTS = pathlib.Path(__file__).parents[1]
NUM = 101  # not a multiple of any batch size

without_tensorboard = pytest.fixture(autouse=True)(training_runs.without_tensorboard)
cache = pytest.fixture(scope="module", autouse=True)(training_runs.shared_compilations)


class TakesNone(InMemory):
    """Like a stream whose images 5 and 9 cannot be decoded."""

    @staticmethod
    def load(data, batch):
        examples = InMemory.load(data, batch)
        lost = (batch["index"] == 5) | (batch["index"] == 9)
        return examples.replace(weight=jnp.where(lost, 0.0, 1.0))


def split_of(kind=InMemory, num=NUM):
    images, labels = (x[:num] for x in script.digits())
    mean, std = training.channel_statistics(images)
    return kind(images, labels, mean=mean, std=std)


def variables_of(model, seed=0):
    """Random variables; those of BatchNorm differ from their initial values as well."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False))
    drawn = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)
    return {**drawn, "batch_stats": jax.tree.map(lambda x: np.abs(x) + 0.5, drawn["batch_stats"])}


def directly(model, variables, num=NUM):
    """Error norms, gradient norms and mistakes, computed image by image, with sums in float64."""
    images, labels = (x[:num] for x in script.digits())
    mean, std = training.channel_statistics(images)

    def logits_of(params, x):
        return model.apply({**variables, "params": params}, x[None], train=False)[0][0]

    def loss(params, x, label):
        logits = logits_of(params, x)
        return jax.nn.logsumexp(logits) - logits[label]

    logits_of, gradient, found = jax.jit(logits_of), jax.jit(jax.grad(loss)), []
    for image, label in zip(images, labels, strict=True):
        x = (image.astype(np.float32) - mean) / std
        logits = np.asarray(logits_of(variables["params"], x), np.float64)
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        probabilities[label] -= 1
        leaves = jax.tree.leaves(gradient(variables["params"], x, label))
        squares = sum(np.sum(np.asarray(leaf, np.float64) ** 2) for leaf in leaves)
        found.append((np.sqrt(np.sum(probabilities**2)), np.sqrt(squares), logits.argmax() != label))
    return (np.array(column) for column in zip(*found, strict=True))


# The scores


RESNET = pytest.param(script.resnet8(axis_name=None), marks=pytest.mark.slow, id="resnet8")


@pytest.mark.parametrize("model", [script.TinyNet(axis_name=None), RESNET])
def test_scores_are_those_of_each_image_by_itself(model):
    variables = variables_of(model)
    errors, gradients, mistaken = directly(model, variables)
    assert 0 < mistaken.sum() < NUM
    assert errors.std() > 0.01
    scorer = Scorer(model, split_of(), batch_size=64)
    variables = parallel.replicate(variables)
    for found, expected in ((scorer.error_norms(variables), errors), (scorer.gradient_norms(variables), gradients)):
        assert found.dtype == np.float32
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = scorer.mistaken(variables)
    assert found.dtype == bool
    assert np.array_equal(found, mistaken)


def test_an_image_that_cannot_be_decoded_scores_nothing():
    model = script.TinyNet(axis_name=None)
    variables = parallel.replicate(variables_of(model))
    whole, lossy = (Scorer(model, split_of(kind), batch_size=64) for kind in (InMemory, TakesNone))
    lost = np.isin(np.arange(NUM), [5, 9])
    for name in ("error_norms", "gradient_norms", "mistaken"):
        expected = getattr(whole, name)(variables)
        assert np.allclose(getattr(lossy, name)(variables), np.where(lost, 0, expected))
    assert expected[lost].any()


def test_the_batch_does_not_matter_nor_the_memory_for_gradients():
    model = script.TinyNet(axis_name=None)
    variables = parallel.replicate(variables_of(model))
    expected = Scorer(model, split_of(), batch_size=128).gradient_norms(variables)
    with (
        mock.patch.object(scores, "GRADIENT_BYTES", 1),
        mock.patch.object(parallel, "stack_local", wraps=parallel.stack_local) as stacked,
    ):
        found = Scorer(model, split_of(), batch_size=128).gradient_norms(variables)
    assert np.allclose(found, expected, rtol=1e-5)
    assert stacked.call_count == 13  # of one image for each of eight devices


def test_as_many_gradients_as_fit():
    assert scores.gradient_batch(512, 4 * 100_000) == 512
    assert scores.gradient_batch(512, 100 * 2**20) == 8 * 10
    assert scores.gradient_batch(512, 2**40) == 8


@pytest.mark.parametrize("function", [scores.error_norms, scores.gradient_norms, scores.mistakes])
def test_scores_are_computed_in_full_float32(function):
    model, split = models.create("resnet8", num_classes=10, dtype=jnp.float32), split_of(num=4)
    variables = variables_of(model)
    score = scores._over_devices(function, model, split.load).__wrapped__
    program = str(jax.make_jaxpr(score)(variables, split.data, {"index": jnp.arange(4)}))
    assert program.count("conv_general_dilated") >= 9
    assert "HIGHEST" in program
    assert "precision=None" not in program


ON_OTHER_DEVICES = f"""
import sys
sys.modules["tensorflow"] = None
sys.path.insert(0, {str(TESTS)!r})
import numpy as np, jax
from helpers.joining import join
join(sys.argv[1:])
from stages import test_score
np.savez(f"{{jax.device_count()}}-{{jax.process_index()}}.npz", **test_score.all_scores())
"""


def all_scores():
    model = script.TinyNet(axis_name=None)
    variables = parallel.replicate(variables_of(model))
    scorer = Scorer(model, split_of(), batch_size=16)
    return {name: getattr(scorer, name)(variables) for name in ("error_norms", "gradient_norms", "mistaken")}


@pytest.mark.slow
def test_devices_and_processes_do_not_matter(tmp_path):
    expected = all_scores()
    alone = [popen(["-c", ON_OTHER_DEVICES], cwd=tmp_path, devices=devices) for devices in (1, 2)]
    for code, _, err in [*ends(alone), *ends(start_all(["-c", ON_OTHER_DEVICES], cwd=tmp_path, devices=2))]:
        assert code == 0, err
    names = ["1-0.npz", "2-0.npz", "4-0.npz", "4-1.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        found = np.load(tmp_path / name)
        for score, values in expected.items():
            assert found[score].dtype == values.dtype
            assert np.allclose(found[score], values, rtol=1e-5), (name, score)


# Forgetting


def test_forgetting_events_by_hand():
    right = [
        [1, 1, 0, 0, 1],
        [1, 0, 0, 1, 0],
        [1, 1, 0, 1, 1],
        [1, 0, 0, 1, 0],
    ]
    # Never forgotten; twice; never learned, which counts 4 + 1; learned once and kept; twice.
    assert forgetting_events(np.array(right) == 0).tolist() == [0, 2, 5, 0, 2]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=2, max_size=9))
def test_forgetting_events_as_one_counts_them(mistaken):
    for example, found in enumerate(forgetting_events(np.array(mistaken))):
        wrong = [evaluation[example] for evaluation in mistaken]
        events = sum(not before and after for before, after in itertools.pairwise(wrong))
        assert found == (len(wrong) + 1 if all(wrong) else events)


# Callbacks during a run


@pytest.fixture(scope="module")
def tiny():
    return script.tiny_trainer()


def looks_at(trainer, run, steps, *, fail_at=None):
    seen = []

    def look(step, state):
        if step == fail_at:
            raise training_runs.CutError
        seen.append((step, script.flatten(state)))

    trainer.train_with_callback(run, steps, look)
    return seen


def test_looking_changes_nothing(tiny, tmp_path):
    tiny.train(script.make_run(tmp_path / "plain"))
    run = script.make_run(tmp_path / "visited")
    seen = looks_at(tiny, run, (2, 5, 11))
    assert [step for step, _ in seen] == [2, 5, 11]
    assert [int(state[".step"]) for _, state in seen] == [2, 5, 11]
    assert_same(seen[-1][1], script.flatten(tiny.restore(script.make_run(tmp_path / "plain"))))


def test_a_run_may_end_early_on_the_schedule_of_the_whole(tiny, tmp_path):
    run = script.make_run(tmp_path / "short")
    seen = looks_at(tiny, run, (5,))
    assert int(tiny.restore(run).step) == 5
    rates = learning_rates(peak=0.1, num_steps=11, warmup_steps=2)
    lines = script.read_metrics(tmp_path / "short")
    assert [(line["step"], line["learning_rate"]) for line in lines] == [(s, float(rates[s - 1])) for s in (3, 4, 5)]
    assert_same(seen[0][1], looks_at(tiny, script.make_run(tmp_path / "whole"), (5, 11))[0][1])


def test_a_look_that_was_cut_off_is_had_again(tiny, tmp_path):
    run = script.make_run(tmp_path / "cut")
    with pytest.raises(training_runs.CutError):
        looks_at(tiny, run, (3, 7, 9), fail_at=7)
    assert int(tiny.restore(run).step) == 7
    seen = looks_at(tiny, run, (3, 7, 9))
    expected = looks_at(tiny, script.make_run(tmp_path / "plain"), (3, 7, 9))
    assert [step for step, _ in seen] == [7, 9]
    for (_, found), (_, state) in zip(seen, expected[1:], strict=True):
        assert_same(found, state)


def test_calls_end_where_a_run_is_looked_at():
    assert list(_spans(0, (10,), 4)) == [(0, 4), (4, 8), (8, 10)]
    assert list(_spans(5, (10,), 4)) == [(5, 8), (8, 10)]
    assert list(_spans(0, (6, 12), 4)) == [(0, 4), (4, 6), (6, 10), (10, 12)]
    assert list(_spans(6, (6, 12), 4)) == [(6, 10), (10, 12)]
    assert list(_spans(12, (6, 12), 4)) == []


@contextlib.contextmanager
def sigterm_raises():
    before = signal.getsignal(signal.SIGTERM)
    stopping.install()
    try:
        yield
    finally:
        stopping._requested = False
        signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_a_look_but_no_step(tiny, tmp_path):
    run, looks = script.make_run(tmp_path), []

    def look(step, state):
        looks.append(step)
        os.kill(os.getpid(), signal.SIGTERM)
        looks.append("ended")

    with sigterm_raises(), pytest.raises(Stopped):
        tiny.train_with_callback(run, (3, 6), look)
    assert looks == [3]
    assert int(tiny.restore(run).step) == 3


def test_sigterm_is_heeded_though_it_came_before():
    with sigterm_raises(), stopping.deferred():
        with stopping.heeded():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped), stopping.heeded():
            pytest.fail("not ended")
        os.kill(os.getpid(), signal.SIGTERM)  # deferred again


# The command


SCORES = ("el2n", "grad_norm", "forgetting")
COMMAND = (
    *TINY,
    "--config.train.steps=24",
    "--config.train.learning_rate=0.02",
    "--config.dataset.name=d.npz",
    "--config.score.epochs=1",
    "--workdir=w",
)


def command(*overrides, methods="el2n,grad_norm,forgetting", seeds="0,1"):
    """The flags of the command `score`, with the methods and seeds."""
    return (*COMMAND, f"--config.sweep.methods={methods}", f"--config.score.seeds={seeds}", *overrides)


STEPS = [6, 12, 18, 24]


@pytest.fixture
def quick_net():
    with quick_nets.quick_net():
        yield


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A folder for a workdir with all scores."""
    folder = tmp_path_factory.mktemp("scored")
    write_digits(folder / "d.npz")
    return folder


@pytest.fixture
def folder(scored, tmp_path, monkeypatch, quick_net, capfd):
    """The current directory: a copy of the folder of all scores, which the test may change."""
    if not (scored / "w").exists():
        monkeypatch.chdir(scored)
        assert run_here(capfd, "score", *command()).code == 0
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def empty(tmp_path, monkeypatch, quick_net):
    write_digits(tmp_path / "d.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(name, seed):
    return np.load(pathlib.Path("w", "scores", name, f"seed{seed}", "scores.npy"))


def everything():
    return {f"{name} {seed}": read(name, seed) for name in SCORES for seed in (0, 1)}


def mtimes():
    return {str(path): path.stat().st_mtime_ns for path in pathlib.Path("w/scores").rglob("*") if path.is_file()}


def labels():
    return np.load("d.npz")["label_train"]


def test_what_the_stage_writes(folder):
    assert sorted(os.listdir("w")) == ["config.json", "scores"]
    assert sorted(os.listdir("w/scores")) == sorted(SCORES)
    for name in SCORES:
        for seed in (0, 1):
            assert read(name, seed).shape == (200,)
            manifest = json.loads(pathlib.Path("w", "scores", name, f"seed{seed}", "manifest.json").read_text())
            fingerprint = manifest["fingerprint"]
            assert (fingerprint["scores"], fingerprint["train.seed"], fingerprint["train.steps"]) == ([name], seed, 24)
            assert fingerprint["score.steps"] == [24 if name == "forgetting" else 6]
        assert not np.array_equal(read(name, 0), read(name, 1))


def test_a_run_that_gives_scores_is_the_one_of_the_stage_train(empty, capfd):
    """The scores of the last step equal those computed from the run's last checkpoint."""
    whole = "--config.score.epochs=3.84"
    for stage in ("train", "score"):
        assert run_here(capfd, stage, *command(whole, seeds=0)).code == 0
    optimizer = training.optimizers.create("sgd", momentum=0.9, weight_decay=0.0, trust_coefficient=0.0)
    create_state = training.state.make_initializer(script.TinyNet(), optimizer, image_shape=(8, 8, 1))
    with Checkpoints((empty / "w/trials/full/seed0/checkpoints"), keep=1) as checkpoints:
        state = jax.device_get(checkpoints.restore(create_state)[0])
    assert int(state.step) == 24
    model, data = script.TinyNet(axis_name=None), np.load("d.npz")
    mean, std = training.channel_statistics(data["image_train"][..., None])
    split = InMemory(data["image_train"][..., None], data["label_train"].astype(np.int32), mean=mean, std=std)
    scorer, variables = Scorer(model, split, batch_size=64), parallel.replicate(state.variables)
    assert np.allclose(read("el2n", 0), scorer.error_norms(variables), rtol=1e-4, atol=1e-6)
    assert np.allclose(read("grad_norm", 0), scorer.gradient_norms(variables), rtol=1e-4, atol=1e-6)


def test_forgetting_is_counted_after_every_epoch(empty, capfd):
    seen, mistaken = [], Scorer.mistaken

    def noted(self, variables):
        seen.append(mistaken(self, variables))
        return seen[-1]

    with mock.patch.object(Scorer, "mistaken", noted):
        assert run_here(capfd, "score", *command(methods="forgetting")).code == 0
    assert sorted(os.listdir("w/scores")) == ["forgetting"]
    assert len(seen) == 2 * len(STEPS)
    for seed, of_run in enumerate((seen[:4], seen[4:])):
        for example, found in enumerate(read("forgetting", seed)):
            wrong = [evaluation[example] for evaluation in of_run]
            events = sum(not before and after for before, after in itertools.pairwise(wrong))
            assert found == (5 if all(wrong) else events)
        assert {0, 1, 5} <= set(read("forgetting", seed))


@pytest.mark.parametrize("name", SCORES)
def test_select_keeps_the_highest_means(folder, capfd, name):
    overrides = (f"--config.select.method={name}", "--config.select.fraction=0.3")
    assert run_here(capfd, "select", *command(*overrides)).code == 0
    keep = np.load(f"w/selections/{name}-0.3/keep.npy")
    assert len(keep) == 140
    mean = (read(name, 0).astype(np.float64) + read(name, 1)) / 2
    for label in range(10):
        members = np.flatnonzero(labels() == label)
        kept = np.intersect1d(members, keep)
        order = sorted(members, key=lambda i: (-mean[i], i))
        assert kept.tolist() == sorted(order[: len(kept)])
    manifest = json.loads(pathlib.Path(f"w/selections/{name}-0.3/manifest.json").read_text())
    assert manifest["fingerprint"]["score.seeds"] == [0, 1]


def test_select_by_ccs(folder, capfd):
    overrides = [f"--config.select.{x}" for x in ("method=ccs", "score=forgetting", "hardest_pruned=0.1")]
    assert run_here(capfd, "select", *command(*overrides)).code == 0
    mean = (read("forgetting", 0).astype(np.float64) + read("forgetting", 1)) / 2
    pool = Pool(labels(), scores={"forgetting": mean})
    expected = select(pool, method="ccs", prune_fraction=0.1, score="forgetting", hardest_pruned=0.1)
    assert np.array_equal(np.load("w/selections/ccs-0.1-seed0/keep.npy"), expected.keep)


def test_a_global_allocation_goes_by_trees_and_scores(folder, capfd):
    overrides = ("--config.select.method=el2n", "--config.select.allocation=global")
    for stage in ("train", "embed", "cluster", "select"):
        assert run_here(capfd, stage, *command(*overrides)).code == 0
    assert len(np.load("w/selections/el2n-0.1/keep.npy")) == 180


def test_what_is_done_is_skipped(folder, capfd):
    before = mtimes()
    done = run_here(capfd, "score", *command())
    assert "score: already done, skipped (w/scores)" in done.err
    assert mtimes() == before


def test_one_more_seed_and_one_method_less(folder, capfd):
    before = mtimes()
    more = command(methods="el2n", seeds="0,1,2")
    done = run_here(capfd, "score", *more)
    assert "score: 2 of 3 runs already done, skipped" in done.err
    assert mtimes().items() >= before.items()
    assert [path for path in mtimes() if "seed2" in path and "el2n" not in path] == []
    assert not np.array_equal(read("el2n", 2), read("el2n", 1))
    # A selection by the mean of two runs is rejected for three.
    options = ("--config.select.method=el2n", "--config.select.fraction=0.3")
    assert run_here(capfd, "select", *command(*options)).code == 0
    done = run_here(capfd, "select", *more, *options)
    assert done.code == 2
    assert "was made with different inputs: score.seeds was [0, 1] and is now [0, 1, 2]." in done.err


@pytest.mark.parametrize(("call", "seed0_is_done"), [(3, False), (6, True)])
def test_a_run_that_is_cut_off_goes_on(folder, capfd, call, seed0_is_done):
    """Interrupted at the third look of seed 0, and at the second look of seed 1."""
    expected = everything()
    shutil.rmtree("w")
    calls, mistaken = [], Scorer.mistaken

    def cut(self, variables):
        calls.append(len(calls))
        if len(calls) == call:
            raise training_runs.CutError
        return mistaken(self, variables)

    with mock.patch.object(Scorer, "mistaken", cut), pytest.raises(training_runs.CutError):
        run_here(capfd, "score", *command())
    before = mtimes()
    finished = {path for path in before if "run-seed" not in path}
    assert len(finished) == 2 * ((3 if seed0_is_done else 0) + 2)  # el2n and grad_norm are written early
    with mock.patch.object(Scorer, "mistaken", autospec=True, side_effect=mistaken) as again:
        done = run_here(capfd, "score", *command())
    assert done.code == 0
    assert f"score seed {int(seed0_is_done)}: resumed at step {STEPS[(call - 1) % 4]} of " in done.err
    assert ("score: 1 of 2 runs already done, skipped" in done.err) == seed0_is_done
    assert again.call_count == 8 - (call - 1)
    assert all(mtimes()[path] == before[path] for path in finished)
    assert_same(everything(), expected)
    assert sorted(os.listdir("w/scores")) == sorted(SCORES)


def test_a_run_that_lost_something_says_so(empty, capfd):
    alone = command(methods="forgetting")
    mistaken = mock.patch.object(Scorer, "mistaken", side_effect=[np.zeros(200, bool)] * 2 + [training_runs.CutError])
    with mistaken, pytest.raises(training_runs.CutError):
        run_here(capfd, "score", *alone)
    os.remove("w/scores/run-seed0/mistaken/6.npy")
    done = run_here(capfd, "score", *alone)
    assert done.code == 2
    assert "run-seed0: has lost the files from which the scores forgetting are computed. Remove" in done.err


def test_no_method_needs_scores(empty, capfd):
    done = run_here(capfd, "score", *command(methods="agglomerative,random"))
    assert (done.code, done.err.splitlines()[-1]) == (0, "score: no method needs scores, skipped")
    assert os.listdir("w") == ["config.json"]


@pytest.mark.parametrize("method", [*SCORES, "ccs"])
@pytest.mark.parametrize("stage", ["select", "sweep"])
def test_without_the_scores(empty, capfd, stage, method):
    name = "el2n" if method == "ccs" else method
    done = run_here(capfd, stage, *command(f"--config.select.method={method}", methods=method))
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert re.search(
        rf"/w/scores/{name}/seed0: does not exist\. Run 'data-redundancy score' with this workdir first", last
    )


@pytest.mark.parametrize("stage", ["select", "sweep"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: np.where(np.arange(200) == 17, np.nan, x), "must have finite numbers, but index 17 is nan"),
        (lambda x: x[:199], r"must have one number for each of 200 examples, but has shape \(199,\)"),
    ],
)
def test_scores_that_someone_changed(folder, capfd, stage, change, told):
    np.save("w/scores/el2n/seed1/scores.npy", change(read("el2n", 1)))
    done = run_here(capfd, stage, *command("--config.select.method=el2n", methods="el2n"))
    assert done.code == 2
    assert re.search(rf"/w/scores/el2n/seed1: {told}$", done.err.splitlines()[-1])
    assert "Traceback" not in done.err
    assert not os.path.exists("w/selections")


def test_scores_of_another_training(folder, capfd):
    done = run_here(capfd, "score", *command("--config.train.learning_rate=0.03"))
    assert done.code == 2
    assert "seed0: was made with different inputs: train.learning_rate was 0.02 and is now 0.03." in done.err


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("score.epochs=5", "--config.score.epochs=5.0: must be at most 3.84, the epochs of a run on the full set"),
        (
            "score.forgetting_epochs=4",
            "--config.score.forgetting_epochs=4.0: must be at most 3.84, the epochs of a run on the full set",
        ),
        (
            "score.forgetting_epochs=1.5",
            "--config.score.forgetting_epochs=1.5: makes 9 steps, but forgetting is counted between the ends of two "
            "epochs and needs at least 12",
        ),
        ("score.epochs=0", "--config.score.epochs=0: must be a number greater than 0 and at most 100,000"),
        ("score.seeds=-1", "--config.score.seeds=-1: must be one or more different values in brackets, each "),
        ("score.seeds=(1,1)", "--config.score.seeds=(1,1): must be one or more different values in brackets, each "),
    ],
)
def test_what_cannot_be_scored(empty, capfd, override, told):
    done = run_here(capfd, "score", *COMMAND, "--config.sweep.methods=el2n,forgetting", f"--config.{override}")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"data-redundancy: {told}")
    assert not os.path.exists("w/scores")


@pytest.mark.slow
def test_a_whole_job_scores_before_it_selects(empty, capfd):
    done = run_here(capfd, "run", *command("--config.select.method=el2n", methods="el2n,random"))
    assert done.code == 0, done.err
    said = [done.err.index(f"\n{stage}: ") for stage in ("cluster", "score", "select", "sweep")]
    assert said == sorted(said)
    assert os.listdir("w/scores") == ["el2n"]
    assert re.findall(r"^.* training runs? to do$", done.err, re.MULTILINE) == ["run: 8 training runs to do"]
    trials = ["el2n-0.2", "full", "random-0.2-seed0", "random-0.2-seed1"]
    assert sorted(os.listdir("w/trials")) == trials


@pytest.mark.slow
def test_two_processes_score_as_one(tmp_path):
    """With the real model; sums in another order differ by rounding, which 6 steps of training amplify."""
    write_digits(tmp_path / "d.npz")
    score = ("-m", "data_redundancy", "score", *command(methods="el2n,forgetting"))
    one = popen([*score, "--workdir=one"], cwd=tmp_path, devices=2)
    for code, _, err in [*ends([one]), *ends(start_all([*score, "--workdir=two"], cwd=tmp_path, devices=1))]:
        assert code == 0, err
    for workdir in ("one", "two"):
        assert sorted(os.listdir(tmp_path / workdir / "scores")) == ["el2n", "forgetting"]
    for seed in (0, 1):
        found = {
            (workdir, name): np.load(tmp_path / workdir / "scores" / name / f"seed{seed}" / "scores.npy")
            for workdir in ("one", "two")
            for name in ("el2n", "forgetting")
        }
        assert np.allclose(found["one", "el2n"], found["two", "el2n"], atol=1e-3)
        assert found["one", "el2n"].std() > 0.01
        assert np.mean(found["one", "forgetting"] == found["two", "forgetting"]) > 0.9
        assert len(np.unique(found["one", "forgetting"])) > 1
