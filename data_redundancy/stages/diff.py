"""Compare two selections: what both keep, what either prunes alone, and how much of that is chance.

Reads:
  two selections, each a directory or a name in WORKDIR/selections/: examples.parquet, manifest.json; no config.
Writes:
  nothing; what it finds is printed.
Takes:
  SELECTION_A SELECTION_B, of the same data set, and --workdir, for names.
  By chance means: two selections that keep as many of every class as these, drawn independently of each other.
Example:
  data-redundancy diff agglomerative-0.1 random-0.1-seed0 --workdir=runs/digits
"""

import dataclasses
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from tabulate import tabulate

from data_redundancy.errors import InputError
from data_redundancy.selection.overlap import Overlap, agreement, class_shares, overlap
from data_redundancy.store import artifacts, filesystems

_CLASSES, _EXAMPLES = 20, 10  # shown at the most


@dataclasses.dataclass(frozen=True, eq=False)
class _Chosen:
    """A selection as its artifact has it."""

    argument: str
    fingerprint: dict[str, Any]
    kept: np.ndarray
    examples: pa.Table

    def column(self, name: str) -> pa.ChunkedArray | None:
        """What there is about every example, None where there is nothing."""
        values = self.examples[name]
        return None if values.null_count == len(values) else values


def run(a: str, b: str, workdir: str | None = None) -> None:
    """Runs the stage.

    Args:
        a: a directory, or a name in the workdir's selections.
        b: the same.
        workdir: None where both are directories.

    Raises:
        InputError: if there is no such selection, or they are of different data sets.
    """
    chosen = [_read(_find(name, workdir), name) for name in (a, b)]
    _check_same_data(*chosen)
    _show("\n".join(_page(*chosen)))


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # who reads it, such as `head`, has seen enough; nothing is left to flush at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _find(name: str, workdir: str | None) -> epath.Path:
    in_workdir = None if workdir is None else filesystems.locate(workdir, "--workdir") / "selections"
    candidates = [filesystems.locate(name, "diff: SELECTION")]
    if in_workdir is not None and "/" not in name:
        candidates.insert(0, in_workdir / name)
    for directory in candidates:
        if artifacts.read_manifest(directory) is not None:
            return directory
    there = [] if in_workdir is None else artifacts.selection_names(in_workdir)
    hint = f"; --workdir={workdir} has {', '.join(there)}" if there else "; a name needs --workdir=DIR"
    raise InputError(f"{name}: no selection there{hint if there or workdir is None else f', and none in {workdir}'}")


def _read(directory: epath.Path, argument: str) -> _Chosen:
    examples = artifacts.read_examples(directory)
    fingerprint = artifacts.read_manifest(directory)["fingerprint"]
    return _Chosen(argument, fingerprint, examples["kept"].to_numpy(), examples)


def _check_same_data(a: _Chosen, b: _Chosen) -> None:
    """Raises InputError, saying what differs, unless both are of the same examples."""
    digests = {chosen.fingerprint.get("dataset.train_digest") for chosen in (a, b)} - {None}
    if len(a.kept) != len(b.kept):
        differing = [f"{len(a.kept):,} and {len(b.kept):,} examples"]
    elif len(digests) > 1:
        differing = _differing_fields(a.fingerprint, b.fingerprint)
    else:
        differing = [text for name in ("label", "tfds_id", "file_name") if (text := _first_difference(a, b, name))]
    if differing:
        raise InputError(f"{a.argument} and {b.argument} are of different data sets: {'; '.join(differing)}")


def _first_difference(a: _Chosen, b: _Chosen, name: str) -> str | None:
    one, other = a.column(name), b.column(name)
    if one is None or other is None or one.equals(other):
        return None
    index = int(np.argmax(one.to_numpy() != other.to_numpy()))
    return f"{name} of example {index} is {one[index].as_py()!r} and {other[index].as_py()!r}"


def _differing_fields(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    names = ("name", "version", "train_split", "train_digest")
    fields = [f"dataset.{name}" for name in names if a.get(f"dataset.{name}") != b.get(f"dataset.{name}")]
    return [f"{field} {a.get(field)!r} and {b.get(field)!r}" for field in fields]


def _page(a: _Chosen, b: _Chosen) -> list[str]:
    label = _either(a, b, "label")
    # Numbered anew: those of embeddings from elsewhere may be far apart.
    labels = np.zeros(len(a.kept), int) if label is None else np.unique(label.to_numpy(), return_inverse=True)[1]
    pruned, kept = overlap(~a.kept, ~b.kept, labels), overlap(a.kept, b.kept, labels)
    lines = [*_heading(a, b), "", _overlaps(pruned, kept), "", *_in_words(pruned, agreement(a.kept, b.kept, labels))]
    if label is not None:
        lines += ["", *_classes(a, b, label, labels)]
    lines += ["", *_only("A", a.kept & ~b.kept, a, b), "", *_only("B", b.kept & ~a.kept, a, b)]
    return lines


def _either(a: _Chosen, b: _Chosen, name: str) -> pa.ChunkedArray | None:
    """A column of the one that has it: both are of the same examples."""
    column = a.column(name)
    return b.column(name) if column is None else column


def _heading(a: _Chosen, b: _Chosen) -> list[str]:
    width = max(len(a.argument), len(b.argument))
    return [
        f"{letter}  {chosen.argument:{width}}  keeps {chosen.kept.sum():,} of {len(chosen.kept):,} images, "
        f"prunes {(~chosen.kept).sum():,} ({_percent(np.mean(~chosen.kept))})"
        for letter, chosen in (("A", a), ("B", b))
    ]


def _overlaps(pruned: Overlap, kept: Overlap) -> str:
    headers = ["", "A", "B", "both", "by chance", "[95% interval]", "times chance", "Jaccard", "of the smaller"]
    rows = [
        [
            name,
            f"{found.size_a:,}",
            f"{found.size_b:,}",
            f"{found.both:,}",
            f"{found.expected:,.1f}",
            "[{:,.1f}, {:,.1f}]".format(*found.interval()),
            f"{found.times_chance:.2f}",
            _percent(found.jaccard),
            _percent(found.of_smaller),
        ]
        for name, found in (("pruned", pruned), ("kept", kept))
    ]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * 8))


def _in_words(pruned: Overlap, kappa: float) -> list[str]:
    if not pruned.std:
        return ["Selections of these sizes cannot overlap in any other number: there is nothing to tell from chance."]
    low, high = pruned.interval()
    verdict = (
        "more than by chance" if pruned.both > high else "less than by chance" if pruned.both < low else "as by chance"
    )
    text = (
        f"Of the {min(pruned.size_a, pruned.size_b):,} images that the smaller prunes, the other prunes "
        f"{_percent(pruned.of_smaller)}: {verdict}. Agreement beyond chance (Cohen's kappa): {kappa:.3f}; 0 is that of "
        "two independent draws with as many of every class, 1 is the same selection."
    )
    return textwrap.wrap(text, 110)


def _classes(a: _Chosen, b: _Chosen, label: pa.ChunkedArray, labels: np.ndarray) -> list[str]:
    names = _either(a, b, "class_name")
    names = label if names is None else names
    first = dict(zip(*np.unique(labels, return_index=True), strict=True))  # an example of every class
    shares = class_shares(a.kept, b.kept, labels)
    rows = [
        [
            str(names[int(first[share.label])].as_py()),
            f"{share.size:,}",
            _percent(share.kept_a / share.size),
            _percent(share.kept_b / share.size),
            f"{100 * share.difference:+.1f}",
            f"{share.pruned_by_both:,}",
        ]
        for share in shares[:_CLASSES]
    ]
    headers = ["class", "images", "A keeps", "B keeps", "B - A, pp", "pruned by both"]
    table = tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * 5))
    return ["Classes, those that differ most first:", "", table, *_more(len(shares), _CLASSES, "classes")]


def _only(letter: str, only: np.ndarray, a: _Chosen, b: _Chosen) -> list[str]:
    indices = np.flatnonzero(only)
    lines = [f"Kept by {letter} only: {len(indices):,}"]
    if not len(indices):
        return lines
    names = [name for name in ("class_name", "label", "tfds_id", "file_name") if _either(a, b, name) is not None]
    names = [name for name in names if not (name == "label" and "class_name" in names)]
    columns = [_either(a, b, name) for name in names]
    rows = [[str(i), *(str(column[i].as_py()) for column in columns)] for i in indices[:_EXAMPLES].tolist()]
    headers = ["index", *("class" if name in ("class_name", "label") else name for name in names)]
    table = tabulate(rows, headers, disable_numparse=True, colalign=("right", *["left"] * len(names)))
    return [*lines, "", table, *_more(len(indices), _EXAMPLES, "images")]


def _more(count: int, shown: int, what: str) -> Sequence[str]:
    return [f"and {count - shown:,} more {what}"] if count > shown else []


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
