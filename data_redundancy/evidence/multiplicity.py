"""Correction of p-values for several questions, so that one error rate holds for all of them."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Computes Holm's adjusted p-values.

    Rejecting the hypotheses whose adjusted p-value is below a level rejects a true hypothesis with a chance below that
    level, however the tests depend on each other.

    Args:
        p_values: The p-values of all questions; 1 for a question that has no answer yet.

    Returns:
        The adjusted p-values, in the order of `p_values`.

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2).
    """
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests  # lazy: importing it takes half a second

    return multipletests(np.asarray(p_values, dtype=np.float64), method="holm")[1].tolist()
