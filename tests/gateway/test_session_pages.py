"""`/v1/sessions/ID`: the actions of a session, each with its cost, and whether they are all there."""

from __future__ import annotations

import json

import pytest

from endpoints import HELLO, PRICES, tier_of, until
from tierwise.ledger.store import Ledger
from tierwise.policies import Majority
from tierwise.spec.errors import Broken
from tierwise.testing import Reply, ScriptedEngine

JSON = {"content-type": "application/json"}


@pytest.fixture
def kept(tmp_path, serve):
    """Serves tiers with a real ledger."""
    ledger = Ledger.open(tmp_path / "ledger.db", PRICES, on_alarm=lambda *_: None)
    yield lambda *tiers, **how: serve(*tiers, ledger=ledger, **how)
    ledger.close()


def ask(endpoint, session, secret="", **fields):
    body = json.dumps({"model": "tier", "messages": HELLO, **fields}).encode()
    key = {"authorization": f"Bearer {secret}"} if secret else {}
    return endpoint.request("POST", f"/v1/x/{session}/chat/completions", body, {**JSON, **key})


def page(endpoint, name, secret=""):
    key = {"authorization": f"Bearer {secret}"} if secret else {}
    answer = endpoint.request("GET", f"/v1/sessions/{name}?since=5m", headers=key)
    assert answer.status == 200, answer.body
    return answer.json


def whole(endpoint, name, secret=""):
    until(lambda: page(endpoint, name, secret)["pending"] == 0)
    return page(endpoint, name, secret)


def test_a_session_s_actions_are_listed_with_what_each_cost(kept):
    engine = ScriptedEngine("4 it is", "4", "5", "the fourth", Reply(error=Broken("gone", engine="fake")))
    endpoint = kept(tier_of(Majority(n=3), engine))
    usages = [ask(endpoint, "one").json["usage"]]
    assert ask(endpoint, "two").status in (200, 502)
    found = whole(endpoint, "one")
    (action,) = found["actions"]
    assert (found["id"], found["running"], found["pending"]) == ("one", 0, 0)
    for name, field in (("prompt_tokens", "prompt"), ("completion_tokens", "completion")):
        assert action[field] == usages[0][name]
    assert action["dollars"] == pytest.approx(usages[0]["tierwise"]["dollars"])
    assert (action["passes"], action["ending"], action["tiers"], action["exact"]) == (3, "answered", ["tier"], True)
    assert [one["model"] for one in whole(endpoint, "two")["actions"]] == ["tier"]
    assert whole(endpoint, "none%2Fof%20these")["actions"] == []


def test_an_action_that_runs_is_counted_and_one_that_was_left_is_there(kept):
    endpoint = kept(tier_of(engine=ScriptedEngine(Reply(text="word " * 500), step=0.02)))
    line = endpoint.dial(tierwise={"session": "s"}, stream=True)
    until(lambda: page(endpoint, "s")["running"] == 1)
    assert page(endpoint, "other")["running"] == 0
    line.close()
    until(lambda: page(endpoint, "s")["running"] == 0)
    (action,) = whole(endpoint, "s")["actions"]
    assert action["ending"] == "disconnected"


def test_a_key_sees_its_own_actions_of_a_session(tmp_path, office):
    mine, other, admin = office.key(), office.key(), office.key(is_admin=True)
    ledger = Ledger.open(office.location, PRICES, on_alarm=lambda *_: None)
    try:
        endpoint = office.serve(ledger=ledger)
        for secret in (mine, mine, other):
            assert ask(endpoint, "shared", secret).status == 200
        seen = [len(whole(endpoint, "shared", secret)["actions"]) for secret in (mine, other, admin)]
        assert seen == [2, 1, 3]
        assert endpoint.request("GET", "/v1/sessions/shared").status == 401
    finally:
        ledger.close()
