"""Fakes for faults and speed, public: engines that follow a script or fail on purpose, a clock that never waits.

answer, trace = solve(Majority(n=5), "4", "4", "4", slots=1)
assert (answer.completion.text, len(trace.passes)) == ("4", 3)
"""

from tierwise.testing.fakes import (
    FlakyEngine,
    FrozenClock,
    Reply,
    ScriptedEngine,
    Shown,
    ask_user,
    cascade,
    frozen,
    new_trace,
    solve,
    tier,
    tiers_of,
    traced,
    with_routes,
)

__all__ = [
    "FlakyEngine",
    "FrozenClock",
    "Reply",
    "ScriptedEngine",
    "Shown",
    "ask_user",
    "cascade",
    "frozen",
    "new_trace",
    "solve",
    "tier",
    "tiers_of",
    "traced",
    "with_routes",
]
