"""The working directory of an experiment: the paths of its artifacts."""

import errno
import os
import pathlib

from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.store import filesystems


class Workdir:
    """The paths of one working directory, local or in a bucket (gs://BUCKET/DIRECTORY).

    Attributes:
        root: the absolute path of the directory.
    """

    def __init__(self, root: str | os.PathLike[str], *, create: bool = True):
        """Creates the directory and tests that it can be written.

        Args:
            root: the path; a relative local path starts at the current directory.
            create: whether to create and test the directory. With False nothing is written, for dry runs; only a
                path that is no directory is rejected.

        Raises:
            InputError: naming `workdir`, if `root` is empty, or cannot be created or written.
        """
        if not os.fspath(root):
            raise InputError("workdir", "", "must not be empty", "Name a directory, such as runs/digits")
        self.root = filesystems.locate(root, "workdir")  # absolute, because Orbax requires it
        if filesystems.is_remote(self.root):
            if create:
                filesystems.check_bucket(self.root, "workdir")
            return
        try:
            if not create:
                _check_could_be_created(self.root)
                return
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink(missing_ok=True)  # a process on another host may have the same id and the same directory
        except OSError as error:
            reason = error.strerror
            raise InputError("workdir", os.fspath(root), f"must be a writable directory ({reason})") from None

    @property
    def config(self) -> epath.Path:
        """The resolved config of the last stage that ran, JSON."""
        return self.root / "config.json"

    @property
    def embeddings(self) -> epath.Path:
        """The embedding store of the training split."""
        return self.root / "embeddings"

    @property
    def embeddings_test(self) -> epath.Path:
        """The embedding store of the test split."""
        return self.root / "embeddings_test"

    @property
    def dendrograms(self) -> epath.Path:
        """The dendrograms, one file per class or one for the whole data set."""
        return self.root / "dendrograms"

    @property
    def scores(self) -> epath.Path:
        """The scores of training images, by name and seed."""
        return self.root / "scores"

    @property
    def report(self) -> epath.Path:
        """The tables, plots and gallery."""
        return self.root / "report"

    def answer(self, name: str) -> epath.Path:
        """Returns the path of the answer with this name, JSON."""
        return self.root / "answers" / f"{name}.json"

    def selection(self, name: str) -> epath.Path:
        """Returns the path of the selection with this name; see `selection_name`."""
        return self.root / "selections" / name

    @property
    def trials(self) -> epath.Path:
        """All training runs."""
        return self.root / "trials"

    def trial(self, selection: str, seed: int) -> epath.Path:
        """Returns the path of the training run on a selection with a seed."""
        return self.trials / selection / f"seed{seed}"

    def score(self, name: str, seed: int) -> epath.Path:
        """Returns the path of the scores with this name from the run with this seed."""
        return self.scores / name / f"seed{seed}"

    def score_run(self, seed: int) -> epath.Path:
        """Returns the path of a training run that computes scores."""
        return self.scores / f"run-seed{seed}"

    def show(self, path: epath.Path) -> str:
        """Returns `path` as text: relative to the current directory if it is below it, else absolute."""
        return os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else str(path)


def _check_could_be_created(directory: epath.Path) -> None:
    """Raises NotADirectoryError if a local path, or what it is to be created in, is a file."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(existing))


def selection_name(method: str, prune_fraction: float, seed: int | None = None) -> str:
    """Returns METHOD-FRACTION, followed by -seedK for a method that draws at random; "full" if nothing is pruned."""
    if prune_fraction == 0:
        return "full"
    return f"{method}-{prune_fraction:g}" + ("" if seed is None else f"-seed{seed}")
