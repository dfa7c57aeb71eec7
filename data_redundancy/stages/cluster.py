"""Cluster the embeddings of every class: agglomerative clustering, cosine distance.

Reads:
  WORKDIR/embeddings/.
Writes:
  WORKDIR/dendrograms/class_C.npz for every class C: members [n] int64 (indices) and linkage [n-1, 4] float64 as SciPy
  defines it; manifest.json. Classes that are finished are skipped when the stage is started again.
Takes:
  cluster.linkage (complete, average or single).
Example:
  data-redundancy cluster --config=digits --workdir=runs/digits
"""

import logging

from ml_collections import ConfigDict

from data_redundancy import artifacts, metrics, parallel
from data_redundancy import workdir as workdirs
from data_redundancy.clustering.classwise import cluster_class, members_by_class
from data_redundancy.clustering.distances import check_embeddings
from data_redundancy.stages import common, fingerprints
from data_redundancy.workdir import Workdir

log = logging.getLogger("data_redundancy")


def run(config: ConfigDict, workdir: Workdir) -> None:
    """Runs the stage."""
    common.require(workdir.embeddings, fingerprints.embeddings(config), "embed")
    embeddings, labels = artifacts.read_embeddings(workdir.embeddings)
    check_embeddings(embeddings)
    classes = members_by_class(labels)
    fingerprint = fingerprints.dendrograms(config)
    started = common.is_done(workdir.dendrograms, fingerprint)
    # Without a manifest, what is there is of unknown making.
    todo = [c for c in classes if not (started and artifacts.dendrogram_path(workdir.dendrograms, c).exists())]
    # Every process has looked at what there is before one adds to it, and all is there when the first goes on.
    parallel.barrier("looked at the dendrograms")
    if started and not todo:
        log.info("cluster: already done, skipped (%s)", workdir.show(workdir.dendrograms))
        return
    if parallel.is_main_process():
        manifest = artifacts.manifest(fingerprint, classes=list(classes))
        workdirs.write_json(workdir.dendrograms / artifacts.MANIFEST, manifest)
    with metrics.progress("cluster", total=len(todo), unit="classes") as bar:
        for done, label in enumerate(todo, 1):
            tree = cluster_class(embeddings, classes[label], config.cluster.linkage)
            if parallel.is_main_process():
                artifacts.write_dendrogram(workdir.dendrograms, label, members=tree.members, linkage=tree.linkage)
            bar.update(done)
    parallel.barrier("wrote the dendrograms")
    log.info("cluster: %d classes, the largest of %s", len(classes), f"{max(map(len, classes.values())):,}")
