"""Ceilings of sessions: held over all requests that name them, the last pass kept for an answer."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from endpoints import HELLO, PRICES, Answered, Endpoint, head_of, tier_of, until
from key_office import assert_refused
from tierwise.gateway.access import Access
from tierwise.policies import Majority, Refine
from tierwise.spec.errors import Broken
from tierwise.testing import Reply, ScriptedEngine

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
"""Votes of which no two agree, so that a vote needs all of them."""
NAME, DOLLARS, PASSES = "x-tierwise-session", "x-tierwise-session-dollars", "x-tierwise-session-passes"


def ask(
    endpoint: Endpoint,
    session: str = "task",
    *,
    secret: str = "",
    dollars: object = "",
    passes: object = "",
    model: str = "tier",
    **fields: Any,
) -> Answered:
    given = {NAME: session, DOLLARS: str(dollars), PASSES: str(passes)}
    headers = {name: value for name, value in given.items() if value}
    if secret:
        headers["authorization"] = f"Bearer {secret}"
    return endpoint.raw(json.dumps({"model": model, "messages": HELLO, **fields}).encode(), headers)


def spent(office: Any, kind: str) -> list[tuple[str, int, int]]:
    """What is charged and settled of sessions, once it is written."""
    office.desk.look()
    return [(name, *value) for (name, _), value in office.store.charged().items() if name.startswith(f"session-{kind}")]


@pytest.mark.parametrize("stream", [False, True])
def test_passes_are_held_over_all_requests_of_a_session_and_a_vote_ends_early(office, stream):
    endpoint = office.serve(tier_of(Majority(n=4), engine=ScriptedEngine(*WORDS)))
    first, second = (ask(endpoint, passes=6, stream=stream) for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert [len(record.trace.passes) for record in endpoint.records] == [4, 2]
    assert second.text == "five"
    if not stream:
        assert "the session task has as much left as 2 passes may need" in second.headers["x-tierwise-note"]
        assert second.json["usage"]["tierwise"]["limits"] == ["passes"]
    third = ask(endpoint, passes=6, stream=stream)
    assert_refused(third, 429, "insufficient_quota", "the session task has 0 of 6 left", PASSES)
    assert third.headers["x-should-retry"] == "false"
    assert ask(endpoint, "other", passes=6, stream=stream).status == 200
    assert ask(endpoint, passes=7, stream=stream).status == 200  # the client allows more
    assert len(endpoint.records) == 4


def test_the_last_pass_of_a_session_is_an_answer_and_no_critique(office):
    engine = ScriptedEngine("an answer")
    endpoint = office.serve(tier_of(Refine(), engine=engine))
    answer = ask(endpoint, passes=2)  # a draft; a critique could be followed by no other
    assert (answer.status, answer.text) == (200, "an answer")
    assert {done.call.role for record in endpoint.records for done in record.trace.passes} == {"draft"}


def test_a_cheap_tier_leaves_the_last_pass_to_the_dear_one(office):
    fast = tier_of(Majority(n=4), engine=ScriptedEngine(*WORDS), name="fast")
    endpoint = office.serve(fast, tier_of(name="dear"), routes={"auto": ("fast", "dear")})
    assert ask(endpoint, passes=2, model="auto").status == 200
    assert ask(endpoint, passes=3, model="auto").status == 200
    assert sum(len(record.trace.passes) for record in endpoint.records) <= 3


def test_dollars_are_held_over_all_requests_and_a_vote_ends_early(office):
    """One vote of this prompt may cost $0.0012 at most."""
    endpoint = office.serve(tier_of(Majority(n=8), engine=ScriptedEngine(*WORDS)))
    answer = ask(endpoint, dollars=0.004, max_tokens=10)
    assert (answer.status, answer.text) == (200, "one")
    assert 1 < len(endpoint.records[0].trace.passes) < 8
    assert "the session task has" in answer.headers["x-tierwise-note"]
    last = ask(endpoint, dollars=0.001, max_tokens=10)
    assert_refused(last, 429, "insufficient_quota", "an answer may cost", "of $0.001 left", DOLLARS)
    total = sum(PRICES.total(record.trace.passes).dollars for record in endpoint.records)
    ((name, held, settled),) = spent(office, "dollars")
    assert name == "session-dollars:|task"
    assert settled / 1e9 == pytest.approx(total, abs=1e-6)
    assert settled <= held <= 4_000_000


def test_a_ceiling_of_zero(office):
    endpoint = office.serve()
    assert_refused(ask(endpoint, passes=0), 429, "insufficient_quota", "0 of 0")
    assert_refused(ask(endpoint, dollars=0), 429, "insufficient_quota", "$0 of $0")
    assert endpoint.records == []


def test_n_choices_need_a_pass_each(office):
    endpoint = office.serve()
    assert_refused(ask(endpoint, passes=2, n=3), 429, "insufficient_quota", "needs 3 passes")
    assert len(ask(endpoint, passes=3, n=3).json["choices"]) == 3


@pytest.mark.parametrize("ceiling", [{"passes": 7}, {"dollars": 0.0048}])
def test_with_less_than_all_choices_may_need_each_has_an_answer(office, ceiling):
    """Without a part of its own, the first vote would take what is for the other two."""
    endpoint = office.serve(tier_of(Majority(n=8), engine=ScriptedEngine(*WORDS)))
    answer = ask(endpoint, n=3, max_tokens=10, **ceiling)
    assert answer.status == 200, answer.body
    assert all(choice["message"]["content"] for choice in answer.json["choices"])
    assert 3 <= len(endpoint.records[0].trace.passes) <= 7


def test_a_session_belongs_to_its_key(office):
    red, blue = office.key(name="red"), office.key(name="blue")
    endpoint = office.serve(access=Access(key="root"))
    for secret in (red, blue, "root"):
        assert ask(endpoint, secret=secret, passes=1).status == 200
        assert_refused(ask(endpoint, secret=secret, passes=1), 429, "insufficient_quota", "0 of 1")


def test_a_session_never_gives_more_than_the_keys_budget_has(office):
    secret = office.key(max_budget=0.002)
    endpoint = office.serve(tier_of(Majority(n=8), engine=ScriptedEngine(*WORDS)))
    assert_refused(ask(endpoint, secret=secret, dollars=5, max_tokens=10), 429, "insufficient_quota", "the key")
    assert ask(endpoint, secret=secret, dollars=0.0015, max_tokens=10).status == 200
    held, _ = office.spent("key:")
    assert held <= 0.002


def test_aborted_passes_count(office):
    endpoint = office.serve(tier_of(engine=ScriptedEngine("a b c d e f g h", step=0.05)))
    body = json.dumps({"model": "tier", "messages": HELLO, "stream": True}).encode()
    line = socket.create_connection(("127.0.0.1", endpoint.port), timeout=20)
    line.sendall(head_of(len(body), **{NAME: "task", PASSES: "1"}) + body)
    until(lambda: endpoint.metric("tierwise_actions_running") == 1)
    line.close()
    until(lambda: len(endpoint.records) == 1)
    assert_refused(ask(endpoint, passes=1), 429, "insufficient_quota", "0 of 1")


def test_side_by_side_no_pass_too_many_starts(office):
    endpoint = office.serve(tier_of(Majority(n=3), engine=ScriptedEngine(*WORDS, step=0.001)))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(endpoint, passes=20), range(16)))
    assert {answer.status for answer in answers} == {200, 429}
    assert sum(len(record.trace.passes) for record in endpoint.records) <= 20
    assert [one[1] for one in spent(office, "passes")] <= [20]


def test_a_retry_takes_another_pass(office):
    endpoint = office.serve(tier_of(engine=ScriptedEngine(Reply(error=Broken("it fell over")), "hi there")))
    assert ask(endpoint, passes=2).text == "hi there"
    assert_refused(ask(endpoint, passes=2), 429, "insufficient_quota", "0 of 2")


def test_an_idle_session_is_closed_and_opened_again_where_it_was(office):
    endpoint = office.serve()
    assert ask(endpoint, passes=3).status == 200
    office.desk.accounts.flush(everything=True)
    assert not office.desk.accounts.are_used
    assert [one[1:] for one in spent(office, "passes")] == [(1, 1)]
    assert ask(endpoint, passes=3).status == ask(endpoint, passes=3).status == 200
    assert_refused(ask(endpoint, passes=3), 429, "insufficient_quota", "0 of 3")
    office.desk.accounts.flush(everything=True)
    assert [one[1:] for one in spent(office, "passes")] == [(3, 3)]


def test_a_session_is_counted_across_processes(office):
    first = office.serve()
    desk = office.desk
    second = office.serve()
    for endpoint in (first, second, first, second):
        assert ask(endpoint, passes=4).status == 200
    for endpoint in (first, second):
        assert_refused(ask(endpoint, passes=4), 429, "insufficient_quota", "0 of 4")
    desk.accounts.flush(everything=True)
    assert [one[2] for one in spent(office, "passes")] == [4]


def test_without_the_database_a_session_gets_nothing_more(office):
    endpoint = office.serve()
    office.location.path.rename(office.location.path.with_suffix(".away"))
    office.location.path.mkdir()
    assert_refused(ask(endpoint, passes=3), 503, "keys_unavailable", "is away")
    assert ask(endpoint).status == 200  # who sends no ceiling needs none
    office.location.path.rmdir()
    office.location.path.with_suffix(".away").rename(office.location.path)
    assert ask(endpoint, passes=3).status == 200


def test_without_a_ledger_ceilings_are_refused(serve):
    endpoint = serve(tier_of())
    assert_refused(ask(endpoint, passes=3), 400, "invalid_value", "no ledger")


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e10", "x", "1_0", "", "١"])
def test_dollars_that_are_no_amount_are_refused(office, value):
    endpoint = office.serve()
    if value:
        headers = {NAME: "task", DOLLARS: value.encode("utf-8").decode("latin-1")}
        body = json.dumps({"model": "tier", "messages": HELLO}).encode()
        refused = endpoint.raw(body, headers)
        assert_refused(refused, 400, "invalid_value", "from 0 to 1e+09")
        assert refused.error["param"] == DOLLARS
    else:
        assert ask(endpoint, dollars=value).status == 200


@pytest.mark.parametrize("value", ["nan", "-1", "1.5", "10000000000", "9" * 5000, "x"])
def test_passes_that_are_no_number_are_refused(office, value):
    refused = ask(office.serve(), passes=value)
    assert_refused(refused, 400, "invalid_value", "from 0 to 10⁹")
    assert refused.error["param"] == PASSES


def test_a_ceiling_without_a_session_is_refused(office):
    assert_refused(ask(office.serve(), "", passes=3), 400, "invalid_value", "names no session")


def test_the_session_of_the_body_has_ceilings_too(office):
    endpoint = office.serve()
    assert ask(endpoint, "", passes=1, tierwise={"session": "task"}).status == 200
    assert_refused(ask(endpoint, passes=1), 429, "insufficient_quota", "0 of 1")


def test_no_session_spells_out_the_account_of_another(office):
    endpoint = office.serve()
    assert ask(endpoint, "a|b", passes=1).status == 200
    assert ask(endpoint, "b", passes=1).status == 200
    assert_refused(ask(endpoint, "a|b", passes=1), 429, "insufficient_quota", "0 of 1")
