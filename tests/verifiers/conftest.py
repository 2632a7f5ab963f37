"""Sandbox tests run with each mechanism that works on this machine."""

from __future__ import annotations

import pytest

from tierwise.verifiers.sandbox import Mechanism, backend, mechanism


@pytest.fixture(params=["bubblewrap", "unshare"])
def using(request: pytest.FixtureRequest) -> Mechanism:
    """A mechanism that works here."""
    found = backend(request.param)
    if found.name == "none":
        pytest.skip(found.reason)
    return request.param


@pytest.fixture
def only(using: Mechanism, monkeypatch: pytest.MonkeyPatch) -> Mechanism:
    """The mechanism that every sandbox uses in this test."""
    monkeypatch.setattr(mechanism, "MECHANISMS", (using,))
    backend.cache_clear()
    yield using
    backend.cache_clear()
