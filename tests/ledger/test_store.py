"""Nothing that was acknowledged is lost, and no request waits or fails because remembering is hard."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from scenes import PRICES, SECRET, Heard, a_cascade, a_pass, a_record

from tierwise.ledger.read import Reader
from tierwise.ledger.rows import entry
from tierwise.ledger.store import Ledger, recover
from tierwise.spec.errors import LedgerError
from tierwise.spec.prompt import Prompt

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def heard():
    return Heard()


def stored(path):
    """The ids in a ledger's database, whatever its journals hold."""
    connection = sqlite3.connect(path)
    try:
        return {row[0] for row in connection.execute("select id from actions")}
    finally:
        connection.close()


def left_over(path):
    return sorted(file.name for file in path.parent.iterdir() if file.name != path.name)


def program(body):
    """A program that runs `body` with everything imported that it needs."""
    imports = f"""
        import os, sqlite3, sys
        from pathlib import Path
        sys.path.insert(0, {str(HERE)!r})
        from scenes import *
        from tierwise.ledger.store import Ledger
        path = Path(sys.argv[1])
    """
    return [sys.executable, "-c", textwrap.dedent(imports) + textwrap.dedent(body)]


def start(body, path):
    return subprocess.Popen([*program(body), path], stdout=subprocess.PIPE, text=True)


def output_of(process):
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    return output.split()


KILL_WRITERS = """
    import random, signal, time

    parent = os.getpid()

    def write_while_the_parent_lives():
        acknowledged = os.open(f"{path}.{os.getpid()}.acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        ledger = Ledger.open(path, PRICES, Heard())
        while os.getppid() == parent:
            record = a_record(*map(a_pass, range(3)))
            ledger.write(record)
            os.write(acknowledged, f"{record.trace.action}\\n".encode())
        os._exit(1)  # never returns, so that no writer forks writers of its own

    chance = random.Random(20)
    for _ in range(5):
        writers = []
        for _ in range(4):  # all into one ledger
            if (writer := os.fork()) == 0:
                write_while_the_parent_lives()
            writers.append(writer)
        for writer in writers:
            time.sleep(chance.uniform(0.0, 0.15))
            os.kill(writer, signal.SIGKILL)
        for writer in writers:
            assert os.waitpid(writer, 0)[1] == signal.SIGKILL
"""

LEAVE_A_JOURNAL = """
    ledger = Ledger.open(path, PRICES, Heard())
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("begin exclusive")
    for number in range(3):
        ledger.write(a_record(a_pass(), action=f"orphan-{number}"))
    os._exit(0)
"""


def test_what_was_written_is_read_back_to_the_last_field(path, heard):
    record = a_cascade()
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(record)
    with Reader(path) as reader:
        tree = reader.action("cascade")
    nodes, passes, checks = list(tree.roots), [], list(tree.checks)
    while nodes:
        node = nodes.pop()
        passes.append(node.done)
        checks.extend(node.checks)
        nodes.extend(node.children)
    expected = entry(record, PRICES)
    assert tree.action == expected.action
    assert sorted(passes, key=lambda done: done.number) == list(expected.passes)
    assert {check.position: check.why for check in checks} == {check.position: check.why for check in expected.checks}
    assert heard == []


@pytest.mark.parametrize("ending", ["answered", "failed", "disconnected"])
def test_every_ending_is_remembered_also_without_a_single_pass(path, heard, ending):
    record = a_record(action="a", ending=ending, tier="", first_output=None, error="no room")
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(record)
    with Reader(path) as reader:
        tree = reader.action("a")
    assert (tree.action.ending, tree.action.first_output, tree.roots, tree.spent.passes) == (ending, None, (), 0)


def test_an_aborted_pass_is_counted_as_far_as_the_engine_came_but_has_no_reason_to_have_ended(path, heard):
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(a_record(a_pass(outcome="aborted"), action="a"))
    with Reader(path) as reader:
        (node,) = reader.action("a").roots
    assert (node.done.completion, node.done.is_cancelled, node.done.finish) == (12, True, "")


def test_what_was_said_is_nowhere_on_the_disk(path, heard):
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(a_cascade())
        ledger.flush()
        assert not any(SECRET.encode() in file.read_bytes() for file in path.parent.iterdir())


def test_closing_leaves_nothing_but_the_database(path, heard):
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(a_record())
    assert left_over(path) == []


def test_twenty_processes_killed_while_writing_lose_nothing_that_they_acknowledged(path, heard):
    assert output_of(start(KILL_WRITERS, path)) == []
    Ledger.open(path, PRICES, heard).close()
    found = stored(path)
    acknowledged = [line for file in path.parent.glob("*.acknowledged") for line in file.read_text().splitlines()]
    assert [action for action in acknowledged if action not in found] == []
    assert len(acknowledged) > 500
    assert [name for name in left_over(path) if not name.endswith(".acknowledged")] == []
    assert heard == []


def test_journals_of_a_process_that_died_under_a_locked_database_are_stored_by_the_next(path, heard):
    Ledger.open(path, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, path))
    assert stored(path) == set()
    with Ledger.open(path, PRICES, heard) as ledger:
        assert ledger.flush()
        assert stored(path) == {"orphan-0", "orphan-1", "orphan-2"}


def test_recovering_is_for_readers_who_come_before_the_next_writer(path, heard):
    Ledger.open(path, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, path))
    recover(path, heard)
    assert stored(path) == {"orphan-0", "orphan-1", "orphan-2"}
    assert left_over(path) == []


def test_a_journal_that_was_stored_and_not_emptied_is_not_stored_twice(path, heard):
    Ledger.open(path, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, path))
    journals = [file for file in path.parent.iterdir() if file.suffix == ".jsonl"]
    copies = {file: file.read_bytes() for file in journals}
    recover(path, heard)
    for file, lines in copies.items():
        file.write_bytes(lines)
    recover(path, heard)
    assert stored(path) == {"orphan-0", "orphan-1", "orphan-2"}
    assert heard == []


def test_the_journal_of_a_living_process_is_left_to_it(path, heard):
    with Ledger.open(path, PRICES, heard), Ledger.open(path, PRICES, heard) as other:
        journals = left_over(path)
        recover(path, heard)
        assert [name for name in left_over(path) if name.endswith(".jsonl")] == [
            name for name in journals if name.endswith(".jsonl")
        ]
        assert other.health().orphans == 0


def test_journals_of_a_neighbour_with_a_longer_name_are_not_taken(path, heard):
    neighbour = path.with_name("ledger.db.1")
    Ledger.open(neighbour, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, neighbour))
    recover(path, heard)
    assert not path.exists()
    recover(neighbour, heard)
    assert len(stored(neighbour)) == 3


def test_a_torn_last_line_is_reported_and_set_aside_and_the_lines_before_it_are_stored(path, heard):
    Ledger.open(path, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, path))
    journal = max(
        (file for file in path.parent.iterdir() if file.suffix == ".jsonl"), key=lambda file: file.stat().st_size
    )
    lines = journal.read_bytes()
    journal.write_bytes(lines[:-20])
    recover(path, heard)
    assert len(stored(path)) == lines.count(b"\n") - 1
    assert "torn" in heard[0]
    (aside,) = left_over(path)
    assert path.with_name(aside).read_bytes() == lines.splitlines()[-1][:-19] + b"\n"


def test_two_processes_write_into_one_ledger_at_the_same_time(path, heard):
    body = """
        with Ledger.open(path, PRICES, Heard()) as ledger:
            for _ in range(300):
                record = a_record(a_pass())
                ledger.write(record)
                print(record.trace.action)
            assert ledger.flush(60) and not ledger.health().alarms
    """
    writers = [start(body, path), start(body, path)]
    acknowledged = {action for writer in writers for action in output_of(writer)}
    assert stored(path) == acknowledged
    assert len(acknowledged) == 600


class TestLocked:
    """Another connection holds the database."""

    @pytest.fixture
    def lock(self, path, heard):
        Ledger.open(path, PRICES, heard).close()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("begin exclusive")
        yield connection
        connection.close()

    def test_writing_returns_while_the_lock_is_held_and_nothing_is_lost(self, path, heard, lock):
        with Ledger.open(path, PRICES, heard, patience=0.05) as ledger:
            for number in range(50):
                ledger.write(a_record(a_pass(), action=f"action-{number}"))
            assert not ledger.flush(1.5)
            assert ledger.health().pending == 50
            assert ledger.health().unjournaled == 0
            assert "locked" in ledger.health().alarms[0]
            lock.execute("rollback")
            assert ledger.flush()
            assert ledger.health().is_good
        assert len(stored(path)) == 50

    def test_the_alarm_is_loud_but_not_repeated_with_each_attempt(self, path, heard, lock):
        with Ledger.open(path, PRICES, heard, patience=0.01) as ledger:
            for _ in range(3):
                ledger.write(a_record())
                ledger.flush(0.6)
            assert len(heard) == 1
            lock.execute("rollback")

    def test_closing_under_the_lock_gives_up_in_time_and_the_next_opening_stores_the_rest(self, path, heard, lock):
        ledger = Ledger.open(path, PRICES, heard, patience=0.01)
        ledger.write(a_record(action="kept"))
        ledger.close(0.1)
        assert "1 actions were stored; none is lost" in heard[-1]
        lock.execute("rollback")
        Ledger.open(path, PRICES, heard).close()
        assert stored(path) == {"kept"}


FULL = """
    import resource
    heard = Heard()
    ledger = Ledger.open(path, PRICES, heard, room=5)
    ledger.write(a_record(action="before"))
    assert ledger.flush()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # from here on no file takes a byte more
    for number in range(8):
        ledger.write(a_record(action=f"full-{number}"))
    assert not ledger.flush(0.2)
    health = ledger.health()
    assert (health.unjournaled, health.lost, health.is_good) == (5, 3, False), health
    assert any("kept in memory" in alarm for alarm in heard), heard
    assert any("actions are lost" in alarm for alarm in heard), heard
    assert any("takes nothing now" in alarm for alarm in heard), heard
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    ledger.write(a_record(action="after"))
    assert ledger.flush()
    health = ledger.health()
    assert (health.unjournaled, health.lost, health.alarms) == (0, 3, ()), health
    ledger.close()
"""


def test_when_files_cannot_grow_the_alarm_is_loud_and_memory_holds_what_it_can_until_they_can(path):
    assert output_of(start(FULL, path)) == []
    assert stored(path) == {"before", "after", *(f"full-{number}" for number in range(5))}
    assert left_over(path) == []


FULL_DISK = """
    heard = Heard()
    ledger = Ledger.open(path, PRICES, heard, patience=0.1)
    ballast = path.with_name("ballast")
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
    for number in range(2000):
        ledger.write(a_record(*map(a_pass, range(3)), action=f"full-{number}"))
    assert heard and ledger.health().unjournaled, (heard, ledger.health())
    ballast.unlink()
    assert ledger.flush(30), ledger.health()
    assert ledger.health().lost == 0
    ledger.write(a_record(action="after"))
    ledger.close()
    connection = sqlite3.connect(path)
    print(connection.execute("select count(*) from actions").fetchone()[0])
"""


@pytest.mark.sandbox
def test_a_disk_that_is_really_full_costs_nothing_while_the_process_lives(tmp_path):
    namespaces = ["unshare", "--mount", "--user", "--map-root-user"]
    if subprocess.run([*namespaces, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    mount_and_run = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
    done = subprocess.run(
        [*namespaces, "sh", "-c", mount_and_run, "sh", tmp_path, *program(FULL_DISK), tmp_path / "ledger.db"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("2001\n", 0), done.stderr


def test_an_action_under_the_id_of_another_is_set_aside_and_reported(path, heard):
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(a_record(action="twin", started_at=1.0))
        ledger.flush()
        ledger.write(a_record(action="twin", started_at=2.0))
        ledger.write(a_record(action="other"))
    assert stored(path) == {"twin", "other"}
    assert "another action has the id 'twin'" in heard[0]
    assert b'"started_at":2.0' in path.with_name("ledger.db.refused.jsonl").read_bytes()


def test_a_number_that_no_database_holds_is_set_aside_and_stops_nobody(path, heard):
    giant = a_pass(call=a_pass().call.__class__(prompt=Prompt(messages=(), seed=2**64)))
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(a_record(giant, action="giant"))
        ledger.write(a_record(action="next"))
    assert stored(path) == {"next"}
    assert len(heard) == 1
    assert b"giant" in path.with_name("ledger.db.refused.jsonl").read_bytes()


def test_texts_that_are_half_a_character_or_a_whole_page_are_stored_in_brief(path, heard):
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(a_record(action="a", error="\ud800é", why="x" * 10_000))
    with Reader(path) as reader:
        action = reader.action("a").action
    assert (action.error, len(action.why), action.why[-1]) == ("?é", 2000, "…")
    assert heard == []


def test_a_database_that_is_moved_away_is_begun_anew(path, heard):
    with Ledger.open(path, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            path.with_name(name).unlink()
        ledger.write(a_record(action="new"))
        ledger.flush()
        assert stored(path) == {"new"}


def test_writing_after_closing_is_an_alarm_and_not_an_exception(path, heard):
    ledger = Ledger.open(path, PRICES, heard)
    ledger.close()
    ledger.write(a_record())
    assert "is closed" in heard[0]
    assert ledger.health().lost == 1


def test_closing_twice_is_closing_once(path, heard):
    ledger = Ledger.open(path, PRICES, heard)
    ledger.close()
    ledger.close()
    assert heard == []


class TestOpening:
    def test_a_folder_that_is_not_there_is_an_error_at_once(self, tmp_path, heard):
        with pytest.raises(LedgerError, match="no ledger can be kept at"):
            Ledger.open(tmp_path / "nowhere" / "ledger.db", PRICES, heard)

    def test_a_file_that_is_no_database_is_an_error_and_stays_as_it_was(self, path, heard):
        path.write_text("dear diary" * 200)
        with pytest.raises(LedgerError, match="not a database"):
            Ledger.open(path, PRICES, heard)
        assert path.read_text() == "dear diary" * 200

    def test_somebody_elses_database_is_an_error_and_gets_no_tables_of_ours(self, path, heard):
        connection = sqlite3.connect(path)
        connection.execute("create table recipes (name text)")
        connection.commit()
        with pytest.raises(LedgerError, match=r"no ledger; its tables: recipes"):
            Ledger.open(path, PRICES, heard)
        assert connection.execute("select name from sqlite_master").fetchall() == [("recipes",)]
        connection.close()

    def test_a_ledger_of_a_later_tierwise_is_not_written_to(self, path, heard):
        Ledger.open(path, PRICES, heard).close()
        connection = sqlite3.connect(path)
        connection.execute("update ledger_version set version = 99")
        connection.commit()
        connection.close()
        with pytest.raises(LedgerError, match="version 99"):
            Ledger.open(path, PRICES, heard)

    def test_a_folder_in_its_place_is_an_error(self, path, heard):
        path.mkdir()
        with pytest.raises(LedgerError, match="unable to open"):
            Ledger.open(path, PRICES, heard)


def test_the_words_of_the_ledger_come_without_a_database():
    words = ("records", "prices", "rows")
    program = (
        f"import sys, {', '.join(f'tierwise.ledger.{word}' for word in words)}; print('sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
