"""Workers that end before they accept connections: after a few of them nothing is served any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tierwise.spec.errors import Broken
from tierwise.workers.supervisor import _Supervisor


def supervised(ends: list[bool]) -> tuple[list[int], Exception | None]:
    """Numbers of the workers that were forked, and the failure, after workers ended that served or not."""
    forked: list[int] = []
    nothing: Any = SimpleNamespace(**dict.fromkeys(("clear", "restart", "left", "changed", "ended"), lambda *_: None))

    async def main() -> Exception | None:
        supervisor = _Supervisor(nothing, [], nothing, nothing)
        supervisor._fork = forked.append  # type: ignore[method-assign]
        for has_listened in ends:
            if has_listened:
                supervisor._hub._listens(0)
            supervisor._ended(0, 1, 1)
        assert supervisor._over.is_set() is (supervisor._failure is not None)
        return supervisor._failure

    failure = asyncio.run(main())
    return forked, failure


def test_a_worker_that_served_is_replaced_however_often():
    assert supervised([True] * 9) == ([0] * 9, None)


@pytest.mark.parametrize("ends", [[False] * 4, [True, False, False, False, False], [False, True, *[False] * 4]])
def test_the_fourth_in_a_row_that_never_served_ends_it(ends):
    forked, failure = supervised(ends)
    assert isinstance(failure, Broken)
    assert "as soon as they start, the last with exit code 1" in str(failure)
    assert len(forked) == len(ends) - 1


def test_a_worker_that_serves_between_begins_a_new_count():
    assert supervised([False, False, False, True, False, False, False])[1] is None
