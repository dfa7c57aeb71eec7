"""The memory that clustering may use."""

import pathlib

import psutil

SHARE_OF_FREE = 0.6
"""The share of free memory that clustering uses by default."""

_CGROUP = pathlib.Path("/sys/fs/cgroup")


def default_limit() -> float:
    """Returns the number of bytes that clustering may use if no limit is given."""
    return SHARE_OF_FREE * free()


def free() -> float:
    """Returns the number of bytes that this process can still allocate.

    That is the free memory of the machine, or of the container if that is less.
    """
    available = psutil.virtual_memory().available
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except OSError:
        return available
    if limit == "max":
        return available
    # The cache of files counts as used, but is freed on demand.
    return min(available, max(0, int(limit) - int(used) + int(statistics.get("inactive_file", 0))))
