"""The Python API, which `import data_redundancy as dr` offers: clusters, selects, saves, loads and plots."""

import dataclasses
import functools
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from data_redundancy.clustering import classwise
from data_redundancy.clustering import dendrograms as class_trees
from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.clustering.linkage import check_linkage
from data_redundancy.data.arrays import as_embeddings, as_labels
from data_redundancy.deprecation import accept_old_names
from data_redundancy.errors import InputError, arguments_named, choice_error
from data_redundancy.selection import METHODS, Pool, allocation, result
from data_redundancy.selection import select as select_from
from data_redundancy.selection.grouping import check_labels
from data_redundancy.selection.pool import check_scores
from data_redundancy.store import artifacts, filesystems, manifests

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Names = tuple[str, ...] | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dendrograms(class_trees.ClassDendrograms):
    """The trees of all classes, or the tree of the whole data set, as returned by `cluster`.

    Attributes:
        embeddings: [N, D] float32 or float64.
        labels: [N] integers, not negative, which separate the trees; all 0 for a single tree.
        trees: the tree of every class, a `Dendrogram`, by label.
        linkage: the linkage of the trees.
        classes: [N] integers, the labels passed to `cluster`; None if there were none.
        class_names: the name of every label if the labels passed to `cluster` were strings, else None.
    """

    classes: np.ndarray | None = None
    class_names: _Names = None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Selection(result.SelectionArrays):
    """The kept examples, and the representatives of the pruned ones, as returned by `select`.

    Attributes:
        method: the name of the method.
        prune_fraction: the requested share of examples to prune.
        keep: [K] int64, the indices of the kept examples, ascending and unique.
        cluster: [N] int64, the cluster of every example; -1 if the method makes no clusters.
        representative: [N] int64, the kept example that represents each example, itself if it is kept; -1 if none does.
        distance: [N] float64, the cosine distance of every example to its representative; NaN if it has none.
        labels: [N] integers, the classes; None if there are none.
        class_names: the name of every label, or None.
        ids: [N] strings, or None; the column `tfds_id` of tables.
        file_names: [N] strings, or None; `dataclasses.replace(selection, file_names=...)` sets them.
        made_from: what the selection was made from, the fingerprint in manifest.json.
        veto: the entry in manifest.json about a veto that changed the selection, or None.

    Raises:
        InputError: `labels`, `ids` or `file_names` does not have N entries.
    """

    labels: np.ndarray | None = None
    class_names: _Names = None
    ids: np.ndarray | None = None
    file_names: np.ndarray | None = None
    made_from: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    veto: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "ids", "file_names"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_examples:
                raise InputError(name, None, f"must have {self.num_examples} entries, not {len(values)}")

    def __repr__(self) -> str:
        kept = f"{len(self.keep):,} of {self.num_examples:,} ({100 * len(self.keep) / self.num_examples:.3g}%)"
        return f"Selection({self.method}, keeps {kept})"

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes keep.npy, examples.parquet and manifest.json, as `data-redundancy select --out=DIRECTORY` does.

        Args:
            directory: a directory that is empty or does not exist, local or in a bucket (gs://BUCKET/DIRECTORY).

        Raises:
            InputError: `directory` is not empty or cannot be written.
        """
        path = filesystems.locate(directory, "directory")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError("directory", directory, "exists and is not empty", "Name another directory")
        artifacts.write_selection(
            path,
            self,
            labels=self.labels,
            class_names=self.class_names,
            tfds_ids=self.ids,
            file_names=self.file_names,
            fingerprint=self.made_from,
            veto=self.veto,
        )

    def to_pandas(self) -> Any:
        """Returns a `pandas.DataFrame` with one row per example and the columns of examples.parquet.

        The columns are index, tfds_id, file_name, label, class_name, cluster, kept, representative and distance.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd  # type: ignore[import-untyped]  # it ships no types
        except ImportError:
            raise InputError("pandas", None, "is not installed", "Install it with pip install pandas") from None
        named = self.labels is not None and self.class_names is not None
        columns = {
            "index": np.arange(self.num_examples),
            "tfds_id": self.ids,
            "file_name": self.file_names,
            "label": self.labels,
            "class_name": np.array(self.class_names, object)[self.labels] if named else None,
            "cluster": pd.Series(self.cluster).where(self.cluster >= 0),
            "kept": self.kept,
            "representative": pd.Series(self.representative).where(self.representative >= 0),
            "distance": self.distance,
        }
        return pd.DataFrame(columns)

    def groups(self) -> list[tuple[int, np.ndarray]]:
        """Returns the groups of redundant examples: each kept example with the pruned examples that it represents.

        Returns:
            For every group of at least two examples, the index of its representative and the indices of all its
            members, [m] int64, ascending. The largest groups come first, equally large ones by representative.

        Example:
            >>> dr.select([[1, 0], [2, 0], [0, 1], [3, 0]], prune_fraction=0.5).groups()
            [(0, array([0, 1, 3]))]
        """
        represented = np.flatnonzero(self.representative >= 0)
        order = represented[np.argsort(self.representative[represented], kind="stable")]
        heads, starts, sizes = np.unique(self.representative[order], return_index=True, return_counts=True)
        largest = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes > 1)]
        return [(int(heads[i]), order[starts[i] : starts[i] + sizes[i]]) for i in largest]

    def plot(self, ax: "Axes | None" = None, *, kind: str | None = None) -> "Axes":
        """Plots the selection with Matplotlib.

        Args:
            ax: the axes to draw on; by default the axes of a new figure.
            kind: `classes`, the share of every class that is kept; or `distances`, a histogram of the cosine distances
                of pruned examples to their representatives. By default `classes` if there are labels.

        Raises:
            InputError: `kind` is unknown, or is `distances` and no pruned example has a representative.
        """
        import matplotlib.pyplot as plt

        distances = self.distance[~self.kept & (self.representative >= 0)]
        kinds = ("classes", "distances") if len(distances) else ("classes",)
        kind = kinds[-1 if self.labels is None else 0] if kind is None else kind
        if kind not in kinds:
            raise choice_error("kind", kind, kinds)
        ax = plt.subplots(layout="constrained")[1] if ax is None else ax
        if kind == "distances":
            ax.hist(distances, bins=50)
            ax.set(xlabel="cosine distance to the representative", ylabel="pruned examples", xlim=0)
        else:
            names, percent = self._percent_kept()
            is_named = len(names) <= 40  # more names would overlap
            ax.barh(range(len(names)), percent, height=0.8 if is_named else 1)
            ax.set(xlabel="kept [%]", ylabel="class", xlim=(0, 100), ylim=(len(names) - 0.5, -0.5))
            ax.set_yticks(range(len(names)) if is_named else [], names if is_named else [])
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(repr(self)[len("Selection(") : -1])
        return ax

    def _percent_kept(self) -> tuple[list[str], np.ndarray]:
        """Returns the class names and the percentage of each class that is kept, [C] floats, in descending order."""
        labels = np.zeros(self.num_examples, np.int64) if self.labels is None else self.labels
        classes, position = np.unique(labels, return_inverse=True)
        percent = 100 * np.bincount(position, weights=self.kept) / np.bincount(position)
        order = np.argsort(-percent.round(), kind="stable")  # shares that differ by rounding stay in order of labels
        names = self.class_names or {label: "all" if self.labels is None else str(label) for label in classes}
        return [names[label] for label in classes[order]], percent[order]


def load_selection(directory: str | os.PathLike[str]) -> Selection:
    """Reads a selection that `Selection.save` or a command such as `data-redundancy select` has written.

    Args:
        directory: the directory of the selection, such as WORKDIR/selections/agglomerative-0.1.

    Raises:
        InputError: `directory` is not the directory of a selection, or a file in it is damaged.
    """
    path = filesystems.locate(directory, "directory")
    manifest = manifests.read(path)
    if manifest is None or "method" not in manifest:
        found = [f"{directory}/selections/{name}" for name in artifacts.selection_names(path / "selections")]
        fix = f"Name one of {', '.join(found)}" if found else None
        raise InputError("directory", directory, "must be the directory of a selection", fix)
    table = artifacts.read_examples(path)
    known = {name: table[name].to_numpy() for name in table.column_names if table[name].null_count < len(table)}
    labelled = ("label", "class_name") if "class_name" in known else ()
    names = dict(zip(*(known[name].tolist() for name in labelled), strict=True)) if labelled else {}
    return Selection(
        method=manifest["method"],
        prune_fraction=manifest["prune_fraction"],
        keep=np.flatnonzero(known["kept"]),
        cluster=table["cluster"].fill_null(-1).to_numpy(),
        representative=table["representative"].fill_null(-1).to_numpy(),
        distance=table["distance"].to_numpy(),
        labels=known.get("label"),
        class_names=tuple(names.get(label, str(label)) for label in range(max(names) + 1)) if names else None,
        ids=known.get("tfds_id"),
        file_names=known.get("file_name"),
        made_from=manifest["fingerprint"],
        veto=manifest.get("veto"),
    )


def cluster(
    embeddings: "ArrayLike",
    labels: "ArrayLike | None" = None,
    *,
    linkage: str = "complete",
    scope: str | None = None,
    max_prune_fraction: float | None = None,
    memory_limit_gb: float | None = None,
    progress: bool | Callable[[Sequence[int]], Iterable[int]] | None = False,
) -> Dendrograms:
    """Clusters every class, or the whole data set, bottom-up by cosine distance, exactly and equally on every machine.

    Args:
        embeddings: [N, D] floats or integers.
        labels: [N] integers, not negative, or strings; None for one tree of the whole data set.
        linkage: `complete`, `average` or `single`.
        scope: `class` for a tree of every class, `dataset` for one tree. By default `class` if there are labels.
        max_prune_fraction: the largest fraction that will be pruned, the same share of every class. Trees are truncated
            there, which takes a small part of the time and memory. By default they are whole, which a selection with
            `allocation="global"` needs.
        memory_limit_gb: in 1e9 bytes; by default 60% of the free memory.
        progress: whether to show a progress bar; or a function that wraps the list of classes, such as `tqdm.tqdm`.

    Raises:
        InputError: a parameter is invalid, a vector has NaN, an infinity or only zeros, or memory does not suffice.

    Example:
        >>> dr.cluster([[1, 0], [2, 0], [0, 1], [1, 1]], ["cat", "cat", "cat", "dog"])
        Dendrograms(4 examples, 2 classes, complete linkage)
    """
    x = as_matrix(embeddings, "embeddings")
    in_scope, classes, class_names = as_classes(labels, len(x), scope)
    trees = _cluster(x, in_scope, linkage, max_prune_fraction, memory_limit_gb, progress).trees
    return Dendrograms(x, in_scope, trees, linkage, classes, class_names)


@accept_old_names(dendrograms="data")
def select(
    data: "ArrayLike | Dendrograms | None" = None,
    labels: "ArrayLike | None" = None,
    *,
    prune_fraction: float = 0.1,
    method: str = "agglomerative",
    allocation: str = "per_class",
    seed: int = 0,
    scores: "ArrayLike | Mapping[str, ArrayLike] | None" = None,
    representative: str = "centroid",
    centre: str = "kmeans",
    end: str = "hard",
    score: str = "el2n",
    hardest_pruned: float = 0.0,
    linkage: str = "complete",
    scope: str | None = None,
    memory_limit_gb: float | None = None,
    progress: bool | Callable[[Sequence[int]], Iterable[int]] | None = False,
) -> Selection:
    """Selects the examples to keep.

    Args:
        data: [N, D] floats or integers, the embeddings; or their trees as returned by `cluster`, so that selections at
            several fractions cluster once. None for a method that needs only labels or scores.
        labels: [N] integers, not negative, or strings; None for no classes. Trees have their own labels.
        prune_fraction: the share to prune, at least 0 and less than 1: exactly `round(prune_fraction * N)` examples.
        method: `agglomerative`, `random`, `kcenter`, `herding`, `prototypes`, `semdedup`, `facility_location`, or one
            that ranks by scores: `el2n`, `grad_norm`, `forgetting`, `ccs`.
        allocation: `per_class` prunes the same share of every class, `global` cuts all trees at one height.
        seed: seeds `random`, `prototypes`, `semdedup` and `ccs`; not negative.
        scores: [N] numbers for a method that ranks by scores, or a mapping from names of scores to such numbers.
        representative: the member of a cluster that `agglomerative` keeps: `centroid`, the nearest to the mean;
            `medoid`, the nearest to all members; `nested`, a member that also represents a part of the cluster.
        centre: `prototypes` are the means of `kmeans` clusters, or of every `class`.
        end: `prototypes` keeps the `hard` examples, far from their prototype, or the `easy` ones.
        score: the name of the score that `ccs` uses.
        hardest_pruned: the share of a class that `ccs` prunes as too hard, at least 0 and less than 1.
        linkage: as of `cluster`, for embeddings.
        scope: as of `cluster`, for embeddings.
        memory_limit_gb: as of `cluster`, for embeddings.
        progress: as of `cluster`, for embeddings.

    Raises:
        InputError: names the parameter that is invalid, missing, or does not fit the others.

    Example:
        >>> dr.select([[1, 0], [2, 0], [0, 1], [1, 1]], ["a", "a", "a", "b"], prune_fraction=0.25)
        Selection(agglomerative, keeps 3 of 4 (75%))

    References:
        agglomerative: Birodkar et al. 2019, arXiv:1901.11409; kcenter: Sener and Savarese, ICLR 2018; herding: Welling,
        ICML 2009; prototypes: Sorscher et al., NeurIPS 2022; semdedup: Abbas et al. 2023, arXiv:2303.09540;
        facility_location: Wei et al., ICML 2015; el2n, grad_norm: Paul et al., NeurIPS 2021, Vodrahalli et al. 2018;
        forgetting: Toneva et al., ICLR 2019; ccs: Zheng et al., ICLR 2023.
    """
    if isinstance(labels, Real):
        warnings.warn("prune_fraction must be passed to select by keyword", DeprecationWarning, stacklevel=3)
        labels, prune_fraction = None, labels
    options = {"seed": seed, "representative": representative, "centre": centre, "end": end}
    options |= {"score": score, "hardest_pruned": hardest_pruned}
    options |= {"method": method, "prune_fraction": prune_fraction, "allocation": allocation}
    pool, names, linkage = _pool(data, labels, scope, linkage, options, (memory_limit_gb, progress))
    pool = dataclasses.replace(pool, scores=_scores(scores, method, score, len(pool.labels)))
    found, made_from = _select(pool, linkage, options)
    return Selection(**vars(found), labels=pool.classes, class_names=names, made_from=made_from)


class _Later:
    """Trees that are clustered when they are first used, which is after `select_from` has validated its arguments."""

    def __init__(self, make: Callable[[], class_trees.ClassDendrograms]):
        self._make = functools.cache(make)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


def _pool(
    data: Any, labels: Any, scope: str | None, linkage: str, options: Mapping[str, Any], how: tuple[Any, Any]
) -> tuple[Pool, _Names, str]:
    """Returns a pool without scores, the names of its classes, and the linkage; `how` are the last of `_cluster`."""
    if isinstance(data, class_trees.ClassDendrograms):
        for name, value in (("labels", labels), ("scope", scope)):
            if value is not None:
                raise InputError(name, None, "must be None if data are trees, which have their own")
        if linkage not in ("complete", data.linkage):
            raise InputError("linkage", linkage, f"must be {data.linkage}, the linkage of the trees")
        classes, names = (data.classes, data.class_names) if isinstance(data, Dendrograms) else (None, None)
        if classes is None and len(data.trees) > 1:
            classes = data.labels
        return Pool(data.labels, data.embeddings, data, classes=classes), names, data.linkage
    check_linkage(linkage)
    x = None if data is None else as_matrix(data, "data")
    in_scope, classes, names = as_classes(labels, None if x is None else len(x), scope)
    if x is None:
        return Pool(in_scope, classes=classes), names, linkage
    depth = None if options["allocation"] == "global" else options["prune_fraction"] or 1e-9  # at least one merge
    trees: Any = _Later(lambda: _cluster(x, in_scope, linkage, depth, *how))
    return Pool(in_scope, x, trees, classes=classes), names, linkage


def _scores(scores: Any, method: str, score: str, num_examples: int) -> dict[str, np.ndarray]:
    """Returns the scores [N] that a method may use, by name."""
    if not isinstance(method, str) or method not in METHODS:
        raise choice_error("method", method, METHODS)
    if scores is None or "scores" not in METHODS[method].needs:
        return {}
    if isinstance(scores, Mapping):
        return {name: as_embeddings(_as_array(values, f"scores[{name!r}]")) for name, values in scores.items()}
    values = as_embeddings(_as_array(scores, "scores"))
    check_scores(values, num_examples, "scores")
    return {score if "score" in METHODS[method].takes else method: values}


def _select(pool: Pool, linkage: str, options: dict[str, Any]) -> tuple[result.SelectionArrays, dict[str, Any]]:
    """Returns the selection for the arguments of `select_from`, and its fingerprint."""
    for name, kind, requirement in (("seed", Integral, "an integer"), ("hardest_pruned", Real, "a number")):
        if not isinstance(options[name], kind):
            raise InputError(name, options[name], f"must be {requirement}")
    with arguments_named({"embeddings": "data"}):
        found = select_from(pool, **options)
    arrays = {"embeddings": pool.embeddings, "labels": pool.classes, **pool.scores}
    hashes = {name: hashlib.sha256(np.ascontiguousarray(x).data) for name, x in arrays.items() if x is not None}
    digests = {name: sha256.hexdigest()[:16] for name, sha256 in hashes.items()}
    clustered = {"cluster.linkage": linkage, "cluster.scope": "class" if pool.labels is pool.classes else "dataset"}
    recorded = ("method", "allocation", *METHODS[found.method].takes)
    return found, digests | clustered | {f"select.{name}": options[name] for name in recorded}


def _cluster(
    x: np.ndarray, labels: np.ndarray, linkage: str, depth: float | None, memory_limit_gb: Any, progress: Any
) -> class_trees.ClassDendrograms:
    """Clusters up to a prune fraction, `depth`, or completely if it is None."""
    if memory_limit_gb is not None and not (
        isinstance(memory_limit_gb, Real) and 0 < float(memory_limit_gb) < math.inf
    ):
        raise InputError("memory_limit_gb", memory_limit_gb, "must be a number greater than 0")
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise InputError("progress", progress, "must be True, False or a function")
    bar = functools.partial(tqdm, desc="cluster", unit=" classes")
    return classwise.cluster_classes(
        x,
        labels,
        linkage=linkage,
        num_merges=None if depth is None else allocation.most_pruned(labels, depth),
        memory_limit=None if memory_limit_gb is None else float(memory_limit_gb) * 1e9,
        progress=progress if callable(progress) else bar if progress else None,
    )


def as_matrix(embeddings: ArrayLike, argument: str) -> np.ndarray:
    """Returns embeddings as [N, D] float32 or float64; an error about them names `argument`."""
    return check_embeddings(as_embeddings(_as_array(embeddings, argument)), argument)


def as_classes(
    labels: ArrayLike | None, num_examples: int | None, scope: str | None
) -> tuple[np.ndarray, np.ndarray | None, _Names]:
    """Returns the labels [N] that separate the trees (all 0 for one tree), the labels passed, and their names."""
    if scope not in (None, "class", "dataset"):
        raise choice_error("scope", scope, ("class", "dataset"))
    if labels is None:
        if scope == "class" or num_examples is None:
            reason = "scope is 'class'" if scope == "class" else "data is None"
            raise InputError("labels", None, f"must be given if {reason}")
        return np.zeros(num_examples, np.int64), None, None
    given, names = as_labels(_as_array(labels, "labels"), "labels")
    classes = check_labels(given, num_examples)
    return np.zeros_like(classes) if scope == "dataset" else classes, classes, names


def _as_array(values: Any, argument: str) -> np.ndarray:
    if hasattr(values, "detach"):  # a PyTorch tensor may be on a device or have a dtype that NumPy lacks
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() and values.itemsize < 4 else values
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(argument, None, f"must be an array ({error})") from error
