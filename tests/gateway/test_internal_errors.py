"""Whatever breaks in Tierwise itself: an error in OpenAI's shape, an action in the ledger, one entry in the log."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from endpoints import HELLO, Answered, tier_of
from tierwise.gateway.apis import chat
from tierwise.gateway.lifecycle import RequestContext
from tierwise.policies import Majority, Single
from tierwise.testing import Reply, ScriptedEngine


class Breaks(Single, frozen=True, kw_only=True):
    async def solve(self, prompt, ask):
        raise RuntimeError("a bug in a policy")


def assert_told_once(answer: Answered, caplog: Any, what: str) -> None:
    """In the answer and in the log, with a traceback there."""
    error = answer.chunks[-1]["error"] if answer.events else answer.error
    assert set(error) == {"message", "type", "param", "code"}
    assert what in error["message"]
    assert error["type"] == "server_error"
    assert not answer.is_done
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].name == "tierwise"
    assert errors[0].exc_info is not None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [KeyError("a bug"), RecursionError("too deep"), MemoryError("too much")])
def test_what_breaks_while_a_request_is_read(serve, caplog, monkeypatch, error, stream):
    async def broken(body: bytes) -> Any:
        raise error

    endpoint = serve(tier_of())
    monkeypatch.setattr(chat, "read_aside", broken)
    answer = endpoint.chat(stream=stream)
    assert answer.status == 500
    assert_told_once(answer, caplog, str(error))
    (record,) = endpoint.records
    assert (record.ending, record.trace.action) == ("failed", answer.headers["x-tierwise-action"])
    assert str(error) in record.error
    assert endpoint.metric("tierwise_actions_running") == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_breaks_in_a_policy(serve, caplog, stream):
    endpoint = serve(tier_of(Breaks()))
    answer = endpoint.chat(stream=stream)
    assert answer.status == 500
    assert_told_once(answer, caplog, "a bug in a policy")
    assert [record.ending for record in endpoint.records] == ["failed"]


@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize("policy", [None, Majority(n=3)], ids=["single", "vote"])
@pytest.mark.parametrize("stream", [False, True])
def test_half_a_character_in_an_answer_is_replaced_and_the_answer_kept(serve, caplog, stream, policy, choices):
    endpoint = serve(tier_of(policy, ScriptedEngine(Reply(delta={"content": "half \ud83d a character"}))))
    answer = endpoint.chat(stream=stream, n=choices)
    assert answer.status == 200
    assert "half \ufffd a character" in answer.text
    assert [record.ending for record in endpoint.records] == ["answered"]
    assert caplog.records == []


@pytest.mark.parametrize("stream", [False, True])
def test_what_breaks_after_an_action_is_recorded_does_not_record_it_again(serve, caplog, monkeypatch, stream):
    def broken(self: RequestContext, prices: Any) -> dict[str, str]:
        raise KeyError("a bug")

    endpoint = serve(tier_of(Majority(n=3)))
    monkeypatch.setattr(RequestContext, "headers_now", broken)
    answer = endpoint.chat(stream=stream)
    assert answer.status == 500
    assert_told_once(answer, caplog, "a bug")
    assert len(endpoint.records) == 1


TESTS = ["-" * 200_000 + "1", "x" + ".a" * 100_000, "not " * 60_000 + "1", "lambda:" * 30_000 + "0", "(" * 1000]


@pytest.mark.parametrize("tests", TESTS, ids=lambda text: text[:8])
def test_tests_that_cannot_be_compiled_are_a_bad_request(serve, caplog, tests):
    verifier = {"python_tests": {"tests": tests}}
    answer = serve(tier_of()).chat(tierwise={"verifier": verifier})
    assert (answer.status, answer.error["param"]) == (400, "tierwise.verifier.python_tests")
    assert "do not compile" in answer.error["message"]
    assert not caplog.records


@pytest.mark.parametrize("tests", ["assert f('\\d')", "assert f(1) is 1", "assert (f(1), 'x')"])
def test_a_warning_about_a_client_s_tests_is_not_ours(serve, recwarn, tests):
    body = {"model": "tier", "messages": HELLO, "tierwise": {"verifier": {"python_tests": {"tests": tests}}}}
    assert serve(tier_of()).raw(json.dumps(body).encode()).status == 200
    assert not recwarn.list
