"""Cluster the embeddings of every class: agglomerative clustering, cosine distance, exact.

Reads:
  WORKDIR/embeddings/.
Writes:
  WORKDIR/dendrograms/class_C.npz for every class C (dataset.npz with cluster.scope=dataset): members [n] int64
  (indices) and linkage [m, 4] float64 as SciPy defines it; manifest.json. Classes that are finished are skipped when
  the stage is started again. Several processes share the classes.
Takes:
  cluster.linkage (complete, average or single), cluster.scope (class, or dataset: labels are ignored),
  cluster.max_prune_fraction (trees are truncated there, which saves most of the time and memory), and
  cluster.memory_limit_gb. What it is going to do, and what that takes, is said before it starts.
Example:
  data-redundancy cluster --config=digits --workdir=runs/digits
"""

import logging

from ml_collections import ConfigDict

from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.clustering.workload import Workload, share_out
from data_redundancy.experiment import dataset, dendrograms, fingerprints
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts, metrics
from data_redundancy.store import workdir as workdirs
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    dataset.require(workdir.embeddings, fingerprints.embeddings(config), "embed")
    embeddings, labels = artifacts.read_embeddings(workdir.embeddings)
    check_embeddings(embeddings)
    work = dendrograms.work(config, embeddings, labels, config.cluster.max_prune_fraction)
    todo = _todo(config, workdir, work)
    if todo:
        dendrograms.announce(work, todo)
    # Every process has looked at what there is before one changes it, and all is there when the first goes on.
    devices.barrier("looked at the dendrograms")
    if not todo:
        log.info("cluster: already done, skipped (%s)", workdir.show(workdir.dendrograms))
        return
    if devices.is_main_process():
        _begin(config, workdir, work)
    devices.barrier("began the dendrograms")
    _cluster(config, workdir, work, embeddings, todo)
    devices.barrier("wrote the dendrograms")


def _todo(config: ConfigDict, workdir: Workdir, work: Workload) -> list[int]:
    """The classes without a tree that is deep enough."""
    if not dataset.is_done(workdir.dendrograms, fingerprints.dendrograms(config)):
        return list(work.classes)  # without a manifest, what is there is of unknown making
    found = artifacts.read_dendrograms(workdir.dendrograms, work.classes, config.cluster.scope)
    depths = {label: len(linkage) for label, (_, linkage) in found.items()}
    return [label for label, num_merges in work.num_merges.items() if depths.get(label, -1) < num_merges]


def _begin(config: ConfigDict, workdir: Workdir, work: Workload) -> None:
    """Says what the trees are made from; a restart then trusts those that are there, so those of unknown making go."""
    directory = workdir.dendrograms
    if artifacts.read_manifest(directory) is None:
        artifacts.remove_dendrograms(directory)
    manifest = artifacts.manifest(fingerprints.dendrograms(config), classes=list(work.classes))
    workdirs.write_json(directory / artifacts.MANIFEST, manifest)


def _cluster(config: ConfigDict, workdir: Workdir, work: Workload, embeddings, todo: list[int]) -> None:
    joint, own = share_out(work, todo, devices.process_count())
    mine = own[devices.process_index()]
    with metrics.progress("cluster", total=len(joint) + len(mine), unit="classes") as bar:
        done = 0
        for labels, together in ((joint, True), (mine, False)):
            for label, tree in dendrograms.cluster_each(work, embeddings, labels, together=together):
                if not together or devices.is_main_process():
                    path = artifacts.dendrogram_path(workdir.dendrograms, label, config.cluster.scope)
                    artifacts.write_dendrogram(path, members=tree.members, linkage=tree.linkage)
                done += 1
                bar.update(done)
