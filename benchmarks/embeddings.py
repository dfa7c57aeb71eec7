"""Whose embedding? How alike keep lists from other embeddings are, and whether it matters to what is trained on them.

    python -m benchmarks.embeddings --config=cifar10 --workdir=runs/whose [--config.SECTION.FIELD=VALUE ...]

Embeddings come from the config's own full run (train.seed), from other seeds, from another architecture and from a
tenth of the training, each in a workdir of its own under --workdir. The config's model is then trained on every keep
list, for sweep.fractions and sweep.seeds. Stopped and run again, it goes on.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tabulate import tabulate

from benchmarks import processes
from data_redundancy.cli import arguments as command_lines
from data_redundancy.cli import config as configs
from data_redundancy.cli import main
from data_redundancy.evidence.statistics import mean_difference
from data_redundancy.evidence.trials import FULL, RANDOM, Trial
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.results import evidence_trial
from data_redundancy.experiment.trials import TrialSpec
from data_redundancy.selection.overlap import agreement, overlap
from data_redundancy.store.workdir import Workdir

OWN, METHOD = "own", "agglomerative"
Groups = dict[tuple[str, float], dict[int, Trial]]
"""Trials by what the keep list is from and the fraction, then by seed."""


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embeddings", description=__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--other_model", default="resnet20", help="the other architecture (resnet20)")
    parser.add_argument("--other_seeds", default="1,2", help="the other values of train.seed, by commas (1,2)")
    return parser.parse_known_args()


def experiment_of(flags: Sequence[str], directory: pathlib.Path) -> Experiment:
    """The experiment of a config in a workdir."""
    line = command_lines.parse(["sweep", *flags, f"--workdir={directory}"])
    return Experiment(configs.resolve(line), Workdir(directory))


def sources(experiment: Experiment, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The sources of embeddings: their names, and the overrides of the config that make them."""
    config, seeds = experiment.config, list(map(int, arguments.other_seeds.split(",")))
    if config.train.seed in seeds or arguments.other_model == config.model.name:
        sys.exit(
            f"--other_seeds={arguments.other_seeds} --other_model={arguments.other_model}: must differ from the "
            f"config's own, train.seed={config.train.seed} and model.name={config.model.name}"
        )
    steps, warmup = experiment.fingerprints.durations(len(experiment.dataset.train.labels))
    return {
        OWN: [],
        **{f"seed {seed}": [f"--config.train.seed={seed}"] for seed in seeds},
        arguments.other_model: [f"--config.model.name={arguments.other_model}"],
        "a tenth": [f"--config.train.steps={steps // 10}", f"--config.train.warmup_steps={warmup // 10}"],
    }


def keep_lists(flags: Sequence[str], directory: pathlib.Path) -> dict[float, np.ndarray]:
    """Trains, embeds and clusters in a workdir; returns the keep lists by fraction."""
    for stage in ("train", "embed", "cluster"):
        if code := main.main([stage, *flags, f"--workdir={directory}"]):
            sys.exit(code)
    experiment = experiment_of(flags, directory)
    return {f: experiment.selections.make(METHOD, f, 0) for f in experiment.config.sweep.fractions}


def specs(experiment: Experiment, kept: Mapping[str, Mapping[float, np.ndarray]]) -> Iterator[TrialSpec]:
    """The full set, random subsets, and every keep list: all with every seed, and with names of their own."""
    sweep, own = experiment.config.sweep, experiment.selections
    for seed in sweep.seeds:
        yield TrialSpec(FULL, FULL, 0.0, seed, None)
        for fraction in sweep.fractions:
            yield TrialSpec(own.name(RANDOM, fraction, seed), RANDOM, fraction, seed, own.make(RANDOM, fraction, seed))
            for name, lists in kept.items():
                selection = f"{METHOD}-{fraction}" + ("" if name == OWN else f"-of-{name.replace(' ', '-')}")
                yield TrialSpec(selection, name, fraction, seed, lists[fraction])


def run(experiment: Experiment, kept: Mapping[str, Mapping[float, np.ndarray]]) -> Groups:
    groups: Groups = {}
    for spec in specs(experiment, kept):
        of_run = evidence_trial(experiment.trials.run(spec))
        groups.setdefault((spec.method, spec.prune_fraction), {})[spec.seed] = of_run
    return groups


def overlap_table(kept: Mapping[str, Mapping[float, np.ndarray]], labels: np.ndarray) -> str:
    """Every source beside the config's own: what both prune, against chance."""
    rows = []
    for name, lists in kept.items():
        for fraction in lists if name != OWN else ():
            masks = [np.isin(np.arange(len(labels)), of[fraction]) for of in (kept[OWN], lists)]
            pruned = overlap(~masks[0], ~masks[1], labels)
            chance = f"{pruned.expected / pruned.size_a:.1%}"
            rows.append([name, f"{fraction:g}", f"{pruned.of_smaller:.1%}", chance, f"{agreement(*masks, labels):.2f}"])
    headers = ["embedding", "pruned", "also pruned by own", "by chance", "kappa"]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def accuracy_table(groups: Groups, confidence: float) -> str:
    """Mean accuracies, and differences from the keep list of the config's own embedding, paired by seed."""
    rows = []
    for (name, fraction), trials in sorted(groups.items(), key=lambda item: item[0][1]):
        accuracies = [100 * trial.accuracy for trial in trials.values()]
        row = [name, f"{fraction:g}", str(len(trials)), f"{np.mean(accuracies):.2f}"]
        own = groups.get((OWN, fraction), {})
        change = None if name == OWN else mean_difference(trials, own, confidence)
        rows.append([*row, change and f"{100 * change.mean:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"])
    headers = ["keep list of", "pruned", "seeds", "accuracy, %", f"against own, pp [{100 * confidence:.10g}%]"]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def run_all() -> None:
    arguments, flags = parse_arguments()
    own = experiment_of(flags, arguments.workdir / OWN)
    kept = {
        name: keep_lists([*flags, *overrides], arguments.workdir / name.replace(" ", "_"))
        for name, overrides in sources(own, arguments).items()
    }
    print(processes.hardware(processes.devices()[1], ["jax", "flax"]), end="\n\n", flush=True)
    print(overlap_table(kept, own.dataset.train.labels), end="\n\n", flush=True)
    print(accuracy_table(run(own, kept), own.config.evidence.confidence))


if __name__ == "__main__":
    run_all()
