"""The example notebook runs from its first cell to its last, and leaves what it says."""

import pathlib

import nbformat
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import data_redundancy as dr
from helpers.command import run_process

NOTEBOOK = pathlib.Path(__file__).parents[1] / "examples" / "embeddings_to_keep_list.ipynb"


RUN = """
import sys
import nbclient, nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager

source, target = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
nbclient.NotebookClient(notebook, km=manager, timeout=300).execute()
nbformat.write(notebook, target)
"""
"""Runs the cells in ipykernel's own kernel of this interpreter, whatever kernels are installed."""


def run(folder):
    """In a process of its own: the client leaves sockets open, which would be an error of some later test."""
    done = run_process(NOTEBOOK, folder / "run.ipynb", code=RUN, cwd=folder)
    assert done.code == 0, done.err
    return nbformat.read(folder / "run.ipynb", as_version=4)


def test_it_is_committed_without_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.slow
def test_it_runs_and_leaves_a_keep_list_and_a_gallery(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = run(tmp_path)
    digits = load_digits()
    embeddings = PCA(32, random_state=0).fit_transform(digits.data).astype(np.float32)
    expected = dr.select(embeddings, digits.target, prune_fraction=0.3)
    keep = np.load(tmp_path / "kept" / "keep.npy")
    assert len(keep) == 1797 - round(0.3 * 1797)
    assert np.array_equal(keep, expected.keep)
    assert np.array_equal(dr.load_selection(tmp_path / "kept").distance, expected.distance)
    assert "<html" in (tmp_path / "gallery" / "index.html").read_text(encoding="utf-8")
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert outputs[0].data["text/plain"] == "Selection(agglomerative, keeps 1,258 of 1,797 (70%))"
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
