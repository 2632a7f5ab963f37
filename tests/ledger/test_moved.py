"""Whatever is done to the files of a ledger while it is in use: it is noticed, and no acknowledged action is lost."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from places import Place
from scenes import PRICES, Heard, a_pass, a_record
from test_store import output_of, start

from tierwise.ledger.journal import LOOK_SECONDS
from tierwise.ledger.store import Ledger

HERE = Path(__file__).parent


@pytest.fixture
def file(tmp_path):
    return Place(str(tmp_path / "ledger.db"))


@pytest.fixture
def heard():
    return Heard()


def until(predicate):
    limit = time.monotonic() + 10
    while not predicate():
        assert time.monotonic() < limit
        time.sleep(0.01)


def stored(path):
    if not path.stat().st_size:  # moved before anything was written to it
        return set()
    with closing(sqlite3.connect(path)) as database:
        return {row[0] for row in database.execute("select id from actions")}


def test_a_file_that_was_moved_is_noticed_without_another_action(file, heard, tmp_path):
    with Ledger.open(file.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        file.path.rename(tmp_path / "moved.db")
        until(lambda: heard)
        assert f"was moved to {tmp_path / 'moved.db'}" in heard[0]
        assert not file.path.exists(), "a new file is begun by an action"
        ledger.write(a_record(action="new"))
        assert ledger.flush()
    assert (stored(tmp_path / "moved.db"), file.stored()) == ({"old"}, {"new"})
    assert len(heard) == 1


def test_a_file_that_was_copied_holds_all_that_was_stored(file, heard, tmp_path):
    with Ledger.open(file.where, PRICES, heard) as ledger:
        for number in range(20):
            ledger.write(a_record(a_pass(), action=f"a{number}"))
        ledger.flush()
        shutil.copy(file.path, tmp_path / "copy.db")
    assert len(stored(tmp_path / "copy.db")) == 20


def test_what_was_stored_lately_in_a_file_that_was_deleted_is_kept_beside_it(file, heard):
    with Ledger.open(file.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        file.path.unlink()
        until(lambda: heard)
        assert "was deleted or replaced" in heard[0]
        assert "the last 1 actions" in heard[0]
    rescued = file.journal.with_name("ledger.db.rescued.jsonl")
    rescued.rename(file.journal.with_name("ledger.db.1.00000000a.pending.jsonl"))  # as docs say
    Ledger.open(file.where, PRICES, heard).close()
    assert file.stored() == {"old"}


def test_a_ledger_that_was_replaced_by_another_goes_on_in_that(file, heard, tmp_path):
    with Ledger.open(tmp_path / "other.db", PRICES, heard) as other:
        other.write(a_record(action="other"))
    with Ledger.open(file.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        (tmp_path / "other.db").rename(file.path)
        ledger.write(a_record(action="new"))
        assert ledger.flush()
    assert file.stored() == {"other", "new"}
    assert "was deleted or replaced" in heard[0]


@pytest.mark.parametrize("how", ["copied over", "truncated"])
def test_a_ledger_that_was_overwritten_in_place_is_noticed_with_the_next_action(file, heard, tmp_path, how):
    with Ledger.open(tmp_path / "other.db", PRICES, heard) as other:
        other.write(a_record(action="other"))
    with Ledger.open(file.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        if how == "truncated":
            file.path.write_bytes(b"")
        else:
            shutil.copyfile(tmp_path / "other.db", file.path)
        ledger.write(a_record(action="new"))
        assert ledger.flush()
    assert file.stored() == ({"new"} if how == "truncated" else {"other", "new"})
    assert "was overwritten while in use: the last action that was stored, old, is not in it" in heard[0]
    assert b'"old"' in file.journal.with_name("ledger.db.rescued.jsonl").read_bytes()


@pytest.mark.parametrize("text", [b"dear diary" * 500, b"SQLite format 3\0" + b"x" * 20_000])
def test_a_ledger_that_was_overwritten_by_something_else_is_corrupt_until_it_is_moved_away(file, heard, tmp_path, text):
    with Ledger.open(file.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        file.path.write_bytes(text)
        ledger.write(a_record(action="new"))
        until(lambda: ledger.health().is_corrupt)
        assert (ledger.health().state, ledger.health().pending) == ("corrupt", 1)
        file.path.rename(tmp_path / "damaged.db")
        assert ledger.flush()
        assert ledger.health().state == "good"
    assert file.stored() == {"new"}
    assert "is corrupt" in heard[0]


def test_journals_that_were_deleted_or_moved_are_written_again_before_the_next_action(file, heard, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    with Ledger.open(file.where, PRICES, heard) as ledger, file.locked():
        ledger.write(a_record(action="a"))
        for journal in tmp_path.glob("*.pending.jsonl"):
            journal.unlink()
        time.sleep(LOOK_SECONDS)
        ledger.write(a_record(action="b"))
        assert b'"b"' in b"".join(journal.read_bytes() for journal in file.journals())
        for journal in tmp_path.glob("*.pending.jsonl"):
            journal.rename(away / journal.name)
        time.sleep(LOOK_SECONDS)
        ledger.write(a_record(action="c"))
        assert b'"c"' in b"".join(journal.read_bytes() for journal in file.journals())
    assert file.stored() == {"a", "b", "c"}
    assert all(journal.stat().st_size == 0 for journal in away.iterdir())


def test_a_folder_that_was_moved_takes_the_ledger_and_its_journals_with_it(tmp_path, heard):
    folder, moved = tmp_path / "data", tmp_path / "moved"
    folder.mkdir()
    with Ledger.open(folder / "ledger.db", PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        folder.rename(moved)
        ledger.write(a_record(action="new"))
        assert not ledger.flush(1.5)
        assert ledger.health().unjournaled == 0
        ledger.close(0.1)
    Ledger.open(moved / "ledger.db", PRICES, heard).close()
    assert stored(moved / "ledger.db") == {"old", "new"}
    assert any(str(moved / "ledger.db") in alarm for alarm in heard)


def test_a_file_with_a_write_ahead_log_of_an_earlier_version_is_emptied_into_the_file_that_was_moved(
    file, heard, tmp_path
):
    Ledger.open(file.where, PRICES, heard).close()
    with closing(sqlite3.connect(file.path, isolation_level=None)) as earlier:
        earlier.execute("pragma journal_mode=wal")
        earlier.execute("select * from actions").fetchall()  # it keeps the log in use
        with Ledger.open(file.where, PRICES, heard) as ledger:
            ledger.write(a_record(action="old"))
            ledger.flush()
            assert file.path.with_name("ledger.db-wal").exists()
            file.path.rename(tmp_path / "moved.db")
            until(lambda: heard)
            ledger.write(a_record(action="new"))
            assert ledger.flush()
        assert (stored(tmp_path / "moved.db"), file.stored()) == ({"old"}, {"new"})


MOVE_UNDER_LOAD = """
    with Ledger.open(where, PRICES, heard := Heard()) as ledger:
        for number in range(400):
            record = a_record(a_pass())
            ledger.write(record)
            print(record.trace.action)
            if number % 20 == 0:
                ledger.flush()
    assert not any("overwritten" in alarm or "lost" in alarm for alarm in heard), heard
"""


def test_two_processes_whose_ledger_is_moved_again_and_again_lose_nothing(file, tmp_path):
    writers = [start(MOVE_UNDER_LOAD, file), start(MOVE_UNDER_LOAD, file)]
    moves = 0
    while any(writer.poll() is None for writer in writers):
        time.sleep(0.1)
        if file.path.exists():
            file.path.rename(tmp_path / f"moved-{moves}.db")
            moves += 1
    acknowledged = [action for writer in writers for action in output_of(writer)]
    found = [action for path in tmp_path.glob("*.db") for action in sorted(stored(path))]
    assert sorted(found) == sorted(acknowledged)
    assert len(acknowledged) == 800
    assert moves >= 2
