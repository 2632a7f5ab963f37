"""An endpoint for every test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from endpoints import EMPTY, Endpoint, serving
from key_office import Office


@pytest.fixture
def serve() -> Iterator[Callable[..., Endpoint]]:
    """Serves tiers until the test ends."""
    with ExitStack() as stack:
        yield lambda *tiers, **how: stack.enter_context(serving(*tiers, **how))


@pytest.fixture
def office(tmp_path: Path, serve: Callable[..., Endpoint]) -> Iterator[Office]:
    """Keys, and endpoints that ask for them."""
    with ExitStack() as stack:
        yield Office(tmp_path, stack, serve)


@pytest.fixture(scope="session", autouse=True)
def _houses() -> Iterator[None]:
    yield
    while EMPTY:
        EMPTY.pop().pull_down()
