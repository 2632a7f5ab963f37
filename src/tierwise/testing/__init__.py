"""Public fakes for tests: engines that follow a script or fail on purpose, and a clock that skips waiting times.

answer, trace = solve(Majority(n=5), "4", "4", "4", slots=1)
assert (answer.completion.text, len(trace.passes)) == ("4", 3)
"""

from tierwise.testing.fakes import (
    FlakyEngine,
    FrozenClock,
    RecordingSink,
    Reply,
    ScriptedEngine,
    ask_user,
    cascade,
    frozen,
    new_trace,
    solve,
    solve_cascade,
    tier,
    tiers_of,
    with_routes,
)

__all__ = [
    "FlakyEngine",
    "FrozenClock",
    "RecordingSink",
    "Reply",
    "ScriptedEngine",
    "ask_user",
    "cascade",
    "frozen",
    "new_trace",
    "solve",
    "solve_cascade",
    "tier",
    "tiers_of",
    "with_routes",
]
