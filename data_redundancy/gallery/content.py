"""What the page shows, gathered from a selection, its images and what was found about them."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_redundancy.gallery.groups import Groups

PAGE_BYTES = 1_000_000
"""Room for the page itself, and for what is of bounded size in it."""
DIGITS = 6
"""Of distances."""

Names = Callable[[np.ndarray], Sequence[str | None]]
Images = Callable[[np.ndarray, bool], Iterator[np.ndarray]]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images and what is known of them.

    Attributes:
        labels: [N] integers.
        ids: gives the ids of examples [n].
        files: the same, the names of their files.
        images: gives images of examples [n], [H, W, C] uint8 each, one after the other; with True, they may be small
            ones, for thumbnails. None where there are none.
    """

    labels: np.ndarray
    ids: Names
    files: Names
    images: Images | None


@dataclasses.dataclass(frozen=True, eq=False)
class Selected:
    """A selection of N training images.

    Attributes:
        name: of the selection.
        method: that made it.
        fraction: the share to prune that was asked for.
        kept: [N] bool.
        representative: [N] integers, -1 where nothing stands for an image.
        distance: [N] float64, to the representative; NaN where there is none.
    """

    name: str
    method: str
    fraction: float
    kept: np.ndarray
    representative: np.ndarray
    distance: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The images that the page knows: those of groups, then others of warnings.

    Attributes:
        index: [R] int64, positions in their split.
        is_test: [R] bool.
    """

    index: np.ndarray
    is_test: np.ndarray

    def of(self, index: np.ndarray, *, is_test: bool) -> np.ndarray:
        """The rows of examples, -1 for one that is not there."""
        rows = np.flatnonzero(self.is_test == is_test)
        order = rows[np.argsort(self.index[rows])]
        if not len(order):
            return np.full(len(index), -1)
        place = np.minimum(np.searchsorted(self.index[order], index), len(order) - 1)
        return np.where(self.index[order][place] == index, order[place], -1)


def make_rows(groups: Groups, train: np.ndarray, test: np.ndarray) -> Rows:
    """Rows for all members of groups, and for those of some training and test images that are not among them."""
    others = np.setdiff1d(train, groups.members)
    test = np.unique(test)
    index = np.concatenate([groups.members, others, test]).astype(np.int64)
    return Rows(index, np.arange(len(index)) >= len(index) - len(test))


def bytes_of_members(groups: Groups, split: Split) -> np.ndarray:
    """About how many bytes of the page every member of every group takes, [R], at the most."""
    index = groups.members
    # A representative has a group beside what it is itself.
    group = np.isin(np.arange(len(index)), groups.start) * (len(str(len(index))) + len(str(groups.size.max())) + 15)
    return group + bytes_of_images(index, split)


def bytes_of_images(index: np.ndarray, split: Split) -> np.ndarray:
    """About how many bytes of the page every image takes, [n], at the most."""
    # Index, label, distance and split, with commas.
    numbers = len(str(len(split.labels))) + len(str(split.labels.max())) + 12 + 2 + 4
    names = zip(split.ids(index), split.files(index), strict=True)
    return np.array([numbers + _length(one) + _length(other) + 2 for one, other in names], np.int64)


def _length(name: str | None) -> int:
    """In JSON that is safe in HTML."""
    return 4 if name is None else len(json.dumps(name)) + 5 * sum(map(name.count, "<>&"))


def images_content(rows: Rows, selected: Selected, train: Split, test: Split | None) -> dict[str, list]:
    """The columns of images."""
    ids, files, labels = [], [], []
    for split, is_test in ((train, False), (test, True)):
        index = rows.index[rows.is_test == is_test]
        if len(index):
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
    """The columns of groups."""
    return {
        "start": groups.start.tolist(),
        "size": groups.size.tolist(),
        "tightness": [_short(tightness) for tightness in groups.tightness.tolist()],
    }


def selection_content(selected: Selected) -> dict[str, Any]:
    """The selection in numbers."""
    num_kept = int(selected.kept.sum())
    return {
        "name": selected.name,
        "method": selected.method,
        "fraction": selected.fraction,
        "num_kept": num_kept,
        "num_pruned": len(selected.kept) - num_kept,
    }


def classes_content(labels: np.ndarray, kept: np.ndarray, num_classes: int) -> dict[str, list[int]]:
    """How many images every class has, and how many of them go."""
    return {
        "size": np.bincount(labels, minlength=num_classes).tolist(),
        "pruned": np.bincount(labels[~kept], minlength=num_classes).tolist(),
    }


def pairs_content(
    names: tuple[str, str], pairs: tuple[np.ndarray, np.ndarray], distance: np.ndarray, identical: Sequence[bool]
) -> list[dict[str, Any]]:
    """Pairs of rows as warnings have them."""
    first, second = (rows.tolist() for rows in pairs)
    return [
        {names[0]: a, names[1]: b, "distance": _short(d), "identical": bool(same)}
        for a, b, d, same in zip(first, second, distance.tolist(), identical, strict=True)
    ]


def are_identical(images: Iterator[np.ndarray], others: Iterator[np.ndarray]) -> list[bool]:
    """Whether images are equal to others, pixel by pixel."""
    return [np.array_equal(a, b) for a, b in zip(images, others, strict=True)]


def merge_heights(heights: Sequence[np.ndarray], sizes: Sequence[int], shares: np.ndarray) -> np.ndarray:
    """How high trees are cut to prune a share of each: the median over trees.

    Args:
        heights: [m] floats of every tree, the heights of its merges, not decreasing; truncated trees have fewer.
        sizes: how many leaves every tree has.
        shares: [S] floats, in [0, 1).

    Returns:
        [S] float64; NaN from where a tree has no such merge on.
    """
    found = np.full((len(heights), len(shares)), np.nan)
    for row, of_tree, size in zip(found, heights, sizes, strict=True):
        merges = np.minimum(np.round(shares * size).astype(np.int64), size - 1)  # one at least stays
        there = merges <= len(of_tree)
        row[there] = np.concatenate([[0.0], of_tree])[merges[there]]
    return np.median(found, axis=0)


def heights_content(heights: Sequence[np.ndarray], sizes: Sequence[int], share: float, points: int = 500) -> dict:
    """The curve of merge heights, and where it is at the share that was pruned; trees of one leaf have none."""
    trees = [(of_tree, size) for of_tree, size in zip(heights, sizes, strict=True) if size > 1]
    if not trees:
        return {"share": [], "height": [], "cut": None}
    heights, sizes = zip(*trees, strict=True)
    shares = np.arange(1, points) / points
    curve = merge_heights(heights, sizes, shares)
    there = ~np.isnan(curve)
    cut = float(merge_heights(heights, sizes, np.array([share]))[0]) if share else np.nan
    return {
        "share": shares[there].tolist(),
        "height": [_short(height) for height in curve[there].tolist()],
        "cut": None if np.isnan(cut) else _short(cut),
    }


def num_bytes(content: Mapping[str, Any]) -> int:
    """About how large a part of the page becomes."""
    return len(json.dumps(content, separators=(",", ":")))


def _short(number: float) -> float | None:
    return None if np.isnan(number) else float(f"{number:.{DIGITS}g}")
