"""The test whether a selection is as good as the full set, up to a margin."""

from dataclasses import dataclass
from enum import StrEnum

from data_redundancy.evidence.effects import Effect, p_above, p_below
from data_redundancy.evidence.limits import require_margin


class Outcome(StrEnum):
    """The answer to the question whether a share of the data can be pruned."""

    YES = "yes"
    NO = "no"
    OPEN = "not shown yet"


@dataclass(frozen=True)
class MarginTest:
    """The two one-sided p-values of a margin.

    Attributes:
        noninferior_p: Against "accuracy falls by the margin or more"; a small value shows that the selection will do.
        inferior_p: Against "accuracy falls by the margin or less"; a small value shows that it will not.
    """

    noninferior_p: float
    inferior_p: float

    def outcome(self, level: float) -> Outcome:
        """Returns the answer at a one-sided level."""
        if self.noninferior_p < level:
            return Outcome.YES
        return Outcome.NO if self.inferior_p < level else Outcome.OPEN


def margin_test(effect: Effect, margin: float) -> MarginTest:
    """Tests a difference from the full set against a margin, on both sides of it.

    At the level (1 - confidence) / 2, which is 0.025 at 95%, the test says "not inferior" exactly when the whole 95%
    interval lies above -margin, and "inferior" exactly when it lies below. Guidelines for clinical trials prescribe
    that level. At most one of the two claims can be wrong, except at the margin itself.

    Args:
        effect: The difference from the full set.
        margin: The largest acceptable loss, a fraction: 0.005 is half a percentage point.

    Raises:
        InputError: If `margin` is outside (0, 0.5).

    References:
        ICH E9 (1998), Statistical Principles for Clinical Trials, sections 3.3.2 and 5.5.
        Piaggio, Elbourne, Pocock, Evans and Altman (2012), Reporting of Noninferiority and Equivalence Randomized
        Trials: Extension of the CONSORT 2010 Statement, JAMA 308(24).
    """
    require_margin(margin)
    return MarginTest(p_above(effect, -margin), p_below(effect, -margin))
