"""A workdir that version 0.1.0 left: what is finished is skipped, and what was cut off goes on."""

import json
import re

import pytest

from helpers.command import error_line, run_here, tree, unpack_old_workdir

CUT_OFF = "w/trials/agglomerative-0.2/seed1"
"""A trial with a checkpoint of step 4 of 8."""


@pytest.fixture(autouse=True)
def _a_workdir_of_0_1_0(tmp_path, monkeypatch):
    unpack_old_workdir(tmp_path)
    monkeypatch.chdir(tmp_path)


def succeed(capfd, *argv):
    done = run_here(capfd, *argv, "--workdir=w")
    assert done.code == 0, done.err
    return done


def written(before):
    """The files that are new or were written since."""
    return {path for path, time in tree().items() if time is not None and before.get(path) != time}


def test_what_is_finished_is_skipped(capfd):
    before = tree()
    for argv in (["embed"], ["cluster"], ["train"], ["prepare"], ["select"]):
        done = succeed(capfd, *argv)
        assert re.search("already done, skipped|is read as it is, nothing to do", done.err), done.err
    assert tree() == before
    assert "already done, skipped (w/selections/agglomerative-0.2)" in succeed(capfd, "select", "--fraction=0.2").err
    assert written(before) == {"w/config.json"}


@pytest.mark.slow
def test_a_trial_that_was_cut_off_goes_on(capfd):
    before = tree()
    done = succeed(capfd, "sweep")
    assert "sweep: 5 of 6 trials already done, skipped\n" in done.err
    assert "agglomerative-0.2 seed 1: resumed at step 4 of 8\n" in done.err
    assert done.err.count("resumed") == 1
    changed = written(before)
    assert f"{CUT_OFF}/result.json" in changed
    assert all(path.startswith(f"{CUT_OFF}/") for path in changed)
    with open(f"{CUT_OFF}/result.json") as file:
        result = json.load(file)
    assert (result["steps"], result["num_kept"], result["seed"]) == (8, 96, 1)
    with open(f"{CUT_OFF}/metrics.jsonl") as file:
        assert [json.loads(line)["step"] for line in file][:1] == [4]

    before = tree()
    assert "sweep: 6 of 6 trials already done, skipped\n" in succeed(capfd, "sweep").err
    assert written(before) == set()

    # Everything of the whole run is there now, but for the report; a run makes no trial again.
    done = succeed(capfd, "run")
    changed = written(before)
    assert changed
    assert all(path.startswith("w/report/") for path in changed)


def test_a_report(capfd):
    done = succeed(capfd, "report", "--fraction=0.2")
    assert done.out.rstrip().endswith("w/report/index.html")
    assert "agglomerative 20%" in done.out
    assert "warning: report: 1 of 6 trials are not finished and left out\n" in done.err


@pytest.mark.slow
def test_an_answer_that_was_settled(capfd):
    with open("w/answers/agglomerative-0.2.json") as file:
        saved = json.load(file)
    before = tree()
    done = succeed(capfd, "answer", "--fraction=0.2")
    assert "answer: already done, skipped (w/answers/agglomerative-0.2.json)\n" in done.err
    assert "resumed at step 4 of 8" in done.err  # the answer rests on this trial
    with open("w/answers/agglomerative-0.2.json") as file:
        again = json.load(file)
    assert again["plan"] == saved["plan"]
    assert again["found"]["next_look"] is saved["found"]["next_look"] is None
    assert again["found"]["num_seeds"] == saved["found"]["num_seeds"]
    finished = {path for path in before if path.endswith("result.json") or path.startswith("w/embeddings")}
    assert not finished & written(before)


def test_a_question_that_was_planned_differently(capfd):
    before = tree()
    line = error_line(run_here(capfd, "answer", "--fraction=0.2", "--config.evidence.margin=0.1", "--workdir=w"))
    assert re.match(
        r".*w/answers/agglomerative-0\.2\.json: has another plan, .*evidence\.margin: 0\.2 then, 0\.1 now", line
    )
    assert tree() == before


@pytest.mark.parametrize("content", ["[]", "{}", "null", "[" * 100_000, '{"method": 1', "\x00"])
@pytest.mark.parametrize(
    ("path", "argv"),
    [
        ("w/trials/full/seed0/result.json", ("train",)),
        ("w/trials/random-0.2-seed0/seed0/result.json", ("sweep", "--dry_run")),
        ("w/trials/full/seed0/manifest.json", ("train",)),
        ("w/selections/agglomerative-0.2/manifest.json", ("select", "--fraction=0.2")),
        ("w/embeddings/manifest.json", ("embed", "--dry_run")),
        ("w/answers/agglomerative-0.2.json", ("answer", "--fraction=0.2", "--dry_run")),
    ],
)
def test_a_damaged_file_is_named(capfd, tmp_path, path, argv, content):
    (tmp_path / path).write_text(content)
    before = tree()
    done = run_here(capfd, *argv, "--workdir=w", "--quiet")
    assert (done.code == 0) == (content == "null"), done  # which no file holds as well
    if done.code != 0:
        assert error_line(done).startswith(f"{tmp_path}/{path}: "), done.err
        assert tree() == before


def test_an_export_and_a_comparison(capfd, tmp_path):
    succeed(capfd, "export", "--selection=agglomerative-0.2", "--format=csv", "--out=kept.csv")
    assert len((tmp_path / "kept.csv").read_text().splitlines()) == 97
    before = tree()
    done = succeed(capfd, "diff", "agglomerative-0.2", "random-0.2-seed1")
    assert "keeps 96 of 120 images" in done.out
    assert tree() == before


@pytest.mark.parametrize(
    ("command", "override", "told"),
    [
        ("train", "train.learning_rate=0.2", r"train\.learning_rate was 0\.1 and is now 0\.2"),
        ("embed", "model.width=2", r"model\.width was 1 and is now 2"),
        ("cluster", "cluster.linkage=average", r"cluster\.linkage was 'complete' and is now 'average'"),
        ("select", "select.representative=medoid", r"select\.representative was 'centroid' and is now 'medoid'"),
        ("sweep", "train.weight_decay=0", r"train\.weight_decay was 0\.0005 and is now 0\.0"),
        ("report", "train.pad=2", r"train\.pad was 1 and is now 2"),
        ("run", "dataset.train_split=train[:100]", r"dataset\.num_train was 120 and is now 100"),
    ],
)
def test_what_does_not_fit_is_rejected(capfd, command, override, told):
    before = tree()
    done = run_here(capfd, command, f"--config.{override}", "--workdir=w")
    assert done.code == 2
    line = done.err.splitlines()[-1]
    assert re.match(rf"data-redundancy: .*/w/.*: was made with different inputs: .*{told}", line), line
    assert line.endswith("Use the inputs it was made with, use another directory, or remove it.")
    assert tree() == before
