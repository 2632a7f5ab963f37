"""Errors of pulling checkpoints. Separate from spec/errors.py because requests never raise them."""

from __future__ import annotations

from tierwise.spec.errors import TierwiseError


class CheckpointError(TierwiseError):
    """A checkpoint could not be downloaded, or does not match its hash.

    Completed parts are kept, so pulling again resumes.
    """


class AccessError(CheckpointError):
    """The server or a proxy requires credentials or certificates that are missing."""
