"""Who may use the endpoint: whoever has its key, and no web page that was not allowed.

A page in a browser reaches every server of its user's machine. Three checks keep it from spending: a body must be
declared as JSON (`gateway/body.py`), which a page of another origin cannot do without asking first (CORS); a request
with an `Origin` that is not allowed is refused; and so is one for a `Host` that is not ours, because a page can make
its own name point to this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.spec.errors import Forbidden, SpecError, TierwiseError, Unauthorized
from tierwise.spec.hosts import is_address

if TYPE_CHECKING:
    from tierwise.gateway.headers import RawHeaders
    from tierwise.keys.records import Caller
    from tierwise.keys.ring import KeyRing

OPEN = frozenset({"/health", "/ready"})
"""Paths that need no key: what they show without one is no more than whether the endpoint is up."""

_EXPOSED = "x-request-id, x-tierwise-action, x-tierwise-model, x-tierwise-tier, x-tierwise-note, retry-after"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+|null|\*")
_NEVER_A_NAME = re.compile(r"[\s/@]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules of one endpoint. The default is an endpoint without a key on loopback."""

    key: str = ""
    """Every request must carry it as `Authorization: Bearer KEY` or `x-api-key: KEY`; empty if there is none.
    Whoever has it may also see command lines, paths and log lines.
    """
    origins: frozenset[str] = frozenset()
    """Origins of web pages that may use the endpoint; `*` stands for all."""
    hosts: frozenset[str] = frozenset()
    """Names, in lower case, by which the endpoint may be called besides addresses and `localhost`; `*` for all."""
    ring: KeyRing | None = None
    """The stored keys; None if there can be none."""

    def check(self, path: str, headers: RawHeaders) -> Caller | None:
        """Check the headers of a request.

        Args:
            path: without a slash at its end.
            headers: of the request.

        Returns:
            Who sent it, with a stored key; None with the endpoint's own, or where none is needed.

        Raises:
            KeysUnavailable: stored keys cannot be checked now.
            Forbidden: it comes from a web page that is not allowed, or is for another host.
            Unauthorized: it needs the key.
        """
        host = origin = b""
        for name, value in headers:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        if origin and not self.allows(origin.decode("latin-1")):
            raise Forbidden(
                f"requests from web pages of {_shown(origin)} are not allowed; "
                "if you trust that origin, allow it with `tierwise serve --cors-origin`"
            )
        if not self.needs_key:
            # With a key, a page that reaches us by another name cannot spend either: it does not have the key.
            if not self.is_host(host.decode("latin-1")):
                raise Forbidden(
                    f"this endpoint is not called {_shown(host)}; use its address or localhost, or allow the name "
                    "with `tierwise serve --allowed-host`"
                )
        elif path not in OPEN:
            return self.caller(_authorization(headers))
        return None

    @property
    def needs_key(self) -> bool:
        """Whether a request must carry a key: there is one for the endpoint, or any was ever stored."""
        return bool(self.key) or (self.ring is not None and self.ring.is_needed)

    def caller(self, authorization: bytes) -> Caller | None:
        """Who has the key in an `Authorization` header; None for the endpoint's own.

        Raises:
            Unauthorized: it is none.
            KeysUnavailable: stored keys cannot be checked now.
        """
        if self.has_key(authorization):
            return None
        if self.ring is None or not self.ring.is_needed:
            raise Unauthorized("the key is missing or wrong; send it as `Authorization: Bearer KEY`")
        scheme, _, secret = authorization.strip().partition(b" ")
        return self.ring.find(secret.strip().decode("latin-1") if scheme.lower() == b"bearer" else "")

    def allows(self, origin: str) -> bool:
        """Whether web pages of this origin may use the endpoint."""
        return origin.lower() in self.origins or "*" in self.origins

    def is_host(self, host: str) -> bool:
        """Whether a `Host` header means this endpoint. An address always does, because only a name can be rebound; so
        does none, because every browser sends one.
        """
        name = _name_of(host)
        return not host or name == "localhost" or name in self.hosts or is_address(name) or "*" in self.hosts

    def is_admin(self, headers: RawHeaders) -> bool:
        """Whether a request may see command lines, paths and log lines: only with the endpoint's key, or one that is
        stored for administrators.
        """
        given = _authorization(headers)
        if self.has_key(given):
            return True
        if not given or self.ring is None or not self.ring.is_needed:
            return False
        try:
            found = self.caller(given)
        except TierwiseError:
            return False
        return found is not None and found.key.is_admin

    def administrator(self, headers: RawHeaders) -> str:
        """Who changes keys with a request, for the audit log.

        Raises:
            Forbidden: it is no administrator, or nobody is, because the endpoint has no keys yet.
            Unauthorized, KeysUnavailable: as `caller`.
        """
        if not self.needs_key:
            raise Forbidden(
                "this endpoint has no keys, so whoever reaches it would administer it; create the first with "
                "`tierwise keys create --admin`, or serve with --api-key-env"
            )
        found = self.caller(_authorization(headers))
        if found is None:
            return "endpoint's key"
        if not found.key.is_admin:
            raise Forbidden(f"the key {found.key.id} is no administrator's; ask one, or see /key/info and /v1/usage")
        return f"key {found.key.id}"

    def has_key(self, authorization: bytes) -> bool:
        """Whether the value of an `Authorization` header has the key."""
        scheme, _, key = authorization.strip().partition(b" ")
        is_right = secrets.compare_digest(key.strip(), self.key.encode())
        return bool(self.key) and scheme.lower() == b"bearer" and is_right

    def cors(self, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
        """The response headers with which a browser shows an answer to a page of an allowed origin."""
        if not self.origins:
            return []
        origin = next((value for name, value in headers if name == b"origin"), b"")
        if not origin or not self.allows(origin.decode("latin-1")):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED.encode()),
            (b"vary", b"Origin"),
        ]

    def preflight(self, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
        """The response headers, besides those of `cors`, to a browser that asks whether a page may send a request."""
        if not self.cors(headers):
            return []
        given = dict(headers)
        wanted = given.get(b"access-control-request-headers", b"authorization, content-type")
        private = b"access-control-request-private-network" in given
        return [
            (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE, OPTIONS"),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", b"600"),
            *([(b"access-control-allow-private-network", b"true")] if private else []),
        ]


def _authorization(headers: RawHeaders) -> bytes:
    """The `Authorization` header, or that of a client of Anthropic's API, which sends `x-api-key`."""
    own = b""
    for name, value in headers:
        if name == b"authorization":
            return value
        if name == b"x-api-key":
            own = b"Bearer " + value
    return own


def access_of(
    *,
    listens: Iterable[str],
    key_variable: str = "",
    is_open: bool = False,
    origins: Iterable[str] = (),
    hosts: Iterable[str] = (),
) -> Access:
    """The rules that the options of `tierwise serve` mean.

    Args:
        listens: the addresses that the endpoint listens on.
        key_variable: name of the environment variable with the key; empty if there is none.
        is_open: whether everybody who reaches the endpoint may use it.
        origins: allowed origins of web pages.
        hosts: names by which the endpoint may be called.

    Raises:
        SpecError: the variable is not set, an origin or a name is malformed, or the endpoint would be open to others
            without being declared so.
    """
    key = key_in(key_variable) if key_variable else ""
    listens = list(listens)
    exposed = [address for address in listens if not is_loopback(address)]
    if exposed and not key and not is_open:
        raise SpecError(
            f"--host {exposed[0]} lets other machines in, and there is no key; name the environment variable of a key "
            "with --api-key-env, or say --no-auth if something in front of it checks who may come in",
            field="--host",
        )
    if key and is_open:
        raise SpecError("--no-auth means no key, and --api-key-env gives one; use one of the two", field="--no-auth")
    named = [*hosts, *(address for address in listens if not is_address(address))]
    return Access(
        key=key,
        origins=frozenset(map(_origin_in, origins)),
        hosts=frozenset(_host_in(name) for name in named),
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what listens on an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def key_in(variable: str) -> str:
    """The key in an environment variable.

    Raises:
        SpecError: it is not set, or holds what no header can carry.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SpecError(f"the environment variable {variable} is not set or empty", field="--api-key-env")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SpecError(f"{variable} holds characters that no header can carry", field="--api-key-env")
    return key


def _origin_in(text: str) -> str:
    origin = text.lower().rstrip("/")
    if not _ORIGIN.fullmatch(origin):
        raise SpecError(f"{text!r} is not an origin; write https://app.example or *", field="--cors-origin")
    return origin


def _host_in(text: str) -> str:
    if not text or _NEVER_A_NAME.search(text):
        raise SpecError(f"{text!r} is not a host name; write it without scheme and path", field="--allowed-host")
    return _name_of(text)


def _name_of(host: str) -> str:
    """The name or address in a `Host` header, without port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".") if host.count(":") <= 1 else host


def _shown(header: bytes) -> str:
    return repr(header[:100].decode("latin-1"))
