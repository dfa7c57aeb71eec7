"""A small model that compiles quickly, in place of every other."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from data_redundancy import models
from helpers import training_script


@contextlib.contextmanager
def quick_net() -> Iterator[None]:
    """Lets `models.create` return a `TinyNet`, whatever the name."""

    def create(*args, dtype, axis_name=None, **kwargs):
        return training_script.TinyNet(dtype=dtype, axis_name=axis_name)

    with mock.patch.object(models, "create", create):
        yield
