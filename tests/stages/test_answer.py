"""The command `answer`: the question, its plan, the rounds of trials, and the printed result."""

import json
import pathlib
import re
import shutil
import signal
import time
import types

import numpy as np
import pytest
from scipy import stats

from data_redundancy import evidence
from data_redundancy.cli import arguments, config
from data_redundancy.errors import InputError
from data_redundancy.experiment import questions, requirements
from data_redundancy.reporting import answer_lines
from data_redundancy.store.workdir import Workdir
from helpers import page_content
from helpers.command import TINY, ends, error_line, popen, run_here, run_process, start_all, write_digits

NUM_TRAIN, NUM_TEST = 200, 60
DATA = (*TINY, "--config.dataset.name=d.npz", "--workdir=w")
ASKED = ("answer", *DATA, "--fraction=0.2", "--max_trials=15")
"""Its looks are at 3 and 5 seeds."""
BARE = tuple(flag for flag in DATA if not flag.startswith("--config.sweep."))
"""Without the fields of the sweep."""


def parse(*argv):
    return config.resolve(arguments.parse(["answer", "--config=default", *argv]))


def saved(folder, name="agglomerative-0.2"):
    return json.loads((pathlib.Path(folder) / "w" / "answers" / f"{name}.json").read_text())


def mtimes(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def accuracies(folder, selection):
    """The accuracies of a selection's trials, by seed."""
    paths = (pathlib.Path(folder) / "w" / "trials").glob(f"{selection}/seed*/result.json")
    results = [json.loads(path.read_text()) for path in paths]
    return {result["seed"]: result["accuracy"] for result in results}


def doctor(folder, method, change, fraction=0.2):
    """Changes the accuracies in the results of a method: each becomes that of the full set plus `change(seed)`."""
    for path in (pathlib.Path(folder) / "w" / "trials").glob("*/seed*/result.json"):
        result = json.loads(path.read_text())
        if (result["method"], result["prune_fraction"]) == (method, fraction):
            full = json.loads((path.parents[2] / "full" / path.parent.name / "result.json").read_text())
            result["accuracy"] = full["accuracy"] + change(result["seed"])
            result["class_accuracy"] = [a + change(result["seed"]) for a in full["class_accuracy"]]
            path.write_text(json.dumps(result))


def forget(folder):
    shutil.rmtree(pathlib.Path(folder) / "w" / "answers")


# The question


def test_looks_come_from_the_trials_that_are_allowed():
    assert questions.make_question(parse(), largest=False).schedule == evidence.make_look_schedule(
        (3, 5, 7, 9, 11, 13, 15), 0.95
    )
    of_random = parse("--config.select.method=random", "--config.evidence.max_trials=10")
    assert questions.make_question(of_random, largest=False).schedule.looks == (3, 5)  # two trials for a seed
    found = questions.make_question(
        parse("--config.sweep.fractions=(0.5,0.1)", "--config.evidence.seed=7"), largest=True
    )
    assert (found.fractions, found.seeds(3), found.methods) == ((0.1, 0.5), (7, 8, 9), ("agglomerative", "random"))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["evidence.max_trials=8"],
            "evidence.max_trials=8: must be at least 9, as the first look is at 3 seeds .*, each with 3",
        ),
        (
            ["select.method=random", "evidence.max_trials=5"],
            r"evidence.max_trials=5: must be at least 6, .*\(full, random\)$",
        ),
        (["evidence.first_look=16"], "evidence.max_trials=45: must be at least 48"),
        (["select.fraction=0"], "select.fraction=0.0: must be greater than 0 and less than 1"),
        (["evidence.seed=4294967290"], "evidence.seed=4294967290: must be at most 4294967281, as 15 seeds count up"),
    ],
)
def test_questions_that_cannot_be_asked(overrides, told):
    with pytest.raises(InputError, match=f"^{told}"):
        questions.make_question(parse(*(f"--config.{override}" for override in overrides)), largest=False)


@pytest.mark.parametrize(
    ("method", "allocation", "stages"),
    [
        ("agglomerative", "per_class", ["prepare", "train", "embed", "cluster"]),
        ("random", "per_class", ["prepare"]),
        ("random", "global", ["prepare", "train", "embed", "cluster"]),
        ("kcenter", "per_class", ["prepare", "train", "embed"]),
        ("el2n", "per_class", ["prepare", "score"]),
        ("ccs", "global", ["prepare", "train", "embed", "cluster", "score"]),
    ],
)
def test_only_what_a_method_needs_is_run_before(method, allocation, stages):
    assert requirements.commands_before(parse(f"--config.select.allocation={allocation}"), method) == stages


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--fraction=1"], "--fraction=1: must be a number at least 0 and less than 1"),
        (["--fraction=-0.1"], "--fraction=-0.1: must be a number"),
        (["--fraction=ten"], "--fraction=ten: must be a number"),
        (["--fraction=0"], "--fraction=0.0: must be greater than 0 and less than 1"),
        (["--max_trials=8"], "--max_trials=8: must be at least 9"),
        (["--max_trials=0"], "--max_trials=0: must be a whole number from 1"),
        (["--max_trials=3001"], "--max_trials=3001: must be a whole number from 1 to 3,000"),
        (["--max_trials=9.5"], "--max_trials=9.5: must be a whole number from 1"),
        (["--max_trials=-9"], "--max_trials=-9: must be a whole number from 1"),
        (["--largest=maybe"], "--largest=maybe: must be true or false"),
        (["--largest", "--fraction=0.1"], "--fraction=0.1: must not be given with --largest"),
        (
            ["--config.evidence.margin=0.5"],
            "--config.evidence.margin=0.5: must be a number greater than 0 and less than 0.5",
        ),
        (["--config.evidence.margin=0"], "--config.evidence.margin=0: must be a number greater than 0"),
        (
            ["--config.evidence.confidence=95"],
            "--config.evidence.confidence=95: must be a number greater than 0 and less than 1",
        ),
        (["--config.evidence.first_look=1"], "--config.evidence.first_look=1: must be a whole number from 2 to"),
        (["--config.evidence.look_every=0"], "--config.evidence.look_every=0: must be a whole number from 1 to"),
        (["--shard=0/2"], "--shard=0/2: is a flag of the command sweep only"),
    ],
)
def test_mistaken_flags(capfd, tmp_path, monkeypatch, flags, told):
    monkeypatch.chdir(tmp_path)
    write_digits("d.npz")
    assert error_line(run_here(capfd, "answer", *DATA, *flags)).startswith(told)
    assert not pathlib.Path("w/answers").exists()


def test_a_mistake_is_one_line_of_a_process(tmp_path):
    done = run_process("answer", *DATA, "--max_trials=8", cwd=tmp_path)
    assert error_line(done).startswith("--max_trials=8: must be at least 9")


def test_a_method_that_draws_anew_has_a_keep_list_for_every_seed(tmp_path):
    question = questions.make_question(parse("--config.select.method=random"), largest=False)
    for count, note in ((1, ""), (3, " (the first of 3: every seed has its own)")):
        results = [{"selection": f"random-0.1-seed{seed}", "method": "random"} for seed in range(count)]
        found = types.SimpleNamespace(results=results, fraction=0.1)
        line, *_ = answer_lines.place_lines(types.SimpleNamespace(workdir=Workdir(tmp_path)), question, found)
        assert line == f"keep list: {tmp_path}/selections/random-0.1-seed0/keep.npy{note}"


# Rounds of trials


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    write_digits(folder / "d.npz", NUM_TRAIN, NUM_TEST)
    done = run_process(*ASKED, cwd=folder)
    assert done.code == 0, done.err
    return folder, done


@pytest.fixture
def own_copy(job, tmp_path, monkeypatch):
    shutil.copytree(job[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.slow
def test_seeds_are_added_until_the_trials_are_used_up(job):
    folder, done = job
    looks = re.findall(r"^answer: look (\d) of at most 2, (\d) seeds: (.*)$", done.err, re.MULTILINE)
    assert [look[:2] for look in looks] == [("1", "3"), ("2", "5")]
    assert looks[0][2].startswith("not shown yet for 20% within 0.5 points: the next look is at 5 seeds (difference ")
    assert re.match(
        r"not shown yet for 20% within 0.5 points"
        r" with all 5 seeds that were planned: a new question would need (about|more than) \d+ ",
        looks[1][2],
    )
    selections = ["full", "agglomerative-0.2", *(f"random-0.2-seed{seed}" for seed in range(5))]
    assert sorted(path.name for path in (folder / "w" / "trials").iterdir()) == sorted(selections)
    assert sorted(accuracies(folder, "full")) == sorted(accuracies(folder, "agglomerative-0.2")) == [*range(5)]
    found = saved(folder)
    assert found["plan"] == {
        "method": "agglomerative", "fraction": 0.2, "margin": 0.005, "confidence": 0.95, "looks": [3, 5], "seed": 0,
    }  # fmt: skip
    assert (found["seeds"], found["found"]["next_look"]) == ([0, 1, 2, 3, 4], None)


@pytest.mark.slow
def test_the_interval_is_that_of_the_look(job):
    folder, done = job
    full, own, random = (
        np.array([by_seed[seed] for seed in range(5)])
        for by_seed in (accuracies(folder, name) for name in ("full", "agglomerative-0.2", "random-0.2-seed*"))
    )
    level = evidence.make_look_schedule((3, 5)).levels[1]
    found = saved(folder)["found"]
    for difference, other in ((found["difference"], full), (found["versus_random"]["difference"], random)):
        low, high = stats.ttest_rel(own, other).confidence_interval(1 - 2 * level)
        assert (difference["low"], difference["high"]) == pytest.approx((low, high))
        ends = f"95% repeated CI {100 * low:+.2f} to {100 * high:+.2f}, 5 seeds)"
        assert ends in done.out


@pytest.mark.slow
def test_it_tells_what_was_found_and_where_everything_is(job):
    folder, done = job
    told = done.out[done.out.rindex("\n\n") :].strip().splitlines()
    assert told[0].lower() == f"{saved(folder)['found']['words']}.".lower()
    assert told[1] == "Pruned: 40 of 200 training images (20%); 160 are kept."
    assert told[2].startswith("Test accuracy is ")
    assert told[3].startswith("Against random subsets of the same size: ")
    assert told[4].startswith("Random subsets themselves: not shown yet for 20% within 0.5 points (difference ")
    assert told[5].startswith("All trials took 8 steps, ")
    assert any("accuracy, corrected for all 10 classes" in line for line in told)
    assert (
        "Tested with a margin of 0.5 pp at 95% confidence, with looks at 3, 5 seeds; used 5 seeds, 15 trials." in told
    )
    assert "The plan cannot be extended after a look: " in told[-6]
    assert "in another --workdir, with --config.evidence.seed=5. Every further question has " in told[-6]
    places = dict(re.fullmatch(r"(.+?): +(w/.+)", line).groups() for line in told[-5:])
    assert list(places) == ["keep list", "answer", "trials", "report", "table"]
    assert all((folder / path).exists() for path in places.values())
    assert len(np.load(folder / places["keep list"])) == 160


@pytest.mark.slow
def test_the_report_says_what_the_answer_said(job):
    folder, done = job
    words = saved(folder)["found"]["words"]
    assert f"\nagglomerative: {words}.\nrandom: " in done.out
    found = page_content.read(folder / "w" / "report")["answer"]
    assert found["headline"].lower() == words.lower()
    assert (
        f"Against random subsets of the same size: {saved(folder)['found']['versus_random']['words']}."
        in (found["lines"])
    )


@pytest.mark.slow
def test_a_finished_answer_is_told_again(own_copy, job, capfd):
    before = mtimes(own_copy)
    done = run_here(capfd, *ASKED)
    assert done.code == 0, done.err
    assert "answer: already done, skipped (w/answers/agglomerative-0.2.json)" in done.err
    assert "look" not in done.err
    assert "trial 1" not in done.err
    assert done.out == job[1].out
    assert mtimes(own_copy) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--config.evidence.margin=0.02"], "evidence.margin: 0.005 then, 0.02 now. "),
        (["--config.evidence.confidence=0.9"], "evidence.confidence: 0.95 then, 0.9 now. "),
        (["--max_trials=21"], r"numbers of seeds at the looks \(evidence.max_trials, .*\): 3, 5 then, 3, 5, 7 now. "),
        (["--config.evidence.first_look=2"], r"numbers of seeds .*: 3, 5 then, 2, 4, 5 now. "),
        (["--config.evidence.seed=9"], "evidence.seed: 0 then, 9 now. "),
    ],
)
def test_another_plan_is_refused(own_copy, capfd, flags, told):
    before = mtimes(own_copy)
    line = error_line(run_here(capfd, *ASKED, *flags))
    assert re.match(
        rf"\S*/w/answers/agglomerative-0\.2\.json: has another plan, made before the first look: {told}", line
    )
    assert line.endswith("(evidence.seed=5); or remove the file if no result has been seen yet.")
    assert mtimes(own_copy) == before


@pytest.mark.slow
def test_a_few_trials_more_that_change_no_look_are_the_same_plan(own_copy, capfd):
    assert run_here(capfd, *ASKED[:-1], "--max_trials=17").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{", "[]", '{"plan": {}, "found": null}'])
def test_a_damaged_answer_is_refused(own_copy, capfd, content):
    (own_copy / "w" / "answers" / "agglomerative-0.2.json").write_text(content)
    line = error_line(run_here(capfd, *ASKED))
    assert re.search(r"w/answers/agglomerative-0\.2\.json: (is not a file that|must be a JSON file \()", line), line


@pytest.mark.slow
def test_what_is_settled_at_the_first_look_needs_no_more(own_copy, capfd):
    doctor(own_copy, "agglomerative", lambda seed: 0.01 + 0.0005 * (seed % 2))
    doctor(own_copy, "random", lambda seed: -0.05 + 0.001 * (seed % 2))
    forget(own_copy)
    done = run_here(capfd, *ASKED)
    assert done.code == 0, done.err
    assert "10 trials of these seeds are already finished and are used; " in done.err
    assert "answer: look 1 of at most 2, 3 seeds: 20% can go: accuracy stays within 0.5 points" in done.err
    assert "look 2" not in done.err
    found = saved(own_copy)["found"]
    assert (found["outcome"], found["num_seeds"], found["next_look"]) == ("yes", 3, None)
    assert found["versus_random"]["outcome"] == "better than random"
    assert "\n20% can go: accuracy stays within 0.5 points of the full set (difference +1.02, 95% repeated " in done.out
    assert "\nAgainst random subsets of the same size: better than random (difference +5.98, " in done.out
    assert (
        "used 3 seeds, 9 trials. 10 trials were finished before the test was planned: they are no independent "
        in done.out
    )
    assert saved(own_copy)["trials_before"] == 10
    assert "\nRandom subsets themselves: no: 20% cannot go: accuracy falls by more than 0.5 points (" in done.out
    assert "The plan cannot be extended" not in done.out


@pytest.mark.slow
def test_what_is_settled_at_the_second_look_and_who_pays(own_copy, capfd):
    doctor(own_copy, "agglomerative", lambda seed: -0.06 if seed else -0.1)
    # Three seeds, at a level of 0.0177: the mean is -7.33 points, 6.83 below the margin; its standard error is 1.33.
    assert stats.t.sf(6.83 / 1.33, 2) == pytest.approx(0.018, abs=0.001)
    assert evidence.make_look_schedule((3, 5)).levels[0] < 0.0178
    forget(own_copy)
    done = run_here(capfd, *ASKED)
    assert (
        "look 1 of at most 2, 3 seeds: not shown yet for 20% within 0.5 points: the next look is at 5 seeds" in done.err
    )
    assert "look 2 of at most 2, 5 seeds: no: 20% cannot go: accuracy falls by more than 0.5 points" in done.err
    found = saved(own_copy)["found"]
    assert (found["outcome"], found["num_seeds"]) == ("no", 5)
    assert "\nNo: 20% cannot go: accuracy falls by more than 0.5 points (difference -6.80, " in done.out


@pytest.mark.slow
def test_classes_that_pay_are_named(own_copy, capfd):
    doctor(own_copy, "agglomerative", lambda seed: -0.2 + 0.0001 * seed)
    forget(own_copy)
    done = run_here(capfd, *ASKED)
    (line,) = re.findall(r"^Classes that lose accuracy, in points, corrected for all 10 classes .*$", done.out, re.M)
    assert all(f"{label} (-19.99)" in line for label in range(10))
    assert {entry["name"] for entry in saved(own_copy)["found"]["classes_that_lose"]} == {*map(str, range(10))}


@pytest.mark.slow
def test_classes_are_tested_at_the_level_of_the_look(own_copy, capfd):
    """With three seeds the level is 2 * 0.0177: a corrected p-value of 0.042, which is below 0.05, names no class."""
    doctor(own_copy, "agglomerative", lambda seed: 0.01 + 0.0005 * (seed % 2))
    for seed in range(3):
        paths = [
            own_copy / "w" / "trials" / name / f"seed{seed}" / "result.json" for name in ("full", "agglomerative-0.2")
        ]
        full, pruned = (json.loads(path.read_text()) for path in paths)
        pruned["class_accuracy"] = full["class_accuracy"]
        pruned["class_accuracy"][3] += -0.2 + 0.0225 * (seed - 1)
        paths[1].write_text(json.dumps(pruned))
    assert 0.04 < 10 * 2 * stats.t.sf(0.2 * 3**0.5 / 0.0225, 2) < 0.045
    forget(own_copy)
    done = run_here(capfd, *ASKED)
    assert "\nNo class is shown to lose accuracy, corrected for all 10 classes by Holm's rule.\n" in done.out
    assert "used 3 seeds" in done.out
    assert "all classes, no class is shown to lose accuracy." in str(page_content.read(own_copy / "w" / "report"))


@pytest.mark.slow
def test_an_answer_about_other_trials_is_refused_and_not_told(own_copy, capfd):
    path, words = own_copy / "w" / "answers" / "agglomerative-0.2.json", saved(own_copy)["found"]["words"]
    content = json.loads(path.read_text())
    content["fingerprint"]["train.learning_rate"] = 9.0
    path.write_text(json.dumps(content))
    line = run_here(capfd, *ASKED).err.splitlines()[-1]
    assert "agglomerative-0.2.json: was made with different inputs: train.learning_rate was 9.0 and is now 0.1." in line
    report = ["report", *BARE, "--config.sweep.fractions=(0.2,)", "--config.sweep.seeds=(0,1,2,3,4)"]
    assert words not in run_here(capfd, *report).out
    content["fingerprint"]["train.learning_rate"] = 0.1
    path.write_text(json.dumps(content))
    assert words in run_here(capfd, *report).out
    done = run_here(capfd, *report, "--config.evidence.confidence=0.9")
    assert f"\nagglomerative: {words}." not in done.out
    assert f"another margin or confidence, which determined the number of trials: agglomerative: {words}.\n" in done.out


@pytest.mark.slow
def test_a_fraction_that_removes_nothing_is_refused(own_copy, capfd):
    done = run_here(capfd, *ASKED[:-2], "--fraction=0.002")
    assert done.code == 2
    line = done.err.splitlines()[-1]
    assert line.startswith("data-redundancy: --fraction=0.002: must be more than 0.0025, to prune one of 200 ")


@pytest.mark.slow
def test_killed_and_started_again_it_comes_to_the_same(job, tmp_path):
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST)
    process = popen(["-m", "data_redundancy", *ASKED], cwd=tmp_path)
    fourth, deadline = tmp_path / "w" / "trials" / "full" / "seed3", time.monotonic() + 250
    while not (fourth / "checkpoints" / "4").exists():  # in the second round
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    between = saved(tmp_path)
    assert (between["plan"], between["found"]["next_look"]) == (saved(job[0])["plan"], 5)
    finished = mtimes(tmp_path / "w" / "trials" / "full" / "seed2")
    done = run_process(*ASKED, cwd=tmp_path)
    assert done.code == 0, done.err
    assert saved(tmp_path) == saved(job[0])
    assert mtimes(tmp_path / "w" / "trials" / "full" / "seed2") == finished


@pytest.mark.slow
def test_several_processes_come_to_one_answer(tmp_path):
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST)
    command = ["-m", "data_redundancy", *ASKED[:-1], "--max_trials=9"]
    (code, out, err), (other_code, other_out, other_err) = ends(start_all(command, cwd=tmp_path, devices=1), 280)
    assert (code, other_code) == (0, 0), err + other_err
    place = "w/answers/agglomerative-0.2.json"
    assert (out.count(place), other_out.count(place)) == (1, 0)
    assert saved(tmp_path)["found"]["num_seeds"] == 3


# The largest fraction


@pytest.mark.slow
def test_the_largest_is_searched_upwards_until_one_fails(own_copy, capfd):
    forget(own_copy)
    command = ["answer", *BARE, "--largest", "--max_trials=9"]
    of_all, wide = "--config.sweep.fractions=(0.5,0.2,0.3)", "--config.evidence.margin=0.49"
    done = run_here(capfd, *command, of_all, wide)
    assert done.code == 0, done.err
    search = saved(own_copy, "agglomerative-largest")
    assert search["plan"]["fractions"] == [0.2, 0.3, 0.5]
    assert search["found"]["largest"] == 0.5
    assert (
        "\n50% is the largest of the fractions 20%, 30%, 50% that is shown to be removable (tested in ascending "
        in done.out
    )
    assert "keep list: w/selections/agglomerative-0.5/keep.npy" in done.out

    refused = error_line(run_here(capfd, *command, "--config.sweep.fractions=(0.2,0.3)", wide))
    assert "sweep.fractions: 0.2, 0.3, 0.5 then, 0.2, 0.3 now" in refused

    doctor(own_copy, "agglomerative", lambda seed: 0.0001 * seed, 0.2)
    doctor(own_copy, "random", lambda seed: -0.1 + 0.0002 * seed, 0.2)
    doctor(own_copy, "agglomerative", lambda seed: -0.01 + 0.0001 * seed, 0.3)
    forget(own_copy)
    done = run_here(capfd, *command, of_all)
    assert done.code == 0, done.err
    found = saved(own_copy, "agglomerative-largest")["found"]
    assert found["largest"] == 0.2
    assert [entry["outcome"] for entry in found["outcomes"]] == ["yes", "no"]
    assert not (own_copy / "w" / "answers" / "agglomerative-0.5.json").exists()
    assert "\n  20% can go: " in done.out
    assert "\n  no: 30% cannot go: " in done.out
    assert "keep list: w/selections/agglomerative-0.2/keep.npy" in done.out

    # 30% is settled at the second look only: the report has the trials of both looks.
    doctor(own_copy, "agglomerative", lambda seed: -0.01 + (0.0001 if seed else 0.02), 0.3)
    forget(own_copy)
    done = run_here(capfd, *command[:-1], "--max_trials=15", of_all)
    assert [saved(own_copy, f"agglomerative-{share}")["found"]["num_seeds"] for share in (0.2, 0.3)] == [3, 5]
    assert "not finished" not in done.err
    assert re.search(r"^full +200 .* 5$", done.out, re.M)
    assert "Tested separately" not in done.out
    assert "Shown to be better than random subsets: agglomerative 20%.\n" in done.out
    # Without the search, these are separate questions.
    (own_copy / "w" / "answers" / "agglomerative-largest.json").unlink()
    report = ["report", *BARE, of_all, "--config.sweep.seeds=(0,1,2,3,4)"]
    told = run_here(capfd, *report).out
    separately = "Tested separately, each with its own error rate (--largest has one for all fractions)"
    assert f"\n{separately}: agglomerative 20%, agglomerative 30%.\n" in told

    doctor(own_copy, "agglomerative", lambda seed: -0.01 + 0.0001 * seed, 0.2)
    forget(own_copy)
    done = run_here(capfd, *command, of_all)
    assert "\nNone of the fractions 20%, 30%, 50% is shown to be removable " in done.out
    assert saved(own_copy, "agglomerative-largest")["found"]["largest"] is None


# Other methods, and the verdicts of other commands


@pytest.mark.slow
def test_scores_are_computed_where_a_method_needs_them(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_digits("d.npz", NUM_TRAIN, NUM_TEST)
    of_scores = ["--config.score.epochs=1", "--config.score.seeds=(0,)"]
    done = run_here(capfd, "sweep", *DATA, *of_scores, "--config.sweep.methods=('el2n',)")
    assert done.code == 2
    assert "w/scores/el2n/seed0: does not exist. Run 'data-redundancy score' with this workdir first." in done.err
    asked = [
        "--fraction=0.2",
        "--max_trials=9",
        "--config.select.method=el2n",
        "--config.sweep.methods=(agglomerative,)",
    ]
    done = run_here(capfd, "answer", *DATA, *of_scores, *asked)
    assert done.code == 0, done.err
    assert pathlib.Path("w/scores/el2n/seed0/scores.npy").exists()
    assert not pathlib.Path("w/embeddings").exists()
    assert saved(".", "el2n-0.2")["found"]["num_seeds"] == 3


@pytest.mark.slow
def test_sweep_and_report_say_what_can_go(own_copy, capfd):
    flags = [*BARE, "--config.sweep.fractions=(0.2,)", "--config.sweep.seeds=(0,1,2,3,4)"]
    words = saved(own_copy)["found"]["words"]
    of_sweep, of_report = run_here(capfd, "sweep", *flags), run_here(capfd, "report", *flags)
    assert f"\nsweep: agglomerative: {words}.\nsweep: random: " in of_sweep.err
    assert f"\n\nagglomerative: {words}.\nrandom: " in of_report.out
    not_asked = "Not tested by 'answer', so that the verdicts assume a fixed number of seeds: random 20%."
    assert f"\n{not_asked}\n" in of_report.out
    assert "\nAdding seeds until a result is significant inflates the error rate; " in of_report.out
    # With another margin, the answer does not apply: the verdict is that of a test of the finished trials.
    of_report = run_here(capfd, "report", *flags, "--config.evidence.margin=0.49")
    assert "\n\nagglomerative: 20% can go: accuracy stays within 49 points of the full set (difference" in of_report.out
    assert "95% CI" in of_report.out
    asked_before = "'answer' was run with another margin or confidence, which determined the number of trials"
    assert f"\n{asked_before}: agglomerative: {words}.\n" in of_report.out
    assert "Not tested by" not in of_report.out
    assert page_content.read(own_copy / "w" / "report")["answer"]["headline"].startswith("20% can go: ")


@pytest.mark.slow
def test_trials_of_another_config_are_named(own_copy, capfd):
    flags = [*BARE, "--config.sweep.fractions=(0.2,)", "--config.sweep.methods=random", "--config.select.method=random"]
    other = run_here(capfd, "sweep", *flags, "--config.sweep.seeds=(7,8)", "--config.train.learning_rate=0.2")
    assert other.code == 0, other.err
    for stage in ("sweep", "report"):
        done = run_here(capfd, stage, *flags, "--config.sweep.seeds=(0,1,7,8)")
        assert done.code == 2
        assert (
            "w/trials/full/seed7: was made with different inputs: train.learning_rate was 0.2 and is now 0.1."
            in done.err
        )


@pytest.mark.slow
def test_the_table_marks_what_does_not_pair(own_copy, capfd):
    trials = own_copy / "w" / "trials" / "full"
    for seed in (2, 3, 4):
        shutil.rmtree(trials / f"seed{seed}")
    for seed in (0, 1, 2):
        shutil.rmtree(own_copy / "w" / "trials" / "agglomerative-0.2" / f"seed{seed}")
    forget(own_copy)
    done = run_here(capfd, "report", *BARE, "--config.sweep.fractions=(0.2,)", "--config.sweep.seeds=(0,1,2,3,4)")
    assert done.code == 0, done.err
    low, high = stats.ttest_ind(
        [*accuracies(own_copy, "agglomerative-0.2").values()], [*accuracies(own_copy, "full").values()], equal_var=False
    ).confidence_interval(0.95)
    (row,) = [line for line in done.out.splitlines() if line.startswith("agglomerative 20%")]
    shown = [f"{100 * end:+.2f}" if abs(end) < 1 else f"{100 * end:+.0f}" for end in (low, high)]
    assert f"[{shown[0]}, {shown[1]}]*" in row
    assert "\n*: not paired, for most seeds are of one side only; 95% interval by Welch's rule" in done.out
