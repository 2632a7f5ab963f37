"""What an action's decisions amount to: the last about each tier counts, for each choice by itself."""

from __future__ import annotations

import pytest

from tierwise.ledger.records import Decision, Trace
from tierwise.run.steps import decided_by, in_detail, in_short, of_route, steps_of


def said(
    about: str, signal: str, accepted: bool | None, level: float | None = None, choice: int = 0, route: str = "auto"
) -> Decision:
    return Decision(
        tier=route, reason="…", about=about, signal=signal, accepted=accepted, level=level, choice=choice, at=0.0
    )


def steps(*events: Decision) -> list[Decision]:
    trace = Trace(action="a", began=0.0, started_at=0.0, events=list(events))
    return of_route(steps_of(trace), "auto")


@pytest.mark.parametrize(
    ("events", "tier", "short", "detail"),
    [
        (
            [said("fast", "margin", False, 0.3), said("fast", "agreement", True, 1.0)],
            "fast",
            "fast by agreement",
            "fast accepted by agreement 1",
        ),
        (
            [said("fast", "margin", False, 0.3125), said("mid", "failed", False)],
            "max",
            "max after fast: margin, mid: failed",
            "fast not accepted by margin 0.312; mid not accepted by failed; max answers",
        ),
        ([said("max", "session", None, 1.0)], "max", "max by session", "max by session 1"),
        (
            [said("mid", "session", None, 1.0), said("mid", "verifier", False, 0.0)],
            "max",
            "max after mid: verifier",
            "mid not accepted by verifier 0; max answers",
        ),
        (
            [said("fast", "verifier", False, 0.0), said("max", "out_of_budget", False)],
            "fast",
            "fast after fast: verifier, max: out_of_budget",
            "fast not accepted by verifier 0; max not accepted by out_of_budget; fast answers",
        ),
        ([said("max", "certificate", None)], "max", "max by certificate", "max by certificate"),
    ],
)
def test_a_route_s_decisions_are_told_in_a_line(events, tier, short, detail):
    found = steps(*events)
    assert (in_short(found, tier), in_detail(found, tier)) == (short, detail)


def test_choices_and_routes_are_kept_apart():
    events = [
        said("fast", "margin", False),
        said("fast", "margin", True, choice=1),
        said("fast", "verifier", True, route="inner"),
        Decision(tier="auto", reason="escalates by its signals", at=0.0),
    ]
    trace = Trace(action="a", began=0.0, started_at=0.0, events=list(events))
    assert len(steps_of(trace)) == 3
    assert decided_by(steps(*events)) == ""
