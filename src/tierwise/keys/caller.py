"""Who sent the request that is answered."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from tierwise.spec.errors import Forbidden

if TYPE_CHECKING:
    from tierwise.keys.records import Caller

CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Of the request that the present task answers; None for an administrator, or where no key is needed. Set by what lets
a request in, so that no API can forget its limits.
"""


def require_admin(why: str) -> None:
    """Refuse a request with a stored key that is not an administrator's.

    Raises:
        Forbidden: `why` says what is allowed.
    """
    caller = CALLER.get()
    if caller is not None and not caller.key.is_admin:
        raise Forbidden(why)


def owner_now() -> str:
    """The id of the key that sent the present request: what it stores, no other can read. Empty without one."""
    caller = CALLER.get()
    return "" if caller is None else caller.key.id
