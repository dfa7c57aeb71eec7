"""Training, embedding and reading images, ours and the peers' side by side in one run: images per second and memory.

    python -m benchmarks.training --help

Every measurement runs in a process of its own. Nothing here needs TensorFlow but the workloads that read JPEGs, which
are left out where it is not installed, and nothing PyTorch but the rows named after it.
"""
