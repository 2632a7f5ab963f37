"""Drafts in a stream, for clients that asked for them: no client ever takes one for the answer."""

from __future__ import annotations

from typing import Any

import pytest

from endpoints import HELLO, Endpoint, tier_of
from tierwise.policies import Majority, Refine
from tierwise.spec.errors import Broken
from tierwise.testing import Reply, ScriptedEngine

DRAFTS = {"drafts": True}
FOUR = {"verifier": {"number": {"equals": 4}}}


def route(serve: Any, cheap: str | Reply, dear: str | Reply = "The answer is 4") -> Endpoint:
    tiers = [tier_of(engine=ScriptedEngine(text), name=name) for name, text in (("fast", cheap), ("max", dear))]
    endpoint: Endpoint = serve(*tiers, routes={"auto": ("fast", "max")})
    return endpoint


def drafts(chunks: list[Any]) -> dict[tuple[int, str], str]:
    """The text of each draft, by pass and tier."""
    found: dict[tuple[int, str], str] = {}
    for chunk in chunks:
        if "tierwise" in chunk:
            draft = chunk["tierwise"]["draft"]
            place = draft["pass"], draft["tier"]
            found[place] = found.get(place, "") + (draft["delta"].get("content") or "")
            (choice,) = chunk["choices"]
            assert (choice["delta"], choice["finish_reason"]) == ({}, None)
    return found


def test_a_draft_that_is_not_kept_comes_before_the_answer_that_replaces_it(serve):
    answer = route(serve, "It may be 5").chat("auto", stream=True, tierwise={**FOUR, **DRAFTS})
    assert drafts(answer.chunks) == {(0, "fast"): "It may be 5"}
    assert answer.text == "The answer is 4"
    is_draft = ["tierwise" in chunk for chunk in answer.chunks]
    assert is_draft == sorted(is_draft, reverse=True), "once the answer has begun there are no drafts"


def test_a_draft_that_is_kept_is_sent_again_as_the_answer(serve):
    answer = route(serve, "It may be 4").chat("auto", stream=True, tierwise={**FOUR, **DRAFTS})
    assert drafts(answer.chunks) == {(0, "fast"): "It may be 4"}
    assert answer.text == "It may be 4"


@pytest.mark.parametrize("tierwise", [FOUR, {**FOUR, "drafts": False}])
def test_without_being_asked_for_there_are_none(serve, tierwise):
    answer = route(serve, "5").chat("auto", stream=True, tierwise=tierwise)
    assert drafts(answer.chunks) == {}
    assert answer.text == "The answer is 4"


def test_a_whole_answer_has_none(serve):
    answer = route(serve, "5").chat("auto", tierwise={**FOUR, **DRAFTS})
    assert answer.text == "The answer is 4"
    assert "draft" not in answer.json.get("tierwise", {})


def test_a_stream_that_fails_after_a_draft_ends_with_an_error_and_no_answer(serve):
    endpoint = route(serve, Reply(text="5", finish="length"), Reply(error=Broken("gone")))
    answer = endpoint.chat("auto", stream=True, tierwise=DRAFTS)
    assert drafts(answer.chunks) == {(0, "fast"): "5"}
    assert [record.ending for record in endpoint.records] == ["answered"]
    assert answer.text == "5", "the best earlier answer, as without drafts"


def test_the_first_pass_of_refine_is_a_draft_and_votes_are_none(serve):
    refine = serve(tier_of(Refine(), engine=ScriptedEngine("first", "critique", "second"), name="refine"))
    answer = refine.chat("refine", stream=True, tierwise=DRAFTS)
    assert drafts(answer.chunks) == {(0, "refine"): "first"}
    votes = serve(tier_of(Majority(n=2), engine=ScriptedEngine("4", "4"), name="vote"))
    assert drafts(votes.chat("vote", stream=True, tierwise=DRAFTS).chunks) == {}


@pytest.mark.parametrize(("cheap", "said"), [("It may be 5", "The answer is 4"), ("It may be 4", "It may be 4")])
def test_a_real_client_shows_the_answer_alone(serve, cheap, said):
    more: Any = {"extra_body": {"tierwise": {**FOUR, **DRAFTS}}, "model": "auto", "messages": HELLO}
    with route(serve, cheap).client() as client:
        chunks = list(client.chat.completions.create(stream=True, **more))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said
        assert any(chunk.model_extra and "tierwise" in chunk.model_extra for chunk in chunks)
        with client.chat.completions.stream(**more) as stream:
            stream.until_done()
            final = stream.get_final_completion().choices[0].message
    assert (final.content, final.role) == (said, "assistant")
