"""The report's page: the answer, the charts and the gallery of one selection."""

from collections.abc import Sequence

from etils import epath

from data_redundancy import evidence, gallery
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.results import evidence_trial
from data_redundancy.experiment.trials import TrialResult
from data_redundancy.reporting import answer_text, page_data, page_images, verdict_lines


def write_page(experiment: Experiment, results: Sequence[TrialResult], chosen: page_data.ChosenSelection) -> epath.Path:
    """Writes WORKDIR/report/index.html.

    Args:
        experiment: experiment of the report.
        results: results of all finished trials; may be empty.
        chosen: the selection to show.

    Returns:
        The path of the page.
    """
    notes: list[str] = []
    selected = page_data.read(experiment, chosen)
    embeddings = page_data.embeddings(experiment, notes)
    losing, about_classes = _losing_classes(experiment, results, chosen)
    train, test = page_images.splits(experiment)
    report = gallery.Report(
        title=f"{experiment.dataset.name}, {chosen.name}",
        dataset=page_data.about(experiment.dataset),
        selected=selected,
        train=train,
        test=test,
        image_shape=page_images.image_shape(experiment),
        answer=_answer(experiment, results, chosen, selected),
        evidence={
            "accuracy": answer_text.accuracy(summarise(experiment, results)) if results else [],
            "losing_classes": losing,
        },
        confidence=experiment.config.evidence.confidence,
        heights=page_data.heights(experiment, chosen),
        map_points=page_data.map_points(experiment, embeddings, selected),
        near_duplicates=page_data.near_duplicates(experiment, embeddings, selected, notes),
        notes=[*about_classes, *notes],
    )
    return gallery.write(experiment.workdir.report, report, page_data.limits(experiment))


def summarise(experiment: Experiment, results: Sequence[TrialResult]) -> list[evidence.Row]:
    """Returns the rows of the table of trials."""
    trials = [evidence_trial(result) for result in results]
    return evidence.summarise(trials, experiment.dataset.class_names, experiment.config.evidence.confidence)


def _losing_classes(
    experiment: Experiment, results: Sequence[TrialResult], chosen: page_data.ChosenSelection
) -> tuple[list[dict], list[str]]:
    confidence = experiment.config.evidence.confidence
    found = verdict_lines.decided(experiment, results).get((chosen.method, chosen.fraction))
    return answer_text.losing_classes(
        results,
        method=chosen.method,
        fraction=chosen.fraction,
        class_names=experiment.dataset.class_names,
        confidence=1 - 2 * found["level"] if found else confidence,
    )


def _answer(
    experiment: Experiment,
    results: Sequence[TrialResult],
    chosen: page_data.ChosenSelection,
    selected: gallery.Selected,
) -> dict:
    config = experiment.config
    answer = answer_text.answer(
        results,
        name=chosen.name,
        method=chosen.method,
        fraction=chosen.fraction,
        num_kept=int(selected.kept.sum()),
        num_train=len(selected.kept),
        equal=config.sweep.equal,
        confidence=config.evidence.confidence,
        margin=config.evidence.margin,
        planned=config.sweep.fractions,
        decided=verdict_lines.decided(experiment, results),
    )
    return answer_text.before_veto(answer) if chosen.vetoed and results else answer
