"""The report's text about trials, and the options of its page."""

import numpy as np
import pytest

from data_redundancy import evidence
from data_redundancy.experiment.results import evidence_trial
from data_redundancy.reporting import answer_text
from helpers.command import TINY, error_line, run_here


def result(method="agglomerative", fraction=0.1, seed=0, *, accuracy=0.9, classes=(0.9, 0.9), steps=90, seconds=4.5):
    return {
        "method": method, "prune_fraction": fraction, "seed": seed, "num_kept": round(100 * (1 - fraction)),
        "accuracy": accuracy, "class_accuracy": list(classes), "steps": steps, "train_seconds": seconds,
    }  # fmt: skip


ASKED = {
    "name": "agglomerative-0.1",
    "num_kept": 90,
    "num_train": 100,
    "confidence": 0.95,
    "margin": 0.005,
    "equal": "epochs",
}
OF = {"method": "agglomerative", "fraction": 0.1}


def test_the_answer_of_trials_of_equal_epochs():
    results = [result("full", 0.0, seed, accuracy=0.9 + 0.001 * seed, steps=100, seconds=5.0) for seed in range(4)]
    results += [result(seed=seed, accuracy=0.9 + 0.0011 * seed) for seed in range(4)]
    found = answer_text.answer(results, **ASKED, **OF)
    verdict = evidence.verdicts([evidence_trial(r) for r in results])[0]
    assert found["headline"] == evidence.verdict_words(verdict)
    assert found["headline"].startswith(
        "10% can go: accuracy stays within 0.5 points of the full set (difference +0.01"
    )
    assert found["lines"][2:] == [
        "Too few trials on random subsets of this size are finished for a comparison.",
        "At an equal number of epochs, training on the kept images saves 10% of the steps (90 instead of 100).",
        "Median training time: 4.5 s on the kept images, 5 s on all images.",
    ]


def test_time_is_the_median_for_the_first_trial_of_a_process_compiles():
    results = [result("full", 0.0, seed, steps=90, seconds=30.0 if seed == 0 else 5.0) for seed in range(3)]
    results += [result(seed=seed) for seed in range(3)] + [result("random", seed=seed) for seed in range(3)]
    found = answer_text.answer(results, **{**ASKED, "equal": "steps"}, **OF)
    assert found["lines"][-1] == (
        "All trials took 90 steps, so that pruning saved no time; at an equal number of epochs, training on the kept "
        "images would save 10% of the training time, about 0.5 of the 5 s of a trial (median)."
    )
    assert [line.partition(":")[0] for line in found["others"]] == ["random"]


def test_a_selection_that_keeps_everything_is_not_missing_trials():
    asked = {**ASKED, "name": "full", "num_kept": 100}
    for results in ([], [result("full", 0.0, seed) for seed in range(2)] + [result(seed=seed) for seed in range(2)]):
        found = answer_text.answer(results, **asked, method="agglomerative", fraction=0.0)
        assert found["headline"] == "Nothing is pruned: this selection keeps every image"
        assert found["lines"] == ["Pruned: 0 of 100 training images (0%); 100 are kept."]


def test_the_answer_goes_by_the_margin():
    results = [result("full", 0.0, seed, accuracy=0.9 + 0.001 * seed, steps=100) for seed in range(4)]
    results += [result(seed=seed, accuracy=0.89 + 0.0011 * seed) for seed in range(4)]
    starts = [answer_text.answer(results, **{**ASKED, "margin": m}, **OF)["headline"] for m in (0.005, 0.02)]
    assert starts[0].startswith("No: 10% cannot go: accuracy falls by more than 0.5 points")
    assert starts[1].startswith("10% can go: accuracy stays within 2 points")


def test_other_selections_are_told_as_the_stage_answer_found_them():
    results = [result("full", 0.0, seed, accuracy=0.9 + 0.001 * seed, steps=100) for seed in range(4)]
    for fraction in (0.1, 0.3):
        results += [result(fraction=fraction, seed=seed, accuracy=0.9 + 0.0011 * seed) for seed in range(4)]
    decided = {
        ("agglomerative", 0.3): {"words": "not shown yet for 30%, by rounds", "versus_random": None, "random": None}
    }
    found = answer_text.answer(results, **ASKED, **OF, decided=decided)
    assert found["headline"].startswith("10% can go")
    assert found["others"] == ["agglomerative: not shown yet for 30%, by rounds."]
    alone = evidence.verdicts([evidence_trial(r) for r in results], planned=(0.1, 0.3, 0.5))
    assert answer_text.answer(results, **ASKED, **OF, planned=(0.5,))["others"] == [
        f"agglomerative: {evidence.verdict_words(alone[1])}."
    ]


def test_where_nothing_varies_the_page_gets_no_interval():
    results = [result(method, fraction, s) for s in range(2) for method, fraction in (("full", 0.0), OF.values())]
    rows = evidence.summarise([evidence_trial(r) for r in results], ["a", "b"])
    assert answer_text.accuracy(rows)[1]["full"] == {"mean": 0, "low": None, "high": None}
    falling = [result(seed=s, classes=(0.8, 0.9)) for s in range(2)] + results[::2]
    classes, _ = answer_text.losing_classes(falling, **OF, class_names=["a", "b"], confidence=0.95)
    assert classes == [{"label": 0, "change": pytest.approx(-0.1), "low": None, "high": None}]


def test_the_answer_of_a_single_seed_claims_nothing():
    found = answer_text.answer([result("full", 0.0, steps=100), result(accuracy=0.99)], **ASKED, **OF)
    assert found["headline"].startswith("Not shown yet for 10%: needs at least 2 seeds")
    losing = answer_text.losing_classes(
        [result("full", 0.0), result(classes=(0.8, 0.95))], **OF, class_names=["a", "b"], confidence=0.95
    )
    assert losing == ([{"label": 0, "change": pytest.approx(-0.1), "low": None, "high": None}], [])


def test_classes_that_lose_with_intervals_and_correction():
    rng = np.random.default_rng(0)
    full = rng.uniform(0.7, 0.8, (5, 3))
    own = full - [0.2, 0, -0.1] + rng.normal(0, 0.005, (5, 3))
    results = [result("full", 0.0, s, classes=full[s]) for s in range(5)]
    results += [result(seed=s, classes=own[s]) for s in range(5)]
    classes, notes = answer_text.losing_classes(results, **OF, class_names=["a", "b", "c"], confidence=0.95)
    assert classes[0]["label"] == 0
    assert classes[0]["change"] == pytest.approx(np.mean(own[:, 0] - full[:, 0]))
    assert classes[0]["low"] < -0.2 < classes[0]["high"] < 0
    assert notes == [
        "The intervals of classes are not corrected; with Holm's correction for all classes, "
        "the classes that lose accuracy are a."
    ]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("map=tsne", "--config.report.map=tsne: must be one of pca, umap, none"),
        ("near_duplicate=-0.1", "--config.report.near_duplicate=-0.1: must be a number from 0 to 2"),
        ("max_html_mb=1.0", "--config.report.max_html_mb=1.0: must be a number from 2 to 1,000"),
        ("max_points=0", "--config.report.max_points=0: must be a whole number from 1 to 1,000,000"),
    ],
)
def test_options_are_checked(capfd, tmp_path, monkeypatch, option, told):
    monkeypatch.chdir(tmp_path)
    assert error_line(run_here(capfd, "report", *TINY, "--workdir=w", f"--config.report.{option}")) == told
