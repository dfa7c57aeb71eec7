"""The content of the page, gathered from a selection, its images and the near-duplicates found."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_redundancy.gallery.groups import Groups

PAGE_BYTES = 1_000_000
"""Space for the page without its images and groups: everything in it that has a bounded size."""

DIGITS = 6
"""Significant digits of distances."""

Names = Callable[[np.ndarray], Sequence[str | None]]
"""Returns the names of the images with the given indices [n]."""

Images = Callable[[np.ndarray, bool], Iterator[np.ndarray]]
"""Returns the images with the given indices [n], one after the other; if True, small ones are enough."""


@dataclasses.dataclass(frozen=True, eq=False)
class PageSplit:
    """The images of a split with their names and labels.

    Attributes:
        labels: [N] integers.
        ids: returns the ids of the images with indices [n].
        files: returns the file names of the images with indices [n].
        images: returns the images with indices [n], [H, W, C] uint8 each; if True, they may be small, for thumbnails.
            None if there are no images.
    """

    labels: np.ndarray
    ids: Names
    files: Names
    images: Images | None


@dataclasses.dataclass(frozen=True, eq=False)
class Selected:
    """A selection of N training images.

    Attributes:
        name: name of the selection.
        method: method that made it.
        fraction: the requested share to prune.
        kept: [N] bool.
        representative: [N] integers, -1 for an image without a representative.
        distance: [N] float64, to the representative; NaN for an image without one.
    """

    name: str
    method: str
    fraction: float
    kept: np.ndarray
    representative: np.ndarray
    distance: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The images that are part of the page: the members of groups, then the other images of warnings.

    Attributes:
        index: [R] int64, positions in the training or the test split.
        is_test: [R] bool.
    """

    index: np.ndarray
    is_test: np.ndarray

    def of(self, index: np.ndarray, *, is_test: bool) -> np.ndarray:
        """Returns the rows [n] of the images with indices [n], -1 for an image that is not part of the page."""
        rows = np.flatnonzero(self.is_test == is_test)
        order = rows[np.argsort(self.index[rows])]
        if not len(order):
            return np.full(len(index), -1)
        place = np.minimum(np.searchsorted(self.index[order], index), len(order) - 1)
        return np.where(self.index[order][place] == index, order[place], -1)


def make_rows(groups: Groups, train: np.ndarray, test: np.ndarray) -> Rows:
    """Returns rows for all members of groups and for further images.

    Args:
        groups: groups of training images.
        train: indices of further training images, which may be members of groups too.
        test: indices of test images.
    """
    others = np.setdiff1d(train, groups.members)
    test = np.unique(test)
    index = np.concatenate([groups.members, others, test]).astype(np.int64)
    return Rows(index, np.arange(len(index)) >= len(index) - len(test))


def bytes_of_members(groups: Groups, split: PageSplit) -> np.ndarray:
    """Returns an upper estimate of the bytes [R] that each member of the groups adds to the page."""
    index = groups.members
    # For its representative, a group has a start and a size as well.
    group = np.isin(np.arange(len(index)), groups.start) * (len(str(len(index))) + len(str(groups.size.max())) + 15)
    return group + bytes_of_images(index, split)


def bytes_of_images(index: np.ndarray, split: PageSplit) -> np.ndarray:
    """Returns an upper estimate of the bytes [n] that each of the images with indices [n] adds to the page."""
    # Index, label, distance and split, with commas.
    numbers = len(str(len(split.labels))) + len(str(split.labels.max())) + 12 + 2 + 4
    names = zip(split.ids(index), split.files(index), strict=True)
    return np.array([numbers + _length(one) + _length(other) + 2 for one, other in names], np.int64)


def _length(name: str | None) -> int:
    """Returns the length of a name in JSON that is escaped for HTML."""
    return 4 if name is None else len(json.dumps(name)) + 5 * sum(map(name.count, "<>&"))


def images_content(rows: Rows, selected: Selected, train: PageSplit, test: PageSplit | None) -> dict[str, list]:
    """Returns the content "images" that `page.write` takes."""
    ids: list[str | None] = []
    files: list[str | None] = []
    labels: list[int] = []
    for split, is_test in ((train, False), (test, True)):
        index = rows.index[rows.is_test == is_test]
        if len(index):
            assert split is not None
            ids += split.ids(index)
            files += split.files(index)
            labels += split.labels[index].tolist()
    distance = selected.distance[rows.index[~rows.is_test]].tolist()
    return {
        "index": rows.index.tolist(),
        "id": ids,
        "file": files,
        "label": labels,
        "split": rows.is_test.astype(int).tolist(),
        "distance": [*map(_short, distance), *[None] * int(rows.is_test.sum())],
    }


def groups_content(groups: Groups) -> dict[str, list]:
    """Returns the content "groups" that `page.write` takes."""
    return {
        "start": groups.start.tolist(),
        "size": groups.size.tolist(),
        "tightness": [_short(tightness) for tightness in groups.tightness.tolist()],
    }


def selection_content(selected: Selected) -> dict[str, Any]:
    """Returns the content "selection" that `page.write` takes."""
    num_kept = int(selected.kept.sum())
    return {
        "name": selected.name,
        "method": selected.method,
        "fraction": selected.fraction,
        "num_kept": num_kept,
        "num_pruned": len(selected.kept) - num_kept,
    }


def classes_content(labels: np.ndarray, kept: np.ndarray, num_classes: int) -> dict[str, list[int]]:
    """Returns the content "classes" that `page.write` takes: the images and the pruned images of every class."""
    return {
        "size": np.bincount(labels, minlength=num_classes).tolist(),
        "pruned": np.bincount(labels[~kept], minlength=num_classes).tolist(),
    }


def pairs_content(
    names: tuple[str, str], pairs: tuple[np.ndarray, np.ndarray], distance: np.ndarray, identical: Sequence[bool]
) -> list[dict[str, Any]]:
    """Returns the content of warnings about pairs of images.

    Args:
        names: the names of the two images of a pair.
        pairs: [P] and [P] rows.
        distance: [P] floats.
        identical: for each pair, whether the pixels of the images are equal.
    """
    first, second = (rows.tolist() for rows in pairs)
    return [
        {names[0]: a, names[1]: b, "distance": _short(d), "identical": bool(same)}
        for a, b, d, same in zip(first, second, distance.tolist(), identical, strict=True)
    ]


def are_identical(images: Iterator[np.ndarray], others: Iterator[np.ndarray]) -> list[bool]:
    """Returns, for each pair of images, whether all pixels are equal."""
    return [np.array_equal(a, b) for a, b in zip(images, others, strict=True)]


def merge_heights(heights: Sequence[np.ndarray], sizes: Sequence[int], shares: np.ndarray) -> np.ndarray:
    """Computes the heights at which trees are cut to prune a share of each: the median over the trees.

    Args:
        heights: for every tree, the heights [m] of its merges, not decreasing; truncated trees have fewer.
        sizes: the number of leaves of every tree.
        shares: [S] floats, in [0, 1).

    Returns:
        [S] float64; NaN for shares at which some tree is truncated.
    """
    found = np.full((len(heights), len(shares)), np.nan)
    for row, of_tree, size in zip(found, heights, sizes, strict=True):
        merges = np.minimum(np.round(shares * size).astype(np.int64), size - 1)  # at least one leaf is kept
        known = merges <= len(of_tree)
        row[known] = np.concatenate([[0.0], of_tree])[merges[known]]
    return np.median(found, axis=0)


def heights_content(
    heights: Sequence[np.ndarray], sizes: Sequence[int], share: float, points: int = 500
) -> dict[str, Any]:
    """Returns the content "heights" that `page.write` takes: the curve of merge heights and the height at a share.

    Args:
        heights: for every tree, the heights [m] of its merges, not decreasing; truncated trees have fewer.
        sizes: the number of leaves of every tree; trees with one leaf are left out.
        share: the pruned share.
        points: the number of intervals of the curve.
    """
    trees = [(of_tree, size) for of_tree, size in zip(heights, sizes, strict=True) if size > 1]
    if not trees:
        return {"share": [], "height": [], "cut": None}
    heights, sizes = zip(*trees, strict=True)
    shares = np.arange(1, points) / points
    curve = merge_heights(heights, sizes, shares)
    known = ~np.isnan(curve)
    cut = float(merge_heights(heights, sizes, np.array([share]))[0]) if share else np.nan
    return {
        "share": shares[known].tolist(),
        "height": [_short(height) for height in curve[known].tolist()],
        "cut": None if np.isnan(cut) else _short(cut),
    }


def num_bytes(content: Mapping[str, Any]) -> int:
    """Returns an estimate of the bytes that content adds to the page."""
    return len(json.dumps(content, separators=(",", ":")))


def _short(number: float) -> float | None:
    """Returns a number rounded to `DIGITS` significant digits; None for NaN."""
    return None if np.isnan(number) else float(f"{number:.{DIGITS}g}")
