"""The search for the largest share that can go."""

from collections.abc import Mapping, Sequence

from data_redundancy.errors import InputError
from data_redundancy.evidence.noninferiority import Outcome


def next_fraction(fractions: Sequence[float], outcomes: Mapping[float, Outcome]) -> float | None:
    """Which fraction to test next: from the smallest up, until one is not a "yes".

    Each is tested at the full level, without correction. A wrong "yes" needs one at the first fraction that is too
    large, and no other test can make it. Bisection would test fewer fractions, but every one that is too large would be
    another chance of a wrong "yes", so its tests would need a correction.

    Args:
        fractions: All prune fractions that may be tested, fixed before the first test.
        outcomes: The answers so far.

    Returns:
        The fraction, or None when the search is over.

    Raises:
        InputError: If a fraction was answered out of order, or is none of `fractions`.

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
    """The largest fraction shown so far to be removable, or None.

    Args:
        fractions: All prune fractions that may be tested.
        outcomes: The answers so far, by fraction, as `next_fraction` asked for them.

    Raises:
        InputError: As `next_fraction`.
    """
    return max(_shown(fractions, outcomes), default=None)


def _shown(fractions: Sequence[float], outcomes: Mapping[float, Outcome]) -> list[float]:
    tested = sorted(outcomes)
    shown = [fraction for fraction in tested if outcomes[fraction] is Outcome.YES]
    # All before the last are a "yes": what follows anything else was not to be tested.
    if tested != sorted(set(fractions))[: len(tested)] or not set(tested[:-1]) <= set(shown):
        raise InputError(
            f"outcomes of {tested}: must be of the smallest of {sorted(set(fractions))}, tested upwards until one fails"
        )
    return shown
