"""Ledgers to test with, in both databases."""

from __future__ import annotations

import itertools
import os

import pytest
from places import Place

from postgresql import running

_names = (f"ledger_{os.getpid()}_{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def postgresql():
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    """Journals of databases go where the test's other files are."""
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "state"))


@pytest.fixture
def database(postgresql):
    """The URL of an empty database."""
    name = next(_names)
    postgresql.execute("postgres", f"CREATE DATABASE {name}")
    yield postgresql.url(name)
    postgresql.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a ledger can be kept; there is none yet."""
    if request.param == "postgresql":
        return Place(request.getfixturevalue("database"))
    return Place(str(tmp_path / "ledger.db"))
