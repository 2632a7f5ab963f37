"""What the tests of more than one policy need: an engine whose replies go by draw, and actions that never surprise."""

from __future__ import annotations

import msgspec

from tierwise.policies import Policy, PolicyChoice
from tierwise.testing.contracts.policies import ActionOutcome, ByDraw, run_action

__all__ = ["ActionOutcome", "ByDraw", "named", "run_action"]


def named(name: str) -> Policy:
    """A policy with its defaults; one that asks other tiers has a cheap and a strong one."""
    settings = {"tiers": ["cheap", "strong"]} if name in ("cascade", "diverse_experts") else {}
    return msgspec.convert({name: settings}, PolicyChoice).member
