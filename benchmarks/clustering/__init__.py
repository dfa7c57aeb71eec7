"""Our exact clustering and the peers' side by side in one run: seconds, peak memory and whether partitions agree.

    python -m benchmarks.clustering --help

Every measurement runs in a process of its own. The process that starts them imports neither JAX nor SciPy and holds no
embeddings: Linux hands a process's peak memory on to those it starts.
"""
