"""The Python API: its names and help; it clusters and selects as the library does; its old names."""

import doctest
import inspect
import pathlib
import pydoc
import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter
from sklearn.datasets import load_digits

import data_redundancy as dr
from data_redundancy import api, selection
from data_redundancy.clustering.classwise import cluster_classes
from data_redundancy.clustering.dendrograms import ClassDendrograms as ClassTrees
from data_redundancy.selection import Pool
from helpers import api_digits
from helpers.api_digits import NAMES, N, assert_equal

ROOT = pathlib.Path(__file__).parents[1]
BY_EMBEDDINGS = ("agglomerative", "kcenter", "herding", "prototypes", "semdedup", "facility_location")
BY_SCORES = ("el2n", "grad_norm", "forgetting", "ccs")


@pytest.fixture(scope="module")
def digits():
    return api_digits.digits()


@pytest.fixture(scope="module")
def scores():
    return api_digits.scores()


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The module


def test_clusters_where_tensorflow_is_absent():
    output = run_python(
        """
import sys
for name in ("tensorflow", "tensorflow_datasets", "clu", "flax", "optax", "orbax"):
    sys.modules[name] = None  # importing it raises ImportError
import numpy as np
import data_redundancy as dr
x = np.random.default_rng(0).normal(size=(40, 8))
labels = np.repeat([0, 1], 20)
selection = dr.select(dr.cluster(x, labels), prune_fraction=0.25)
print(len(selection.keep), dr.linkage(x).shape, dr.cut(x, num_clusters=7).max())
"""
    )
    assert output.split("\n")[0] == "30 (39, 4) 6"


def test_importing_is_light():
    heavy = "{'jax', 'scipy', 'tensorflow', 'flax', 'optax', 'orbax', 'tensorstore'}"
    code = f"import sys, data_redundancy; dir(data_redundancy); print({heavy} & set(sys.modules))"
    assert run_python(code).strip() == "set()"


def test_using_it_imports_neither_pandas_nor_a_plot():
    code = "import sys, data_redundancy as dr; dr.select([[1, 0], [0, 1]]); print({'pandas', 'pyarrow', 'matplotlib'}"
    assert run_python(f"{code} & set(sys.modules))").strip() == "set()"


def test_everything_promised_is_there():
    for name in dr.__all__:
        assert getattr(dr, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'clusterclasses'"):
        dr.clusterclasses  # noqa: B018
    assert (ROOT / "data_redundancy" / "py.typed").exists()
    assert f'\n__version__ = "{dr.__version__}"\n' in (ROOT / "data_redundancy" / "version.py").read_text()


API = ["Dendrogram", "Dendrograms", "InputError", "Selection", "__version__"]
API += ["cluster", "cut", "linkage", "load_selection", "select", "write_gallery"]


def test_dir_and_completion_show_only_the_api():
    assert dir(dr) == sorted(dr.__all__) == API
    with provisionalcompleter():
        completer = IPCompleter(namespace={"dr": dr}, use_jedi=True)
        offered = {completion.text for completion in completer.completions("dr.", 3)}
    assert offered == set(API) - {"__version__"}


def test_help_shows_only_the_api():
    text = pydoc.render_doc(dr, renderer=pydoc.plaintext)
    classes, _, rest = text.partition("\nCLASSES\n")[2].partition("\nFUNCTIONS\n")
    functions = rest.partition("\nVERSION\n")[0]
    assert re.findall(r"^    class (\w+)\(", classes, re.M) == ["Dendrogram", "Dendrograms", "InputError", "Selection"]
    assert re.findall(r"^    (\w+)\(", functions, re.M) == API[5:]
    assert "\nDATA\n" not in text


@pytest.mark.parametrize("module", [api, dr])
def test_examples_of_docstrings(module):
    outcome = doctest.testmod(module, extraglobs={"dr": dr})
    assert (outcome.failed, outcome.attempted >= 2) == (0, True)


@pytest.mark.parametrize(
    "function",
    [*(getattr(dr, name) for name in API[5:]), dr.Selection.save, dr.Selection.to_pandas, dr.Selection.plot],
)
def test_docstrings_describe_every_parameter(function):
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    described = re.findall(
        r"^    (\w+): ", inspect.getdoc(function).partition("\nArgs:\n")[2].partition("\n\n")[0], re.M
    )
    assert described == names


# Clustering


def test_digits_end_to_end():
    pixels, labels = load_digits(return_X_y=True)
    dendrograms = dr.cluster(pixels, labels)
    chosen = dr.select(dendrograms, prune_fraction=0.1)
    assert isinstance(dendrograms, dr.Dendrograms)
    assert repr(dendrograms) == "Dendrograms(1,797 examples, 10 classes, complete linkage)"
    assert isinstance(dendrograms.trees[0], dr.Dendrogram)
    assert isinstance(chosen, dr.Selection)
    assert len(chosen.keep) == 1797 - 180
    assert np.bincount(labels[chosen.redundant]).tolist() == [18] * 10
    assert chosen.representative.shape == chosen.cluster.shape == chosen.distance.shape == (1797,)
    # The rule for a class, put together from other public functions.
    zeros = np.flatnonzero(labels == 0)
    cluster = dr.cut(pixels[zeros], num_clusters=len(zeros) - 18)
    assert len(np.unique(np.stack([cluster, chosen.cluster[zeros]]), axis=1).T) == len(zeros) - 18
    assert np.array_equal(dr.linkage(pixels[zeros]), dendrograms.trees[0].merges)


@pytest.mark.parametrize(
    ("options", "labelled", "num_trees"),
    [
        ({}, True, 10),
        ({}, False, 1),
        ({"scope": "class", "linkage": "single"}, True, 10),
        ({"scope": "dataset", "linkage": "average"}, True, 1),
        ({"scope": "dataset", "max_prune_fraction": 0.2}, False, 1),
    ],
)
def test_cluster_makes_the_trees_of_the_library(digits, options, labelled, num_trees):
    x, labels = digits
    found = dr.cluster(x, labels if labelled else None, **options)
    in_scope = labels if num_trees == 10 else np.zeros(N, int)
    num_merges = {0: 61} if "max_prune_fraction" in options else None  # a fifth of 300, and one for rounding
    expected = cluster_classes(x, in_scope, linkage=options.get("linkage", "complete"), num_merges=num_merges)
    assert list(found.trees) == list(expected.trees) == list(range(num_trees))
    for label, tree in expected.trees.items():
        assert np.array_equal(found.merges(label), tree.merges)
    assert (found.linkage, found.class_names) == (expected.linkage, None)
    assert np.array_equal(found.classes, labels if labelled else None)


def test_progress(digits, capfd):
    dr.cluster(*digits)
    assert capfd.readouterr().err == ""
    dr.cluster(*digits, progress=True)
    assert re.search(r"cluster: 100%\|.*\| 10/10 \[.* classes/s\]", capfd.readouterr().err)
    dr.select(*digits, progress=True)
    assert "cluster: 100%" in capfd.readouterr().err
    wrapped = []

    def wrap(labels):
        wrapped.extend(labels)
        return iter(labels)

    dr.cluster(*digits, progress=wrap)
    assert wrapped == list(range(10))
    assert capfd.readouterr().err == ""


# Selecting


OPTIONS = [
    *(
        {"method": "agglomerative", "representative": name, "allocation": allocation}
        for name in ("centroid", "medoid", "nested")
        for allocation in ("per_class", "global")
    ),
    {"method": "agglomerative", "linkage": "single"},
    {"method": "agglomerative", "linkage": "average", "allocation": "global"},
    *({"method": "random", "seed": seed, "allocation": name} for seed, name in ((0, "per_class"), (3, "global"))),
    {"method": "kcenter"},
    {"method": "kcenter", "allocation": "global"},
    {"method": "herding"},
    *(
        {"method": "prototypes", "centre": centre, "end": end, "seed": 1}
        for centre in ("class", "kmeans")
        for end in ("easy", "hard")
    ),
    {"method": "semdedup", "seed": 2},
    {"method": "facility_location"},
    *({"method": name} for name in BY_SCORES),
    {"method": "ccs", "score": "forgetting", "hardest_pruned": 0.1, "seed": 4},
]


def test_options_cover_all_methods():
    assert (
        {options["method"] for options in OPTIONS} == set(selection.METHODS) == {*BY_EMBEDDINGS, *BY_SCORES, "random"}
    )


@pytest.mark.parametrize("scope", ["class", "dataset"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_select_is_the_selection_of_the_library(digits, scores, options, scope):
    x, labels = digits
    in_scope = labels if scope == "class" else np.zeros(N, int)
    trees = cluster_classes(x, in_scope, linkage=options.get("linkage", "complete"))
    pool = Pool(in_scope, x, trees, scores, classes=labels)
    known = {name: value for name, value in options.items() if name != "linkage"}
    expected = selection.select(pool, prune_fraction=0.3, **known)
    given = scores if options["method"] in BY_SCORES else None
    found = dr.select(x, labels, prune_fraction=0.3, scope=scope, scores=given, **options)
    assert_equal(found, expected)
    assert np.array_equal(found.labels, labels)
    clustered = dr.cluster(x, labels, scope=scope, linkage=options.get("linkage", "complete"))
    of_trees = dr.select(clustered, prune_fraction=0.3, scores=given, **known)
    assert_equal(of_trees, expected)
    assert of_trees.made_from == found.made_from


def test_trees_are_clustered_no_deeper_than_needed(digits, monkeypatch):
    depths = []

    def record(*args, num_merges, **options):
        depths.append(num_merges)
        return cluster_classes(*args, num_merges=num_merges, **options)

    monkeypatch.setattr(api.classwise, "cluster_classes", record)
    for fraction in (0.0, 0.2):
        assert len(dr.select(*digits, prune_fraction=fraction).redundant) == fraction * N
        assert max(depths.pop().values()) <= fraction * 31 + 1  # 31 is the largest class
    dr.select(*digits, prune_fraction=0.2, allocation="global")
    assert depths.pop() is None
    dr.select(*digits, prune_fraction=0.2, method="kcenter")
    assert depths == []


def test_invalid_options_are_rejected_before_the_work(digits, monkeypatch):
    monkeypatch.setattr(api.classwise, "cluster_classes", None)
    for options in ({"representative": "best"}, {"prune_fraction": 0.99}, {"allocation": "all"}, {"seed": -1}):
        with pytest.raises(dr.InputError):
            dr.select(*digits, **options)


def test_labels_are_enough_for_some_methods(digits, scores):
    x, labels = digits
    assert_equal(dr.select(None, labels, method="random", seed=3), dr.select(x, labels, method="random", seed=3))
    found = dr.select(labels=NAMES[labels], method="el2n", scores=scores["el2n"], prune_fraction=0.3)
    assert found.class_names == tuple(sorted(NAMES))
    for label in range(10):
        members = np.flatnonzero(NAMES[labels] == found.class_names[label])
        kept = members[np.isin(members, found.keep)]
        lowest = scores["el2n"][kept].min()
        assert (scores["el2n"][np.setdiff1d(members, kept)] < lowest).all()


@pytest.mark.parametrize("method", BY_SCORES)
def test_scores_are_an_array_or_named(digits, scores, method):
    name = "grad_norm" if method == "ccs" else method
    options = {"labels": digits[1], "method": method, "prune_fraction": 0.3, "score": "grad_norm"}
    of_array = dr.select(scores=scores[name], **options)
    assert_equal(of_array, dr.select(scores=scores, **options))
    assert_equal(of_array, dr.select(scores={name: scores[name].tolist()}, **options))
    assert of_array.made_from[name] == dr.select(scores=scores, **options).made_from[name]


def test_without_labels_the_data_set_is_one_class(digits):
    x, labels = digits
    found = dr.select(x)
    assert found.labels is None
    assert found.class_names is None
    assert_equal(found, dr.select(x, np.zeros(N, int)))
    assert_equal(found, dr.select(x, labels, scope="dataset"))
    assert_equal(found, dr.select(dr.cluster(x)))


STRINGS = {
    "str": NAMES.__getitem__,
    "object": lambda labels: NAMES[labels].astype(object),
    "bytes": lambda labels: NAMES[labels].astype(bytes),
    "list": lambda labels: NAMES[labels].tolist(),
    "series": lambda labels: pd.Series(NAMES[labels]),
    "categorical": lambda labels: pd.Series(NAMES[labels]).astype("category"),
}


@pytest.mark.parametrize("kind", STRINGS)
def test_labels_may_be_strings(digits, kind):
    x, labels = digits
    texts = STRINGS[kind](labels)
    by_name = np.argsort(np.argsort(NAMES))[labels]  # numbered in the order of the names
    expected = dr.select(x, by_name, prune_fraction=0.3)
    trees = dr.cluster(x, texts)
    for found in (dr.select(x, texts, prune_fraction=0.3), dr.select(trees, prune_fraction=0.3)):
        assert_equal(found, expected)
        assert found.class_names == trees.class_names == tuple(sorted(NAMES))
        assert np.array_equal(found.labels, by_name)
    assert np.array_equal(dr.select(x, texts, scope="dataset").labels, by_name)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16, np.int8])
def test_embeddings_of_small_types(digits, dtype):
    x, labels = digits[0].astype(dtype), digits[1]
    expected = dr.select(x.astype(np.float32), labels, prune_fraction=0.3)
    assert_equal(dr.select(x, labels, prune_fraction=0.3), expected)
    assert_equal(dr.select(dr.cluster(x, labels), prune_fraction=0.3), expected)
    assert np.array_equal(dr.linkage(x[:50]), dr.linkage(x[:50].astype(np.float32)))
    assert np.array_equal(dr.cut(x[:50], 20), dr.cut(x[:50].astype(np.float32), 20))


def test_arrays_of_jax(digits):
    import jax.numpy as jnp

    x, labels = jnp.asarray(digits[0], jnp.bfloat16), jnp.asarray(digits[1])
    assert_equal(dr.select(x, labels), dr.select(np.asarray(x).astype(np.float32), digits[1]))


def test_tensors_of_pytorch(digits):
    torch = pytest.importorskip("torch")
    x, labels = torch.tensor(digits[0], requires_grad=True), torch.tensor(digits[1])
    assert_equal(dr.select(x, labels), dr.select(*digits))
    small = x.to(torch.bfloat16)
    assert_equal(dr.select(small, labels), dr.select(small.float().detach().numpy(), digits[1]))


def test_columns_of_hugging_face(digits):
    import datasets

    data = datasets.Dataset.from_dict({"clip": digits[0].tolist(), "label": NAMES[digits[1]].tolist()})
    found = dr.select(data["clip"], data["label"])
    assert_equal(found, dr.select(digits[0].astype(float), NAMES[digits[1]]))
    assert len(data.select(found.keep)) == len(found.keep)


def test_lists_are_welcome():
    trees = dr.cluster([[1, 0], [2, 0], [0, 1], [1, 1]], [0, 0, 0, 1])
    assert dr.select(trees, prune_fraction=0.25).redundant.tolist() == [1]


def test_arrays_are_not_modified(digits, scores):
    arrays = [digits[0], digits[1], NAMES[digits[1]], *scores.values()]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    try:
        for options in OPTIONS:
            given = scores if options["method"] in BY_SCORES else None
            dr.select(digits[0], digits[1], scores=given, prune_fraction=0.3, **options)
        dr.select(dr.cluster(digits[0], arrays[2])).to_pandas()
    finally:
        for array in arrays:
            array.flags.writeable = True
    for array, old in zip(arrays, before, strict=True):
        assert np.array_equal(array, old)


def test_trees_of_the_library_are_accepted(digits):
    x, labels = digits
    found = dr.select(cluster_classes(x, labels))
    assert_equal(found, dr.select(x, labels))
    assert np.array_equal(found.labels, labels)
    of_one = dr.select(cluster_classes(x, np.zeros(N, int)))
    assert of_one.labels is None
    assert isinstance(dr.cluster(x), ClassTrees)


# Old names


def test_cluster_classes_is_an_old_name(digits):
    with pytest.warns(DeprecationWarning, match="cluster_classes is now called cluster") as caught:
        old = dr.cluster_classes(*digits)
    assert [warning.filename for warning in caught] == [__file__]
    assert np.array_equal(old.merges(3), dr.cluster(*digits).merges(3))
    with pytest.warns(DeprecationWarning, match="is now called") as caught:
        old = dr.cluster_classes(*digits, method="single", max_prune_fraction=0.2)
    assert [str(warning.message) for warning in caught] == [
        "the parameter method of cluster_classes is now called linkage",
        "cluster_classes is now called cluster",
    ]
    assert old.linkage == "single"
    with (
        pytest.warns(DeprecationWarning, match="is now called"),
        pytest.raises(dr.InputError, match=r"^labels: must be given if scope is "),
    ):
        dr.cluster_classes(digits[0])
    with pytest.warns(DeprecationWarning, match="is now called"):
        assert len(dr.cluster_classes(digits[0], scope="dataset").trees) == 1


def test_method_is_an_old_name_of_linkage(digits):
    x = digits[0][:50]
    with pytest.warns(DeprecationWarning, match="the parameter method of linkage is now called linkage"):
        assert np.array_equal(dr.linkage(x, method="average"), dr.linkage(x, "average"))
    with pytest.raises(TypeError, match="linkage has both linkage and its old name method; omit method"):
        dr.linkage(x, linkage="single", method="average")
    with pytest.warns(DeprecationWarning, match="the parameter method of cut is now called linkage"):
        assert np.array_equal(dr.cut(x, 9, method="average"), dr.cut(x, 9, linkage="average"))


def test_a_fraction_in_the_place_of_labels_is_deprecated(digits):
    trees = dr.cluster(*digits)
    with pytest.warns(DeprecationWarning, match="prune_fraction must be passed to select by keyword") as caught:
        old = dr.select(trees, 0.5, method="random", seed=1)
    assert [warning.filename for warning in caught] == [__file__]
    assert_equal(old, dr.select(trees, prune_fraction=0.5, method="random", seed=1))


def test_old_attributes_of_trees():
    dendrograms = dr.cluster(np.eye(4) + 1, [0, 0, 1, 1])
    with pytest.warns(DeprecationWarning, match="the attribute linkage of Dendrogram is now called merges"):
        assert dendrograms.trees[0].linkage is dendrograms.trees[0].merges
    with pytest.warns(DeprecationWarning, match="the attribute method of Dendrograms is now called linkage"):
        assert dendrograms.method == "complete"
    with pytest.warns(DeprecationWarning, match="the parameter dendrograms of select is now called data"):
        chosen = dr.select(dendrograms=dendrograms, prune_fraction=0.5)
    assert len(chosen.keep) == 2
