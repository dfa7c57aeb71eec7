"""Errors of the Python API name the parameter, in one line."""

import dataclasses

import numpy as np
import pytest

import data_redundancy as dr
from helpers import api_digits
from helpers.api_digits import N

BY_EMBEDDINGS = ("agglomerative", "kcenter", "herding", "prototypes", "semdedup", "facility_location")


@pytest.fixture(scope="module")
def digits():
    return api_digits.digits()


def spoilt(digits, value):
    x = digits[0].copy()
    x[7] = value
    return x


BAD_EMBEDDINGS = [
    (lambda digits: spoilt(digits, np.nan), "must have finite vectors other than zero, but index 7 contains NaN"),
    (lambda digits: spoilt(digits, 0), "must have finite vectors other than zero, but index 7 is a zero vector"),
    (lambda digits: digits[0][0], r"must be a matrix .*, but has shape \(64,\)"),
    (lambda digits: digits[0].astype(str), "must have floats or integers, but has data type <U"),
    (lambda digits: [[1, 2], [3]], r"must be an array \("),
    (lambda digits: {"clip": digits[0]}, "must have floats or integers, but has data type object"),
]


@pytest.mark.parametrize(("make", "message"), BAD_EMBEDDINGS)
def test_errors_about_embeddings(digits, make, message):
    x = make(digits)
    for name, function in (
        ("embeddings", dr.cluster),
        ("data", dr.select),
        ("data", lambda x: dr.select(x, method="kcenter")),
        ("x", dr.linkage),
        ("x", lambda x: dr.cut(x, 2)),
        ("embeddings", lambda x: dr.write_gallery("g", dr.select(*digits), embeddings=x)),
    ):
        with pytest.raises(dr.InputError, match=f"^{name}: {message}"):
            function(x)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "must have one label per embedding, but has 2 for 300 embeddings"),
        (np.full(N, -1), "must be at least 0, but index 0 has label -1"),
        (np.linspace(0, 1, N), "must have one integer per example, but has shape"),
        (["a", 1] * (N // 2), "must be all integers or all UTF-8 strings"),
        ([[0], [0, 1]], "must be an array"),
    ],
)
def test_errors_about_labels(digits, labels, message):
    labels = np.array(labels, object) if isinstance(labels[0], str) else labels
    for function in (dr.cluster, dr.select, lambda *args: dr.select(*args, method="random")):
        with pytest.raises(dr.InputError, match=f"^labels: {message}"):
            function(digits[0], labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "agglomerativ"}, r"^method=agglomerativ: must be one of .*\. Did you mean agglomerative\?$"),
        ({"allocation": "all"}, "^allocation=all: must be one of per_class, global$"),
        ({"representative": "mean"}, "^representative=mean: must be one of "),
        ({"centre": "mean"}, "^centre=mean: must be one of "),
        ({"end": "hardest"}, "^end=hardest: must be one of "),
        ({"score": "loss"}, "^score=loss: must be one of "),
        ({"linkage": "ward"}, "^linkage=ward: must be one of complete, average, single$"),
        ({"method": "random", "linkage": "ward"}, "^linkage=ward: must be one of "),
        ({"scope": "all"}, "^scope=all: must be one of class, dataset$"),
        ({"labels": None, "scope": "class"}, "^labels: must be given if scope is 'class'$"),
        ({"prune_fraction": 1}, "^prune_fraction=1: must be a number at least 0 and less than 1$"),
        ({"prune_fraction": "0.1"}, "^prune_fraction=0.1: must be a number at least 0 and less than 1$"),
        (
            {"prune_fraction": 0.99},
            "^prune_fraction=0.99: prunes 297 of 300 examples, but each of 10 classes must keep",
        ),
        ({"seed": -1}, "^seed=-1: must be at least 0$"),
        ({"seed": None}, "^seed: must be an integer$"),
        ({"seed": 0.5}, "^seed=0.5: must be an integer$"),
        (
            {"method": "ccs", "scores": np.ones(N), "hardest_pruned": 1},
            "^hardest_pruned=1: must be at least 0 and less ",
        ),
        ({"hardest_pruned": "few"}, "^hardest_pruned=few: must be a number$"),
        ({"memory_limit_gb": 0}, "^memory_limit_gb=0: must be a number greater than 0$"),
        ({"memory_limit_gb": 1e-4}, r"^memory_limit_gb=0.0001: must be at least 0\.\d+ for class 0: "),
        ({"progress": "yes"}, "^progress=yes: must be True, False or a function$"),
        ({"method": "el2n"}, "^scores: must have the score 'el2n'"),
        ({"method": "el2n", "scores": {"loss": np.ones(N)}}, "^scores: must have the score 'el2n'"),
        ({"method": "el2n", "scores": np.ones(3)}, r"^scores: must have one number for each of 300 examples, but has "),
        ({"method": "ccs", "scores": {"el2n": np.full(N, np.nan)}}, r"^scores\['el2n'\]: must have finite numbers"),
        ({"method": "el2n", "scores": ["high"] * N}, "^scores: must have numbers, but has type <U4$"),
    ],
)
def test_errors_of_select(digits, options, message):
    with pytest.raises(dr.InputError, match=message):
        dr.select(digits[0], **{"labels": digits[1], **options})


def test_errors_about_missing_data(digits):
    with pytest.raises(dr.InputError, match=r"^labels: must be given if data is None$"):
        dr.select(method="random")
    for method in BY_EMBEDDINGS:
        with pytest.raises(dr.InputError, match=f"^data: must be given for the method '{method}'$"):
            dr.select(labels=digits[1], method=method)


def test_trees_have_labels_scope_and_linkage(digits):
    trees = dr.cluster(*digits, linkage="single")
    for name, value, message in (
        ("labels", digits[1], "labels: must be None if data are trees, which have their own"),
        ("scope", "class", "scope: must be None if data are trees, which have their own"),
        ("linkage", "average", "linkage=average: must be single, the linkage of the trees"),
    ):
        with pytest.raises(dr.InputError, match=f"^{message}$"):
            dr.select(trees, **{name: value})
    assert dr.select(trees, linkage="single").made_from["cluster.linkage"] == "single"


def test_truncated_trees_limit_the_fraction(digits):
    trees = dr.cluster(*digits, max_prune_fraction=0.1)
    with pytest.raises(dr.InputError, match=r"^prune_fraction=0.5: .* Cluster again with a max_prune_fraction of at "):
        dr.select(trees, prune_fraction=0.5)
    with pytest.raises(dr.InputError, match=r"^max_prune_fraction=0: must be greater than 0 and less than 1$"):
        dr.cluster(*digits, max_prune_fraction=0)


def test_errors_are_value_errors_of_one_line(digits):
    with pytest.raises(ValueError, match=r"^labels: .*$") as caught:
        dr.cluster(digits[0], [0, 1])
    assert caught.type is dr.InputError
    assert "\n" not in str(caught.value)


def test_attributes_of_selections_have_an_entry_per_example(digits):
    for name in ("labels", "ids", "file_names"):
        with pytest.raises(dr.InputError, match=rf"^{name}: must have 300 entries, not 2$"):
            dataclasses.replace(dr.select(*digits), **{name: ["a", "b"]})
