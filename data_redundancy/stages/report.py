"""Report which images are pruned, and compare trials on the kept images with the full set and random subsets.

Reads:
  result.json of the sweep's trials; the selection of select.*, or the first selection of the sweep if it does not
  exist; the images; WORKDIR/embeddings/, WORKDIR/embeddings_test/ and WORKDIR/dendrograms/. The report notes which
  files are missing and omits what depends on them. With --veto, the selection that the command select made with the
  same veto; no trials are run on such a selection.
Writes:
  WORKDIR/report/index.html: the verdict, charts, the redundant groups, a map and warnings in one file that opens from
  disk. Thumbnails that would make it too large are written to thumbnails/. If trials are finished, also results.csv
  (numbers), results.md (the table), accuracy.png and difference.png (differences from the full set, with intervals);
  the table is printed.
Example:
  data-redundancy report --workdir=runs/digits
  data-redundancy report --workdir=runs/digits --veto=veto.json
"""

import dataclasses
import logging

from data_redundancy import gallery
from data_redundancy.errors import InputError, arguments_named
from data_redundancy.experiment import trial_grid
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step
from data_redundancy.experiment.result import CommandResult
from data_redundancy.experiment.trials import FULL, TrialResult
from data_redundancy.reporting import evidence_files, page, page_data, verdict_lines
from data_redundancy.runtime import devices

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        veto: path of the veto.json whose selection is shown.
        warn_of_unfinished: whether to log a warning if trials of the sweep are not finished.
    """

    veto: str | None = None
    warn_of_unfinished: bool = True


@dataclasses.dataclass(frozen=True)
class ReportResult(CommandResult):
    """The report.

    Attributes:
        files: paths of the written files.
        num_trials: number of finished trials in the report.
        table: table of the trials, with a title; empty if no trial is finished.
        lines: the verdicts in words.
    """

    files: tuple[str, ...]
    num_trials: int
    table: str
    lines: tuple[str, ...]

    def text(self) -> str:
        """Returns the table, the verdicts and the paths."""
        blocks = ["\n".join(self.files)]
        if self.table:
            blocks = ["", self.table, "\n".join(self.lines), *blocks]
        return "\n\n".join(blocks).removeprefix("\n")


def run(experiment: Experiment, options: Options) -> ReportResult:
    """Runs the command.

    Raises:
        InputError: if an artifact was made from other inputs, or the workdir has no selection.
    """
    with arguments_named({"map": "report.map"}):
        gallery.check_method(experiment.config.report.map)
    chosen = _choose(experiment, options)
    results = _results(experiment, options)
    paths, table, lines = [], "", []
    if devices.is_main_process():
        if results:
            paths = evidence_files.write_evidence(experiment, results)
            table = evidence_files.table(experiment, results)
            lines = verdict_lines.lines(experiment, results)
        paths.append(page.write_page(experiment, results, chosen))
    devices.barrier("wrote the report")
    return ReportResult(
        files=tuple(experiment.workdir.show(path) for path in paths),
        num_trials=len(results),
        table=table,
        lines=tuple(lines),
    )


def _choose(experiment: Experiment, options: Options) -> page_data.ChosenSelection:
    """Returns the selection to show.

    Raises:
        InputError: if the workdir has no selection.
    """
    if options.veto is not None:
        return _vetoed(experiment, options.veto)
    chosen = page_data.choose(experiment, experiment.selections)
    if chosen is None:
        raise InputError(
            experiment.workdir.root, None, "has no selection to report", "Run 'data-redundancy select' or 'sweep' first"
        )
    return chosen


def _vetoed(experiment: Experiment, path: str) -> page_data.ChosenSelection:
    selections = experiment.selections.with_veto(experiment.read_veto(path))
    select = experiment.config.select
    key = (select.method, select.fraction, select.seed)
    if selections.load(*key) is None:
        requirement = f"has no selection {selections.name(*key)} yet"
        raise InputError("veto", path, requirement, "Run 'data-redundancy select' with this veto first")
    return page_data.ChosenSelection(selections.name(*key), *key, vetoed=True)


def _results(experiment: Experiment, options: Options) -> list[TrialResult]:
    """Returns the results of all finished trials of the sweep; none if only trials on the full set are finished."""
    keys = trial_grid.keys(experiment.config)
    results = trial_grid.find_results(experiment.trials, trial_grid.find_specs(keys, experiment.selections))
    if options.warn_of_unfinished and len(results) < len(keys):
        unfinished = len(keys) - len(results)
        log.warning("report: %d of %d trials are not finished and left out", unfinished, len(keys))
    return [] if all(result["method"] == FULL for result in results) else results


def preview(experiment: Experiment, options: Options) -> list[Step]:
    """Returns the steps of the command."""
    del options
    return [Step("report", "run", f"{experiment.workdir.show(experiment.workdir.report)}/index.html and the table")]
