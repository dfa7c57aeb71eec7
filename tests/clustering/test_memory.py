"""Free memory, and what clustering uses of it."""

import os
import pathlib
import subprocess
import sys
import types

import pytest

from data_redundancy.clustering import memory


def fake_container(folder, *, limit, used, inactive):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\nactive_file 7\n")


@pytest.mark.parametrize(
    ("limit", "used", "inactive", "free"),
    [(5000, 3000, 0, 2000), (5000, 4900, 1500, 1600), (5000, 6000, 0, 0), ("max", 3000, 0, 9000), (10**6, 0, 0, 9000)],
)
def test_what_is_free_in_a_container(tmp_path, monkeypatch, limit, used, inactive, free):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: types.SimpleNamespace(available=9000))
    assert memory.free() == 9000  # without the files of a container
    fake_container(tmp_path, limit=limit, used=used, inactive=inactive)
    assert memory.free() == free
    assert memory.default_limit() == pytest.approx(0.6 * free)


PEAK = """
import re
import numpy as np
import data_redundancy as dr
from data_redundancy.clustering import linkage  # imports everything before the baseline is measured

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])

rng = np.random.default_rng(0)
centres = rng.normal(size=(3_000, 64))
x = np.maximum(centres[rng.integers(0, 3_000, 30_000)] + 0.7 * rng.normal(size=(30_000, 64)), 0).astype(np.float32)
baseline = kilobytes("VmRSS")
cluster = dr.cut(x, num_clusters=27_000)
assert len(np.unique(cluster)) == 27_000
print((kilobytes("VmHWM") - baseline) / 1e3)
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_grows_with_the_pairs_that_matter():
    # All distances of 30,000 rows in float64 are 3.6 GB, without the diagonal and the lower half.
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PEAK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 400  # 120 on two cores
