import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import data_redundancy as dr

ROOT = pathlib.Path(__file__).parents[1]


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
selection = dr.select(dr.cluster_classes(x, labels), prune_fraction=0.25)
print(len(selection.keep), dr.linkage(x).shape, dr.cut(x, num_clusters=7).max())
"""
    )
    assert output.split("\n")[0] == "30 (39, 4) 6"


def test_importing_is_light():
    heavy = "{'jax', 'scipy', 'tensorflow', 'flax', 'optax', 'orbax', 'tensorstore'}"
    assert run_python(f"import sys, data_redundancy; print({heavy} & set(sys.modules))").strip() == "set()"


def test_digits_end_to_end():
    pixels, labels = load_digits(return_X_y=True)
    dendrograms = dr.cluster_classes(pixels, labels)
    selection = dr.select(dendrograms, prune_fraction=0.1)
    assert isinstance(dendrograms, dr.Dendrograms)
    assert re.fullmatch(r"Dendrograms\([\d,]+ examples, [\d,]+ classes, complete linkage\)", repr(dendrograms))
    assert isinstance(dendrograms.trees[0], dr.Dendrogram)
    assert isinstance(selection, dr.Selection)
    assert len(selection.keep) == 1797 - 180
    assert np.bincount(labels[selection.redundant]).tolist() == [18] * 10
    assert selection.representative.shape == selection.cluster.shape == selection.distance.shape == (1797,)
    # The design's rule for a class, put together from the parts that are public.
    zeros = np.flatnonzero(labels == 0)
    cluster = dr.cut(pixels[zeros], num_clusters=len(zeros) - 18)
    assert len(np.unique(np.stack([cluster, selection.cluster[zeros]]), axis=1).T) == len(zeros) - 18
    assert np.array_equal(dr.linkage(pixels[zeros]), dendrograms.trees[0].merges)


def test_select_takes_method_allocation_and_seed():
    pixels, labels = load_digits(return_X_y=True)
    dendrograms = dr.cluster_classes(pixels[:300], labels[:300], linkage="single")
    default = dr.select(dendrograms)
    assert (default.method, default.prune_fraction, len(default.redundant)) == ("agglomerative", 0.1, 30)
    a, b = (dr.select(dendrograms, 0.2, method="random", allocation="global", seed=seed) for seed in (1, 2))
    assert len(a.keep) == len(b.keep) == 240
    assert not np.array_equal(a.keep, b.keep)


def test_lists_are_welcome():
    dendrograms = dr.cluster_classes([[1, 0], [2, 0], [0, 1], [1, 1]], [0, 0, 0, 1])
    assert dr.select(dendrograms, prune_fraction=0.25).redundant.tolist() == [1]


def test_errors_are_value_errors_of_one_line():
    with pytest.raises(dr.InputError, match=r"^labels: must have one label per embedding, but has 2 for 3 embeddings$") as caught:
        dr.cluster_classes(np.ones((3, 2)), [0, 1])
    assert isinstance(caught.value, ValueError)


def test_everything_promised_is_there():
    for name in dr.__all__:
        assert getattr(dr, name) is not None
        assert name in dir(dr)
    with pytest.raises(AttributeError, match=r"no attribute 'clusterclasses'"):
        dr.clusterclasses  # noqa: B018
    assert (ROOT / "data_redundancy" / "py.typed").exists()
    assert f'\n__version__ = "{dr.__version__}"\n' in (ROOT / "data_redundancy" / "__init__.py").read_text()
