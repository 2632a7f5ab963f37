"""At a deadline, every policy returns the best that it has, and the answer says so: streamed and not."""

from __future__ import annotations

import pytest

from tierwise.policies import BestOfN, Cascade, Fusion, Majority, Policy, Refine, Single
from tierwise.run import Tier, discard
from tierwise.spec.budget import Budget
from tierwise.testing import RecordingSink, Reply, ScriptedEngine, solve
from tierwise.testing import tier as a_tier
from tierwise.verifiers import Number

EIGHT = Reply(text="8 8 8 8 8 8 8 8", step=1.0)


def steps() -> list[Tier]:
    return [
        a_tier(Single(), ScriptedEngine("3"), name="fast"),
        a_tier(Single(), ScriptedEngine(EIGHT), name="max"),
    ]


CASES: list[tuple[Policy, list[str | Reply], str, str]] = [
    (Single(), [EIGHT], "8 8", "8 8"),
    (Majority(n=3), ["4", EIGHT, EIGHT], "4", "4"),
    (BestOfN(n=3), ["4", EIGHT, EIGHT], "4", "4"),
    (Refine(), ["4", "Wrong.", EIGHT], "4", "8 8"),
    (Fusion(n=2), ["4", "five", EIGHT], "4", "8 8"),
    (Fusion(n=2, select=True, groups=1), ["4", "five", EIGHT], "4", "4"),
    (Cascade(ladder=("fast", "max")), [], "3", "8 8"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("policy", "script", "unseen", "seen"), CASES, ids=lambda one: type(one).__name__)
def test_the_best_so_far_is_returned_at_the_deadline_and_marked(policy, script, unseen, seen, stream):
    sink = RecordingSink()
    answer, trace = solve(
        policy,
        *script,
        budget=Budget(seconds=2.5),
        verifier=Number(equals=4) if isinstance(policy, Cascade) else None,
        others=steps() if isinstance(policy, Cascade) else (),
        sink=sink if stream else discard,
    )
    assert answer.completion.text == (seen if stream else unseen)
    assert not stream or sink.text == answer.completion.text
    assert trace.limits == ["seconds"]
    assert max(done.started + done.seconds for done in trace.passes) <= 2.5 + 1e-9
