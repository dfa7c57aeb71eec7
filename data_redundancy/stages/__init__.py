"""One module per command: `run(experiment, options) -> result`, and `preview(experiment, options) -> steps`.

A module's docstring is the command's help: what the command reads and writes, and an example. `cli/commands.py` lists
the commands.
"""
