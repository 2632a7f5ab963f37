"""What can go wrong between a source and a file on this disk. Apart from spec/errors.py because only whoever starts
Tierwise meets these: a request never does.
"""

from __future__ import annotations

from tierwise.spec.errors import TierwiseError


class CheckpointError(TierwiseError):
    """A checkpoint could not be brought, or is not what it was promised to be.

    Whatever had come and was good is kept, so pulling again goes on from there.
    """


class AccessError(CheckpointError):
    """The server, or the way to it, wants credentials or certificates that we do not hold."""
