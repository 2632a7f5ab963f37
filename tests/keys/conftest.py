"""A ledger in each kind of database."""

from __future__ import annotations

import random

import pytest

from key_office import BOOKS
from postgresql import running
from tierwise.keys.database import prepare
from tierwise.ledger.location import locate


@pytest.fixture(scope="module")
def server():
    with running() as one:
        yield one


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "state"))
    if request.param == "sqlite":
        found = locate(tmp_path / "ledger.db")
    else:
        server = request.getfixturevalue("server")
        name = f"keys_{random.getrandbits(40):x}"
        server.execute("postgres", f"CREATE DATABASE {name}")
        found = locate(server.url(name))
    prepare(found)
    yield found
    while BOOKS:
        BOOKS.pop().close()
