"""How much of the prompts of an action its engines had cached, from the counts that the ledger stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierwise.ledger.records import Trace


def uncached_tokens(trace: Trace) -> int:
    """The prompt tokens that engines computed, over all passes of an action."""
    return sum(done.usage.prompt - done.usage.cached for done in trace.passes)


def assert_mostly_cached(trace: Trace, role: str, share: float = 0.75) -> None:
    """Assert that the passes of a role had at least this share of their prompt tokens cached, taken together."""
    found = [done for done in trace.passes if done.call.role == role]
    assert found, f"no pass has the role {role}"
    assert all(done.usage.exact for done in found)
    prompt, cached = sum(done.usage.prompt for done in found), sum(done.usage.cached for done in found)
    assert cached >= share * prompt, f"{cached} of {prompt} prompt tokens of role {role} were cached"
