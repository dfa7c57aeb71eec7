"""What a margin and a confidence may be."""

from data_redundancy.errors import InputError


def require_confidence(confidence: float) -> None:
    """Refuses a level that no interval can have.

    Raises:
        InputError: If `confidence` is outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence}: must be between 0 and 1, both excluded")


def require_margin(margin: float) -> None:
    """Refuses a margin that is no loss of accuracy, such as 0.5 where half a point is meant.

    Raises:
        InputError: If `margin` is outside (0, 0.5).
    """
    if not 0 < margin < 0.5:
        raise InputError(
            f"margin={margin}: must be between 0 and 0.5, both excluded; it is a fraction, half a point is 0.005"
        )


def one_sided(confidence: float) -> float:
    """The one-sided level at which a test agrees with the two-sided interval: 0.025 for 95%."""
    return (1 - confidence) / 2
