"""Cluster the embeddings of every class by exact agglomerative clustering with the cosine distance.

Reads:
  WORKDIR/embeddings/.
Writes:
  WORKDIR/dendrograms/class_C.npz for every class C, or dataset.npz with cluster.scope=dataset: members [n] int64
  (indices) and linkage [m, 4] float64 (a SciPy linkage matrix); manifest.json.
  Finished classes are skipped when the command is run again. Several processes share the classes. At the start, the
  command logs the clustering algorithm, and the memory and time that it is expected to take.
Example:
  data-redundancy cluster --config=digits --workdir=runs/digits
"""

import dataclasses
import logging

import numpy as np

from data_redundancy.clustering.workload import Workload, assign_to_processes
from data_redundancy.experiment import clustering
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.preview import Step, if_prepared, step
from data_redundancy.experiment.result import CommandResult, NoOptions
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts, files, manifests, metrics

log = logging.getLogger("data_redundancy")

Options = NoOptions


@dataclasses.dataclass(frozen=True)
class ClusterResult(CommandResult):
    """The dendrograms.

    Attributes:
        directory: directory of the dendrograms.
        num_classes: number of dendrograms.
        num_clustered: number of dendrograms that this command computed.
        skipped: whether all dendrograms already existed.
    """

    directory: str
    num_classes: int
    num_clustered: int
    skipped: bool


def run(experiment: Experiment, options: NoOptions) -> ClusterResult:
    """Runs the command."""
    del options
    embeddings, workload = _workload(experiment)
    todo = _todo(experiment, workload)
    if todo:
        clustering.announce(workload, todo)
    # The barriers let no process change files that another still reads, or continue before all files exist.
    devices.barrier("looked at the dendrograms")
    directory = experiment.workdir.show(experiment.workdir.dendrograms)
    result = ClusterResult(directory, len(workload.classes), len(todo), skipped=not todo)
    if not todo:
        log.info("cluster: already done, skipped (%s)", directory)
        return result
    if devices.is_main_process():
        _begin(experiment, workload)
    devices.barrier("began the dendrograms")
    _cluster(experiment, workload, embeddings, todo)
    experiment.release()
    devices.barrier("wrote the dendrograms")
    return result


def _workload(experiment: Experiment) -> tuple[np.ndarray, Workload]:
    config, embeddings = experiment.config, experiment.embeddings
    labels = experiment.dataset.train.labels
    return embeddings, clustering.make_config_workload(config, embeddings, labels, config.cluster.max_prune_fraction)


def _todo(experiment: Experiment, workload: Workload) -> list[int]:
    """Returns the classes whose dendrogram is missing or has too few merges."""
    directory, scope = experiment.workdir.dendrograms, experiment.config.cluster.scope
    if not manifests.is_complete(directory, experiment.fingerprints.dendrograms()):
        return list(workload.classes)  # without a manifest, the inputs of existing files are unknown
    found = artifacts.read_dendrograms(directory, workload.classes, scope)
    depths = {label: len(linkage) for label, (_, linkage) in found.items()}
    return [label for label, num_merges in workload.num_merges.items() if depths.get(label, -1) < num_merges]


def _begin(experiment: Experiment, workload: Workload) -> None:
    """Removes dendrograms without a manifest, then writes the manifest; from then on, a restart keeps finished ones."""
    directory = experiment.workdir.dendrograms
    if manifests.read(directory) is None:
        artifacts.remove_dendrograms(directory)
    manifest = manifests.make(experiment.fingerprints.dendrograms(), classes=list(workload.classes))
    files.write_json(directory / manifests.MANIFEST, manifest)


def _cluster(experiment: Experiment, workload: Workload, embeddings: np.ndarray, todo: list[int]) -> None:
    joint, own = assign_to_processes(workload, todo, devices.process_count())
    mine = own[devices.process_index()]
    directory, scope = experiment.workdir.dendrograms, experiment.config.cluster.scope
    with metrics.progress("cluster", total=len(joint) + len(mine), unit="classes") as bar:
        done = 0
        for labels, together in ((joint, True), (mine, False)):
            for label, tree in clustering.cluster_each(workload, embeddings, labels, together=together):
                if not together or devices.is_main_process():
                    path = artifacts.dendrogram_path(directory, label, scope)
                    artifacts.write_dendrogram(path, members=tree.members, merges=tree.merges)
                done += 1
                bar.update(done)


def preview(experiment: Experiment, options: NoOptions) -> list[Step]:
    """Returns the steps of the command."""
    del options
    return [if_prepared(lambda: _preview(experiment)) or step("cluster", "a dendrogram of every class", done=None)]


def _preview(experiment: Experiment) -> Step:
    if not manifests.is_complete(experiment.workdir.embeddings, experiment.fingerprints.embeddings()):
        return step("cluster", "a dendrogram of every class", done=None)
    _, workload = _workload(experiment)
    todo, total = _todo(experiment, workload), len(workload.classes)
    seconds = clustering.expected_seconds(workload, todo)
    what = f"dendrograms of {len(todo) or total:,} of {total:,} classes"
    return step("cluster", what, done=not todo, seconds=seconds)
