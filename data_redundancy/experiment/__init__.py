"""Experiments: one config and one workdir, with the objects that the stages need."""
