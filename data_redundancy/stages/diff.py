"""Compare two selections: the images that both keep, that only one prunes, and the overlap expected by chance.

Reads:
  Two selections of the same data set, each given by its directory or by its name in WORKDIR/selections/: their files
  examples.parquet and manifest.json. The command reads no config.
Writes:
  Nothing; the comparison is printed.
  The overlap expected by chance is the mean overlap of two independent random selections that keep the same number of
  images of every class as the two given selections.
Example:
  data-redundancy diff agglomerative-0.1 random-0.1-seed0 --workdir=runs/digits
"""

import dataclasses

from etils import epath

from data_redundancy.errors import InputError, did_you_mean
from data_redundancy.experiment.preview import Step
from data_redundancy.experiment.result import CommandResult
from data_redundancy.reporting import selection_diff
from data_redundancy.store import artifacts, filesystems, manifests


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        selections: two selections, each a directory or a name in the workdir.
        workdir: path of the workdir; None if both selections are directories.
    """

    selections: tuple[str, ...]
    workdir: str | None = None


@dataclasses.dataclass(frozen=True)
class DiffResult(CommandResult):
    """The comparison.

    Attributes:
        selections: both selections as they were passed.
        num_examples: number of training images.
        num_kept: number of images that each selection keeps.
        num_pruned_by_both: number of images that both selections prune.
        expected_by_chance: expected number of images that two independent random selections both prune.
        kappa: agreement beyond chance, Cohen's kappa.
        lines: the comparison in words and tables.
    """

    selections: tuple[str, ...]
    num_examples: int
    num_kept: tuple[int, ...]
    num_pruned_by_both: int
    expected_by_chance: float
    kappa: float
    lines: tuple[str, ...]

    def text(self) -> str:
        """Returns the comparison."""
        return "\n".join(self.lines)


def run(options: Options) -> DiffResult:
    """Runs the command.

    Raises:
        InputError: if there are not two selections, or they were made from different data sets.
    """
    a, b = (selection_diff.read_selection(directory, name) for name, directory in _find_both(options))
    selection_diff.check_same_data(a, b)
    comparison = selection_diff.compare(a, b)
    return DiffResult(
        selections=options.selections,
        num_examples=len(a.kept),
        num_kept=(int(a.kept.sum()), int(b.kept.sum())),
        num_pruned_by_both=int(comparison.pruned.both),
        expected_by_chance=float(comparison.pruned.expected),
        kappa=float(comparison.kappa),
        lines=tuple(selection_diff.comparison_lines(a, b, comparison)),
    )


def _find_both(options: Options) -> list[tuple[str, epath.Path]]:
    """Returns both selections as they were passed, each with its directory."""
    if len(options.selections) != 2:
        requirement = f"must be two selections, but {len(options.selections)} are given"
        fix = "Name two directories, or two selections of --workdir"
        raise InputError("selections", " ".join(options.selections) or None, requirement, fix)
    return [(name, _find(name, options.workdir)) for name in options.selections]


def _find(name: str, workdir: str | None) -> epath.Path:
    in_workdir = None if workdir is None else filesystems.locate(workdir, "workdir") / "selections"
    candidates = [filesystems.locate(name, "selections")]
    if in_workdir is not None and "/" not in name:
        candidates.insert(0, in_workdir / name)
    for directory in candidates:
        if manifests.read(directory) is not None:
            return directory
    if in_workdir is None:
        raise InputError(
            "selections", name, "is not the directory of a selection", "Name its directory, or set --workdir for a name"
        )
    names = artifacts.selection_names(in_workdir)
    listed = ", ".join(names) or "none"
    requirement = f"must be the directory of a selection, or a selection of {workdir}: {listed}"
    raise InputError("selections", name, requirement, did_you_mean(name, names))


def preview(options: Options) -> list[Step]:
    """Returns the steps of the command.

    Raises:
        InputError: if there are not two selections.
    """
    return [Step("diff", "run", f"comparison of {' and '.join(name for name, _ in _find_both(options))}")]
