"""Support for deprecated names of parameters and attributes, which raise a DeprecationWarning."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def accept_old_names(**new_names: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Makes a function accept parameters by their old names, with a DeprecationWarning.

    Args:
        **new_names: the new name for every old name.
    """

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(function)
        def accepting(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            for old in new_names.keys() & kwargs.keys():
                if new_names[old] in kwargs:
                    raise TypeError(f"{function.__name__} has both {new_names[old]} and its old name {old}; omit {old}")
                change = f"the parameter {old} of {function.__name__} is now called {new_names[old]}"
                warnings.warn(change, DeprecationWarning, stacklevel=2)
                kwargs[new_names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return accepting

    return decorate


def renamed_attribute(old: str, new: str) -> property:
    """Returns a property for an attribute's old name, which warns and returns the attribute of the new name."""

    def read(self: object) -> object:
        change = f"the attribute {old} of {type(self).__name__} is now called {new}"
        warnings.warn(change, DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read, doc=f"The old name of `{new}`.")
