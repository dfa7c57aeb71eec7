"""How much memory there is."""

import pathlib

import psutil

SHARE_OF_FREE = 0.6
"""What clustering takes of what is free, unless told otherwise."""

_CGROUP = pathlib.Path("/sys/fs/cgroup")


def default_limit() -> float:
    """The bytes that clustering may use where no limit is given."""
    return SHARE_OF_FREE * free()


def free() -> float:
    """The bytes that this process can still get: of the machine, or of its container where that has less."""
    available = psutil.virtual_memory().available
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return available
    return available if limit == "max" else min(available, max(0, int(limit) - int(used)))
