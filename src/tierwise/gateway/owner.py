"""Whose a request is: what one owner stores, no other can read."""

from __future__ import annotations

from contextvars import ContextVar

OWNER: ContextVar[str] = ContextVar("owner", default="")
"""The owner of the request that the current task answers, set where its key is checked; empty without keys."""
