"""A workdir with given embeddings, and the trees that the command `cluster` makes from them."""

import contextlib
import pathlib

import numpy as np

import data_redundancy as dr
from data_redundancy.cli import arguments, experiments
from data_redundancy.store import artifacts
from helpers.command import TINY, write_digits

CONFIG = (*TINY, "--config.dataset.name=d.npz", "--workdir=w")
"""Flags of every command, in a folder that `write_workdir` has filled."""


def write_workdir(folder: pathlib.Path, embeddings: np.ndarray, labels: np.ndarray) -> None:
    """Writes a data set of blank images, d.npz, and a workdir w with the given embeddings."""
    folder.mkdir(exist_ok=True)
    images = np.zeros((len(labels), 8, 8), np.uint8)
    write_digits(folder / "d.npz", image_train=images, label_train=labels)
    with contextlib.chdir(folder):
        line = arguments.parse(["cluster", *CONFIG, "--dry_run"])
        fingerprint = experiments.make(line, experiments.check(line)).fingerprints.embeddings()
    with artifacts.write_embeddings(
        folder / "w" / "embeddings", labels, num_dimensions=embeddings.shape[1], fingerprint=fingerprint
    ) as store:
        store[:] = embeddings


def trees(workdir="w") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Members and linkage in every file of trees, by name."""
    return {p.name: read_tree(p) for p in sorted(pathlib.Path(workdir, "dendrograms").glob("[!.]*.npz"))}


def read_tree(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Members and linkage of one file."""
    with np.load(path) as arrays:
        return arrays["members"], arrays["linkage"]


def assert_are_trees_of(found: dict[str, tuple[np.ndarray, np.ndarray]], dendrograms: dr.Dendrograms) -> None:
    assert found.keys() == {f"class_{label}.npz" for label in dendrograms.trees}
    for label, tree in dendrograms.trees.items():
        members, linkage = found[f"class_{label}.npz"]
        assert np.array_equal(members, tree.members)
        assert linkage.tobytes() == tree.merges.tobytes()
