"""`tierwise status` asks a running endpoint what it serves, and says plainly where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from test_cli import tierwise

from endpoints import EMPTY, Endpoint, serving, tier_of
from tierwise.gateway.access import Access
from tierwise.router.certified import CertifiedRoute, CertifiedRoutes
from tierwise.testing import ScriptedEngine


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A route whose certificate is void, and one without a certificate, behind a key."""
    certified = CertifiedRoutes({"auto": CertifiedRoute(certificate="ab" * 32, safe="max")})
    certified.void("auto", "deployment 'small' has another checkpoint")
    tiers = [tier_of(engine=ScriptedEngine("4"), name=name) for name in ("fast", "max")]
    routes = {"auto": ("fast", "max"), "plain": ("fast", "max")}
    with serving(*tiers, routes=routes, certified=certified, access=Access(key="secret")) as found:
        yield found
    while EMPTY:
        EMPTY.pop().pull_down()


def test_a_table_and_json_say_the_same(endpoint):
    endpoint.chat("auto")
    options = ("--url", endpoint.url, "--api-key-env", "KEY_OF_TEST")
    done = tierwise("status", *options, KEY_OF_TEST="secret")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{endpoint.url}: ready (fast ready, max ready)" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["auto", "fast", "→", "max", "void", "1", "–"] in rows
    assert ["plain", "fast", "→", "max", "none", "0", "–"] in rows
    assert "auto: void, so max answers: deployment 'small' has another checkpoint" in done.stdout
    assert "auto: 1 actions were answered by the safe tier" in done.stdout
    found = json.loads(tierwise("status", *options, "--json", KEY_OF_TEST="secret").stdout)
    assert [(one["name"], one["actions"]) for one in found["routes"]] == [("auto", 1), ("plain", 0)]


def test_a_wrong_key_and_a_silent_address_are_told_apart(endpoint):
    wrong = tierwise("status", "--url", endpoint.url)
    assert wrong.returncode == 2
    assert "refuses the key; name its variable with --api-key-env" in wrong.stderr
    nobody = tierwise("status", "--url", "http://127.0.0.1:1")
    assert nobody.returncode == 1
    assert "no endpoint answers at http://127.0.0.1:1" in nobody.stderr
    none = tierwise("status", "--url", "localhost")
    assert none.returncode in (1, 2)
    assert "Traceback" not in none.stderr
