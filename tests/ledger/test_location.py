"""A path or a URL names a ledger, and no message ever shows a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierwise.ledger.location import locate, state_folder
from tierwise.spec.errors import SpecError


def test_a_path_is_a_sqlite_file_and_its_journals_are_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = locate("books/ledger.db")
    assert (location.name, location.path) == ("books/ledger.db", tmp_path / "books" / "ledger.db")
    assert location.journal == location.path
    assert location.address == str(location.path)
    assert locate(Path("books/ledger.db")) == location
    assert locate(location) is location


def test_a_url_is_a_database_and_its_journals_are_in_the_users_state_folder(monkeypatch):
    location = locate("postgresql://me@db.example:5432/books")
    assert (location.path, location.name) == (None, "postgresql://me@db.example:5432/books")
    assert location.journal.parent == state_folder() / "ledgers"
    assert location.journal.name.startswith("books-")


def test_the_same_database_has_the_same_journals_whatever_the_password_and_another_one_has_others():
    def journal(url):
        return locate(url).journal

    same = [
        "postgresql://me@db/books",
        "postgres://me:secret@db/books",
        "postgresql+psycopg://me:other@DB:5432/books?password=third",
    ]
    assert len({journal(url) for url in same}) == 1
    others = ["postgresql://you@db/books", "postgresql://me@db:5433/books", "postgresql://me@db/cooks"]
    assert len({journal(url) for url in [*same, *others, "postgresql://me@db/books?options=-csearch_path%3Dx"]}) == 5


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:hunter2@db/books", "postgresql://me:***@db/books"),
        ("postgres://me:hunter2@db/books?sslmode=require", "postgresql://me:***@db/books?sslmode=require"),
        ("postgresql://db/books?user=me&password=hunter2", "postgresql://db/books?user=me&password=***"),
        ("postgresql://:hunter2@/books?host=/run/pg", "postgresql://:***@/books?host=/run/pg"),
        ("postgresql://me:h%75nter2@a,b:5433/books", "postgresql://me:***@a,b:5433/books"),
    ],
)
def test_names_have_no_passwords_and_messages_of_drivers_neither(url, name):
    location = locate(url)
    assert location.name == name
    assert "nter2" not in repr(location)
    assert location.redacted("no, not hunter2!") == "no, not ***!"
    assert "nter2" in location.address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunt@er2@db/books",
        "postgresql://me:hunt/er2@db/books",
        "postgresql://me:hunt#er2@db/books",
        "postgresql://me:hunt[er2@db/books",
        "postgresql://me:hunt?er2@db/books",
        "postgresql://me:hunter2@db",
        "postgresql://me:hunter2@db/",
        "mysql://me:hunter2@db/books",
        "sqlite:///hunter2.db",
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_that_says_how_to_write_it_and_quotes_none_of_it(url):
    with pytest.raises(SpecError, match="write") as caught:
        locate(url)
    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)
    assert "postgresql://USER@HOST:PORT/DATABASE" in str(caught.value)


def test_the_state_folder_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "a"))
    assert state_folder() == tmp_path / "a"
    monkeypatch.delenv("TIERWISE_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "b"))
    assert state_folder() == tmp_path / "b" / "tierwise"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local" / "state" / "tierwise"
