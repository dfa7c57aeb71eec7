"""Is a selection as good as the full set, give or take a margin?"""

from dataclasses import dataclass
from enum import StrEnum

from data_redundancy.evidence.effects import Effect, p_above, p_below
from data_redundancy.evidence.limits import require_margin


class Outcome(StrEnum):
    """Can this share of the data go?"""

    YES = "yes"
    NO = "no"
    OPEN = "not shown yet"


@dataclass(frozen=True)
class MarginTest:
    """Two one-sided p-values about one margin.

    Attributes:
        noninferior_p: Against "accuracy falls by the margin or more"; small says that the selection will do.
        inferior_p: Against "accuracy falls by the margin or less"; small says that it will not.
    """

    noninferior_p: float
    inferior_p: float

    def outcome(self, level: float) -> Outcome:
        """The answer at a one-sided level."""
        if self.noninferior_p < level:
            return Outcome.YES
        return Outcome.NO if self.inferior_p < level else Outcome.OPEN


def margin_test(effect: Effect, margin: float) -> MarginTest:
    """Tests a difference from the full set against a margin, on both sides of it.

    A p-value counts as small below (1 - confidence) / 2, 0.025 at 95%: then the test says "not inferior" just when the
    whole 95% interval lies above -margin, and "inferior" just when it lies below. That is the level which guidelines
    for trials ask for. Of the two claims at most one can be wrong, except at the margin itself.

    Args:
        effect: The difference from the full set.
        margin: The loss that is still accepted, a fraction: 0.005 is half a point.

    Raises:
        InputError: If `margin` is outside (0, 0.5).

    References:
        ICH E9 (1998), Statistical Principles for Clinical Trials, sections 3.3.2 and 5.5.
        Piaggio, Elbourne, Pocock, Evans and Altman (2012), Reporting of Noninferiority and Equivalence Randomized
        Trials: Extension of the CONSORT 2010 Statement, JAMA 308(24).
    """
    require_margin(margin)
    return MarginTest(p_above(effect, -margin), p_below(effect, -margin))
