"""Several questions at once, with one error rate for all of them."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    Reject those below a level: the chance of rejecting even one true hypothesis stays below that level, however the
    tests depend on each other.

    Args:
        p_values: Of all questions that were asked; 1 for one that has no answer yet.

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2).
    """
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests  # only here: it takes half a second to import

    return multipletests(np.asarray(p_values, dtype=np.float64), method="holm")[1].tolist()
