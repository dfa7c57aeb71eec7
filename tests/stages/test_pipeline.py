"""The whole pipeline in processes: a TFDS data set or an .npz, artifacts on disk, resuming, several processes."""

import ast
import csv
import json
import os
import pathlib
import re
import shutil
import signal
import time

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.cluster.hierarchy
import tensorstore

import data_redundancy as dr
from helpers.command import (
    LIMITED,
    NO_TENSORFLOW,
    TINY,
    error_line,
    mtimes,
    popen,
    run_here,
    run_process,
    run_two_processes,
    write_digits,
)

pytestmark = pytest.mark.slow

NUM_TRAIN, NUM_TEST = 200, 60
PREPARED = (
    "--config.dataset.data_dir=tfds",
    f"--config.dataset.train_split=train[:{NUM_TRAIN}]",
    f"--config.dataset.test_split=test[:{NUM_TEST}]",
)
FROM_NPZ = ("--config.dataset.name=d.npz",)
SELECTIONS = ["agglomerative-0.1", "agglomerative-0.2", "random-0.2-seed0", "random-0.2-seed1"]
TRIALS = [
    f"{name}/seed{seed}"
    for name, seed in [
        ("full", 0),
        ("full", 1),
        ("agglomerative-0.2", 0),
        ("agglomerative-0.2", 1),
        ("random-0.2-seed0", 0),
        ("random-0.2-seed1", 1),
    ]
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """`run` on digits that `prepare` writes as a TFDS data set: the folder with the workdir `w`, and the output."""
    folder = tmp_path_factory.mktemp("prepared")
    return folder, run_process("run", *TINY, *PREPARED, "--workdir=w", cwd=folder)


@pytest.fixture(scope="module")
def from_npz(tmp_path_factory):
    """The same on an .npz, in a process that cannot import TensorFlow."""
    folder = tmp_path_factory.mktemp("npz")
    write_digits(folder / "d.npz", NUM_TRAIN, NUM_TEST)
    return folder, run_process("run", *TINY, *FROM_NPZ, "--workdir=w", cwd=folder, code=NO_TENSORFLOW)


def read_embeddings(workdir):
    arrays = []
    for name in ("embedding", "label"):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(workdir / "embeddings" / name)}}
        arrays.append(np.asarray(tensorstore.open(spec, open=True).result().read().result()))
    return arrays


# The output and artifacts of a finished job, for both sources


@pytest.fixture(params=["prepared", "from_npz"])
def job(request):
    folder, done = request.getfixturevalue(request.param)
    assert done.code == 0, done.err
    return folder, done


def test_it_says_what_it_does_without_noise(job):
    folder, done = job
    for stage in ("prepare", "train", "embed", "cluster", "select", "sweep"):
        assert re.search(rf"^{stage}: ", done.err, re.MULTILINE), stage
    assert "sweep: trial 6/6, random-0.2-seed1 seed 1: test accuracy " in done.err
    noise = done.err.replace("inflates the error rate", "")  # of a test, said once at the end of the sweep
    assert len(done.err) - len(noise) == len("inflates the error rate")
    assert not re.search(r"warn|error|traceback|I0000|W0000|E0000|oneDNN|cuda", noise, re.IGNORECASE), done.err
    named = [line for line in done.out.splitlines() if line.startswith("w/report/")]
    assert len(named) == 5
    assert all((folder / name).exists() for name in named)
    assert "random 20%" in done.out


def test_every_artifact_is_there_and_nothing_else(job):
    workdir = job[0] / "w"
    assert sorted(os.listdir(workdir)) == [
        "config.json",
        "dendrograms",
        "embeddings",
        "embeddings_test",
        "report",
        "selections",
        "trials",
    ]
    assert sorted(os.listdir(workdir / "selections")) == SELECTIONS
    assert sorted(f"{p.parent.name}/{p.name}" for p in workdir.glob("trials/*/*")) == sorted(TRIALS)
    assert sorted(os.listdir(workdir / "report")) == [
        "accuracy.png", "difference.png", "index.html", "results.csv", "results.md",
    ]  # fmt: skip
    assert not [path for path in workdir.rglob("*") if "partial" in path.name or "tmp" in path.name]
    config = json.loads((workdir / "config.json").read_text())
    assert (config["train"]["steps"], config["sweep"]["fractions"]) == (8, [0.2])


def test_the_trials(job):
    workdir, has_tensorboard = job[0] / "w", (job[0] / "tfds").exists()
    for name in TRIALS:
        trial = workdir / "trials" / name
        result = json.loads((trial / "result.json").read_text())
        assert f"{result['selection']}/seed{result['seed']}" == name
        assert result["num_kept"] == (NUM_TRAIN if result["selection"] == "full" else 160)
        assert result["method"] == result["selection"].partition("-")[0]
        assert result["prune_fraction"] == (0 if result["selection"] == "full" else 0.2)
        assert (result["steps"], len(result["class_accuracy"]), len(result["class_names"])) == (8, 10, 10)
        assert result["accuracy"] * NUM_TEST == pytest.approx(round(result["accuracy"] * NUM_TEST))
        lines = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [2, 4, 6, 8]
        assert all(line.keys() >= {"loss", "accuracy", "learning_rate"} for line in lines)
        assert sorted(path.name for path in (trial / "checkpoints").iterdir()) == ["4", "8"]
        assert len(list(trial.glob("events.out.tfevents.*"))) == has_tensorboard


def test_the_embeddings(job):
    workdir = job[0] / "w"
    embeddings, labels = read_embeddings(workdir)
    assert (embeddings.shape, embeddings.dtype) == ((NUM_TRAIN, 64), np.float32)
    assert (labels.shape, labels.dtype) == ((NUM_TRAIN,), np.int32)
    assert np.isfinite(embeddings).all()
    assert (embeddings != 0).any(axis=1).all()
    manifest = json.loads((workdir / "embeddings" / "manifest.json").read_text())
    assert (manifest["num_examples"], manifest["num_dimensions"]) == (NUM_TRAIN, 64)
    assert manifest["fingerprint"]["train.steps"] == 8


def test_the_dendrograms_equal_scipys(job):
    workdir = job[0] / "w"
    embeddings, labels = read_embeddings(workdir)
    assert len(list((workdir / "dendrograms").glob("class_*.npz"))) == 10
    for label in range(10):
        with np.load(workdir / "dendrograms" / f"class_{label}.npz") as tree:
            assert tree["members"].tolist() == np.flatnonzero(labels == label).tolist()
            members = embeddings[tree["members"]].astype(np.float64)
            expected = scipy.cluster.hierarchy.linkage(members, "complete", "cosine")
            np.testing.assert_allclose(tree["linkage"], expected, rtol=1e-9, atol=1e-12)


def test_the_selections(job):
    workdir = job[0] / "w"
    embeddings, labels = read_embeddings(workdir)
    for name in SELECTIONS:
        directory = workdir / "selections" / name
        method, fraction = name.split("-")[0], float(name.split("-")[1])
        keep = np.load(directory / "keep.npy")
        assert keep.dtype == np.int64
        assert len(keep) == NUM_TRAIN - round(fraction * NUM_TRAIN)
        assert (np.diff(keep) > 0).all()
        rows = pq.read_table(directory / "examples.parquet").to_pydict()
        columns = [
            "index",
            "tfds_id",
            "file_name",
            "label",
            "class_name",
            "cluster",
            "kept",
            "representative",
            "distance",
        ]
        assert list(rows) == columns
        assert rows["index"] == list(range(NUM_TRAIN))
        assert rows["label"] == labels.tolist()
        assert rows["class_name"] == [str(label) for label in labels]
        assert np.flatnonzero(rows["kept"]).tolist() == keep.tolist()
        seed = int(name[-1]) if method == "random" else 0
        expected = dr.select(dr.cluster(embeddings, labels), prune_fraction=fraction, method=method, seed=seed)
        assert np.array_equal(keep, expected.keep)


def test_the_report(job):
    directory = job[0] / "w" / "report"
    with (directory / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["prune_fraction"], row["num_kept"], row["num_seeds"]) for row in rows] == [
        ("full", "0.0", "200", "2"),
        ("agglomerative", "0.2", "160", "2"),
        ("random", "0.2", "160", "2"),
    ]
    accuracies = [
        json.loads((directory.parent / "trials" / "full" / f"seed{k}" / "result.json").read_text())["accuracy"]
        for k in (0, 1)
    ]
    assert float(rows[0]["accuracy_mean"]) == pytest.approx(np.mean(accuracies))
    assert float(rows[0]["accuracy_std"]) == pytest.approx(np.std(accuracies, ddof=1))
    assert (directory / "accuracy.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (directory / "results.md").read_text().count("|") > 20


def test_tfds_ids_come_through_to_the_selection(prepared):
    rows = pq.read_table(prepared[0] / "w" / "selections" / "agglomerative-0.1" / "examples.parquet").to_pydict()
    assert all(re.fullmatch(r"digits-train\.tfrecord-\d+-of-\d+__\d+", tfds_id) for tfds_id in rows["tfds_id"])
    assert len(set(rows["tfds_id"])) == NUM_TRAIN


# Running it again


def test_a_rerun_skips_everything(prepared):
    folder, first = prepared
    before = mtimes(folder)
    done = run_process("run", *TINY, *PREPARED, "--workdir=w", cwd=folder)
    assert done.code == 0, done.err
    assert mtimes(folder) == before
    assert done.out == first.out
    for stage in ("prepare", "train", "embed", "cluster", "select"):
        assert re.search(rf"^{stage}: already done, skipped \(", done.err, re.MULTILINE), done.err
    assert "sweep: 6 of 6 trials already done, skipped" in done.err


def test_a_killed_job_goes_on_to_the_same_result(from_npz, tmp_path):
    folder, _ = from_npz
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST)
    command = ["run", *TINY, *FROM_NPZ, "--workdir=w"]
    process = popen(["-c", NO_TENSORFLOW, *command], cwd=tmp_path)
    third = tmp_path / "w" / "trials" / TRIALS[2]
    deadline = time.monotonic() + 200
    while not (third / "checkpoints" / "4").exists():  # halfway through the third of six trials
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = mtimes(tmp_path / "w" / "trials" / "full")
    done = run_process(*command, cwd=tmp_path, code=NO_TENSORFLOW)
    assert done.code == 0, done.err
    assert re.search(r"sweep: [23] of 6 trials already done, skipped", done.err)
    assert mtimes(tmp_path / "w" / "trials" / "full") == finished
    for name in ("results.csv", "results.md"):
        assert (tmp_path / "w" / "report" / name).read_text() == (folder / "w" / "report" / name).read_text()
    for name in ("metrics.jsonl",):
        assert (third / name).read_text() == (folder / "w" / "trials" / TRIALS[2] / name).read_text()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["train.learning_rate=0.2"], "train.learning_rate was 0.1 and is now 0.2"),
        (["model.width=2"], "model.width was 1 and is now 2"),
        (["dataset.train_split=train[:150]"], "dataset.num_train was 200 and is now 150"),
    ],
)
def test_artifacts_made_from_something_else_are_refused(from_npz, capfd, monkeypatch, overrides, told):
    monkeypatch.chdir(from_npz[0])
    before = mtimes(from_npz[0])
    overrides = [f"--config.{override}" for override in overrides]
    for stage in ("train", "embed", "cluster", "select", "sweep", "report"):
        done = run_here(capfd, stage, *TINY, *FROM_NPZ, *overrides, "--workdir=w")
        assert done.code == 2, stage
        line = done.err.splitlines()[-1]
        assert re.match(r"data-redundancy: .*/w/\S+: was made with different inputs: ", line)
        assert told in line or "more fields" in line
    assert mtimes(from_npz[0]) == before


@pytest.fixture
def own_copy(from_npz, tmp_path, monkeypatch):
    shutil.copytree(from_npz[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy" / "w"


def test_another_test_split_concerns_trials_and_its_own_embeddings_only(own_copy, capfd):
    override = f"--config.dataset.test_split=test[:{NUM_TEST - 8}]"
    for stage, code in {"train": 2, "embed": 2, "cluster": 0, "select": 0, "report": 2}.items():
        assert run_here(capfd, stage, *TINY, *FROM_NPZ, override, "--workdir=w").code == code, stage


def test_class_names_are_part_of_the_data_set(own_copy, capfd):
    override = "--config.dataset.class_names=" + ",".join("abcdefghij")
    done = run_here(capfd, "select", *TINY, *FROM_NPZ, override, "--workdir=w")
    assert done.code == 2
    assert "dataset.class_names was ['0', " in done.err


def test_unfinished_trees_are_not_taken_for_whole(own_copy, capfd):
    shutil.rmtree(own_copy / "selections")
    missing = own_copy / "dendrograms" / "class_3.npz"
    tree = missing.read_bytes()
    missing.unlink()
    done = run_here(capfd, "select", *TINY, *FROM_NPZ, "--workdir=w")
    assert done.code == 2
    assert (
        "w/dendrograms: lacks the dendrograms of 1 of 10 classes. Run 'data-redundancy cluster' to its end." in done.err
    )
    before = mtimes(own_copy / "dendrograms")
    assert run_here(capfd, "cluster", *TINY, *FROM_NPZ, "--workdir=w").code == 0
    after = mtimes(own_copy / "dendrograms")
    assert missing.read_bytes() == tree
    assert all(after[name] == before[name] for name in before if name.startswith("class_"))


def test_trees_of_unknown_making_are_made_again(own_copy, capfd):
    (own_copy / "dendrograms" / "manifest.json").unlink()
    (own_copy / "dendrograms" / "class_0.npz").write_bytes(b"half")
    assert run_here(capfd, "cluster", *TINY, *FROM_NPZ, "--config.cluster.linkage=single", "--workdir=w").code == 0
    embeddings, labels = read_embeddings(own_copy)
    expected = dr.cluster(embeddings, labels, linkage="single")
    for label, tree in expected.trees.items():
        with np.load(own_copy / "dendrograms" / f"class_{label}.npz") as arrays:
            assert np.array_equal(arrays["linkage"], tree.merges)


def test_a_checkpoint_that_is_gone_is_told(own_copy, capfd):
    shutil.rmtree(own_copy / "embeddings")
    shutil.rmtree(own_copy / "trials" / "full" / "seed0" / "checkpoints")
    done = run_here(capfd, "embed", *TINY, *FROM_NPZ, "--workdir=w")
    assert done.code == 2
    assert "w/trials/full/seed0: has no checkpoint of the last step, 8. Remove the directory and run" in done.err


def test_nothing_to_report_is_told(own_copy, capfd):
    before = mtimes(own_copy)
    config = [flag.replace("fractions=(0.2,)", "fractions=(0.7,)") for flag in TINY]
    done = run_here(capfd, "report", *config, *FROM_NPZ, "--config.select.fraction=0.7", "--workdir=w")
    assert done.code == 2
    assert "w: has no selection to report. Run 'data-redundancy select' or 'sweep' first." in done.err
    assert mtimes(own_copy) == before


def test_another_data_set_of_the_same_size_is_noticed(from_npz, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(from_npz[0] / "w", "w")
    labels = np.roll(np.load(from_npz[0] / "d.npz")["label_train"], 1)
    write_digits("d.npz", NUM_TRAIN, NUM_TEST, label_train=labels)
    done = run_here(capfd, "cluster", *TINY, *FROM_NPZ, "--workdir=w")
    assert done.code == 2
    assert re.search(
        r"w/embeddings: was made with different inputs: dataset\.train_digest was '\w+' and is now '\w+'\. ", done.err
    )


def test_another_linkage_concerns_the_trees_only(from_npz, capfd, monkeypatch):
    monkeypatch.chdir(from_npz[0])
    command = [*TINY, *FROM_NPZ, "--workdir=w", "--config.cluster.linkage=average"]
    assert run_here(capfd, "embed", *command).code == 0
    done = run_here(capfd, "cluster", *command)
    assert (
        "w/dendrograms: was made with different inputs: cluster.linkage was 'complete' and is now 'average'."
        in done.err
    )
    assert run_here(capfd, "embed", *TINY, *FROM_NPZ, "--workdir=w").code == 0  # restores config.json


# Full disks


@pytest.mark.parametrize("num_bytes", [100, 5_000])
def test_a_disk_that_fills_while_embedding(from_npz, tmp_path, num_bytes):
    shutil.copytree(from_npz[0], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "w" / "embeddings")
    before = mtimes(tmp_path)
    done = run_process(num_bytes, "embed", *TINY, *FROM_NPZ, "--workdir=w", cwd=tmp_path, code=LIMITED)
    check_told(done, "w/embeddings")
    assert mtimes(tmp_path) == before


def test_a_disk_that_fills_while_training(from_npz, tmp_path):
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST)
    done = run_process(50_000, "train", *TINY, *FROM_NPZ, "--workdir=w", cwd=tmp_path, code=LIMITED)
    check_told(done, "w/trials/full/seed0")
    trial = tmp_path / "w" / "trials" / "full" / "seed0"
    assert not (trial / "result.json").exists()
    # When the disk has space again, the same command completes the run.
    done = run_process("train", *TINY, *FROM_NPZ, "--workdir=w", cwd=tmp_path, code=NO_TENSORFLOW)
    assert done.code == 0, done.err
    uninterrupted = from_npz[0] / "w" / "trials" / "full" / "seed0"
    assert (trial / "metrics.jsonl").read_text() == (uninterrupted / "metrics.jsonl").read_text()


def test_a_disk_that_fills_while_reporting_leaves_the_old_report(from_npz, tmp_path):
    shutil.copytree(from_npz[0], tmp_path, dirs_exist_ok=True)
    before = mtimes(tmp_path)
    command = ["report", *TINY, *FROM_NPZ, "--workdir=w", "--config.evidence.confidence=0.9"]
    done = run_process(100, *command, cwd=tmp_path, code=LIMITED)
    check_told(done, "w/report/results.csv")
    assert mtimes(tmp_path) == before


def check_told(done, path):
    assert done.code == 2
    assert "Traceback" not in done.err
    *progress, line = done.err.splitlines()
    assert not [line for line in progress if line.startswith("data-redundancy: ")]
    assert re.fullmatch(rf"data-redundancy: .*{path}: cannot be written \(.+\); an earlier version is unchanged", line)


# Embeddings do not depend on how they are computed


@pytest.mark.parametrize("batch_size", [8, 136, 200, 512])
def test_embeddings_do_not_depend_on_the_batch_size_or_the_devices(from_npz, tmp_path, capfd, monkeypatch, batch_size):
    assert jax.device_count() == 8  # they were computed on one device
    shutil.copytree(from_npz[0], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "w" / "embeddings")
    monkeypatch.chdir(tmp_path)
    done = run_here(capfd, "embed", *TINY, *FROM_NPZ, "--workdir=w", f"--config.embed.batch_size={batch_size}")
    assert done.code == 0, done.err
    for found, expected in zip(read_embeddings(tmp_path / "w"), read_embeddings(from_npz[0] / "w"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


ONE_OF_TWO = """
import os, sys
for name in ("tensorflow", "tensorflow_datasets", "clu"):
    sys.modules[name] = None
import jax
process, port, workdir = int(sys.argv[1]), sys.argv[2], os.path.realpath("w")
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from data_redundancy.store import artifacts
from data_redundancy.cli import main
artifacts.CHUNK_BYTES = 4 * 64 * 16  # 16 rows: otherwise a single chunk would hold all embeddings
written = set()

def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        written.add(os.path.realpath(arguments[0]))

sys.addaudithook(audit)
for stage in ("prepare", "train", "embed", "cluster", "select"):
    assert main.main([stage, *sys.argv[3:]]) == 0, stage
print([path for path in sorted(written) if path.startswith(workdir) and ".writable-" not in path])
"""


def test_two_processes_of_two_devices_do_what_one_of_one_does(from_npz, tmp_path):
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST)
    outputs = run_two_processes(ONE_OF_TWO, *TINY, *FROM_NPZ, "--workdir=w", cwd=tmp_path, devices=2)
    main_wrote, other_wrote = (out.splitlines()[-1] for out in outputs)
    # The second process wrote its rows of the embeddings (with TensorStore, unaudited) and the trees of its classes.
    trees = [re.findall(r"dendrograms/\.partial-\w+-class_(\d)\.npz", wrote) for wrote in (main_wrote, other_wrote)]
    assert sorted(trees[0] + trees[1]) == list("0123456789")
    assert min(map(len, trees)) >= 3
    assert len(ast.literal_eval(other_wrote)) == len(trees[1])
    assert "manifest.json" in main_wrote
    assert len(list((tmp_path / "w" / "embeddings" / "embedding" / "c").glob("*/0"))) == -(-NUM_TRAIN // 16)
    one, two = read_embeddings(from_npz[0] / "w"), read_embeddings(tmp_path / "w")
    np.testing.assert_allclose(two[0], one[0], rtol=1e-3, atol=1e-3)
    assert np.array_equal(two[1], one[1])
    for label, tree in dr.cluster(*two).trees.items():
        with np.load(tmp_path / "w" / "dendrograms" / f"class_{label}.npz") as found:
            assert np.array_equal(found["members"], tree.members)
            assert np.array_equal(found["linkage"], tree.merges)
    accuracies = [
        json.loads((folder / "w/trials/full/seed0/result.json").read_text())["accuracy"]
        for folder in (from_npz[0], tmp_path)
    ]
    assert accuracies[1] == pytest.approx(accuracies[0], abs=2 / NUM_TEST)


ONE_OF_TWO_THAT_SEE_DIFFERENT_THINGS = """
import sys
import jax
process, port = int(sys.argv[1]), sys.argv[2]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from data_redundancy.cli import main
from types import SimpleNamespace
from data_redundancy.experiment import selections
from data_redundancy.store import files, manifests
unseen = ["random-0.2-seed1", "random-0.2-seed0"][process]
sees = manifests.is_complete
selections.manifests = SimpleNamespace(is_complete=lambda path, *about: path.name != unseen and sees(path, *about))
if process == 1:
    files.read_json = lambda path: None
assert main.main(["sweep", *sys.argv[3:]]) == 0
"""


def test_processes_that_see_different_things_do_the_same(from_npz, tmp_path):
    """Files that another job has just written may be visible to one of two processes only; both must act the same."""
    shutil.copytree(from_npz[0], tmp_path / "copy")
    selections = tmp_path / "copy" / "w" / "selections"
    before = mtimes(tmp_path / "copy" / "w")
    run_two_processes(ONE_OF_TWO_THAT_SEE_DIFFERENT_THINGS, *TINY, *FROM_NPZ, "--workdir=w", cwd=tmp_path / "copy")
    assert sorted(os.listdir(selections)) == SELECTIONS
    after = mtimes(tmp_path / "copy" / "w")
    assert {name for name in before if before[name] != after[name]} <= {"config.json"}


def test_jobs_share_a_sweep(from_npz, tmp_path, monkeypatch, capfd):
    """Three jobs at the same time run every third trial each; the table has the trials of all."""
    shutil.copytree(from_npz[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shutil.rmtree("w/selections")
    for trial in pathlib.Path("w/trials").glob("[!f]*"):
        shutil.rmtree(trial)
    shutil.rmtree("w/trials/full/seed1")
    table = pathlib.Path("w/report/results.csv").read_bytes()
    shutil.rmtree("w/report")
    command = ["-m", "data_redundancy", "sweep", *TINY, *FROM_NPZ, "--workdir=w"]
    jobs = [popen([*command, f"--shard={i}/3"], cwd=".") for i in range(3)]
    said = [job.communicate(timeout=240)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], said
    assert ["trial 2/2, agglomerative-0.2 seed 1" in said[0], "trial 2/2, random-0.2-seed0" in said[1]] == [True, True]
    assert run_here(capfd, "report", *TINY, *FROM_NPZ, "--workdir=w").code == 0
    assert pathlib.Path("w/report/results.csv").read_bytes() == table
    assert not [path.name for path in pathlib.Path("w/selections").iterdir() if "partial" in path.name]


@pytest.mark.parametrize("shard", ["3/3", "1", "-1/2", "a/b", "0/0"])
def test_shards_are_checked(tmp_path, capfd, monkeypatch, shard):
    monkeypatch.chdir(tmp_path)
    done = run_here(capfd, "sweep", *TINY, *FROM_NPZ, "--workdir=w", f"--shard={shard}")
    assert error_line(done) == f"--shard={shard}: must be i/n with i from 0 to n-1, such as 0/4"
    assert not pathlib.Path("w").exists()


def test_only_a_sweep_has_shards(capfd):
    done = run_here(capfd, "train", *TINY, *FROM_NPZ, "--workdir=w", "--shard=0/2")
    assert error_line(done) == "--shard=0/2: is a flag of the command sweep only"
