"""Comparing selections: the numbers by brute force and simulation, and what `diff` prints."""

import contextlib
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom
from sklearn.datasets import load_digits
from sklearn.metrics import cohen_kappa_score

from data_redundancy.cli import main
from data_redundancy.selection.overlap import agreement, class_shares, overlap
from helpers.command import error_line, run_here


def sets(n):
    return st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)


# The numbers


def test_chance_is_what_all_pairs_of_sets_give():
    """Enumerates all pairs of sets with these sizes in every stratum, which are equally likely."""
    strata = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    sizes_a, sizes_b = {0: 2, 1: 1, 2: 1}, {0: 3, 1: 2, 2: 0}

    def all_sets(sizes):
        of_stratum = [itertools.combinations(np.flatnonzero(strata == s), k) for s, k in sizes.items()]
        return [set(itertools.chain(*parts)) for parts in itertools.product(*of_stratum)]

    counts = [len(a & b) for a in all_sets(sizes_a) for b in all_sets(sizes_b)]
    a, b = (np.isin(np.arange(8), sorted(all_sets(sizes)[0])) for sizes in (sizes_a, sizes_b))
    found = overlap(a, b, strata)
    assert found.expected == pytest.approx(np.mean(counts))
    assert found.std == pytest.approx(np.std(counts))


@given(st.integers(2, 40).flatmap(lambda n: st.tuples(sets(n), sets(n))))
def test_one_stratum_is_scipys_hypergeometric(pair):
    a, b = pair
    found = overlap(a, b, np.zeros(len(a), np.int64))
    with np.errstate(all="ignore"):  # SciPy also computes the skewness
        mean, variance = hypergeom(len(a), a.sum(), b.sum()).stats("mv")
    assert (found.size_a, found.size_b, found.both) == (a.sum(), b.sum(), (a & b).sum())
    assert found.expected == pytest.approx(mean)
    assert found.std == pytest.approx(np.sqrt(variance), abs=1e-9)


def test_the_interval_holds_95_percent_of_independent_draws():
    rng = np.random.default_rng(0)
    strata = np.repeat(np.arange(5), [40, 60, 100, 150, 250])

    def draw(share):
        kept = np.zeros(len(strata), bool)
        for s in range(5):
            members = np.flatnonzero(strata == s)
            kept[rng.choice(members, round(share * len(members)), replace=False)] = True
        return kept

    found = [overlap(draw(0.3), draw(0.2), strata) for _ in range(1000)]
    low, high = found[0].interval()
    assert 0.93 < np.mean([low <= one.both <= high for one in found]) < 0.98
    assert np.mean([one.both for one in found]) == pytest.approx(found[0].expected, abs=0.5)
    kappas = [agreement(draw(0.3), draw(0.2), strata) for _ in range(200)]
    assert abs(np.mean(kappas)) < 0.02


@given(st.integers(2, 40).flatmap(lambda n: st.tuples(sets(n), sets(n))))
def test_shares_of_overlap(pair):
    a, b = pair
    found = overlap(a, b, np.zeros(len(a), np.int64))
    one, other = set(np.flatnonzero(a)), set(np.flatnonzero(b))
    assert found.jaccard == (len(one & other) / len(one | other) if one | other else 1)
    assert found.of_smaller == (len(one & other) / min(len(one), len(other)) if one and other else 1)
    low, high = found.interval()
    assert 0 <= low <= found.expected + 1e-9
    assert found.expected - 1e-9 <= high <= min(len(one), len(other)) + 1e-9


@pytest.mark.filterwarnings("ignore:y_pred")
@given(st.integers(2, 40).flatmap(lambda n: st.tuples(sets(n), sets(n))))
def test_agreement_is_cohens_kappa(pair):
    a, b = pair
    if len(set(a.tolist()) | set(b.tolist())) > 1:  # kappa is undefined for a single value
        found = agreement(a, b, np.zeros(len(a), np.int64))
        assert found == pytest.approx(cohen_kappa_score(a, b), abs=1e-9)


def test_agreement_of_the_same_and_of_the_trivial():
    strata = np.repeat([0, 1], 5)
    kept = np.arange(10) % 5 < 2
    assert agreement(kept, kept, strata) == 1
    assert np.isnan(agreement(np.ones(10, bool), np.ones(10, bool), strata))


def test_shares_of_classes():
    labels = np.array([0, 0, 2, 2, 2, 2, 5])
    a, b = np.array([1, 1, 1, 1, 1, 0, 1], bool), np.array([1, 0, 1, 1, 0, 0, 1], bool)
    found = [(s.label, s.size, s.kept_a, s.kept_b, s.pruned_by_both) for s in class_shares(a, b, labels)]
    assert found == [(0, 2, 2, 1, 0), (2, 4, 3, 2, 1), (5, 1, 1, 1, 0)]


# What is printed


@pytest.fixture(scope="module")
def selections(tmp_path_factory):
    """Selections made by the command line, in folders and in a workdir; 25 classes with names, and file names."""
    folder = tmp_path_factory.mktemp("diff")
    images = load_digits().data[:500].astype(np.float32)
    names = [f"class {i % 25:02d}" for i in range(500)]
    columns = {"embedding": list(images), "label": names, "file_name": [f"{i}.png" for i in range(500)]}
    pq.write_table(pa.table(columns), folder / "e.parquet")
    pq.write_table(pa.table(columns).slice(0, 400), folder / "fewer.parquet")
    pq.write_table(pa.table({**columns, "label": names[1:] + names[:1]}), folder / "others.parquet")
    np.save(folder / "e.npy", images)
    for out, *flags in (
        ("w/selections/a", "--embeddings=e.parquet"),
        ("w/selections/b", "--embeddings=e.parquet", "--config=default", "--config.select.allocation=global"),
        ("r", "--embeddings=e.parquet", "--config=default", "--config.select.method=random"),
        ("fewer", "--embeddings=fewer.parquet"),
        ("others", "--embeddings=others.parquet"),
        ("bare", "--embeddings=e.npy", "--config=default", "--config.cluster.scope=dataset"),
    ):
        with contextlib.chdir(folder):
            assert main.main(["select", "--fraction=0.3", f"--out={out}", *flags]) == 0
    return folder


def diff(capfd, *arguments):
    done = run_here(capfd, "diff", *arguments)
    assert (done.code, done.err) == (0, "")
    return done.out


def kept(folder):
    mask = np.zeros(500, bool)
    mask[np.load(folder / "keep.npy")] = True
    return mask


def test_labels_far_apart_are_counted_as_they_come(capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    np.save("e.npy", load_digits().data[:40].astype(np.float32))
    np.save("l.npy", np.array([7, 10**12]).repeat(20))
    for out in ("a", "b"):
        flags = ("--embeddings=e.npy", "--labels=l.npy", "--fraction=0.3", f"--out={out}")
        assert run_here(capfd, "select", *flags).code == 0
    text = diff(capfd, "a", "b")
    assert re.findall(r"^(7|1000000000000) +20 +70.0% +70.0% ", text, re.MULTILINE) == ["7", "1000000000000"]


def test_the_page(selections, capfd, monkeypatch):
    monkeypatch.chdir(selections)
    text = diff(capfd, "a", "b", "--workdir=w")
    assert max(map(len, text.splitlines())) <= 120
    a, b = kept(selections / "w/selections/a"), kept(selections / "w/selections/b")
    labels = np.arange(500) % 25
    pruned = overlap(~a, ~b, labels)
    assert text.splitlines()[:2] == [
        "A  a  keeps 350 of 500 images, prunes 150 (30.0%)",
        "B  b  keeps 350 of 500 images, prunes 150 (30.0%)",
    ]
    cells = re.search(r"^pruned +(.*)$", text, re.MULTILINE)[1].split()
    assert cells[:4] == ["150", "150", str((~a & ~b).sum()), f"{pruned.expected:.1f}"]
    assert f"{pruned.of_smaller:.1%}: more than by chance." in text
    assert f"kappa): {agreement(a, b, labels):.3f};" in text
    shares = class_shares(a, b, labels)
    first = re.search(r"^class \d\d .*$", text, re.MULTILINE)[0].split()
    assert first[1:3] == [f"{shares[0].label:02d}", "20"]
    assert first[3:5] == [f"{shares[0].kept_a / 20:.1%}", f"{shares[0].kept_b / 20:.1%}"]
    assert len(re.findall(r"^class \d\d ", text, re.MULTILINE)) == 20
    assert "\nand 5 more classes\n" in text
    only = np.flatnonzero(a & ~b)
    assert f"Kept by A only: {len(only)}\n" in text
    listed = re.findall(
        r"^ +(\d+) +class (\d\d) +(\S+)$", text.partition("Kept by A")[2].partition("Kept by B")[0], re.M
    )
    assert listed == [(str(i), f"{i % 25:02d}", f"{i}.png") for i in only[:10]]
    assert f"\nand {len(only) - 10} more images\n" in text


def test_chance_is_called_chance(selections, capfd, monkeypatch):
    monkeypatch.chdir(selections)
    text = diff(capfd, "w/selections/a", "r")
    a, r = kept(selections / "w/selections/a"), kept(selections / "r")
    low, high = overlap(~a, ~r, np.arange(500) % 25).interval()
    assert low <= (~a & ~r).sum() <= high
    assert ": as by chance." in " ".join(text.split())


def test_a_selection_and_itself(selections, capfd, monkeypatch):
    monkeypatch.chdir(selections)
    text = diff(capfd, "r", "r")
    assert "100.0%: more than by chance." in text
    assert "kappa): 1.000;" in text
    assert "Kept by A only: 0\n\nKept by B only: 0\n" in text


def test_labels_of_one_serve_for_both(selections, capfd, monkeypatch):
    monkeypatch.chdir(selections)
    assert "class 07" in diff(capfd, "bare", "r")
    assert "Classes" not in diff(capfd, "bare", "bare")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a"], r"selections=a: must be two selections, but 1 are given\. Name two directories, "),
        (
            ["none", "r"],
            r"selections=none: is not the directory of a selection\. Name its directory, or set ",
        ),
        (["r/keep.npy", "r"], r"selections=r/keep.npy: is not the directory of a selection\. "),
        (
            ["a", "b", "--workdir=r/keep.npy"],
            "selections=a: must be the directory of a selection, or a selection of r/keep.npy: none$",
        ),
        (
            ["r", "c", "--workdir=w"],
            "selections=c: must be the directory of a selection, or a selection of w: a, b$",
        ),
        (["r", "fewer"], r"selections='r fewer': are of different data sets: 500 and 400 examples\. Compare "),
        (
            ["r", "others"],
            r"selections='r others': are of different data sets: label of example 0 is 0 and 1\. ",
        ),
        (
            ["r", "digest"],
            r"selections='r digest': are of different data sets: dataset.name 'x' and 'y'; .*_digest '1' and '2'\. ",
        ),
        (["r", "b", "--labels=l.npy"], "--labels=l.npy: is a flag of the command select only$"),
        (["r", "b", "--out=x"], "--out=x: is a flag of the commands select and export only$"),
    ],
)
def test_mistakes(selections, capfd, monkeypatch, tmp_path, arguments, told):
    shutil.copytree(selections, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    if "digest" in arguments:
        shutil.copytree("r", "digest")
        for folder, name, digest in (("r", "x", "1"), ("digest", "y", "2")):
            file = pathlib.Path(folder, "manifest.json")
            manifest = json.loads(file.read_text())
            manifest["fingerprint"] |= {"dataset.name": name, "dataset.train_digest": digest}
            file.write_text(json.dumps(manifest))
    assert re.match(told, line := error_line(run_here(capfd, "diff", *arguments))), line


def test_flags_may_stand_between_the_selections(selections, capfd, monkeypatch):
    monkeypatch.chdir(selections)
    between = run_here(capfd, "diff", "a", "--workdir=w", "b")
    assert between.code == 0, between.err
    assert between.out == run_here(capfd, "diff", "a", "b", "--workdir=w").out


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more"])
def test_a_damaged_selection(selections, capfd, monkeypatch, tmp_path, content):
    shutil.copytree(selections / "r", tmp_path / "damaged")
    monkeypatch.chdir(selections)
    file = tmp_path / "damaged/examples.parquet"
    file.unlink() if content is None else file.write_bytes(content)
    line = error_line(run_here(capfd, "diff", "r", tmp_path / "damaged"))
    assert line.startswith(f"{file}: must be a Parquet file (")
    assert line.endswith(f"). Remove {tmp_path / 'damaged'} and make the selection again.")


def test_the_help(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = run_here(capfd, "diff", "--help").out
    parts = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert parts[0] == "usage: data-redundancy diff SELECTION SELECTION [--workdir=DIR] [options]"
    assert parts[2:] == [
        "Reads:",
        "Writes:",
        "Example:",
        "positional arguments:",
        "options of every command:",
    ]


def test_a_reader_that_has_seen_enough(selections):
    command = f"{sys.executable} -m data_redundancy diff r r | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=selections, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")
