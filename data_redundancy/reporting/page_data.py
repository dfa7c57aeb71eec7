"""The data of the report's page: a selection, its merges, a map and near-duplicates."""

import dataclasses
from typing import Any

import numpy as np

from data_redundancy import data, gallery
from data_redundancy.clustering.near_duplicates import NO_PAIRS, Pairs, find_near_duplicates, fits_memory
from data_redundancy.experiment.dataset import labels_in_scope
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.requirements import needs_dendrograms
from data_redundancy.experiment.selections import KeepLists
from data_redundancy.store import artifacts, manifests, metrics


@dataclasses.dataclass(frozen=True)
class ChosenSelection:
    """The existing selection that the page shows.

    Attributes:
        name: name of the selection.
        method: name of the selection method.
        fraction: prune fraction of the selection.
        seed: seed of the selection.
        vetoed: whether a veto changed the selection; no trials are run on such a selection.
    """

    name: str
    method: str
    fraction: float
    seed: int
    vetoed: bool = False


def limits(experiment: Experiment) -> gallery.Limits:
    """Returns the limits on the size of the page."""
    report = experiment.config.report
    return gallery.Limits(report.max_groups, report.max_points, 1e6 * report.max_html_mb)


def choose(experiment: Experiment, keep_lists: KeepLists) -> ChosenSelection | None:
    """Returns the selection of `select.*`, or the first existing selection of the sweep, or None.

    Raises:
        InputError: if a selection was made from other inputs.
    """
    select, sweep = experiment.config.select, experiment.config.sweep
    wanted = [(select.method, select.fraction, select.seed)]
    wanted += [(m, fraction, seed) for m in sweep.methods for fraction in sweep.fractions for seed in sweep.seeds]
    for method, fraction, seed in wanted:
        if keep_lists.load(method, fraction, seed) is not None:
            return ChosenSelection(keep_lists.name(method, fraction, seed), method, fraction, seed)
    return None


def read(experiment: Experiment, chosen: ChosenSelection) -> gallery.Selected:
    """Reads the selection from its table of examples."""
    table = artifacts.read_examples(experiment.workdir.selection(chosen.name))
    representative = table["representative"].combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)
    distance = table["distance"].combine_chunks().fill_null(np.nan).to_numpy(zero_copy_only=False)
    kept = table["kept"].combine_chunks().to_numpy(zero_copy_only=False)
    return gallery.Selected(chosen.name, chosen.method, chosen.fraction, kept, representative, distance)


def about(dataset: data.Dataset) -> dict[str, Any]:
    """Returns the description of the data set for the page."""
    return {
        "name": dataset.name,
        "version": dataset.version,
        "num_train": len(dataset.train.labels),
        "num_test": len(dataset.test.labels),
        "class_names": list(dataset.class_names),
        "digest": dataset.train.digest,
    }


def embeddings(experiment: Experiment, notes: list[str]) -> np.ndarray | None:
    """Returns the embeddings of the training split [N, D]; None if they are missing (adds a note) or not needed."""
    report, directory = experiment.config.report, experiment.workdir.embeddings
    if report.map == "none" and not report.max_warnings:
        return None
    if not manifests.is_complete(directory, experiment.fingerprints.embeddings()):
        notes.append("The page has no map and no near-duplicates: embeddings are missing. Run 'data-redundancy embed'.")
        return None
    return artifacts.read_embeddings(directory)[0]


def heights(experiment: Experiment, chosen: ChosenSelection) -> dict[str, Any]:
    """Returns the curve of merge heights; empty for a selection without dendrograms."""
    config, directory = experiment.config, experiment.workdir.dendrograms
    if not needs_dendrograms(config, chosen.method) or manifests.read(directory) is None:
        return gallery.heights_content([], [], chosen.fraction)
    manifests.is_complete(directory, experiment.fingerprints.dendrograms())
    classes = np.unique(labels_in_scope(config.cluster.scope, experiment.dataset.train.labels)).tolist()
    found = artifacts.read_dendrograms(directory, classes, config.cluster.scope)
    sizes, merges = [len(members) for members, _ in found.values()], [linkage[:, 2] for _, linkage in found.values()]
    if config.select.allocation == "global":
        sizes, merges = [sum(sizes)], [_merged(sizes, merges)]
    return gallery.heights_content(merges, sizes, chosen.fraction)


def _merged(sizes: list[int], merges: list[np.ndarray]) -> np.ndarray:
    """Returns the heights of all dendrograms in ascending order, up to the first height that may be missing."""
    truncated = [heights for size, heights in zip(sizes, merges, strict=True) if len(heights) < size - 1]
    last = min((heights[-1] if len(heights) else 0.0 for heights in truncated), default=np.inf)
    together = np.sort(np.concatenate(merges))
    return together[together <= last]


def map_points(experiment: Experiment, x: np.ndarray | None, selected: gallery.Selected) -> dict[str, Any] | None:
    """Returns the map of embeddings [N, D]; None without embeddings."""
    if x is None:
        return None
    labels, method = experiment.dataset.train.labels, experiment.config.report.map
    return gallery.make_map(x, labels, selected.kept, method=method, max_points=limits(experiment).points)


def near_duplicates(
    experiment: Experiment, x: np.ndarray | None, selected: gallery.Selected, notes: list[str]
) -> gallery.NearDuplicates:
    """Returns near-duplicates with different labels, and between the splits; adds notes about omitted searches."""
    report = experiment.config.report
    limit, height = report.max_warnings, report.near_duplicate
    height = gallery.default_near_duplicate(selected) if height is None else height
    if x is None or not limit:
        if not limit:
            notes.append("Near-duplicates were not searched: report.max_warnings is 0.")
        return _as_content(NO_PAIRS, NO_PAIRS)
    if height is None:
        notes.append(
            "Near-duplicates were not searched: this selection has no representatives, from which the distance of "
            "near-duplicates is derived; set report.near_duplicate."
        )
        return _as_content(NO_PAIRS, NO_PAIRS)
    test = _test_embeddings(experiment, notes)
    num_examples = len(x) + (0 if test is None else len(test))
    if not fits_memory(num_examples, x.shape[1]):
        notes.append(f"Near-duplicates were not searched: there is too little memory for {num_examples:,} images.")
        return _as_content(NO_PAIRS, NO_PAIRS)
    found = _find(experiment, x, test, height)
    notes.append(
        f"Near-duplicates are images at a cosine distance of at most {height:.3g}; at most {limit:,} of each kind "
        "are shown, nearest first."
    )
    return _as_content(*found)


def _test_embeddings(experiment: Experiment, notes: list[str]) -> np.ndarray | None:
    directory = experiment.workdir.embeddings_test
    if not manifests.is_complete(directory, experiment.fingerprints.embeddings_test()):
        notes.append("Test images were not searched: their embeddings are missing. Run 'data-redundancy embed'.")
        return None
    return artifacts.read_embeddings(directory)[0]


def _find(experiment: Experiment, x: np.ndarray, test: np.ndarray | None, height: float) -> tuple[Pairs, Pairs]:
    labels, limit = experiment.dataset.train.labels, experiment.config.report.max_warnings
    bar: metrics.Progress | None = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or metrics.Progress("report: near-duplicates", total=total, unit="blocks")
        bar.update(done)

    try:
        return find_near_duplicates(x, labels, test, height=height, limit=limit, progress=progress)
    finally:
        if bar is not None:
            bar.close()


def _as_content(label_errors: Pairs, leaks: Pairs) -> gallery.NearDuplicates:
    return gallery.NearDuplicates(*((p.first, p.second, p.distance) for p in (label_errors, leaks)))
