"""Joins the processes of a job, for the scripts of tests that `helpers.command.start_all` runs."""

from collections.abc import Sequence

from data_redundancy.runtime import processes


def join(arguments: Sequence[str]) -> dict[str, str]:
    """Starts JAX as the flags --coordinator and so on say; returns the values of all other flags."""
    flags = dict(argument[2:].split("=", 1) for argument in arguments if argument.startswith("--"))
    types = {"coordinator": str, "start_timeout_s": float, "barrier_timeout_s": float}
    fields = {name for name in processes.Processes.__dataclass_fields__ if name in flags}
    processes.start(processes.resolve(**{name: types.get(name, int)(flags.pop(name)) for name in fields}))
    return flags
