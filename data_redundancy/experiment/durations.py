"""Durations and sizes in words."""


def duration_text(seconds: float) -> str:
    """Returns a duration such as `about 40 s`, `about 5 min` or `about 3 h`."""
    if seconds < 1:
        return "less than a second"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    if seconds < 7200:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:,.0f} h"


def gigabytes_text(num_bytes: float) -> str:
    """Returns a size in units of 1e9 bytes."""
    return f"{num_bytes / 1e9:.2g} GB"
