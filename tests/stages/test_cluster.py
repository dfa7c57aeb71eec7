"""The command `cluster` and the commands that read its trees; embeddings are written in the format of `embed`."""

import pathlib
import re
import shutil
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_redundancy as dr
from data_redundancy.clustering import classwise
from data_redundancy.experiment import clustering
from helpers.cluster_workdir import CONFIG, assert_are_trees_of, trees, write_workdir
from helpers.clustering_oracles import digits
from helpers.command import Done, error_line, run_here, run_process


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


def stamps(workdir="w") -> dict[str, tuple[int, int]]:
    """Inode and time of every file of trees: both change if a file is rewritten, even with the same content."""
    paths = pathlib.Path(workdir, "dendrograms").glob("[!.]*.npz")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def rows(name: str) -> dict[str, list]:
    return pq.read_table(f"w/selections/{name}/examples.parquet").to_pydict()


def keep_list(name: str) -> bytes:
    return pathlib.Path(f"w/selections/{name}/keep.npy").read_bytes()


# The announcement


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
        r"data-redundancy: --config.cluster.memory_limit_gb=0\.08: must be at least (0\.\d+) for 3,000 examples of 8 "
        r"dimensions, the whole tree by complete linkage\. Prune at most (0\.\d+), or raise the limit\.",
        line,
    )
    assert told, line
    assert done.code == 2
    assert float(told[1]) > 0.08
    assert not pathlib.Path("w/dendrograms").exists()
    fitting = ("cluster.memory_limit_gb=0.08", f"cluster.max_prune_fraction={told[2]}")
    run_well(capfd, "cluster", *fitting)
    assert len(trees()["class_0.npz"][1]) >= float(told[2]) * 3000


def test_memory_that_proves_too_little_is_told_by_its_field(folder, capfd, monkeypatch):
    def cluster_each(*arguments, **options):
        raise dr.InputError("memory_limit_gb", 2.5, "must be at least 3 for 300 different examples")
        yield

    monkeypatch.setattr(classwise, "cluster_each", cluster_each)
    done = run(capfd, "cluster")
    assert done.code == 2
    assert (
        "data-redundancy: --config.cluster.memory_limit_gb=2.5: must be at least 3 for 300 different examples\n"
        in done.err
    )


def test_progress_of_a_pass_that_is_given_up_ends_with_it(monkeypatch):
    shown = []

    class Progress:
        def __init__(self, label, *, total, unit):
            shown.append([f"{label} of {total} {unit}"])

        def update(self, done):
            shown[-1].append(done)

        def close(self):
            shown[-1].append("closed")

    monkeypatch.setattr("data_redundancy.store.metrics.Progress", Progress)

    def cluster_each(*arguments, on_block, **options):
        for done, total in (1, 3), (2, 3), (1, 2), (2, 2), (1, 1):
            on_block(done, total)
        yield 0, None

    monkeypatch.setattr(classwise, "cluster_each", cluster_each)
    assert list(clustering.cluster_each(None, None, [0])) == [(0, None)]
    name = "cluster: close pairs of {} blocks"
    assert [entry[0] for entry in shown] == [name.format(total) for total in (3, 2, 1)]
    assert [[said for said in entry[1:] if said != "closed"] for entry in shown] == [[1, 2], [1, 2], [1]]
    assert all(entry[-1] == "closed" for entry in shown)


def test_nothing_fits_into_next_to_nothing(folder, capfd):
    done = run(capfd, "cluster", "cluster.memory_limit_gb=0.001")
    assert done.code == 2
    assert re.search(
        r"--config.cluster.memory_limit_gb=0\.001: must be at least 0\.\d+ for class 0: \d+ examples of 64 dimensions, "
        r"the whole tree by complete linkage$",
        done.err.strip(),
    )
    assert not pathlib.Path("w/dendrograms").exists()


@pytest.mark.parametrize(
    ("field", "values", "told"),
    [
        ("scope", ["all", "None", "Class"], "must be one of class, dataset"),
        (
            "max_prune_fraction",
            ["0", "0.0", "1", "1.5", "-0.1", "nan"],
            "must be a number greater than 0 and less than 1",
        ),
        ("max_prune_fraction", ["most"], "must be a number"),
        ("memory_limit_gb", ["0", "-1", "nan", "inf"], "must be a number greater than 0 and at most 1,000,000"),
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
    assert_are_trees_of(trees(), dr.cluster(*digits(300)))


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
    told = "--config.select.fraction=0.5: must be at most cluster.max_prune_fraction=0.3, where dendrograms are trunc"
    assert f"data-redundancy: {told}" in done.err
    # Without the field, the trees themselves are too shallow.
    done = run(capfd, "select", "select.fraction=0.5")
    assert done.code == 2
    told = re.search(
        r"truncated after \d+, at height .*\. Cluster again with a max_prune_fraction of at least (\S+)\.$", done.err
    )
    run_well(capfd, "cluster", f"cluster.max_prune_fraction={told[1]}")
    run_well(capfd, "select", "select.fraction=0.5")


def test_a_sweep_beyond_truncated_trees_is_refused_before_training(folder, capfd):
    done = run(capfd, "run", "cluster.max_prune_fraction=0.15")
    assert done.code == 2
    told = "--config.sweep.fractions=0.2: must be at most cluster.max_prune_fraction=0.15, where dendrograms are trunc"
    assert f"data-redundancy: {told}" in done.err
    assert sorted(path.name for path in pathlib.Path("w").iterdir()) == ["embeddings"]


def test_random_selections_may_go_beyond_truncated_trees(folder, capfd):
    shallow = ("cluster.max_prune_fraction=0.1", "select.fraction=0.5")
    done = run(capfd, "select", *shallow)
    assert done.code == 2
    assert "data-redundancy: --config.select.fraction=0.5: must be at most cluster.max_prune_" in done.err
    run_well(capfd, "select", *shallow, "select.method=random")
    assert sum(rows("random-0.5-seed0")["kept"]) == 150
    at_one_height = run(capfd, "select", *shallow, "select.method=random", "select.allocation=global")
    assert at_one_height.code == 2


def test_all_trees_at_one_height_as_far_as_truncated_ones_go(folder, capfd):
    everywhere = "select.allocation=global"
    run_well(capfd, "cluster", "cluster.max_prune_fraction=0.3")
    done = run(capfd, "select", everywhere, "select.fraction=0.3")
    assert done.code == 2
    largest = re.search(
        r"--config.select.fraction=0.3: prunes 90 of 300 examples.*\. Prune at most (0\.\d+), or cluster", done.err
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
    assert_are_trees_of(trees(), dr.cluster(*digits(300)))
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
        dr.select(dr.cluster(x, labels, max_prune_fraction=shallow), prune_fraction=fraction)
    except dr.InputError as error:
        needed = float(re.search(r"max_prune_fraction of at least (\d\.\d+)\.$", str(error))[1])
        assert fraction - 0.5 / len(x) <= needed < 1
        found = dr.select(dr.cluster(x, labels, max_prune_fraction=needed), prune_fraction=fraction)
        assert np.array_equal(found.keep, dr.select(dr.cluster(x, labels), prune_fraction=fraction).keep)


# Beyond classes


ORIGINALS, COPIES = np.arange(0, 30, 2), np.arange(101, 161, 4)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Embeddings of 300 digits; 15 of them are scaled copies of digits with other labels."""
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
    expected = dr.select(dr.cluster(embeddings, scope="dataset"), prune_fraction=0.05)
    assert np.array_equal(np.load("w/selections/agglomerative-0.05/keep.npy"), expected.keep)


def test_duplicates_across_classes_are_none_within_them(planted, capfd):
    run_well(capfd, "cluster")
    run_well(capfd, "select", "select.fraction=0.05")
    found = rows("agglomerative-0.05")
    assert all(found["representative"][copy] != original for original, copy in zip(ORIGINALS, COPIES, strict=True))
    done = run(capfd, "cluster", DATASET)
    assert done.code == 2
    assert "w/dendrograms: was made with different inputs: cluster.scope was 'class' and is now 'dataset'." in done.err


def test_without_classes_all_but_one_example_may_go(planted, capfd):
    run_well(capfd, "cluster", DATASET)
    run_well(capfd, "select", DATASET, "select.fraction=0.99")
    assert sum(rows("agglomerative-0.99")["kept"]) == 3
    done = run(capfd, "select", DATASET, "select.fraction=0.999")
    assert (
        "--config.select.fraction=0.999: must be at most 0.996667, as each of 1 classes keeps at least one" in done.err
    )


def test_random_selections_without_classes_are_of_the_same_size(planted, capfd):
    run_well(capfd, "select", DATASET, "select.method=random", "select.fraction=0.3")
    keep = np.load("w/selections/random-0.3-seed0/keep.npy")
    expected = dr.select(dr.cluster(planted[0], scope="dataset"), prune_fraction=0.3, method="random")
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
    expected = dr.select(dr.cluster(embeddings, scope="dataset"), prune_fraction=0.05, method=method)
    assert np.array_equal(np.load("without/keep.npy"), expected.keep)


def test_arrays_with_classes_need_labels(planted, capfd):
    np.save("e.npy", planted[0])
    line = error_line(run_here(capfd, "select", "--embeddings=e.npy", "--fraction=0.05", "--out=kept"))
    assert line == (
        "--labels: must be given, because e.npy has no array or column label or labels: it has one array without a "
        "name. Give --labels, or cluster without classes, with --config.cluster.scope=dataset."
    )
    assert not pathlib.Path("kept").exists()


def test_labels_that_are_ignored_are_checked_all_the_same(planted, capfd):
    np.save("e.npy", planted[0])
    np.save("l.npy", planted[1][:-1])
    command = ["select", "--embeddings=e.npy", "--labels=l.npy", "--fraction=0.05", f"--config.{DATASET}", "--out=kept"]
    assert error_line(run_here(capfd, *command)) == (
        "--labels=l.npy: must have one label per embedding, but has 299 for 300 embeddings"
    )


# Killed and resumed


KILLED = """
import os, signal, sys
sys.modules["tensorflow"] = None  # it is not needed, and slow to import
from data_redundancy.cli import main

renamed = []

def kill(event, arguments):
    if event == "os.rename" and "class_" in str(arguments[1]):
        renamed.append(arguments[1])
        if len(renamed) == 7:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
main.main()
"""
"""Runs the command line until six trees exist and a seventh is written but not yet renamed."""


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
    assert "w/dendrograms: lacks the dendrograms of 4 of 10 classes. Run 'data-redundancy cluster' to its" in done.err
    assert "cluster: 4 classes of " in run_well(capfd, "cluster").err
    assert stamps().items() > before.items()
    uninterrupted = dr.cluster(*digits(300))
    assert_are_trees_of(trees(), uninterrupted)
    assert "cluster: already done, skipped" in run_well(capfd, "cluster").err
    run_well(capfd, "select")
    assert np.array_equal(
        np.load("w/selections/agglomerative-0.1/keep.npy"), dr.select(uninterrupted, prune_fraction=0.1).keep
    )


# Sweeping


NO_CLUSTERING = """
import sys
sys.modules["tensorflow"] = None
from data_redundancy.cli import main
from data_redundancy.clustering import classwise, search
classwise.cluster_each = classwise.cluster_classes = search.first_merges = search.whole_trees = None
sys.exit(main.main())
"""


@pytest.mark.slow
def test_a_sweep_cuts_the_trees_that_are_there(folder, capfd):
    depth = "--config.cluster.max_prune_fraction=0.4"
    assert run_here(capfd, "cluster", *CONFIG, depth).code == 0
    before = stamps()
    config = [flag for flag in CONFIG if "--config.sweep" not in flag]
    sweep = ["fractions=(0.2,0.4)", "seeds=(0,)", "methods=agglomerative,"]
    flags = [*config, depth, *(f"--config.sweep.{override}" for override in sweep)]
    done = run_process("sweep", *flags, cwd=folder, code=NO_CLUSTERING)
    assert done.code == 0, done.err
    assert "sweep: trial 3/3, agglomerative-0.4 seed 0: " in done.err
    assert stamps() == before
    for fraction, num_kept in (0.2, 240), (0.4, 180):
        assert sum(rows(f"agglomerative-{fraction}")["kept"]) == num_kept
