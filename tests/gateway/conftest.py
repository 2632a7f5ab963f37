"""An endpoint for every test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from endpoints import EMPTY, Endpoint, serving


@pytest.fixture
def serve() -> Iterator[Callable[..., Endpoint]]:
    """Serves tiers until the test ends."""
    with ExitStack() as stack:
        yield lambda *tiers, **how: stack.enter_context(serving(*tiers, **how))


@pytest.fixture(scope="session", autouse=True)
def _houses() -> Iterator[None]:
    yield
    while EMPTY:
        EMPTY.pop().pull_down()
