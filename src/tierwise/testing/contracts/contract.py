"""Base class of test suites that contain property tests and are subclassed."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

Test = TypeVar("Test", bound=Callable[..., None])

_MARK = "draws_data"


def with_data(test: Test) -> Test:
    """Mark a method as a property test with the argument `data`, a Hypothesis `DataObject`."""
    setattr(test, _MARK, True)
    return test


class Contract:
    """Gives every subclass its own copy of each property test, because Hypothesis stores failures per function."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if Contract in cls.__bases__:
            return  # it defines a suite and is not run itself
        for name in dir(cls):
            test = getattr(cls, name)
            if getattr(test, _MARK, False) and isinstance(test, FunctionType):
                own = FunctionType(test.__code__, test.__globals__, name, test.__defaults__, test.__closure__)
                own.__qualname__, own.__module__ = f"{cls.__qualname__}.{name}", cls.__module__
                own.__kwdefaults__, own.__annotations__ = test.__kwdefaults__, test.__annotations__
                setattr(cls, name, given(data=st.data())(own))
