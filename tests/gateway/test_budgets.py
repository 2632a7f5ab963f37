"""A budget that is used up is marked wherever a caller or an operator looks: header, usage, ledger row, metrics."""

from __future__ import annotations

import json

import pytest

from endpoints import HELLO, tier_of
from tierwise.ledger.rows import entry
from tierwise.policies import Majority
from tierwise.spec.budget import Budget
from tierwise.testing import ScriptedEngine

LONG = " ".join(["word"] * 400)


@pytest.mark.parametrize(
    ("bound", "budget", "words"),
    [
        ("completion_tokens", {"completion_tokens": 3}, "3 completion tokens"),
        ("seconds", {"seconds": 0.3}, "0.3 seconds"),
        ("dollars", {"dollars": 0.00002}, "$0.00002"),
    ],
)
def test_a_cut_answer_is_the_best_so_far_and_says_which_budget_is_used_up(serve, bound, budget, words):
    endpoint = serve(tier_of(engine=ScriptedEngine(LONG, step=0.02)))
    whole = endpoint.chat(tierwise={"budget": budget})
    said = f"the budget of {words} is used up: the answer is the best so far"
    assert whole.status == 200
    assert whole.headers["x-tierwise-note"] == said
    assert whole.text.startswith("word")
    assert whole.json["choices"][0]["finish_reason"] == "length"
    streamed = endpoint.chat(stream=True, stream_options={"include_usage": True}, tierwise={"budget": budget})
    assert streamed.is_done
    assert streamed.text.startswith("word")
    for usage in (whole.json["usage"], streamed.chunks[-1]["usage"]):
        assert usage["tierwise"]["limits"] == [bound]
        assert usage["tierwise"]["notes"] == [said]
    assert [entry(record, endpoint.service.prices).action.limits for record in endpoint.records] == [bound, bound]
    assert endpoint.metric(f'tierwise_budget_used_up_total{{bound="{bound}",tier="tier"}}') == 2


def test_an_answer_within_its_budget_is_not_marked(serve):
    endpoint = serve(tier_of(Majority(n=3), ScriptedEngine("4"), budget=Budget(passes=3, completion_tokens=9)))
    answer = endpoint.chat()
    assert "x-tierwise-note" not in answer.headers
    assert answer.json["usage"]["tierwise"]["limits"] == []
    assert entry(endpoint.records[0], endpoint.service.prices).action.limits is None


def test_votes_that_a_budget_of_passes_does_not_allow_are_marked(serve):
    answer = serve(tier_of(Majority(n=5), ScriptedEngine("4", "5", "6"))).chat(tierwise={"budget": {"passes": 3}})
    assert answer.json["usage"]["tierwise"]["limits"] == ["passes"]


@pytest.mark.parametrize("bound", ["reasoning_tokens", "dollars", "passes", "seconds", "completion_tokens"])
def test_a_bound_of_nothing_is_refused_with_its_name(serve, bound):
    body = json.dumps({"model": "tier", "messages": HELLO, "tierwise": {"budget": {bound: 0}}}).encode()
    answer = serve(tier_of()).raw(body)
    assert (answer.status, answer.error["param"]) == (400, f"tierwise.budget.{bound}")
