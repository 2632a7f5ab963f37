"""The secret of a key: `tw-ID-SECRET`. The id is in clear, so that logs and people can name a key without it.

A secret has 192 random bits, so that nobody can try them all, and one SHA-256 is the right hash: slow hashes such as
bcrypt or Argon2 protect passwords, which people choose and others guess, and would cost each request milliseconds.
"""

from __future__ import annotations

import hashlib
import re
import secrets

PREFIX = "tw"
_BYTES = 24
_FORM = re.compile(r"tw-([0-9a-f]{12})-[A-Za-z0-9_-]{32}")


def new_id() -> str:
    """The id of a new key: 12 hexadecimal digits."""
    return secrets.token_hex(6)


def new_secret(key: str) -> str:
    """A new secret of the key with this id, to be shown once."""
    return f"{PREFIX}-{key}-{secrets.token_urlsafe(_BYTES)}"


def hash_of(secret: str) -> str:
    """What is stored of a secret: its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def id_in(secret: str) -> str:
    """The id in a secret; empty if it has not the form of one."""
    found = _FORM.fullmatch(secret)
    return "" if found is None else found[1]


def is_hash_of(hashed: str, secret: str) -> bool:
    """Whether a secret has this hash, in constant time."""
    return bool(hashed) and secrets.compare_digest(hashed, hash_of(secret))
