"""Keys and teams over HTTP: who may change them, what is shown, and what changes while streams run."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import quote

import pytest

from endpoints import Answered, Endpoint, tier_of, until
from key_office import ask, assert_refused
from tierwise.gateway.access import Access
from tierwise.policies import Majority
from tierwise.testing import ScriptedEngine

ROOT = "the-administrators"


@pytest.fixture
def desk(office):
    """An endpoint with a key of its own."""
    return office.serve(access=Access(key=ROOT))


def call(endpoint: Endpoint, path: str, secret: str = ROOT, /, **fields: Any) -> Answered:
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    return endpoint.request("POST", path, json.dumps(fields).encode(), headers)


def look(endpoint: Endpoint, path: str, secret: str = ROOT) -> Answered:
    return endpoint.request("GET", path, headers={"authorization": f"Bearer {secret}"})


# ── the life of a key ───────────────────────────────────────────────────
def test_a_key_is_made_shown_once_and_used_at_once(office, desk):
    made = call(desk, "/key/generate", key_alias="alice", team_id="red", tags=["ci"], max_budget=5, rpm_limit=7)
    assert made.status == 200
    assert made.headers["cache-control"] == "no-store"
    secret = made.json["key"]
    assert ask(desk, secret).status == 200
    shown = look(desk, "/key/info?key=alice").json
    assert (shown["id"], shown["key_alias"], shown["team_id"]) == (made.json["id"], "alice", "red")
    assert (shown["max_budget"], shown["rpm_limit"], shown["models"]) == (5.0, 7, [])
    assert shown["budgets"][0]["limit"] == 5.0
    for path in ("/key/info?key=alice", "/key/list", "/team/list", "/team/info?team_id=red", "/audit"):
        answer = look(desk, path)
        assert answer.status == 200
        assert secret.encode() not in answer.body
        assert b"hashed" not in answer.body
    assert look(desk, "/team/info?team_id=red").json["keys"] == [shown["id"]]


def test_an_update_changes_what_it_names_and_null_removes(desk):
    made = call(desk, "/key/generate", key_alias="bob", max_budget=5, budget_duration="30d", rpm_limit=7).json
    changed = call(desk, "/key/update", key="bob", rpm_limit=None, max_budget=2, key_alias="rob").json
    assert (changed["id"], changed["key_alias"], changed["rpm_limit"]) == (made["id"], "rob", None)
    assert (changed["max_budget"], changed["budget_duration"]) == (2.0, "30d")
    without = call(desk, "/key/update", key=made["id"], max_budget=None).json
    assert (without["max_budget"], without["budget_duration"]) == (None, "")


def test_a_rotated_key_keeps_its_id_and_a_deleted_one_is_refused_at_once(desk):
    first = call(desk, "/key/generate", key_alias="carol").json
    second = call(desk, "/key/regenerate", key="carol").json
    assert (second["id"], second["key"] != first["key"]) == (first["id"], True)
    assert_refused(ask(desk, first["key"]), 401, "invalid_api_key")
    assert ask(desk, second["key"]).status == 200
    third = call(desk, "/key/regenerate", key="carol", grace_period="1h").json
    assert ask(desk, second["key"]).status == ask(desk, third["key"]).status == 200
    assert call(desk, "/key/delete", keys=["carol"]).json == {"deleted_keys": [first["id"]]}
    assert_refused(ask(desk, third["key"]), 401, "invalid_api_key", "revoked")
    assert look(desk, f"/key/info?key={first['id']}").json["state"] == "revoked"


def test_of_several_keys_all_are_deleted_or_none(desk):
    kept = call(desk, "/key/generate", key_alias="kept").json
    assert_refused(call(desk, "/key/delete", keys=["kept", "nobody"]), 404, "not_found", "nobody")
    assert ask(desk, kept["key"]).status == 200


def test_a_team_is_new_once_and_then_changed(desk):
    assert call(desk, "/team/new", team_id="red", max_budget=9, models=["tier"]).json["max_budget"] == 9.0
    assert_refused(call(desk, "/team/new", team_id="red"), 400, "invalid_value", "/team/update")
    assert_refused(call(desk, "/team/update", team_id="rde"), 404, "not_found", "did you mean 'red'")
    changed = call(desk, "/team/update", team_id="red", max_budget=3).json
    assert (changed["max_budget"], changed["models"]) == (3.0, ["tier"])
    assert [one["team_id"] for one in look(desk, "/team/list").json["data"]] == ["red"]


def test_a_deleted_team_takes_its_keys_along(office, desk):
    call(desk, "/team/new", team_id="red", max_budget=9)
    of_team = [call(desk, "/key/generate", key_alias=name, team_id="red").json for name in ("alice", "bob")]
    other = call(desk, "/key/generate", key_alias="carol", team_id="blue").json
    call(desk, "/key/delete", keys=["bob"])
    deleted = call(desk, "/team/delete", team_ids=["red"]).json
    assert deleted == {"deleted_teams": ["red"], "deleted_keys": [of_team[0]["id"]]}
    assert [ask(desk, made["key"]).status for made in (*of_team, other)] == [401, 401, 200]
    assert [one["team_id"] for one in look(desk, "/team/list").json["data"]] == ["blue"]
    said = [(one.what, one.key, one.detail) for one in office.store.audit(50) if one.what != "denied"][:2]
    assert said == [
        ("delete", "red", "the team, with 1 keys"),
        ("revoke", of_team[0]["id"], "team red was deleted"),
    ]
    assert call(desk, "/team/new", team_id="red").status == 200


def test_of_several_teams_all_are_deleted_or_none(desk):
    made = call(desk, "/key/generate", team_id="red").json
    assert_refused(call(desk, "/team/delete", team_ids=["red", "rde"]), 404, "not_found", "did you mean 'red'")
    assert ask(desk, made["key"]).status == 200


def test_a_team_of_a_deleted_name_goes_on_from_what_that_has_spent(office, desk):
    call(desk, "/team/new", team_id="red", max_budget=9, budget_duration="30d")
    made = call(desk, "/key/generate", team_id="red").json
    assert ask(desk, made["key"]).status == 200
    office.desk.look()
    before = look(desk, "/team/info?team_id=red").json
    call(desk, "/team/delete", team_ids=["red"])
    after = call(desk, "/team/new", team_id="red", max_budget=9, budget_duration="30d").json
    assert before["budgets"][0]["settled"] > 0
    assert (after["budgets"], after["created_at"]) == (before["budgets"], before["created_at"])


def test_the_audit_log_says_who_did_what(office, desk):
    admin = call(desk, "/key/generate", key_alias="boss", admin=True).json
    call(desk, "/key/generate", admin["key"], key_alias="alice")
    call(desk, "/key/delete", admin["key"], keys=["alice"])
    lines = look(desk, "/audit?last=3", admin["key"]).json["data"]
    assert [(one["what"], one["who"]) for one in lines] == [
        ("revoke", f"key {admin['id']}"),
        ("create", f"key {admin['id']}"),
        ("create", "endpoint's key"),
    ]
    assert [one.what for one in office.store.audit(3)] == ["revoke", "create", "create"]


# ── who may ─────────────────────────────────────────────────────────────
PATHS = ("/key/generate", "/key/update", "/key/delete", "/key/regenerate", "/team/new", "/team/update", "/team/delete")
PAGES = ("/key/list", "/key/info?key=boss", "/team/list", "/team/info?team_id=red", "/audit")


def test_only_administrators_may(office, desk):
    secret = office.key(name="alice", team="red")
    office.key(name="boss", is_admin=True)
    office.desk.look()
    for answer in [*(call(desk, path, secret, key="boss") for path in PATHS), *(look(desk, p, secret) for p in PAGES)]:
        assert_refused(answer, 403, "forbidden", "no administrator's")
    for answer in [*(call(desk, path, "wrong") for path in PATHS), *(look(desk, path, "") for path in PAGES)]:
        assert_refused(answer, 401, "invalid_api_key")
    assert [line.what for line in office.store.audit(3) if line.what != "denied"] == ["create", "create"]


def test_everyone_sees_their_own_key(office, desk):
    secret = office.key(name="alice", max_budget=2)
    office.desk.look()
    assert look(desk, "/key/info", secret).json["key_alias"] == "alice"
    assert_refused(look(desk, "/key/info"), 400, "invalid_value", "/key/info?key=ID")


def test_without_any_key_nobody_administers(office):
    endpoint = office.serve()
    assert_refused(call(endpoint, "/key/generate", ""), 403, "forbidden", "tierwise keys create --admin")
    assert ask(endpoint, "").status == 200


def test_an_administrator_who_was_revoked_a_moment_ago_is_none(office, desk):
    admin = office.key(name="boss", is_admin=True)
    office.desk.look()
    assert look(desk, "/key/list", admin).status == 200
    office.store.revoke("boss")  # by another process: this one has not looked yet
    assert_refused(call(desk, "/key/generate", admin), 401, "invalid_api_key", "revoked")
    assert len(office.store.read().keys) == 1


def test_a_key_of_another_endpoint_opens_nothing_here(office, desk, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    stranger = type(office)(other, office._stack, office._serve).key(is_admin=True)
    assert_refused(call(desk, "/key/generate", stranger), 401, "invalid_api_key")


# ── bad input ───────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("path", "fields", "field", "words"),
    [
        ("/key/generate", {"max_budget": -1}, "max_budget", "-1 dollars; allowed are 0"),
        ("/key/generate", {"max_budget": 1e30}, "max_budget", "allowed are 0 to 1e+09"),
        ("/key/generate", {"max_budget": "5"}, "max_budget", "Expected `float | null`"),
        ("/key/generate", {"model_max_budget": {"tier": -1}}, "model_max_budget.tier", "-1 dollars"),
        ("/key/generate", {"rpm_limit": -1}, "rpm_limit", ">= 0"),
        ("/key/generate", {"tpm_limit": 1.5}, "tpm_limit", "int"),
        ("/key/generate", {"budget_duration": "x", "max_budget": 1}, "budget_duration", "write 90m"),
        ("/key/generate", {"budget_duration": "30d"}, "budget_duration", "give max_budget"),
        ("/key/generate", {"duration": "soon"}, "duration", "write 90m"),
        ("/key/generate", {"models": ["teir"]}, "models", "did you mean 'tier'"),
        ("/key/generate", {"budget": 5}, "budget", "did you mean 'max_budget'"),
        ("/key/generate", {"key_alias": "a b"}, "key_alias", "letters"),
        ("/key/generate", {"tags": [""]}, "tags", "letters"),
        ("/key/update", {"rpm_limit": 1}, "", "'key' is missing"),
        ("/key/update", {"key": "nobody"}, "key", "no key 'nobody'"),
        ("/key/delete", {"keys": []}, "keys", "length >= 1"),
        ("/key/regenerate", {"key": "alice", "grace_period": "1s"}, "grace_period", "write 90m"),
        ("/team/new", {"team_id": ""}, "team_id", "letters"),
        ("/team/delete", {"team_ids": []}, "team_ids", "length >= 1"),
        ("/team/delete", {"team_id": "red"}, "team_id", "did you mean 'team_ids'"),
        ("/team/delete", {"team_ids": ["red"]}, "team_id", "no team 'red'"),
    ],
)
def test_a_bad_change_is_refused_by_field_and_changes_nothing(office, desk, path, fields, field, words):
    office.key(name="alice")
    before = office.store.last_number()
    refused = call(desk, path, **fields)
    assert refused.status in (400, 404)
    assert (refused.error["param"] or "", words in refused.error["message"]) == (field, True), refused.body
    assert office.store.last_number() == before


@pytest.mark.parametrize("body", [b'{"max_budget": NaN}', b'{"max_budget": 1e999}', b"[]", b"", b'{"tags": "a'])
def test_what_is_no_json_is_refused(desk, body):
    headers = {"authorization": f"Bearer {ROOT}", "content-type": "application/json"}
    assert_refused(desk.request("POST", "/key/generate", body, headers), 400, "invalid_value")


def test_a_web_page_cannot_send_it_without_asking(desk):
    headers = {"authorization": f"Bearer {ROOT}", "content-type": "text/plain"}
    assert desk.request("POST", "/key/generate", b"{}", headers).status == 415


@pytest.mark.parametrize("last", ["0", "-1", "x", "9999999999999999999", "٣"])
def test_an_absurd_count_of_lines_is_refused(desk, last):
    assert_refused(look(desk, f"/audit?last={quote(last)}"), 400, "invalid_value", "1 to 1,000")


def test_without_the_database_keys_are_neither_changed_nor_shown(office, desk):
    secret = office.key(is_admin=True)
    office.desk.look()
    office.location.path.rename(office.location.path.with_suffix(".away"))
    office.location.path.mkdir()
    assert_refused(call(desk, "/key/generate", secret), 503, "keys_unavailable", "is away")
    assert_refused(look(desk, "/key/list", secret), 503, "keys_unavailable", "is away")
    office.location.path.rmdir()
    office.location.path.with_suffix(".away").rename(office.location.path)
    assert call(desk, "/key/generate", secret).status == 200


# ── while streams run ───────────────────────────────────────────────────
def test_a_revoked_key_finishes_its_stream_and_begins_no_other(office):
    endpoint = office.serve(tier_of(engine=ScriptedEngine("a b c d", step=0.1)), access=Access(key=ROOT))
    secret = call(endpoint, "/key/generate", key_alias="alice", max_budget=1).json["key"]
    found: list[Answered] = []
    running = threading.Thread(target=lambda: found.append(ask(endpoint, secret, stream=True, max_tokens=9)))
    running.start()
    until(lambda: endpoint.metric("tierwise_actions_running") == 1)
    call(endpoint, "/key/delete", keys=["alice"])
    assert_refused(ask(endpoint, secret), 401, "invalid_api_key")
    running.join()
    assert (found[0].text, found[0].is_done) == ("a b c d", True)


def test_a_budget_that_is_lowered_while_votes_run_lets_no_further_vote_start(office):
    """The votes that run were reserved. Further ones would need more than the first reservation."""
    engine = ScriptedEngine("a b c d", step=0.05)
    endpoint = office.serve(tier_of(Majority(n=4), engine=engine), access=Access(key=ROOT))
    secret = call(endpoint, "/key/generate", key_alias="alice", max_budget=1).json["key"]
    running = threading.Thread(target=ask, args=(endpoint, secret), kwargs={"max_tokens": 9})
    running.start()
    until(lambda: endpoint.metric("tierwise_actions_running") == 1)
    call(endpoint, "/key/update", key="alice", max_budget=0.000001)
    account = next(iter(office.desk.accounts._open.values()))
    assert account.bound.limit == 1000
    assert account.held == account.reserved + account.spent  # what was taken ahead is given back
    assert not endpoint.call(lambda: account.try_reserve(1))
    running.join()
    assert_refused(ask(endpoint, secret, max_tokens=9), 429, "insufficient_quota", "of $0.000001")
