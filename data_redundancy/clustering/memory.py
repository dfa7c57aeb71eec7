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
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except OSError:
        return available
    if limit == "max":
        return available
    # Files that were read count as used, but make room when it is needed.
    return min(available, max(0, int(limit) - int(used) + int(statistics.get("inactive_file", 0))))
