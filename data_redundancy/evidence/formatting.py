"""Formatting of numbers, in the same way wherever they are shown."""


def percent(share: float, digits: int = 6) -> str:
    """Formats a share as a percentage, without trailing zeros.

    Args:
        share: A fraction: 0.1 becomes `10%`.
        digits: The most significant digits to show. The default shows any fraction that a user sets as it was given.
    """
    return f"{100 * share:.{digits}g}%"


def percent_fixed(share: float, decimals: int = 1) -> str:
    """Formats a share as a percentage with a fixed number of decimals, so that the numbers of a column align.

    Args:
        share: A fraction: 0.1 becomes `10.0%`.
        decimals: The number of decimals.
    """
    return f"{100 * share:.{decimals}f}%"
