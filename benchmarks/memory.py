"""The memory of this process, on the host and on the accelerator; imports no framework that is not there already."""

import pathlib
import resource
import sys


def resident_mb() -> float:
    """The memory this process holds now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """The most memory this process, or one of those that it has waited for, has held."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**10


def device_peak_mb() -> float | None:
    """The most memory held on the accelerator by JAX or PyTorch, None where there is none or it does not tell."""
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch:
        return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    stats = jax.local_devices()[0].memory_stats() if jax else None
    return stats["peak_bytes_in_use"] / 2**20 if stats else None
