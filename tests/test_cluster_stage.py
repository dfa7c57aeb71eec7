"""The stage `cluster` and what reads its trees, as users run them; embeddings are written as `embed` leaves them."""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import socket
import types

import numpy as np
import pyarrow.parquet as pq
import pytest
from clustering_oracles import digits
from command import TINY, Done, error_line, popen, run_here, run_process, write_digits
from hypothesis import given
from hypothesis import strategies as st

import data_redundancy as dr
from data_redundancy import artifacts, config_flags, main, parallel
from data_redundancy.clustering import classwise, work
from data_redundancy.stages import common, fingerprints

CONFIG = (*TINY, "--config.dataset.name=d.npz", "--workdir=w")
"""Flags of every stage, in a folder that `write_workdir` filled."""


def write_workdir(folder: pathlib.Path, embeddings: np.ndarray, labels: np.ndarray) -> None:
    """A data set of blank images, d.npz, and a workdir w with embeddings of our choice."""
    folder.mkdir(exist_ok=True)
    images = np.zeros((len(labels), 8, 8), np.uint8)
    write_digits(folder / "d.npz", image_train=images, label_train=labels)
    with contextlib.chdir(folder):
        common._load_dataset.cache_clear()
        fingerprint = fingerprints.embeddings(config_flags.parse(list(CONFIG), main.FLAGS)[0])
    with artifacts.write_embeddings(
        folder / "w" / "embeddings", labels, num_dimensions=embeddings.shape[1], fingerprint=fingerprint
    ) as store:
        store[:] = embeddings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with the embeddings of 300 digits."""
    write_workdir(tmp_path, *digits(300))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capfd, stage: str, *overrides: str) -> Done:
    return run_here(capfd, stage, *CONFIG, *(f"--config.{override}" for override in overrides))


def run_well(capfd, stage: str, *overrides: str) -> Done:
    done = run(capfd, stage, *overrides)
    assert done.code == 0, done.err
    return done


def trees(workdir="w") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Members and linkage in every file of trees, by name."""
    return {
        p.name: artifacts.read_dendrogram(p) for p in sorted(pathlib.Path(workdir, "dendrograms").glob("[!.]*.npz"))
    }


def assert_are_trees_of(found: dict[str, tuple[np.ndarray, np.ndarray]], dendrograms: dr.Dendrograms) -> None:
    assert found.keys() == {f"class_{label}.npz" for label in dendrograms.trees}
    for label, tree in dendrograms.trees.items():
        members, linkage = found[f"class_{label}.npz"]
        assert np.array_equal(members, tree.members)
        assert linkage.tobytes() == tree.linkage.tobytes()


def stamps(workdir="w") -> dict[str, tuple[int, int]]:
    """What changes when a file of trees is written again, be it with the same content."""
    paths = pathlib.Path(workdir, "dendrograms").glob("[!.]*.npz")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def rows(name: str) -> dict[str, list]:
    return pq.read_table(f"w/selections/{name}/examples.parquet").to_pydict()


def keep_list(name: str) -> bytes:
    return pathlib.Path(f"w/selections/{name}/keep.npy").read_bytes()


# Said before it starts


def interrupt(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], r"10 classes of 29 to 32 examples, 64 dimensions, complete linkage, whole trees, from all distances"),
        (["cluster.linkage=single"], r"10 classes of 29 to 32 examples, 64 dimensions, single linkage, whole trees, "),
        (["cluster.max_prune_fraction=0.3"], r"10 classes .* complete linkage, trees up to 3\d(\.\d)?% merged, from "),
        (["cluster.scope=dataset"], r"1 class of 300 examples, 64 dimensions, complete linkage, whole trees, from "),
    ],
)
def test_what_will_be_done_is_said_before_it_is(folder, capfd, monkeypatch, overrides, told):
    monkeypatch.setattr(classwise, "cluster_each", interrupt)
    done = run(capfd, "cluster", *overrides)
    assert done.code == 130
    announced = [line for line in done.err.splitlines() if line.startswith("cluster: ")]
    assert len(announced) == 1
    expected = r".*; expected: 0\.\d+ GB of memory \(limit [\d.e+]+ GB\), less than a second"
    assert re.fullmatch(f"cluster: {told}{expected}", announced[0]), announced[0]
    assert trees() == {}


def test_the_limit_that_is_given_is_the_one_that_is_named(folder, capfd):
    assert "(limit 1.5 GB)" in run_well(capfd, "cluster", "cluster.memory_limit_gb=1.5").err
    assert len(trees()) == 10


def test_too_little_memory_is_told_at_once_with_what_would_fit(tmp_path, capfd, monkeypatch):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(3000, 8)).astype(np.float32)
    write_workdir(tmp_path, embeddings, np.zeros(3000, np.int64))
    monkeypatch.chdir(tmp_path)
    done = run(capfd, "cluster", "cluster.memory_limit_gb=0.08")
    line = done.err.splitlines()[-1]
    told = re.fullmatch(
        r"data-redundancy: --config.cluster.memory_limit_gb: 3,000 examples of 8 dimensions need (0\.\d+) GB for "
        r"a whole tree by complete linkage, but the limit is 0\.08 GB; a max_prune_fraction of (0\.\d+) would fit",
        line,
    )
    assert told, line
    assert done.code == 2
    assert float(told[1]) > 0.08
    assert not pathlib.Path("w/dendrograms").exists()
    fitting = ("cluster.memory_limit_gb=0.08", f"cluster.max_prune_fraction={told[2]}")
    run_well(capfd, "cluster", *fitting)
    assert len(trees()["class_0.npz"][1]) >= float(told[2]) * 3000


def test_nothing_fits_into_next_to_nothing(folder, capfd):
    done = run(capfd, "cluster", "cluster.memory_limit_gb=0.001")
    assert done.code == 2
    assert re.search(
        r"--config.cluster.memory_limit_gb: class 0: \d+ examples .* but the limit is 0\.001 GB$", done.err.strip()
    )
    assert not pathlib.Path("w/dendrograms").exists()


@pytest.mark.parametrize(
    ("field", "values", "told"),
    [
        ("scope", ["all", "None", "Class"], "must be one of class, dataset"),
        ("max_prune_fraction", ["0", "0.0", "1", "1.5", "-0.1", "nan"], "must be greater than 0 and less than 1"),
        ("max_prune_fraction", ["most"], "must be a number"),
        ("memory_limit_gb", ["0", "-1", "nan", "inf"], "must be greater than 0"),
        ("memory_limit_gb", ["4GB"], "must be a number"),
    ],
)
def test_values_that_are_not_allowed(tmp_path, capfd, monkeypatch, field, values, told):
    monkeypatch.chdir(tmp_path)
    for value in values:
        line = error_line(run(capfd, "cluster", f"cluster.{field}={value}"))
        assert re.match(rf"--config\.cluster\.{field}=.*: {told}", line), line
        assert list(tmp_path.iterdir()) == []


def test_none_is_a_value_for_what_may_be_left_open(folder, capfd):
    run_well(capfd, "cluster", "cluster.max_prune_fraction=None", "cluster.memory_limit_gb=None")
    assert_are_trees_of(trees(), dr.cluster_classes(*digits(300)))


# Truncated trees


@pytest.mark.parametrize(
    ("linkage", "representative"), [("complete", "centroid"), ("average", "medoid"), ("single", "nested")]
)
def test_truncated_trees_give_the_selections_of_whole_ones(folder, capfd, linkage, representative):
    options = (f"cluster.linkage={linkage}", f"select.representative={representative}")
    names = {fraction: f"agglomerative-{fraction}" for fraction in (0.07, 0.1, 0.2, 0.3)}
    expected = {}
    for deepest in ("None", "0.3"):
        for directory in ("dendrograms", "selections"):
            shutil.rmtree(f"w/{directory}", ignore_errors=True)
        depth = f"cluster.max_prune_fraction={deepest}"
        run_well(capfd, "cluster", *options, depth)
        is_truncated = [len(linkage) < len(members) - 1 for members, linkage in trees().values()]
        assert is_truncated == [deepest != "None"] * 10
        for fraction, name in names.items():
            run_well(capfd, "select", *options, depth, f"select.fraction={fraction}")
            found = keep_list(name), rows(name)
            assert len(found[1]["cluster"]) == 300
            assert found == expected.setdefault(name, found)


def test_a_selection_beyond_truncated_trees_is_refused(folder, capfd):
    run_well(capfd, "cluster", "cluster.max_prune_fraction=0.3")
    done = run(capfd, "select", "cluster.max_prune_fraction=0.3", "select.fraction=0.5")
    assert done.code == 2
    told = "--config.select.fraction=0.5: must be at most --config.cluster.max_prune_fraction=0.3, where trees are trun"
    assert f"data-redundancy: {told}" in done.err
    # Without the field it is the trees themselves that do not go so deep.
    done = run(capfd, "select", "select.fraction=0.5")
    assert done.code == 2
    told = re.search(
        r"truncated after \d+ merges, .*; cluster again with a max_prune_fraction of at least (\S+)$", done.err
    )
    run_well(capfd, "cluster", f"cluster.max_prune_fraction={told[1]}")
    run_well(capfd, "select", "select.fraction=0.5")


def test_a_sweep_beyond_truncated_trees_is_refused_before_training(folder, capfd):
    done = run(capfd, "run", "cluster.max_prune_fraction=0.15")
    assert done.code == 2
    told = (
        "--config.sweep.fractions=0.2: must be at most --config.cluster.max_prune_fraction=0.15, where trees are trun"
    )
    assert f"data-redundancy: {told}" in done.err
    assert sorted(path.name for path in pathlib.Path("w").iterdir()) == ["embeddings"]


def test_all_trees_at_one_height_as_far_as_truncated_ones_go(folder, capfd):
    everywhere = "select.allocation=global"
    run_well(capfd, "cluster", "cluster.max_prune_fraction=0.3")
    done = run(capfd, "select", everywhere, "select.fraction=0.3")
    assert done.code == 2
    largest = re.search(
        r"prune_fraction: removes 90 of 300 examples .* only: (0\.\d+) is the largest possible", done.err
    )
    name = f"agglomerative-{largest[1]}"
    run_well(capfd, "select", everywhere, f"select.fraction={largest[1]}")
    found = keep_list(name)
    for directory in ("dendrograms", "selections"):
        shutil.rmtree(f"w/{directory}")
    run_well(capfd, "cluster")
    run_well(capfd, "select", everywhere, f"select.fraction={largest[1]}")
    assert keep_list(name) == found


def test_clustering_again_goes_deeper_but_not_less_deep(folder, capfd):
    run_well(capfd, "cluster", "cluster.max_prune_fraction=0.3")
    shallow, first = trees(), stamps()
    for fraction in ("0.3", "0.2"):
        assert (
            "cluster: already done, skipped ("
            in run_well(capfd, "cluster", f"cluster.max_prune_fraction={fraction}").err
        )
        assert stamps() == first
    before = first
    for deeper in ("cluster.max_prune_fraction=0.5", "cluster.max_prune_fraction=None"):
        assert "cluster: 10 classes of " in run_well(capfd, "cluster", deeper).err
        after = stamps()
        assert all(after[name] != before[name] for name in first)
        for name, (members, linkage) in trees().items():
            assert np.array_equal(linkage[: len(shallow[name][1])], shallow[name][1])
            assert len(linkage) >= len(members) // 2
        before = after
    assert_are_trees_of(trees(), dr.cluster_classes(*digits(300)))
    assert "skipped" in run_well(capfd, "cluster", "cluster.max_prune_fraction=0.5").err
    assert stamps() == before


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    shallow=st.floats(0.05, 0.3),
    fraction=st.floats(0.35, 0.8),
)
def test_the_fraction_that_a_refused_cut_names_is_enough(sizes, shallow, fraction):
    x = np.random.default_rng(len(sizes)).normal(size=(sum(sizes), 4))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if round(fraction * len(x)) > len(x) - len(sizes):
        return
    try:
        dr.select(dr.cluster_classes(x, labels, max_prune_fraction=shallow), fraction)
    except dr.InputError as error:
        needed = float(re.search(r"max_prune_fraction of at least ([\d.]+)$", str(error))[1])
        assert fraction - 0.5 / len(x) <= needed < 1
        found = dr.select(dr.cluster_classes(x, labels, max_prune_fraction=needed), fraction)
        assert np.array_equal(found.keep, dr.select(dr.cluster_classes(x, labels), fraction).keep)


# Beyond classes


ORIGINALS, COPIES = np.arange(0, 30, 2), np.arange(101, 161, 4)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Embeddings of 300 digits, of which 15 copy others that are labelled otherwise, at another length."""
    embeddings, labels = digits(300)
    embeddings[COPIES] = 4 * embeddings[ORIGINALS]
    labels[COPIES] = (labels[ORIGINALS] + 1) % 10
    write_workdir(tmp_path, embeddings, labels)
    monkeypatch.chdir(tmp_path)
    return embeddings, labels


DATASET = "cluster.scope=dataset"


def test_duplicates_across_classes_are_found(planted, capfd):
    embeddings, labels = planted
    run_well(capfd, "cluster", DATASET)
    assert sorted(p.name for p in pathlib.Path("w/dendrograms").iterdir()) == ["dataset.npz", "manifest.json"]
    assert trees()["dataset.npz"][1].shape == (299, 4)
    run_well(capfd, "select", DATASET, "select.fraction=0.05")
    found = rows("agglomerative-0.05")
    assert [i for i, kept in enumerate(found["kept"]) if not kept] == COPIES.tolist()
    assert [found["representative"][i] for i in COPIES] == ORIGINALS.tolist()
    assert found["label"] == labels.tolist()
    expected = dr.select(dr.cluster_classes(embeddings, scope="dataset"), 0.05)
    assert np.array_equal(np.load("w/selections/agglomerative-0.05/keep.npy"), expected.keep)


def test_duplicates_across_classes_are_none_within_them(planted, capfd):
    run_well(capfd, "cluster")
    run_well(capfd, "select", "select.fraction=0.05")
    found = rows("agglomerative-0.05")
    assert all(found["representative"][copy] != original for original, copy in zip(ORIGINALS, COPIES, strict=True))
    done = run(capfd, "cluster", DATASET)
    assert done.code == 2
    assert "w/dendrograms was made from something else: cluster.scope: 'class' there, 'dataset' now" in done.err


def test_without_classes_all_but_one_example_may_go(planted, capfd):
    run_well(capfd, "cluster", DATASET)
    run_well(capfd, "select", DATASET, "select.fraction=0.99")
    assert sum(rows("agglomerative-0.99")["kept"]) == 3
    done = run(capfd, "select", DATASET, "select.fraction=0.999")
    assert "--config.select.fraction=0.999: must be at most 0.996667, for each of 1 classes keeps one" in done.err


def test_random_selections_without_classes_are_of_the_same_size(planted, capfd):
    run_well(capfd, "select", DATASET, "select.method=random", "select.fraction=0.3")
    keep = np.load("w/selections/random-0.3-seed0/keep.npy")
    expected = dr.select(dr.cluster_classes(planted[0], scope="dataset"), 0.3, method="random")
    assert len(keep) == 210
    assert np.array_equal(keep, expected.keep)
    assert not pathlib.Path("w/dendrograms").exists()


@pytest.mark.parametrize("method", ["agglomerative", "random"])
def test_arrays_without_classes_need_no_labels(planted, capfd, method):
    embeddings, labels = planted
    np.save("e.npy", embeddings)
    np.save("l.npy", labels)
    command = ["select", "--embeddings=e.npy", "--fraction=0.05", f"--config.{DATASET}"]
    command += [f"--config.select.method={method}"]
    tables = []
    for given_labels, out in ([], "without"), (["--labels=l.npy"], "with"):
        done = run_here(capfd, *command, *given_labels, f"--out={out}")
        assert done.code == 0, done.err
        assert done.err.endswith(f"select: kept 285 of 300 ({out}/keep.npy)\n")
        tables.append(pq.read_table(f"{out}/examples.parquet").to_pydict())
    without, with_labels = (table.pop("label") for table in tables)
    assert without == [None] * 300
    assert with_labels == labels.tolist()
    assert tables[0] == tables[1]
    expected = dr.select(dr.cluster_classes(embeddings, scope="dataset"), 0.05, method=method)
    assert np.array_equal(np.load("without/keep.npy"), expected.keep)


def test_arrays_with_classes_need_labels(planted, capfd):
    np.save("e.npy", planted[0])
    line = error_line(run_here(capfd, "select", "--embeddings=e.npy", "--fraction=0.05", "--out=kept"))
    assert line.startswith("--labels: must be given with --embeddings, ")
    assert line.endswith(", unless --config.cluster.scope=dataset")
    assert not pathlib.Path("kept").exists()


def test_labels_that_are_ignored_are_checked_all_the_same(planted, capfd):
    np.save("e.npy", planted[0])
    np.save("l.npy", planted[1][:-1])
    command = ["select", "--embeddings=e.npy", "--labels=l.npy", "--fraction=0.05", f"--config.{DATASET}", "--out=kept"]
    assert error_line(run_here(capfd, *command)) == "--labels: 299 labels for 300 embeddings"


# Killed and resumed


KILLED = """
import os, signal, sys
sys.modules["tensorflow"] = None  # it is not needed, and slow to import
from data_redundancy import main

renamed = []

def kill(event, arguments):
    if event == "os.rename" and "class_" in str(arguments[1]):
        renamed.append(arguments[1])
        if len(renamed) == 7:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
main.main()
"""
"""Runs a stage until six trees are there and one is written in full but not yet in its place."""


@pytest.mark.slow
@pytest.mark.parametrize("there_before", ["nothing", "trees of unknown making"])
def test_a_killed_stage_goes_on_with_the_classes_that_are_left(folder, capfd, there_before):
    if there_before != "nothing":
        run_well(capfd, "cluster", "cluster.linkage=single")
        pathlib.Path("w/dendrograms/manifest.json").unlink()
    done = run_process("cluster", *CONFIG, cwd=folder, code=KILLED)
    assert done.code == -signal.SIGKILL, done.err
    assert len(list(pathlib.Path("w/dendrograms").glob(".partial-*-class_?.npz"))) == 1
    before = stamps()
    assert len(before) == 6
    done = run(capfd, "select")
    assert "w/dendrograms: 4 of 10 classes are missing; run the stage 'cluster' to its end" in done.err
    assert "cluster: 4 classes of " in run_well(capfd, "cluster").err
    assert stamps().items() > before.items()
    uninterrupted = dr.cluster_classes(*digits(300))
    assert_are_trees_of(trees(), uninterrupted)
    assert "cluster: already done, skipped" in run_well(capfd, "cluster").err
    run_well(capfd, "select")
    assert np.array_equal(np.load("w/selections/agglomerative-0.1/keep.npy"), dr.select(uninterrupted, 0.1).keep)


# Sweeping


NO_CLUSTERING = """
import sys
sys.modules["tensorflow"] = None
from data_redundancy import main
from data_redundancy.clustering import classwise, search
classwise.cluster_each = classwise.cluster_classes = search.first_merges = search.whole_trees = None
sys.exit(main.main())
"""


@pytest.mark.slow
def test_a_sweep_cuts_the_trees_that_are_there(folder, capfd):
    depth = "--config.cluster.max_prune_fraction=0.4"
    assert run_here(capfd, "cluster", *CONFIG, depth).code == 0
    before = stamps()
    config = [flag for flag in CONFIG if "--config.sweep" not in flag]  # tuples given twice add up
    sweep = ["fractions=(0.2,0.4)", "seeds=(0,)", "methods=agglomerative,"]
    flags = [*config, depth, *(f"--config.sweep.{override}" for override in sweep)]
    done = run_process("sweep", *flags, cwd=folder, code=NO_CLUSTERING)
    assert done.code == 0, done.err
    assert "sweep: trial 3/3, agglomerative-0.4 seed 0: " in done.err
    assert stamps() == before
    for fraction, num_kept in (0.2, 240), (0.4, 180):
        assert sum(rows(f"agglomerative-{fraction}")["kept"]) == num_kept


# Shared by processes


class Work(work.Work):
    def plan(self, label: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(way="matrix" if len(self.classes[label]) == 99 else "graph")


def work_of(sizes: list[int]) -> work.Work:
    classes = {label: np.arange(size) for label, size in enumerate(sizes)}
    return Work(classes, 8, {label: size - 1 for label, size in enumerate(sizes)}, "complete", 1e9)


def test_the_most_expensive_classes_are_shared_out_first():
    # 100, 81, 64, 49, 36 and 25 operations, but for a factor.
    assert work.share_out(work_of([5, 6, 7, 8, 9, 10]), range(6), 2) == ([], [[5, 2, 0], [4, 3, 1]])
    assert work.share_out(work_of([3] * 7), range(7), 3) == ([], [[0, 3, 6], [1, 4], [2, 5]])


def test_a_class_of_more_than_one_share_is_for_all_together():
    assert work.share_out(work_of([100, 5, 6]), range(3), 2) == ([0], [[2], [1]])
    assert work.share_out(work_of([100, 5, 6]), range(3), 1) == ([], [[0, 2, 1]])
    assert work.share_out(work_of([100, 5, 6]), [1, 2], 1) == ([], [[2, 1]])
    assert work.share_out(work_of([10, 10]), range(2), 2) == ([], [[0], [1]])  # each one share, not more
    assert work.share_out(work_of([10, 10]), [], 3) == ([], [[], [], []])
    assert work.share_out(work_of([99, 5, 6]), range(3), 2) == ([], [[0], [2, 1]])  # a matrix is not shared


@given(sizes=st.lists(st.integers(100, 1000), min_size=1, max_size=40), num_processes=st.integers(1, 9), data=st.data())
def test_every_class_is_given_out_once_and_fairly(sizes, num_processes, data):
    labels = data.draw(st.lists(st.sampled_from(range(len(sizes))), unique=True))
    joint, own = work.share_out(work_of(sizes), labels, num_processes)
    assert len(own) == num_processes
    assert sorted([*joint, *(label for part in own for label in part)]) == sorted(labels)
    cost = {label: sizes[label] ** 2 for label in labels}
    share = sum(cost.values()) / num_processes
    assert set(joint) == {label for label in labels if cost[label] > share and num_processes > 1}
    assert len(joint) < num_processes
    # Of longest processing time first: a process gets its last class when no other has less to do.
    load = [sum(cost[label] for label in part) for part in own]
    for part, total in zip(own, load, strict=True):
        assert [cost[label] for label in part] == sorted((cost[label] for label in part), reverse=True)
        if part:
            assert total - cost[part[-1]] <= min(load)


def test_one_process_has_all_rows():
    part = np.arange(6.0).reshape(3, 2)
    assert parallel.gather_rows(part) is part


ONE_OF_TWO = """
import json, os, sys
sys.modules["tensorflow"] = None
import jax
import numpy as np
process, port, runs = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from data_redundancy import main, parallel
from data_redundancy.clustering import memory, neighbours
from data_redundancy.stages import common

def gathered(parts):
    found, expected = parallel.gather_rows(parts[process]), np.concatenate(parts)
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()

rng = np.random.default_rng(0)
words = rng.integers(-(2**63), 2**63, (7, 3))
floats = np.array([0.1, -0.0, np.nan, np.inf, 5e-324, 1 + 2**-52, 1e300])
print("said:", json.dumps([
    gathered(parts) for array in (words, floats, floats[:6].astype(np.float32), words > 0, words[:, 0].astype(np.int32))
    for cut in (0, 2, 7) for parts in [(array[:cut], array[cut:])]
] + [gathered((words[:0], words[:0])), gathered((words[::2], words[1::2].copy()))]))

written, counts = [], {}

def audit(event, arguments):
    if event == "os.rename" and "dendrograms" in str(arguments[1]):
        written.append(os.path.basename(str(arguments[1])))

sys.addaudithook(audit)

class Counted(neighbours.Neighbours):
    def within(self, *arguments, **options):
        counts["passes together"] += self._together
        try:
            return super().within(*arguments, **options)
        except neighbours.TooManyPairs:
            counts["too many pairs"] += 1
            raise

from data_redundancy.clustering import search
search.Neighbours = Counted
free, here = memory.free, os.getcwd()
for folder, flags, gigabytes in runs:
    os.chdir(os.path.join(here, folder))
    common._load_dataset.cache_clear()
    written.clear()
    counts.update({"passes together": 0, "too many pairs": 0})
    memory.free = free if gigabytes is None else lambda: 1e9 * gigabytes[process]
    code = main.main(["cluster", *flags])
    print("said:", json.dumps({"code": code, "written": written, **counts}), flush=True)
"""


def one_large_class() -> tuple[np.ndarray, np.ndarray]:
    """Digits of which the first thousand are one class."""
    embeddings, labels = digits(1797)
    return embeddings, np.where(np.arange(1797) < 1000, 0, labels % 9 + 1)


def one_large_class_of_equal_distances() -> tuple[np.ndarray, np.ndarray]:
    """Two small classes, and one in which every pair is as close as any other."""
    embeddings = np.eye(400, dtype=np.float32)
    embeddings = np.concatenate([embeddings, embeddings[:40] + embeddings[1:41]])
    return embeddings, np.repeat([0, 1, 2], [400, 20, 20])


def one_large_class_of_few_distances() -> tuple[np.ndarray, np.ndarray]:
    """Every vector but the last is as close to 92 others, and closer to none; that one is a class of its own."""
    first, second = np.triu_indices(48, 1)
    embeddings = np.repeat(np.eye(48)[first] + np.eye(48)[second], 2, axis=1).astype(np.float32)
    return np.concatenate([embeddings, embeddings[:1]]), np.append(np.zeros(len(embeddings), np.int64), 1)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What each of two processes says of four runs of the stage, one after the other, and their folder."""
    folder = tmp_path_factory.mktemp("two")
    depth = "--config.cluster.max_prune_fraction=0.2"
    # Memory that is free for each process, in gigabytes, where it is not what there is.
    runs = {
        "large": (one_large_class, [], None),
        "equal": (one_large_class_of_equal_distances, ["--config.cluster.memory_limit_gb=1"], None),
        "unlike": (one_large_class_of_equal_distances, [], (8, 0.05 / 0.6)),
        "short": (one_large_class_of_few_distances, ["--config.cluster.memory_limit_gb=0.0418"], None),
    }
    for name, (make, _, _) in runs.items():
        write_workdir(folder / name, *make())
    commands = json.dumps([[name, [*CONFIG, depth, *flags], free] for name, (_, flags, free) in runs.items()])
    with socket.socket() as free_port:
        free_port.bind(("127.0.0.1", 0))
        port = free_port.getsockname()[1]
    processes = [popen(["-c", ONE_OF_TWO, process, port, commands], cwd=folder) for process in range(2)]
    try:
        outputs = [process.communicate(timeout=150) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err
    said = [[json.loads(text) for text in re.findall("^said: (.*)$", out, re.MULTILINE)] for out, _ in outputs]
    of_runs = zip(*(of_one[1:] for of_one in said), strict=True)
    return folder, [of_one[0] for of_one in said], dict(zip(runs, of_runs, strict=True))


def written_by_each(runs) -> list[list[str]]:
    return [sorted(name for name in run["written"] if name.endswith(".npz")) for run in runs]


@pytest.mark.slow
def test_rows_of_two_processes_come_together_to_the_last_bit(two_processes):
    for correct in two_processes[1]:
        assert correct == [True] * 17


@pytest.mark.slow
def test_two_processes_share_a_large_class_and_divide_the_others(two_processes):
    folder, _, said = two_processes
    assert [run["code"] for run in said["large"]] == [0, 0]
    assert [run["passes together"] for run in said["large"]] == [said["large"][0]["passes together"]] * 2
    assert said["large"][0]["passes together"] > 0
    main_wrote, other_wrote = written_by_each(said["large"])
    assert sorted(main_wrote + other_wrote) == [f"class_{label}.npz" for label in range(10)]
    sizes = np.bincount(one_large_class()[1]).tolist()
    joint, own = work.share_out(work_of(sizes), range(10), 2)
    assert joint == [0]
    assert [main_wrote, other_wrote] == [
        sorted(f"class_{label}.npz" for label in part) for part in (joint + own[0], own[1])
    ]
    expected = dr.cluster_classes(*one_large_class(), max_prune_fraction=0.2)
    assert_are_trees_of(trees(folder / "large" / "w"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["equal", "unlike"])
def test_two_processes_agree_on_what_is_too_much(two_processes, name):
    folder, _, said = two_processes
    one, other = said[name]
    assert one["code"] == other["code"] == 0
    assert [one[count] for count in ("passes together", "too many pairs")] == [
        other[count] for count in ("passes together", "too many pairs")
    ]
    assert one["passes together"] > 0
    assert one["too many pairs"] > 0 or name == "unlike"
    expected = dr.cluster_classes(*one_large_class_of_equal_distances(), max_prune_fraction=0.2)
    assert_are_trees_of(trees(folder / name / "w"), expected)


@pytest.mark.slow
def test_two_processes_give_up_together(two_processes):
    folder, _, said = two_processes
    assert [run["code"] for run in said["short"]] == [2, 2]
    assert said["short"][0]["too many pairs"] == said["short"][1]["too many pairs"] > 0
    assert trees(folder / "short" / "w") == {}
