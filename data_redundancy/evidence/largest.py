"""The search for the largest fraction that can be pruned."""

from collections.abc import Mapping, Sequence

from data_redundancy.errors import InputError
from data_redundancy.evidence.noninferiority import Outcome


def next_fraction(fractions: Sequence[float], outcomes: Mapping[float, Outcome]) -> float | None:
    """Returns the fraction to test next: from the smallest upwards, until one is not a "yes".

    Each fraction is tested at the full level, without correction. The first fraction that is too large is the only one
    at which the search can make its first wrong "yes", so that all tests together keep the level. Bisection would test
    fewer fractions, but each one that is too large would be another chance of a wrong "yes", so its tests would need a
    correction.

    Args:
        fractions: All prune fractions that may be tested, fixed before the first test.
        outcomes: The answers so far, by fraction.

    Returns:
        The fraction, or None when the search is over.

    Raises:
        InputError: If a fraction was answered out of order, or is not one of `fractions`.

    References:
        Maurer, Hothorn and Lehmacher (1995), Multiple Comparisons in Drug Clinical Trials and Preclinical Assays: A
        Priori Ordered Hypotheses, in Biometrie in der Chemisch-pharmazeutischen Industrie 6.
        Westfall and Krishen (2001), Optimally Weighted, Fixed Sequence and Gatekeeper Multiple Testing Procedures,
        Journal of Statistical Planning and Inference 99(1).
    """
    shown = _shown(fractions, outcomes)
    untested = sorted(set(fractions) - outcomes.keys())
    return untested[0] if untested and len(shown) == len(outcomes) else None


def largest_fraction(fractions: Sequence[float], outcomes: Mapping[float, Outcome]) -> float | None:
    """Returns the largest fraction shown so far to be removable, or None.

    Args:
        fractions: All prune fractions that may be tested.
        outcomes: The answers so far, by fraction, in the order that `next_fraction` gives.

    Raises:
        InputError: If a fraction was answered out of order, or is not one of `fractions`.
    """
    return max(_shown(fractions, outcomes), default=None)


def _shown(fractions: Sequence[float], outcomes: Mapping[float, Outcome]) -> list[float]:
    """Returns the fractions answered "yes", ascending."""
    tested, allowed = sorted(outcomes), sorted(set(fractions))
    shown = [fraction for fraction in tested if outcomes[fraction] is Outcome.YES]
    # The search stops at the first answer that is not a "yes", so that only the last one may be another.
    if tested != allowed[: len(tested)] or not set(tested[:-1]) <= set(shown):
        raise InputError(
            "outcomes",
            None,
            f"must be of the smallest of {allowed}, tested upwards until one fails, but are of {tested}",
        )
    return shown
