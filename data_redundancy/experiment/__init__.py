"""One config in one workdir, with everything that a stage needs."""
