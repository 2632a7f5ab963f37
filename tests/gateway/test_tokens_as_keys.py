"""Tokens of an OpenID provider at the endpoint: they are keys like others."""

from __future__ import annotations

import json
import time

import pytest

from endpoints import tier_of
from key_office import ask, assert_refused, not_at_the_end_of_a_minute
from tierwise.keys.changes import LimitChanges
from tierwise.keys.oidc_settings import OidcSettings
from tierwise.keys.records import Limits

jwt = pytest.importorskip("jwt", reason="needs the extra oidc")
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

KEY = ec.generate_private_key(ec.SECP256R1())


def token(**claims):
    given = {"iss": "https://login.example", "aud": "tierwise", "sub": "alice", "exp": time.time() + 60, **claims}
    return jwt.encode(given, KEY, "ES256", headers={"kid": "one"})


@pytest.fixture
def serve_tokens(office, tmp_path):
    def serve(*tiers, **settings):
        file = tmp_path / "keys.json"
        public = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        file.write_text(json.dumps({"keys": [{**public, "kid": "one"}]}))
        oidc = OidcSettings(issuer="https://login.example", audience="tierwise", jwks_file=str(file), **settings)
        return office.serve(*tiers, oidc=oidc)

    return serve


def test_a_token_lets_in_and_nothing_else_does(office, serve_tokens):
    endpoint = serve_tokens()
    assert ask(endpoint, token()).status == 200
    assert endpoint.records[0].trace.key.startswith("oidc-")
    for wrong in ("", "wrong", "a.b.c", token(aud="other")):
        assert_refused(ask(endpoint, wrong), 401, "invalid_api_key")
    office.key(name="stored")
    office.desk.look()
    assert ask(endpoint, office.key(name="other")).status == 401  # not read yet
    office.desk.look()
    assert ask(endpoint, token()).status == 200


def test_limits_are_each_subjects_own_and_the_teams(office, serve_tokens):
    office.store.put_team("red", LimitChanges(models=("tier",)))
    endpoint = serve_tokens(tier_of(), tier_of(name="dear"), team="team", limits=Limits(rpm_limit=1))
    alice, bob = token(team="red"), token(team="red", sub="bob")
    not_at_the_end_of_a_minute()
    assert ask(endpoint, alice).status == ask(endpoint, bob).status == 200
    assert_refused(ask(endpoint, alice), 429, "rate_limit_exceeded", "rpm_limit")
    assert_refused(ask(endpoint, token(team="red", sub="carol"), "dear"), 403, "model_not_allowed", "the team red")
    assert_refused(ask(endpoint, token(team="green")), 403, "forbidden", "names no team")
    assert [record.trace.team for record in endpoint.records] == ["red", "red"]


def test_administrators_are_those_whom_a_claim_names(office, serve_tokens):
    endpoint = serve_tokens(admin="groups=admins")
    for groups, status in ((["staff"], 403), (["staff", "admins"], 200)):
        headers = {"authorization": f"Bearer {token(groups=groups)}"}
        assert endpoint.request("GET", "/key/list", headers=headers).status == status
        assert endpoint.request("GET", "/metrics", headers=headers).status == status
