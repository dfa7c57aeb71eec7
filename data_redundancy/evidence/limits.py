"""Validation of a margin and of a confidence level."""

from data_redundancy.errors import InputError


def require_confidence(confidence: float) -> None:
    """Validates the confidence level of an interval.

    Raises:
        InputError: If `confidence` is outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError("confidence", confidence, "must be between 0 and 1, both excluded")


def require_margin(margin: float) -> None:
    """Validates a margin. The upper limit catches percentage points, such as 0.5 where 0.005 is meant.

    Raises:
        InputError: If `margin` is outside (0, 0.5).
    """
    if not 0 < margin < 0.5:
        raise InputError(
            "margin",
            margin,
            "must be between 0 and 0.5, both excluded",
            "Give a fraction: half a percentage point is 0.005",
        )


def one_sided(confidence: float) -> float:
    """Returns the one-sided level at which a test agrees with the two-sided interval: 0.025 for 95%."""
    return (1 - confidence) / 2
