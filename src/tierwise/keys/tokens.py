"""Tokens of an OpenID provider as keys: checked by PyJWT, remembered until they end."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.keys.records import Caller, Key
from tierwise.keys.signing_keys import SigningKeys
from tierwise.spec.errors import Forbidden, KeysUnavailable, SpecError, Unauthorized
from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from tierwise.keys.oidc_settings import OidcSettings
    from tierwise.keys.records import Team

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_LONGEST = 16_384
_MOST_REMEMBERED = 4_096
_LONGEST_NAME = 100
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The type of the key that an algorithm signs with, by its first letters."""
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was checked."""

    key: Key
    teams: tuple[str, ...]
    until: float
    """Seconds since 1970."""


class Tokens:
    """The tokens of one provider.

    Args:
        settings: whose, and what they mean.
        teams: the stored teams at this moment.
        keys: of the provider; read from where the settings say if not given.

    Raises:
        SpecError: PyJWT is not installed.
    """

    def __init__(
        self, settings: OidcSettings, teams: Callable[[], Mapping[str, Team]], keys: SigningKeys | None = None
    ) -> None:
        try:
            import cryptography  # noqa: F401, PLC0415 - an extra
            import jwt  # noqa: PLC0415
        except ImportError as error:
            raise SpecError(
                f"tokens need PyJWT ({error}); install it with: pip install 'tierwise[oidc]'", field="oidc"
            ) from error
        self._jwt: Any = jwt
        self._settings, self._teams = settings, teams
        self.keys = keys or SigningKeys(settings)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._version = -1

    def open(self) -> None:
        """Read the provider's keys, and begin to read them again and again."""
        self.keys.open()

    def close(self) -> None:
        self.keys.close()

    @staticmethod
    def is_one(secret: str) -> bool:
        """Whether a secret has the form of a token."""
        return _FORM.fullmatch(secret) is not None

    def find(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            Unauthorized: it is not accepted.
            Forbidden: it names no stored team, and must.
            KeysUnavailable: the key that signed it is not known, and is looked for.
        """
        digest = hashlib.sha256(token.encode()).digest()
        if self._version != self.keys.version:  # one that a key signed that was withdrawn is accepted no longer
            self._known.clear()
            self._version = self.keys.version
        known = self._known.get(digest)
        if known is None or time.time() >= known.until:
            self._known.pop(digest, None)
            known = self._known[digest] = self._checked(token)
            if len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        team = self._team(known)
        if team is None or team.name == known.key.team:
            return Caller(key=known.key, team=team)
        self._known[digest] = replace(known, key=replace(known.key, team=team.name))
        return Caller(key=self._known[digest].key, team=team)

    def _team(self, known: _Known) -> Team | None:
        if not self._settings.team:
            return None
        teams = self._teams()
        for name in known.teams:
            if (found := teams.get(name)) is not None:
                return found
        named = ", ".join(known.teams) or "none"
        raise Forbidden(
            f"the claim {self._settings.team!r} of the token names no team that exists here: {printable(named)[:200]}; "
            "ask an administrator for one"
        )

    def _checked(self, token: str) -> _Known:
        settings, jwt = self._settings, self._jwt
        if len(token) > _LONGEST:
            raise _refused(f"it has more than {_LONGEST} characters")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, name = header.get("alg"), header.get("kid")
            if algorithm not in settings.algorithms:
                raise _refused(f"it is signed by {str(algorithm)[:20]!r}; allowed: {', '.join(settings.algorithms)}")
            claims = self._verified(token, algorithm, name)
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise _refused(f"it cannot be read: {error}") from None
        return self._meaning(claims)

    def _verified(self, token: str, algorithm: str, name: str | None) -> dict[str, Any]:
        """The claims, after signature, issuer, audience and times were checked."""
        settings, jwt = self._settings, self._jwt
        candidates = self.keys.find(name)
        if candidates is None:
            raise KeysUnavailable("the key that signed this token is not known yet; ask again in a moment")
        fitting = [key for key in candidates if _fits(key, algorithm)]
        if not fitting:
            raise _refused(f"no {algorithm} key of {settings.issuer} has its key id {str(name)[:80]!r}")
        if len(fitting) > 1:
            raise _refused("it names no key id (`kid`), and the issuer has several keys")
        found: dict[str, Any] = jwt.decode(
            token,
            jwt.PyJWK(dict(fitting[0]), algorithm=algorithm),
            algorithms=[algorithm],
            audience=settings.audience,
            issuer=settings.issuer,
            leeway=settings.leeway,
            options={"require": ["exp", "iss", "aud"], "verify_sub": False, "verify_jti": False},
        )
        return found

    def _meaning(self, claims: dict[str, Any]) -> _Known:
        settings = self._settings
        subject = _claim(claims, settings.subject)
        if not isinstance(subject, str) or not subject:
            raise _refused(f"its claim {settings.subject!r} names nobody")
        limits = settings.limits
        if settings.models:
            given = _texts(_claim(claims, settings.models))
            allowed = tuple(name for name in given if not limits.models or name in limits.models)
            limits = msgspec.structs.replace(limits, models=allowed or ("",))  # empty would be all
        teams = _texts(_claim(claims, settings.team)) if settings.team else ()
        claim, _, value = settings.admin.partition("=")
        own = hashlib.sha256(f"{settings.issuer}\n{subject}".encode()).hexdigest()[:16]
        key = Key(
            id=f"oidc-{own}",
            hashed="",
            name=printable(subject, ascii_only=True)[:_LONGEST_NAME],
            is_admin=bool(claim) and value in _texts(_claim(claims, claim)),
            limits=limits,
        )
        return _Known(key, teams, float(claims["exp"]) + settings.leeway)


def _refused(why: str) -> Unauthorized:
    return Unauthorized(f"the token is refused: {printable(why)[:300]}")


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key verifies an algorithm: never a secret, and never one that is for another algorithm."""
    if key.get("kty") != _KINDS[algorithm[:2]] or key.get("alg", algorithm) != algorithm:
        return False
    return algorithm not in _CURVES or key.get("crv") == _CURVES[algorithm]


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path such as `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> tuple[str, ...]:
    """A claim that is one name or a list of them."""
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
