#!/usr/bin/env bash
# The whole job on one accelerator, then the same embeddings clustered on the CPU: keep lists and trees must be equal;
# then the clustering of sizes that are meant for an accelerator, timed (tabulate and psutil are needed for that), many
# trials at once, and training and embedding beside PyTorch (torch and timm).
#
# usage: benchmarks/accelerator.sh IMAGES.npz OUT [--config.SECTION.FIELD=VALUE ...]
#
# Needs the package installed in the interpreter that PYTHON names (python3 if unset), but neither TensorFlow nor TFDS:
#   pip install --no-deps --editable .   in an environment with jax, flax, optax, orbax-checkpoint, scipy, ...
set -euo pipefail
images=$1
out=$2
shift 2
python=${PYTHON:-python3}

"$python" -c 'import jax; print(*jax.devices(), "JAX", jax.__version__)'
time "$python" -m data_redundancy run --config=cifar10 --workdir="$out/run" \
    --config.dataset.name="$images" --config.train.dtype=bfloat16 "$@"

"$python" - "$out" <<'PY'
import pathlib, sys
import numpy as np
from data_redundancy.store import artifacts

out = pathlib.Path(sys.argv[1]).absolute()
for name, array in zip(("e", "l"), artifacts.read_embeddings(out / "run" / "embeddings"), strict=True):
    np.save(out / f"{name}.npy", array)
PY
select=("$python" -m data_redundancy select --embeddings="$out/e.npy" --labels="$out/l.npy")
for fraction in 0.1 0.3 0.5; do
    rm -rf "$out/on_device" "$out/on_cpu"
    time "${select[@]}" --fraction="$fraction" --out="$out/on_device"
    time JAX_PLATFORMS=cpu "${select[@]}" --fraction="$fraction" --out="$out/on_cpu"
    cmp "$out/on_device/keep.npy" "$out/on_cpu/keep.npy"
    echo "fraction $fraction: the keep lists are equal"
done

"$python" - "$out" <<'PY'
import pathlib, sys
import numpy as np
import data_redundancy as dr
from data_redundancy.clustering import dense
from data_redundancy.clustering.distances import fixed_point_unit_vectors_of

out = pathlib.Path(sys.argv[1])
x, labels = np.load(out / "e.npy"), np.load(out / "l.npy")
for linkage in ("complete", "average"):
    on_device = dr.cluster(x, labels, linkage=linkage)
    for label, tree in on_device.trees.items():
        units = fixed_point_unit_vectors_of(x, tree.members)
        between = dense.cluster_distances(units, np.arange(len(units)), linkage)
        merges = dense.agglomerate(between, np.ones(len(units)), linkage).in_order(linkage)
        # Copies are contracted first, which rounds off averages otherwise.
        assert np.allclose(merges.height, tree.merges[:, 2], rtol=0, atol=0 if linkage == "complete" else 1e-12)
    print(f"{linkage}: trees built by rounds on the device have the heights of those built on the host")
PY
for workload in gpu-imagenet gpu-1m gpu-dataset; do
    "$python" -m benchmarks.clustering --only="$workload" --json="$out/$workload.json"
done
"$python" -m benchmarks.trials --json="$out/trials.json"
"$python" -m benchmarks.training --repeats=2 --json="$out/training.json"
