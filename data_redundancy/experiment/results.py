"""Conversion of the results of trials for the statistics."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_redundancy import evidence


def evidence_trial(result: Mapping[str, Any]) -> evidence.Trial:
    """Converts the result.json of a finished trial."""
    return evidence.Trial(
        method=result["method"],
        prune_fraction=result["prune_fraction"],
        seed=result["seed"],
        num_kept=result["num_kept"],
        accuracy=result["accuracy"],
        class_accuracy=np.array([np.nan if a is None else a for a in result["class_accuracy"]]),
    )
