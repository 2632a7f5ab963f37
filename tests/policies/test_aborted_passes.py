"""A pass that the server aborted wins nothing: what it said is no candidate, and the other passes decide."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from engines.asking import in_time
from engines.openai.talking import event, raw, talking
from tierwise.policies import BestOfN, Cascade, Majority, Refine, Single
from tierwise.run import Action, Tier
from tierwise.spec.errors import Broken
from tierwise.testing import ask_user
from tierwise.testing.fakes import new_trace, tier, tiers_of
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest
from tierwise.verifiers import Number

if TYPE_CHECKING:
    from collections.abc import Collection

    from tierwise.ledger.records import Trace
    from tierwise.policies.policy import Policy
    from tierwise.spec.ask import Answer
    from tierwise.verifiers.verifier import Verifier

ABORTED = "5"
FINISHED = "4"


class Partly(FakeServer):
    """Says 5 and aborts in the requests of these numbers, and says 4 in the others."""

    def __init__(self, aborted: Collection[int], reason: str) -> None:
        super().__init__()
        self.aborted, self.reason = aborted, reason

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if number in self.aborted:
            return raw(event(ABORTED, finish=self.reason))
        return raw(event(FINISHED, finish="stop"), "data: [DONE]\n\n")


def solved(
    policy: Policy, aborted: Collection[int], reason: str, verifier: Verifier | None = None, *, slots: int = 1
) -> tuple[Answer, Trace]:
    async def main() -> tuple[Answer, Trace]:
        async with talking(server=Partly(aborted, reason)) as (_, engine):
            first = tier(Single(), engine, slots=slots, name="first")
            top = Tier(name="tier", deployment=first.deployment, policy=policy)
            last = Tier(name="last", deployment=first.deployment, policy=Single())
            trace = new_trace()
            action = Action(top, trace, tiers=tiers_of([first, last]), verifier=verifier)
            return await action.solve(ask_user("2+2?")), trace

    answer, trace = in_time(main())
    return answer, trace


REASONS = pytest.mark.parametrize("reason", ["abort", "error"])


@REASONS
@pytest.mark.parametrize("slots", [1, 8])
def test_one_vote_outvotes_any_number_of_aborted_ones(reason, slots):
    answer, trace = solved(Majority(n=3), {0, 1, 2, 3}, reason, slots=slots)
    assert answer.completion.text == FINISHED
    outcomes = Counter(done.outcome for done in trace.passes)
    assert outcomes["failed"] >= 2
    assert trace.passes[answer.chosen].outcome == "finished"


@REASONS
def test_the_best_of_n_is_never_an_aborted_one_even_if_its_verifier_would_accept_it(reason):
    answer, trace = solved(BestOfN(n=3), {0, 1, 2, 3}, reason, Number(equals=int(ABORTED)))
    assert answer.completion.text == FINISHED
    assert answer.verdict is not None
    assert not answer.verdict.ok
    assert "failed" in {done.outcome for done in trace.passes}


@REASONS
def test_a_cascade_asks_the_next_tier_and_does_not_judge_what_was_aborted(reason):
    policy = Cascade(ladder=("first", "last"))
    answer, trace = solved(policy, {0, 1}, reason, Number(equals=int(ABORTED)))
    assert answer.completion.text == FINISHED
    assert [done.outcome for done in trace.passes] == ["failed", "failed", "finished"]


@REASONS
def test_a_cascade_returns_the_earlier_answer_if_the_last_tier_aborts(reason):
    policy = Cascade(ladder=("first", "last"))
    answer, trace = solved(policy, {1, 2}, reason, Number(equals=int(ABORTED)))
    assert answer.completion.text == FINISHED
    assert [done.outcome for done in trace.passes] == ["finished", "failed", "failed"]


@REASONS
@pytest.mark.parametrize("aborted", [{1, 2}, {2, 3}], ids=["critique", "refinement"])
def test_a_refinement_that_was_aborted_leaves_the_draft(reason, aborted):
    answer, trace = solved(Refine(), aborted, reason, Number(equals=int(ABORTED)))
    assert answer.completion.text == FINISHED
    assert answer.why.startswith("draft kept")
    assert [done.outcome for done in trace.passes].count("failed") == 2


@REASONS
@pytest.mark.parametrize(
    "policy", [Single(), Majority(n=3), BestOfN(n=3), Refine()], ids=lambda one: type(one).__name__
)
def test_if_every_pass_is_aborted_there_is_no_answer(reason, policy):
    with pytest.raises(Broken, match=reason):
        solved(policy, range(100), reason, Number(equals=int(ABORTED)))
