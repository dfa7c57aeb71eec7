"""Files of the report: the table of trials and its plots."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etils import epath

from data_redundancy import evidence
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.trials import TrialResult
from data_redundancy.reporting.page import summarise
from data_redundancy.store import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def title(experiment: Experiment) -> str:
    """Returns the title of the table and the plots."""
    name, model, equal = experiment.dataset.name, experiment.config.model.name, experiment.config.sweep.equal
    return f"{name}, {model}: trained at an equal number of {equal}"


def write_evidence(experiment: Experiment, results: Sequence[TrialResult]) -> list[epath.Path]:
    """Writes results.csv, results.md, accuracy.png and difference.png to WORKDIR/report; returns their paths."""
    rows, of_all = summarise(experiment, results), title(experiment)
    contents = {
        "results.csv": _csv(rows),
        "results.md": (evidence.format_markdown(rows) + "\n").encode(),
        "accuracy.png": _png(evidence.accuracy_plot(rows, of_all)),
        "difference.png": _png(evidence.difference_plot(rows, experiment.config.evidence.margin, of_all)),
    }
    paths = []
    for name, content in contents.items():
        paths.append(experiment.workdir.report / name)
        files.write_if_changed(paths[-1], content)
    return paths


def table(experiment: Experiment, results: Sequence[TrialResult]) -> str:
    """Returns the table of trials with its title, for a terminal."""
    return f"{title(experiment)}\n\n{evidence.format_table(summarise(experiment, results))}"


def _csv(rows: Sequence[evidence.Row]) -> bytes:
    text = io.StringIO(newline="")
    evidence.write_csv(rows, text)
    return text.getvalue().encode()


def _png(figure: "Figure") -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    return image.getvalue()
