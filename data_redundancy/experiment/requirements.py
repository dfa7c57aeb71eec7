"""Inputs that selection methods need, and the commands that make them."""

from ml_collections import ConfigDict

from data_redundancy.selection import METHODS
from data_redundancy.selection.top_score import SCORES


def needs_dendrograms(config: ConfigDict, method: str) -> bool:
    """Returns whether the selections of a method depend on the dendrograms."""
    return "dendrograms" in METHODS[method].needs or config.select.allocation == "global"


def score_name(config: ConfigDict, method: str) -> str | None:
    """Returns the name of the score that a method ranks by; None for a method without scores."""
    if "scores" not in METHODS[method].needs:
        return None
    return config.select.score if "score" in METHODS[method].takes else method


def score_names(config: ConfigDict) -> list[str]:
    """Returns the scores that the methods of `select` and `sweep` rank by."""
    names = {score_name(config, method) for method in (config.select.method, *config.sweep.methods)}
    return [name for name in SCORES if name in names]


def commands_before(config: ConfigDict, method: str) -> list[str]:
    """Returns the commands that make the inputs of the selections of a method, in order."""
    clusters = needs_dendrograms(config, method)
    commands = ["prepare"]
    if clusters or "embeddings" in METHODS[method].needs:
        commands += ["train", "embed"]
    if clusters:
        commands.append("cluster")
    if score_name(config, method) is not None:
        commands.append("score")
    return commands
