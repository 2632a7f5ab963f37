"""Settings of tokens: whose are accepted, and what their claims mean here."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from tierwise.keys.records import Limits
from tierwise.spec.errors import SpecError
from tierwise.spec.paths import FilePath

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those that sign with a private key. `none` signs nothing, and HS256 would take a public key for a secret."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accept the tokens of an OpenID provider as keys."""

    issuer: str
    """The provider: `iss` of its tokens, letter by letter."""
    audience: str
    """What `aud` of a token must have: this endpoint, as the provider names it."""
    jwks_url: str = ""
    """Where its public keys are; without it and `jwks_file`, where `ISSUER/.well-known/openid-configuration` says."""
    jwks_file: FilePath | None = None
    """A file with its public keys."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    """Signatures that are accepted."""
    leeway: Annotated[float, msgspec.Meta(ge=0, le=300)] = 30.0
    """Seconds by which clocks may differ."""
    subject: str = "sub"
    """The claim that names who has the token; limits, usage and sessions are theirs."""
    team: str = ""
    """The claim that names their team, or several of which the first that is stored counts. If it is set, a token
    without a stored team is refused.
    """
    models: str = ""
    """The claim that lists the models that they may use. If it is set, a token without it may use none."""
    admin: str = ""
    """`CLAIM=VALUE` of administrators: the claim is that value, or lists it."""
    limits: Limits = Limits()
    """The limits of each of them."""

    def __post_init__(self) -> None:
        for name in self.algorithms:
            if name not in ALGORITHMS:
                raise ValueError(f"algorithms: {name!r} is not allowed; allowed: {', '.join(ALGORITHMS)}")
        if not self.algorithms:
            raise ValueError(f"algorithms: names none; allowed: {', '.join(ALGORITHMS)}")
        if not self.audience:
            raise ValueError("audience: is empty, so that tokens for other services would be accepted; name this one")
        if not self.subject:
            raise ValueError("subject: is empty; name a claim, such as sub")
        if self.jwks_url and self.jwks_file is not None:
            raise ValueError("jwks_url and jwks_file are both set; use one")
        for field, url in (("issuer", self.issuer), ("jwks_url", self.jwks_url)):
            if (url or field == "issuer") and not is_safe(url) and not (field == "issuer" and self.jwks_file):
                raise ValueError(f"{field}: {url!r} is not a URL of https; keys that come by http could be anyone's")
        if self.admin and not all(self.admin.partition("=")):
            raise ValueError(f"admin: {self.admin!r}; write CLAIM=VALUE, such as groups=llm-admins")
        try:
            self.limits.check()
        except SpecError as error:
            raise ValueError(f"limits.{error}") from None


def is_safe(url: str) -> bool:
    """Whether keys may be read from a URL: by https, or from this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_here = parts.scheme == "http" and parts.hostname in _LOOPBACK
    return bool(parts.hostname) and (parts.scheme == "https" or is_here)
