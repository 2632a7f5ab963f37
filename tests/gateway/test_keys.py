"""Stored keys: who is let in, and what a key and its team may use, through the real application."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from endpoints import PRICES, Answered, tier_of, until
from key_office import ask, assert_refused, not_at_the_end_of_a_minute
from tierwise.gateway.access import Access
from tierwise.gateway.metrics import Metrics
from tierwise.keys.changes import LimitChanges
from tierwise.keys.database import prepare
from tierwise.ledger.by import By
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.policies import Majority
from tierwise.testing import ScriptedEngine


# ── who is let in ───────────────────────────────────────────────────────
def test_without_stored_keys_nobody_needs_one(office):
    assert ask(office.serve(), "").status == 200


def test_a_ledger_with_keys_lets_nobody_else_in(office):
    secret = office.key()
    engine = ScriptedEngine("hi there")
    endpoint = office.serve(tier_of(engine=engine))
    assert ask(endpoint, secret).text == "hi there"
    calls = len(engine.calls)
    for wrong in ("", "wrong", secret[:-1], secret[:-1] + ("a" if secret[-1] != "a" else "b"), secret + "x"):
        assert_refused(ask(endpoint, wrong), 401, "invalid_api_key")
    assert len(engine.calls) == calls
    assert endpoint.request("GET", "/health").status == 200


def test_the_endpoints_own_key_and_stored_ones_are_both_accepted(office):
    secret = office.key()
    endpoint = office.serve(access=Access(key="the-administrators"))
    assert ask(endpoint, secret).status == ask(endpoint, "the-administrators").status == 200
    assert [record.trace.key for record in endpoint.records] == [*office.store.read().keys, ""]


def test_a_client_of_anthropics_api_sends_its_key_in_a_header_of_its_own(office):
    secret = office.key()
    endpoint = office.serve()
    assert endpoint.request("GET", "/v1/models", headers={"x-api-key": secret}).status == 200


def test_only_a_hash_is_stored(office):
    secret = office.key()
    stored = office.location.path.read_bytes()
    assert secret.encode() not in stored
    assert secret.split("-", 2)[2].encode() not in stored


def test_a_revoked_key_is_refused_after_the_next_look_and_the_log_says_so(office):
    secret = office.key(name="alice")
    endpoint = office.serve()
    assert ask(endpoint, secret).status == 200
    office.store.revoke("alice")
    office.desk.look()
    assert_refused(ask(endpoint, secret), 401, "invalid_api_key", "is revoked")
    office.desk.look()
    assert [line.what for line in office.store.audit(9)] == ["denied", "revoke", "create"]


def test_a_rotated_key_keeps_its_id_and_refuses_the_old_secret_unless_there_is_grace(office):
    first = office.key(name="bob")
    endpoint = office.serve()
    key, second = office.store.rotate("bob", grace=60.0)
    office.desk.look()
    assert ask(endpoint, first).status == ask(endpoint, second).status == 200
    again, third = office.store.rotate("bob")
    office.desk.look()
    assert (again.id, ask(endpoint, third).status) == (key.id, 200)
    assert_refused(ask(endpoint, second), 401, "invalid_api_key")
    assert_refused(ask(endpoint, first), 401, "invalid_api_key")


def test_an_expired_key_says_so(office):
    secret = office.key(expires_at=1.0)
    assert_refused(ask(office.serve(), secret), 401, "invalid_api_key", "is expired")


def test_a_ledger_that_lost_its_keys_opens_no_door(office):
    secret = office.key()
    endpoint = office.serve()
    assert ask(endpoint, secret).status == 200
    office.location.path.unlink()
    prepare(office.location)
    office.desk.look()
    assert_refused(ask(endpoint, ""), 401, "invalid_api_key")


# ── models, rates, running actions ──────────────────────────────────────
def test_a_key_may_use_the_models_that_it_names_and_sees_no_others(office):
    secret = office.key(models=("tier",))
    endpoint = office.serve(tier_of(), tier_of(name="dear"))
    assert ask(endpoint, secret).status == 200
    assert_refused(ask(endpoint, secret, "dear"), 403, "model_not_allowed", "'dear'", "allowed: tier")
    assert_refused(ask(endpoint, secret, "nothing"), 404, "model_not_found")
    listed = endpoint.request("GET", "/v1/models", headers={"authorization": f"Bearer {secret}"}).json
    assert [one["id"] for one in listed["data"]] == ["tier"]


def test_requests_per_minute_are_counted_with_openais_headers(office):
    secret = office.key(rpm_limit=2)
    endpoint = office.serve()
    not_at_the_end_of_a_minute()
    first, second = ask(endpoint, secret), ask(endpoint, secret, stream=True)
    assert (first.status, second.status) == (200, 200)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert [one.headers["x-ratelimit-remaining-requests"] for one in (first, second)] == ["1", "0"]
    third = ask(endpoint, secret, stream=True)
    assert_refused(third, 429, "rate_limit_exceeded", "0 of 2", "rpm_limit")
    assert 0 < int(third.headers["retry-after"]) <= 60
    assert third.headers["x-ratelimit-reset-requests"].endswith("s")
    assert len(endpoint.records) == 2


def test_tokens_per_minute_count_what_was_used(office):
    secret = office.key(tpm_limit=5000)
    endpoint = office.serve()
    assert_refused(ask(endpoint, secret, max_tokens=10_000), 429, "rate_limit_exceeded", "5,000", "max_tokens")
    assert ask(endpoint, secret, max_tokens=4000).status == 200
    assert ask(endpoint, secret, max_tokens=4000).status == 200  # the first has used a few
    assert int(ask(endpoint, secret, max_tokens=1).headers["x-ratelimit-remaining-tokens"]) > 3000


def test_a_limit_of_running_actions_is_shared_by_a_team(office):
    office.store.put_team("red", LimitChanges(max_parallel_requests=1))
    one, two = office.key(team="red"), office.key(team="red")
    endpoint = office.serve(tier_of(engine=ScriptedEngine("a b c", step=0.3)))
    endpoint.key = office.key(is_admin=True)
    office.desk.look()
    running = threading.Thread(target=ask, args=(endpoint, one))
    running.start()
    until(lambda: endpoint.metric("tierwise_actions_running") == 1)
    assert_refused(ask(endpoint, two), 429, "rate_limit_exceeded", "the team red", "allows 1")
    running.join()
    assert ask(endpoint, two).status == 200


# ── budgets ─────────────────────────────────────────────────────────────
def test_a_request_that_may_cost_more_than_is_left_is_refused_and_nothing_runs(office):
    secret = office.key(max_budget=0.01, budget_duration="30d")
    engine = ScriptedEngine("hi there")
    endpoint = office.serve(tier_of(engine=engine))
    refused = ask(endpoint, secret, max_tokens=100_000)  # at $2 a million
    assert_refused(refused, 429, "insufficient_quota", "$0.01 of $0.01", "max_tokens")
    assert refused.headers["x-should-retry"] == "false"
    assert engine.calls == []
    assert ask(endpoint, secret, max_tokens=100).status == 200
    held, spent = office.spent("key:")
    assert 0 < spent <= held <= 0.01


def test_what_was_spent_is_settled_to_what_the_ledger_says(office):
    secret = office.key(max_budget=1.0)
    endpoint = office.serve(tier_of(Majority(n=5)))
    for stream in (False, True):
        assert ask(endpoint, secret, max_tokens=50, stream=stream).status == 200
    of_ledger = sum(PRICES.total(record.trace.passes).dollars for record in endpoint.records)
    assert office.spent("key:")[1] == pytest.approx(of_ledger, abs=2e-9)


def test_a_budget_of_zero_allows_only_what_is_free(office):
    secret = office.key(max_budget=0.0)
    deployment = replace(tier_of().deployment, name="free")
    endpoint = office.serve(tier_of(), replace(tier_of(name="free"), deployment=deployment))
    assert_refused(ask(endpoint, secret, max_tokens=1), 429, "insufficient_quota", "$0 of $0")
    assert ask(endpoint, secret, "free", max_tokens=1).status == 200


def test_many_choices_at_once_never_overspend(office):
    secret = office.key(max_budget=0.03)
    endpoint = office.serve(tier_of(Majority(n=4), engine=ScriptedEngine("a b c d e f g h", step=0.001)))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(endpoint, secret, n=4, max_tokens=8), range(24)))
    assert {answer.status for answer in answers} == {200, 429}
    total = sum(PRICES.total(record.trace.passes).dollars for record in endpoint.records)
    held, spent = office.spent("key:")
    assert spent == pytest.approx(total, abs=1e-7)
    assert total <= held <= 0.03


def test_a_model_has_a_budget_of_its_own(office):
    secret = office.key(max_budget=1.0, model_max_budget={"tier": 0.0001})
    endpoint = office.serve(tier_of(), tier_of(name="other"))
    assert_refused(ask(endpoint, secret, max_tokens=1000), 429, "insufficient_quota", "for the model tier")
    assert ask(endpoint, secret, "other", max_tokens=1000).status == 200


def test_a_lowered_limit_holds_for_the_next_request(office):
    secret = office.key(name="carol", max_budget=1.0)
    endpoint = office.serve()
    assert ask(endpoint, secret, max_tokens=1000).status == 200
    office.store.update("carol", LimitChanges(max_budget=0.0001))
    office.desk.look()
    assert_refused(ask(endpoint, secret, max_tokens=1000), 429, "insufficient_quota", "of $0.0001")


@pytest.mark.parametrize("stream", [False, True])
def test_without_the_database_no_more_is_taken_of_a_budget(office, stream):
    secret = office.key(max_budget=1.0)
    endpoint = office.serve()
    office.location.path.rename(office.location.path.with_suffix(".away"))
    office.location.path.mkdir()
    assert_refused(ask(endpoint, secret, max_tokens=10, stream=stream), 503, "keys_unavailable", "is away")
    office.location.path.rmdir()
    office.location.path.with_suffix(".away").rename(office.location.path)
    assert ask(endpoint, secret, max_tokens=10, stream=stream).status == 200


# ── usage ───────────────────────────────────────────────────────────────
def test_everyone_reads_their_own_usage_and_administrators_all(office):
    alice, bob = office.key(name="alice", team="red", tags=("web", "ci")), office.key(name="bob", team="blue")
    admin = office.key(is_admin=True)
    with Ledger.open(office.location, PRICES, print) as ledger:
        endpoint = office.serve(ledger=ledger, metrics=Metrics({}, by_key=True))
        for secret, number in ((alice, 2), (bob, 1)):
            for _ in range(number):
                assert ask(endpoint, secret, tierwise={"session": "s1"}).status == 200
        assert ledger.flush()

        def used(secret: str) -> Any:
            return endpoint.request("GET", "/v1/usage", headers={"authorization": f"Bearer {secret}"}).json

        assert [(one["team"], one["model"], one["actions"]) for one in used(alice)["data"]] == [("red", "tier", 2)]
        assert used(alice)["dollars"] > 0
        assert sorted((one["team"], one["actions"]) for one in used(admin)["data"]) == [("blue", 1), ("red", 2)]

        def of_session(secret: str, session: str) -> Any:
            path = f"/v1/usage?session={session}"
            return endpoint.request("GET", path, headers={"authorization": f"Bearer {secret}"}).json

        assert [of_session(one, "s1")["actions"] for one in (alice, bob, admin)] == [2, 1, 3]
        assert of_session(admin, "s1")["dollars"] == pytest.approx(used(admin)["dollars"])
        assert of_session(admin, "other")["data"] == []
        wrong = endpoint.request("GET", "/v1/usage?since=x", headers={"authorization": f"Bearer {alice}"})
        assert_refused(wrong, 400, "invalid_value", "30d")
        refused = endpoint.request("GET", "/metrics", headers={"authorization": f"Bearer {alice}"})
        assert_refused(refused, 403, "forbidden", "/v1/usage")
        listed = endpoint.request("GET", "/v1/feedback", headers={"authorization": f"Bearer {alice}"})
        assert_refused(listed, 403, "forbidden", "administrator")
        endpoint.key = admin
        assert endpoint.metric('tierwise_team_actions_total{ending="answered",team="red"}') == 2
        assert endpoint.metric('tierwise_key_actions_total{ending="answered",key="alice"}') == 2
        assert endpoint.metric('tierwise_key_dollars_total{key="bob"}') > 0
    with Reader(office.location) as reader:
        assert {one.key: one.actions for one in reader.totals(By.TEAM)} == {"red": 2, "blue": 1}
        assert {one.key: one.actions for one in reader.totals(By.TAG)} == {"web": 2, "ci": 2, "": 1}
        assert {one.key: one.actions for one in reader.totals(By.SESSION)} == {"s1": 3}
        assert sum(one.dollars for one in reader.totals(By.KEY)) == pytest.approx(reader.total().dollars)


def test_a_stored_response_belongs_to_the_key_that_asked_for_it(office):
    red, blue = office.key(name="red"), office.key(name="blue")
    endpoint = office.serve()

    def send(method: str, secret: str, path: str = "", **fields: Any) -> Answered:
        body = json.dumps({"model": "tier", "input": "hello", **fields}).encode() if method == "POST" else None
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        return endpoint.request(method, f"/v1/responses{path}", body, headers)

    made = send("POST", red).json
    for method in ("GET", "DELETE"):
        assert send(method, blue, f"/{made['id']}").status == 404
    assert send("GET", "wrong", f"/{made['id']}").status == 401
    assert_refused(send("POST", blue, previous_response_id=made["id"]), 400, "previous_response_not_found")
    item = [{"type": "item_reference", "id": made["output"][0]["id"]}]
    assert_refused(send("POST", blue, input=item), 400, "invalid_value")
    assert send("POST", red, previous_response_id=made["id"]).status == 200
    assert send("POST", red, input=item).status == 200
    assert send("DELETE", red, f"/{made['id']}").json["deleted"] is True
