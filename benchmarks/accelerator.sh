#!/usr/bin/env bash
# The whole job on one accelerator, then the same embeddings clustered on the CPU: the keep lists must be equal.
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
time "$python" -m data_redundancy.main run --config=cifar10 --workdir="$out/run" \
    --config.dataset.name="$images" --config.train.dtype=bfloat16 "$@"

"$python" - "$out" <<'PY'
import pathlib, sys
import numpy as np
from data_redundancy import artifacts

out = pathlib.Path(sys.argv[1]).absolute()
for name, array in zip(("e", "l"), artifacts.read_embeddings(out / "run" / "embeddings"), strict=True):
    np.save(out / f"{name}.npy", array)
PY
select=("$python" -m data_redundancy.main select --embeddings="$out/e.npy" --labels="$out/l.npy")
for fraction in 0.1 0.3 0.5; do
    rm -rf "$out/on_device" "$out/on_cpu"
    time "${select[@]}" --fraction="$fraction" --out="$out/on_device"
    time JAX_PLATFORMS=cpu "${select[@]}" --fraction="$fraction" --out="$out/on_cpu"
    cmp "$out/on_device/keep.npy" "$out/on_cpu/keep.npy"
    echo "fraction $fraction: the keep lists are equal"
done
