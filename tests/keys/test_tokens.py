"""Tokens of an OpenID provider: real keys, a local provider, and the attacks that are known."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest

from tierwise.keys.oidc_settings import OidcSettings
from tierwise.keys.records import Limits, Team
from tierwise.keys.signing_keys import SigningKeys
from tierwise.keys.tokens import Tokens
from tierwise.spec.errors import Forbidden, KeysUnavailable, Unauthorized

jwt = pytest.importorskip("jwt", reason="needs the extra oidc")
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
TEAMS = {"red": Team(name="red", limits=Limits(max_budget=5)), "blue": Team(name="blue")}


def jwk(private: Any, name: str, **more: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(private.public_key(), as_dict=True), "kid": name, **more}


class Provider(HTTPServer):
    """An OpenID provider on the loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.keys = [jwk(RSA, "rsa"), jwk(EC, "ec")]
        self.issuer, self.asked, self.is_broken = self.url, 0, False
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class _Pages(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        if self.path.endswith("openid-configuration"):
            answer: Any = {"issuer": self.server.issuer, "jwks_uri": f"{self.server.url}/certs"}
        else:
            self.server.asked += 1
            answer = {"keys": self.server.keys}
        self.send_response(500 if self.server.is_broken else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def provider():
    one = Provider()
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture
def tokens(provider):
    opened = []

    def made(*, pause: float = 0.05, **settings: Any) -> Tokens:
        found = OidcSettings(issuer=provider.url, audience="tierwise", **settings)
        one = Tokens(found, lambda: TEAMS, SigningKeys(found, pause=pause))
        one.open()
        opened.append(one)
        return one

    yield made
    for one in opened:
        one.close()


def token(provider: Provider, key: Any = RSA, kid: str | None = "rsa", algorithm: str = "RS256", **claims: Any) -> str:
    given = {"iss": provider.url, "aud": "tierwise", "sub": "alice", "exp": time.time() + 60, **claims}
    given = {name: value for name, value in given.items() if value is not None}
    return str(jwt.encode(given, key, algorithm, headers={} if kid is None else {"kid": kid}))


def encoded(value: Any) -> str:
    return (
        base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode())
        .rstrip(b"=")
        .decode()
    )


def handmade(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None) -> str:
    """A token that no library would sign."""
    head = f"{encoded(header)}.{encoded(claims)}"
    signature = b"" if secret is None else hmac.new(secret, head.encode(), hashlib.sha256).digest()
    return f"{head}.{encoded(signature)}"


def test_a_token_of_the_provider_is_a_key_of_its_subject(provider, tokens):
    accepted = tokens(limits=Limits(rpm_limit=3))
    first = accepted.find(token(provider))
    again = accepted.find(token(provider, EC, "ec", "ES256", exp=time.time() + 99))
    assert first.key.id == again.key.id
    assert (first.key.id[:5], first.key.name, first.key.limits.rpm_limit) == ("oidc-", "alice", 3)
    assert accepted.find(token(provider, sub="bob")).key.id != first.key.id
    assert not first.key.is_admin


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": 4_000_000_000}, "not yet valid"),
        ({"iat": 4_000_000_000}, "not yet valid"),
        ({"aud": "another"}, "Audience"),
        ({"aud": ["a", "b"]}, "Audience"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"sub": None}, "names nobody"),
        ({"sub": ""}, "names nobody"),
        ({"sub": 5}, "names nobody"),
        ({"exp": "soon"}, "exp"),
    ],
    ids=str,
)
def test_claims_that_are_wrong_are_refused(provider, tokens, change, words):
    given = {"iss": provider.url, "aud": "tierwise", "sub": "alice", "exp": time.time() + 60, **change}
    given = {name: value for name, value in given.items() if value is not None}
    head = f"{encoded({'alg': 'RS256', 'kid': 'rsa'})}.{encoded(given)}"
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(head.encode(), RSA)
    with pytest.raises(Unauthorized, match=words):
        tokens().find(f"{head}.{encoded(signature)}")


def test_clocks_may_differ_by_the_leeway(provider, tokens):
    late = token(provider, exp=time.time() - 10)
    assert tokens(leeway=30).find(late).key.name == "alice"
    with pytest.raises(Unauthorized, match="expired"):
        tokens(leeway=5).find(late)


def test_a_remembered_token_ends_too(provider, tokens):
    accepted = tokens(leeway=0)
    short = token(provider, exp=time.time() + 1.2)
    assert accepted.find(short).key.name == "alice"
    time.sleep(2.3)
    with pytest.raises(Unauthorized, match="expired"):
        accepted.find(short)


def test_no_algorithm_takes_a_public_key_for_a_secret(provider, tokens):
    claims = {"iss": provider.url, "aud": "tierwise", "sub": "alice", "exp": time.time() + 60}
    public = RSA.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    modulus = jwk(RSA, "rsa")["n"].encode()
    accepted = tokens()
    for secret in (pem, der, modulus, b""):
        for kid in ("rsa", "ec"):
            with pytest.raises(Unauthorized, match="signed by 'HS256'"):
                accepted.find(handmade({"alg": "HS256", "kid": kid}, claims, secret))
    for name in ("none", "None", "NONE", "", None, ["RS256"], "hs256", "ES256K"):
        with pytest.raises(Unauthorized):
            accepted.find(handmade({"alg": name, "kid": "rsa"}, claims, None))
    with pytest.raises(Unauthorized):
        accepted.find(handmade({"alg": "RS256", "kid": "rsa"}, claims, None))


def test_a_secret_among_the_providers_keys_verifies_nothing(provider, tokens):
    provider.keys = [{"kty": "oct", "k": encoded(b"secret" * 8), "kid": "oct"}, jwk(RSA, "rsa")]
    claims = {"iss": provider.url, "aud": "tierwise", "sub": "alice", "exp": time.time() + 60}
    for name in ("HS256", "RS256"):
        with pytest.raises(Unauthorized):
            tokens().find(handmade({"alg": name, "kid": "oct"}, claims, b"secret" * 8))


def test_a_key_in_the_token_itself_verifies_nothing(provider, tokens):
    given = {"iss": provider.url, "aud": "tierwise", "sub": "alice", "exp": time.time() + 60}
    for kid in ("rsa", "mine"):
        headers = {"kid": kid, "jwk": jwk(OTHER, kid), "jku": "http://127.0.0.1:1/keys"}
        with pytest.raises((Unauthorized, KeysUnavailable)):
            tokens().find(jwt.encode(given, OTHER, "RS256", headers=headers))


def test_another_signature_or_algorithm_than_the_keys_is_refused(provider, tokens):
    accepted = tokens(algorithms=("RS256", "RS512", "ES256"))
    good = token(provider)
    head, claims, signature = good.split(".")
    for wrong in (
        f"{head}.{claims}.{signature[:-8]}AAAAAAAA",
        f"{head}.{claims}.",
        f"{head}.{encoded({'sub': 'x'})}.{signature}",
    ):
        with pytest.raises(Unauthorized):
            accepted.find(wrong)
    with pytest.raises(Unauthorized, match="no ES256 key"):
        accepted.find(token(provider, EC, "rsa", "ES256"))
    provider.keys = [jwk(RSA, "rsa", alg="RS256")]
    with pytest.raises(Unauthorized, match="no RS512 key"):
        tokens(algorithms=("RS256", "RS512")).find(token(provider, algorithm="RS512"))


def test_without_a_key_id_the_only_key_that_fits_is_used(provider, tokens):
    assert tokens().find(token(provider, kid=None)).key.name == "alice"
    provider.keys = [jwk(RSA, "rsa"), jwk(OTHER, "other")]
    with pytest.raises(Unauthorized, match="several keys"):
        tokens().find(token(provider, kid=None))


def eventually(accepted: Tokens, secret: str) -> Any:
    """What a client gets that asks again when it is told to."""
    for _ in range(200):
        try:
            return accepted.find(secret)
        except KeysUnavailable:
            time.sleep(0.02)
    raise AssertionError("never")


def test_a_new_key_is_found_and_a_withdrawn_one_forgotten(provider, tokens):
    accepted = tokens()
    old = token(provider)
    assert accepted.find(old).key.name == "alice"
    provider.keys = [jwk(OTHER, "new")]
    time.sleep(0.1)
    assert eventually(accepted, token(provider, OTHER, "new")).key.name == "alice"
    with pytest.raises((Unauthorized, KeysUnavailable)):  # remembered, but not for the keys of now
        accepted.find(old)


def test_a_flood_of_unknown_key_ids_reads_the_keys_no_oftener_than_allowed(provider, tokens):
    accepted = tokens(pause=0.5)
    began, refused = time.monotonic(), 0
    before = provider.asked
    while time.monotonic() - began < 1.2:
        try:
            accepted.find(token(provider, OTHER, f"unknown{refused}"))
        except (Unauthorized, KeysUnavailable):
            refused += 1
    assert refused > 50
    assert provider.asked - before <= 4
    assert accepted.find(token(provider)).key.name == "alice"


def test_while_the_provider_is_away_known_keys_stay_and_unknown_ones_are_refused(provider, tokens):
    accepted = tokens()
    provider.is_broken = True
    time.sleep(0.1)
    assert accepted.find(token(provider)).key.name == "alice"
    with pytest.raises((Unauthorized, KeysUnavailable)):
        accepted.find(token(provider, OTHER, "new"))
    assert accepted.find(token(provider)).key.name == "alice"


def test_a_provider_that_was_never_reached_lets_nobody_in(provider, tokens, caplog):
    provider.is_broken = True
    accepted = tokens()
    with pytest.raises(KeysUnavailable):
        accepted.find(token(provider))
    assert "cannot be read" in caplog.text
    provider.is_broken = False
    assert eventually(accepted, token(provider)).key.name == "alice"


def test_a_configuration_of_another_issuer_is_not_used(provider, tokens):
    provider.issuer = "https://evil.example"
    with pytest.raises(KeysUnavailable):
        tokens().find(token(provider))


def test_keys_may_be_in_a_file(provider, tokens, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [jwk(RSA, "rsa")]}))
    assert tokens(jwks_file=str(file)).find(token(provider)).key.name == "alice"
    assert provider.asked == 0


def test_claims_give_team_models_and_administration(provider, tokens):
    accepted = tokens(
        team="groups", models="tierwise.models", admin="groups=llm-admins", limits=Limits(models=("fast", "max"))
    )
    found = accepted.find(token(provider, groups=["staff", "red", "blue"], tierwise={"models": ["max", "other"]}))
    assert (found.team, found.key.team, found.key.limits.models) == (TEAMS["red"], "red", ("max",))
    assert not found.key.is_admin
    assert accepted.find(token(provider, groups=["blue", "llm-admins"])).key.is_admin
    assert accepted.find(token(provider, groups="blue")).key.limits.models == ("",)  # no claim, no model
    for groups in (None, [], "green", 5, {"red": 1}):
        with pytest.raises(Forbidden, match="names no team"):
            accepted.find(token(provider, groups=groups))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"algorithms": ["HS256"]}, "HS256"),
        ({"algorithms": ["none"]}, "none"),
        ({"algorithms": []}, "names none"),
        ({"audience": ""}, "audience"),
        ({"issuer": "http://login.example"}, "https"),
        ({"jwks_url": "file:///etc/passwd"}, "https"),
        ({"jwks_url": "https://a.example", "jwks_file": "b"}, "use one"),
        ({"admin": "groups"}, "CLAIM=VALUE"),
        ({"limits": {"max_budget": -1}}, "allowed are 0"),
        ({"leeway": 1e9}, "300"),
    ],
    ids=str,
)
def test_settings_that_would_let_others_in_are_refused(change, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert({"issuer": "https://login.example", "audience": "tierwise", **change}, OidcSettings)
