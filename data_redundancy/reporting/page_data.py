"""What there is to look at in a workdir: a selection, its merges, a map and suspicious images, for the report."""

import dataclasses
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, gallery
from data_redundancy.clustering.near_duplicates import NONE, Pairs, find_suspects, fits_memory
from data_redundancy.experiment import dataset as common
from data_redundancy.experiment import dendrograms, fingerprints
from data_redundancy.experiment.selections import KeepLists
from data_redundancy.store import artifacts, metrics
from data_redundancy.store.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A selection that is there; `vetoed` if it is one after a veto, on which no trials are run."""

    name: str
    method: str
    fraction: float
    seed: int
    vetoed: bool = False


def limits(config: ConfigDict) -> gallery.Limits:
    """How large the report may become."""
    report = config.report
    return gallery.Limits(report.max_groups, report.max_points, 1e6 * report.max_html_mb)


def choose(config: ConfigDict, keep_lists: KeepLists) -> Chosen | None:
    """The selection of `select`, or the first of the sweep's; None if there is none of these.

    Raises:
        InputError: if one was made from something else.
    """
    wanted = [(config.select.method, config.select.fraction, config.select.seed)]
    wanted += [
        (method, fraction, seed)
        for method in config.sweep.methods
        for fraction in config.sweep.fractions
        for seed in config.sweep.seeds
    ]
    for method, fraction, seed in wanted:
        if keep_lists.load(method, fraction, seed) is not None:
            return Chosen(keep_lists.name(method, fraction, seed), method, fraction, seed)
    return None


def read(workdir: Workdir, chosen: Chosen) -> gallery.Selected:
    """The selection, from its table of examples."""
    table = artifacts.read_examples(workdir.selection(chosen.name))
    representative = table["representative"].combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)
    distance = table["distance"].combine_chunks().fill_null(np.nan).to_numpy(zero_copy_only=False)
    kept = table["kept"].combine_chunks().to_numpy(zero_copy_only=False)
    return gallery.Selected(chosen.name, chosen.method, chosen.fraction, kept, representative, distance)


def about(dataset: data.Dataset) -> dict[str, Any]:
    """The data set, as the page names it."""
    return {
        "name": dataset.name,
        "version": dataset.version,
        "num_train": len(dataset.train.labels),
        "num_test": len(dataset.test.labels),
        "class_names": list(dataset.class_names),
        "digest": dataset.train.digest,
    }


def embeddings(config: ConfigDict, workdir: Workdir, notes: list[str]) -> np.ndarray | None:
    """Those of the training split [N, D], None where there are none, which is noted; or where nobody asks for them."""
    if config.report.map == "none" and not config.report.max_warnings:
        return None
    if not common.is_done(workdir.embeddings, fingerprints.embeddings(config)):
        notes.append("There are no embeddings, hence no map and no near-duplicates: the stage 'embed' makes them.")
        return None
    return artifacts.read_embeddings(workdir.embeddings)[0]


def heights(config: ConfigDict, workdir: Workdir, chosen: Chosen) -> dict[str, Any]:
    """The curve of merge heights; empty for a selection without trees."""
    labels, directory = common.load_dataset(config).train.labels, workdir.dendrograms
    if not fingerprints.needs_trees(config, chosen.method) or artifacts.read_manifest(directory) is None:
        return gallery.heights_content([], [], chosen.fraction)
    common.is_done(directory, fingerprints.dendrograms(config))
    classes = np.unique(dendrograms.labels_in_scope(config, labels)).tolist()
    found = artifacts.read_dendrograms(directory, classes, config.cluster.scope)
    sizes, merges = [len(members) for members, _ in found.values()], [linkage[:, 2] for _, linkage in found.values()]
    if config.select.allocation == "global":
        sizes, merges = [sum(sizes)], [_of_all(sizes, merges)]
    return gallery.heights_content(merges, sizes, chosen.fraction)


def _of_all(sizes: list[int], merges: list[np.ndarray]) -> np.ndarray:
    """The heights of all trees in one order, as far as none is missing."""
    truncated = [of_tree for size, of_tree in zip(sizes, merges, strict=True) if len(of_tree) < size - 1]
    last = min((of_tree[-1] if len(of_tree) else 0.0 for of_tree in truncated), default=np.inf)
    together = np.sort(np.concatenate(merges))
    return together[together <= last]


def map_points(config: ConfigDict, x: np.ndarray | None, selected: gallery.Selected) -> dict[str, Any] | None:
    """The map of embeddings [N, D], if there are any."""
    if x is None:
        return None
    labels = common.load_dataset(config).train.labels
    return gallery.make_map(x, labels, selected.kept, method=config.report.map, max_points=limits(config).points)


def suspects(
    config: ConfigDict, workdir: Workdir, x: np.ndarray | None, selected: gallery.Selected, notes: list[str]
) -> gallery.Suspects:
    """Near-duplicates among training images of different labels, and between splits; notes what was not looked for."""
    limit, height = config.report.max_warnings, config.report.near_duplicate
    height = gallery.default_near_duplicate(selected) if height is None else height
    if x is None or not limit:
        if not limit:
            notes.append("Near-duplicates were not looked for: report.max_warnings is 0.")
        return _suspects(NONE, NONE)
    if height is None:
        notes.append(
            "Near-duplicates were not looked for: nothing stands for what this selection prunes, hence no distance to "
            "go by; give report.near_duplicate."
        )
        return _suspects(NONE, NONE)
    of_test = _test_embeddings(config, workdir, notes)
    num_examples = len(x) + (0 if of_test is None else len(of_test))
    if not fits_memory(num_examples, x.shape[1]):
        notes.append(f"Near-duplicates were not looked for: there is too little memory for {num_examples:,} images.")
        return _suspects(NONE, NONE)
    found = _find(config, x, of_test, height)
    notes.append(
        f"Near-duplicates are images at a cosine distance of at most {height:.3g}; of either kind the nearest "
        f"{limit:,} are shown, if there are as many."
    )
    return _suspects(*found)


def _test_embeddings(config: ConfigDict, workdir: Workdir, notes: list[str]) -> np.ndarray | None:
    if not common.is_done(workdir.embeddings_test, fingerprints.embeddings_test(config)):
        notes.append("Test images were not looked at: they have no embeddings; the stage 'embed' makes them.")
        return None
    return artifacts.read_embeddings(workdir.embeddings_test)[0]


def _find(config: ConfigDict, x: np.ndarray, of_test: np.ndarray | None, height: float) -> tuple[Pairs, Pairs]:
    labels, bar = common.load_dataset(config).train.labels, None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or metrics.Progress("report: near-duplicates", total=total, unit="blocks")
        bar.update(done)

    try:
        return find_suspects(x, labels, of_test, height=height, limit=config.report.max_warnings, progress=progress)
    finally:
        if bar is not None:
            bar.close()


def _suspects(label_errors: Pairs, leaks: Pairs) -> gallery.Suspects:
    return gallery.Suspects(*((p.first, p.second, p.distance) for p in (label_errors, leaks)))
