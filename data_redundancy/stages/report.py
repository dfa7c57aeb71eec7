"""Compare what was kept with the full set and with random subsets: a table and a plot.

Reads:
  result.json of the sweep's trials.
Writes:
  the table on the terminal; WORKDIR/report/results.csv (raw numbers), results.md (the table) and accuracy.png.
Takes:
  sweep.fractions .methods .seeds (which trials), evidence.confidence (of the intervals).
Example:
  data-redundancy report --config=digits --workdir=runs/digits
"""

import io
import logging

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import parallel
from data_redundancy import workdir as workdirs
from data_redundancy.errors import InputError
from data_redundancy.stages import common, grid
from data_redundancy.stages.keeplists import KeepLists
from data_redundancy.stages.trials import FULL, Trials
from data_redundancy.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    # SciPy and matplotlib take longer to import than other stages should wait.
    from data_redundancy import evidence

    results = _results(config, workdir)
    class_names = results[0]["class_names"]
    rows = evidence.summarise([_trial(result) for result in results], class_names, config.evidence.confidence)
    dataset_name = common.load_dataset(config).name
    title = f"{dataset_name}, {config.model.name}: trained at an equal number of {config.sweep.equal}"
    if parallel.is_main_process():
        contents = {
            "results.csv": _csv(rows),
            "results.md": (evidence.format_markdown(rows) + "\n").encode(),
            "accuracy.png": _png(evidence.accuracy_plot(rows, title)),
        }
        for name, content in contents.items():
            workdirs.write_if_changed(workdir.report / name, content)
        print(f"\n{title}\n\n{evidence.format_table(rows)}\n")
        for name in contents:
            print(workdir.show(workdir.report / name))


def _results(config: ConfigDict, workdir: Workdir) -> list[dict]:
    """The results of all finished trials of the sweep."""
    trials = Trials(config, workdir)
    plans = grid.plans(config, KeepLists(config, workdir), make=False)
    results = [result for plan in plans if (result := trials.result(plan)) is not None]
    if all(result["method"] == FULL for result in results):
        raise InputError(
            f"{workdir.root}: no finished trial of these fractions and methods; run the stage 'sweep' first"
        )
    sweep = config.sweep
    wanted = len(sweep.seeds) * (1 + len(sweep.fractions) * len(sweep.methods))
    if len(results) < wanted:
        log.warning("report: %d of %d trials are not finished and left out", wanted - len(results), wanted)
    return results


def _csv(rows) -> bytes:
    from data_redundancy import evidence

    text = io.StringIO(newline="")
    evidence.write_csv(rows, text)
    return text.getvalue().encode()


def _png(figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    return image.getvalue()


def _trial(result: dict):
    from data_redundancy import evidence

    return evidence.Trial(
        method=result["method"],
        prune_fraction=result["prune_fraction"],
        seed=result["seed"],
        num_kept=result["num_kept"],
        accuracy=result["accuracy"],
        class_accuracy=np.array([np.nan if a is None else a for a in result["class_accuracy"]]),
    )
