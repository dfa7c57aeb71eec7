"""Look at what would go, and compare what was kept with the full set and with random subsets.

Reads:
  result.json of the sweep's trials; the selection of select.* (or, without one, the first of the sweep's), the images,
  WORKDIR/embeddings/, embeddings_test/ and dendrograms/. What is not there is left out, and said.
Writes:
  WORKDIR/report/index.html: the answer, charts, the redundant groups, a map and warnings in one file that opens from
  disk; thumbnails/ beside it where they would make it too large. With finished trials, the table on the terminal, and
  results.csv (raw numbers), results.md (the table), accuracy.png and difference.png (from the full set, intervals).
Takes:
  sweep.fractions .methods .seeds (which trials), evidence.confidence (of the intervals), evidence.margin (the loss of
  accuracy that is still accepted when it says what can go), select.method .fraction .seed (which selection; with
  --veto=FILE.json, what select made of it with that veto, on which no trials are run);
  report.near_duplicate: the cosine distance up to which images of different labels are likely label errors, and
  test images likely in the training split as well; None: that of the nearest tenth of pruned images to what stands
  for them, so that it follows the selection;
  report.max_warnings (of either kind, the nearest; 0: not looked for, which saves comparing all pairs of images),
  report.max_groups (the tightest), report.map (pca, umap, none), report.max_points (on the map) and
  report.max_html_mb (in 1e6 bytes: thumbnails that do not fit into the page go beside it).
Example:
  data-redundancy report --config=digits --workdir=runs/digits
  data-redundancy report --config=digits --workdir=runs/digits --veto=veto.json
"""

import io
import logging
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from data_redundancy import gallery
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset as common
from data_redundancy.experiment import trial_grid, vetoes
from data_redundancy.experiment.selections import KeepLists
from data_redundancy.experiment.trials import FULL, Trials
from data_redundancy.reporting import page_data, page_images
from data_redundancy.runtime import devices
from data_redundancy.store import workdir as workdirs
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir, *, veto: str | None = None, all_planned: bool = True) -> None:
    """Runs the stage.

    Args:
        config: says which trials, and which selection.
        workdir: with them.
        veto: a file of the page, if what `select` made of it is to be shown.
        all_planned: whether a trial that is not there is one to warn of.

    Raises:
        InputError: for artifacts made from something else, or where there is nothing to report.
    """
    gallery.check_method(config.report.map, "--config.report.map")
    keep_lists = KeepLists(config, workdir)
    results = _results(config, workdir, keep_lists, all_planned=all_planned)
    chosen = page_data.choose(config, keep_lists) if veto is None else _vetoed(config, workdir, veto)
    if chosen is None:
        raise InputError(
            f"{workdir.root}: no finished trial of these fractions and methods; run the stage 'sweep' first"
        )
    if devices.is_main_process():
        paths = _write_evidence(config, workdir, results) if results else []
        for path in [*paths, _write_gallery(config, workdir, results, chosen)]:
            print(workdir.show(path))
    devices.barrier("wrote the report")


def _vetoed(config: ConfigDict, workdir: Workdir, path: str) -> page_data.Chosen:
    """The selection of `select` after a veto.

    Raises:
        InputError: if it is not there.
    """
    keep_lists = KeepLists(config, workdir, vetoes.of_split(config, path))
    wanted = (config.select.method, config.select.fraction, config.select.seed)
    name = keep_lists.name(*wanted)
    if keep_lists.load(*wanted) is None:
        raise InputError(f"--veto={path}: {name} is not there; run the stage 'select' with this veto first")
    return page_data.Chosen(name, *wanted, vetoed=True)


def _results(config: ConfigDict, workdir: Workdir, keep_lists: KeepLists, *, all_planned: bool) -> list[dict]:
    """The results of all finished trials of the sweep; none where there are but those on the full set."""
    trials = Trials(config, workdir)
    plans = trial_grid.plans(config, keep_lists, make=False)
    results = [result for plan in plans if (result := trials.result(plan)) is not None]
    sweep = config.sweep
    wanted = len(sweep.seeds) * (1 + len(sweep.fractions) * len(sweep.methods))
    if all_planned and len(results) < wanted:
        log.warning("report: %d of %d trials are not finished and left out", wanted - len(results), wanted)
    return [] if all(result["method"] == FULL for result in results) else results


def _write_evidence(config: ConfigDict, workdir: Workdir, results: Sequence[dict]) -> list[Any]:
    """Shows the table, and writes it and the plot; returns their paths."""
    # SciPy and matplotlib take longer to import than other stages should wait.
    from data_redundancy import evidence
    from data_redundancy.reporting import verdict_lines

    rows = _rows(config, results)
    title = (
        f"{common.load_dataset(config).name}, {config.model.name}: trained at an equal number of {config.sweep.equal}"
    )
    contents = {
        "results.csv": _csv(rows),
        "results.md": (evidence.format_markdown(rows) + "\n").encode(),
        "accuracy.png": _png(evidence.accuracy_plot(rows, title)),
        "difference.png": _png(evidence.difference_plot(rows, config.evidence.margin, title)),
    }
    for name, content in contents.items():
        workdirs.write_if_changed(workdir.report / name, content)
    lines = "\n".join(verdict_lines.lines(config, workdir, results))
    print(f"\n{title}\n\n{evidence.format_table(rows)}\n\n{lines}\n")
    return [workdir.report / name for name in contents]


def _write_gallery(config: ConfigDict, workdir: Workdir, results: Sequence[dict], chosen: page_data.Chosen) -> Any:
    """Writes the page; returns its path."""
    from data_redundancy.reporting import answer_text, verdict_lines

    dataset, confidence, notes = common.load_dataset(config), config.evidence.confidence, []
    train, test = page_images.splits(config, dataset)
    selected = page_data.read(workdir, chosen)
    asked = {"method": chosen.method, "fraction": chosen.fraction}
    decided = verdict_lines.decided(config, workdir, results)
    found = decided.get((chosen.method, chosen.fraction))
    losing, about_classes = answer_text.losing_classes(
        results,
        **asked,
        class_names=dataset.class_names,
        confidence=1 - 2 * found["level"] if found else confidence,
    )
    embeddings = page_data.embeddings(config, workdir, notes)
    answer = answer_text.answer(
        results,
        name=chosen.name,
        **asked,
        num_kept=int(selected.kept.sum()),
        num_train=len(selected.kept),
        equal=config.sweep.equal,
        confidence=confidence,
        margin=config.evidence.margin,
        planned=config.sweep.fractions,
        decided=decided,
    )
    report = gallery.Report(
        title=f"{dataset.name}, {chosen.name}",
        dataset=page_data.about(dataset),
        selected=selected,
        train=train,
        test=test,
        image_shape=page_images.image_shape(config, dataset),
        answer=answer_text.before_veto(answer) if chosen.vetoed and results else answer,
        evidence={
            "accuracy": answer_text.accuracy(_rows(config, results)) if results else [],
            "losing_classes": losing,
        },
        confidence=confidence,
        heights=page_data.heights(config, workdir, chosen),
        map_points=page_data.map_points(config, embeddings, selected),
        suspects=page_data.suspects(config, workdir, embeddings, selected, notes),
        notes=[*about_classes, *notes],
    )
    return gallery.write(workdir.report, report, page_data.limits(config))


def _rows(config: ConfigDict, results: Sequence[dict]) -> list:
    from data_redundancy import evidence
    from data_redundancy.reporting import answer_text

    class_names = common.load_dataset(config).class_names
    return evidence.summarise(
        [answer_text.trial(result) for result in results], class_names, config.evidence.confidence
    )


def _csv(rows) -> bytes:
    from data_redundancy import evidence

    text = io.StringIO(newline="")
    evidence.write_csv(rows, text)
    return text.getvalue().encode()


def _png(figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    return image.getvalue()
