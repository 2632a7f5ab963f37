"""Nothing that was acknowledged is lost, and no request waits or fails because remembering is hard."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from places import Place, on_a_small_disk
from scenes import PRICES, SECRET, Heard, a_cascade, a_pass, a_record

from tierwise.ledger.lines import line_of, parsed
from tierwise.ledger.read import Reader
from tierwise.ledger.rows import Entry, entry
from tierwise.ledger.store import Ledger, recover
from tierwise.spec.call import Usage
from tierwise.spec.errors import LedgerError
from tierwise.spec.prompt import Prompt

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def file(tmp_path):
    """A place for what only a file does."""
    return Place(str(tmp_path / "ledger.db"))


def refused(place):
    return place.journal.with_name(f"{place.journal.name}.refused.jsonl").read_bytes()


def program(body):
    """A program that runs `body` with everything imported that it needs."""
    imports = f"""
        import os, sys
        sys.path.insert(0, {str(HERE)!r})
        from places import fill, here
        from scenes import *
        from tierwise.ledger.store import Ledger
        place = here()
        where = place.where
    """
    return [sys.executable, "-c", textwrap.dedent(imports) + textwrap.dedent(body)]


def start(body, place):
    return subprocess.Popen([*program(body), place.where], stdout=subprocess.PIPE, text=True)


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
        ledger = Ledger.open(where, PRICES, Heard())
        acknowledged = os.open(f"{place.journal}.{os.getpid()}.acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        while os.getppid() == parent:
            record = a_record(*map(a_pass, range(3)))
            ledger.write(record)
            os.write(acknowledged, f"{record.trace.action}\\n".encode())
        os._exit(1)  # never returns, so that no writer forks writers of its own

    def has_acknowledged(writer):
        file = place.journal.with_name(f"{place.journal.name}.{writer}.acknowledged")
        return file.exists() and file.stat().st_size

    chance = random.Random(20)
    for number in range(5):
        writers = []
        for _ in range(4):  # all into one ledger
            if (writer := os.fork()) == 0:
                write_while_the_parent_lives()
            writers.append(writer)
        while number and not all(map(has_acknowledged, writers)):  # the first are killed while they open it
            time.sleep(0.01)
        for writer in writers:
            time.sleep(chance.uniform(0.0, 0.15))
            os.kill(writer, signal.SIGKILL)
        for writer in writers:
            assert os.waitpid(writer, 0)[1] == signal.SIGKILL
"""

LEAVE_A_JOURNAL = """
    ledger = Ledger.open(where, PRICES, Heard())
    with place.locked():
        for number in range(3):
            ledger.write(a_record(a_pass(), action=f"orphan-{number}"))
        os._exit(0)
"""


def test_what_was_written_is_read_back_to_the_last_field(place, heard):
    record = a_cascade()
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(record)
    with Reader(place.where) as reader:
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
    assert tree.decisions == expected.decisions
    assert {check.position: check.why for check in checks} == {check.position: check.why for check in expected.checks}
    assert heard == []


@pytest.mark.parametrize("ending", ["answered", "failed", "disconnected"])
def test_every_ending_is_remembered_also_without_a_single_pass(place, heard, ending):
    record = a_record(action="a", ending=ending, tier="", first_output=None, error="no room")
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(record)
    with Reader(place.where) as reader:
        tree = reader.action("a")
    assert (tree.action.ending, tree.action.first_output, tree.roots, tree.spent.passes) == (ending, None, (), 0)


def test_an_aborted_pass_is_counted_as_far_as_the_engine_came_but_has_no_reason_to_have_ended(place, heard):
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(a_record(a_pass(outcome="aborted"), action="a"))
    with Reader(place.where) as reader:
        (node,) = reader.action("a").roots
    assert (node.done.completion, node.done.is_cancelled, node.done.finish) == (12, True, "")


def test_what_was_said_is_nowhere_on_the_disk(place, heard):
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(a_cascade())
        ledger.flush()
        assert not any(SECRET.encode() in file.read_bytes() for file in place.journal.parent.iterdir())


def test_closing_leaves_nothing_but_the_database(place, heard):
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(a_record())
    assert place.left_over() == []


def test_twenty_processes_killed_while_writing_lose_nothing_that_they_acknowledged(place, heard):
    assert output_of(start(KILL_WRITERS, place)) == []
    Ledger.open(place.where, PRICES, heard).close()
    found = place.stored()
    files = place.journal.parent.glob("*.acknowledged")
    acknowledged = [line for file in files for line in file.read_text().splitlines()]
    assert [action for action in acknowledged if action not in found] == []
    assert len(acknowledged) > 500
    # A line that is torn was never acknowledged; which writers are killed amid one is chance.
    assert {name.rpartition(".")[2] for name in place.left_over()} <= {"acknowledged", "jsonl"}
    assert place.journals() == []
    assert all("torn" in alarm for alarm in heard)


def test_journals_of_a_process_that_died_under_a_locked_database_are_stored_by_the_next(place, heard):
    Ledger.open(place.where, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, place))
    assert place.stored() == set()
    with Ledger.open(place.where, PRICES, heard) as ledger:
        assert ledger.flush()
        assert place.stored() == {"orphan-0", "orphan-1", "orphan-2"}


def test_recovering_is_for_readers_who_come_before_the_next_writer(place, heard):
    Ledger.open(place.where, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, place))
    recover(place.where, heard)
    assert place.stored() == {"orphan-0", "orphan-1", "orphan-2"}
    assert place.left_over() == []


def test_a_journal_that_was_stored_and_not_emptied_is_not_stored_twice(place, heard):
    Ledger.open(place.where, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, place))
    journals = list(place.journal.parent.glob("*.jsonl"))
    copies = {file: file.read_bytes() for file in journals}
    recover(place.where, heard)
    for file, lines in copies.items():
        file.write_bytes(lines)
    recover(place.where, heard)
    assert place.stored() == {"orphan-0", "orphan-1", "orphan-2"}
    assert heard == []


def test_the_journal_of_a_living_process_is_left_to_it(place, heard):
    with Ledger.open(place.where, PRICES, heard), Ledger.open(place.where, PRICES, heard) as other:
        journals = place.left_over()
        recover(place.where, heard)
        assert [name for name in place.left_over() if name.endswith(".jsonl")] == [
            name for name in journals if name.endswith(".jsonl")
        ]
        assert other.health().orphans == 0


def test_journals_of_a_neighbour_with_a_longer_name_are_not_taken(tmp_path, heard):
    ours, neighbour = Place(str(tmp_path / "ledger.db")), Place(str(tmp_path / "ledger.db.1"))
    Ledger.open(neighbour.where, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, neighbour))
    recover(ours.where, heard)
    assert not ours.path.exists()
    recover(neighbour.where, heard)
    assert len(neighbour.stored()) == 3


def test_a_torn_last_line_is_reported_and_set_aside_and_the_lines_before_it_are_stored(place, heard):
    Ledger.open(place.where, PRICES, heard).close()
    output_of(start(LEAVE_A_JOURNAL, place))
    (journal,) = place.journals()
    lines = journal.read_bytes()
    journal.write_bytes(lines[:-20])
    recover(place.where, heard)
    assert len(place.stored()) == lines.count(b"\n") - 1
    assert "torn" in heard[0]
    (aside,) = place.left_over()
    assert place.journal.with_name(aside).read_bytes() == lines.splitlines()[-1][:-19] + b"\n"


def test_two_processes_write_into_one_ledger_at_the_same_time(place, heard):
    body = """
        with Ledger.open(where, PRICES, Heard()) as ledger:
            for _ in range(300):
                record = a_record(a_pass())
                ledger.write(record)
                print(record.trace.action)
            assert ledger.flush(60) and not ledger.health().alarms
    """
    writers = [start(body, place), start(body, place)]
    acknowledged = {action for writer in writers for action in output_of(writer)}
    assert place.stored() == acknowledged
    assert len(acknowledged) == 600


class TestLocked:
    """Another connection holds the database."""

    @pytest.fixture
    def lock(self, place, heard):
        Ledger.open(place.where, PRICES, heard).close()
        with contextlib.ExitStack() as holding:
            holding.enter_context(place.locked())
            yield holding

    def test_writing_returns_while_the_lock_is_held_and_nothing_is_lost(self, place, heard, lock):
        with Ledger.open(place.where, PRICES, heard, patience=0.05) as ledger:
            for number in range(50):
                ledger.write(a_record(a_pass(), action=f"action-{number}"))
            assert not ledger.flush(1.5)
            assert ledger.health().pending == 50
            assert ledger.health().unjournaled == 0
            assert "lock" in ledger.health().alarms[0]
            lock.close()
            assert ledger.flush()
            assert ledger.health().is_good
        assert len(place.stored()) == 50

    def test_the_alarm_is_loud_but_not_repeated_with_each_attempt(self, place, heard, lock):
        with Ledger.open(place.where, PRICES, heard, patience=0.01) as ledger:
            for _ in range(3):
                ledger.write(a_record())
                ledger.flush(0.6)
            assert len(heard) == 1
            lock.close()

    def test_closing_under_the_lock_gives_up_in_time_and_the_next_opening_stores_the_rest(self, place, heard, lock):
        ledger = Ledger.open(place.where, PRICES, heard, patience=0.01)
        ledger.write(a_record(action="kept"))
        ledger.close(0.1)
        assert "1 actions were stored; none is lost" in heard[-1]
        lock.close()
        Ledger.open(place.where, PRICES, heard).close()
        assert place.stored() == {"kept"}


FULL = """
    import resource
    heard = Heard()
    ledger = Ledger.open(where, PRICES, heard, buffer_size=5)
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
    assert any("cannot be written now" in alarm for alarm in heard), heard
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    ledger.write(a_record(action="after"))
    assert ledger.flush()
    health = ledger.health()
    assert (health.unjournaled, health.lost, health.alarms) == (0, 3, ()), health
    ledger.close()
"""


def test_when_files_cannot_grow_the_alarm_is_loud_and_memory_holds_what_it_can_until_they_can(file):
    assert output_of(start(FULL, file)) == []
    assert file.stored() == {"before", "after", *(f"full-{number}" for number in range(5))}
    assert file.left_over() == []


FULL_DISK = """
    heard = Heard()
    ledger = Ledger.open(where, PRICES, heard, patience=0.1)
    ballast = fill(place.path.parent)
    for number in range(2000):
        ledger.write(a_record(*map(a_pass, range(3)), action=f"full-{number}"))
    assert heard and ledger.health().unjournaled, (heard, ledger.health())
    ballast.unlink()
    assert ledger.flush(30), ledger.health()
    assert ledger.health().lost == 0
    ledger.write(a_record(action="after"))
    ledger.close()
    print(len(place.stored()))
"""


@pytest.mark.sandbox
def test_a_disk_that_is_really_full_costs_nothing_while_the_process_lives(tmp_path):
    done = on_a_small_disk([*program(FULL_DISK), tmp_path / "ledger.db"], tmp_path)
    assert (done.stdout, done.returncode) == ("2001\n", 0), done.stderr


def test_an_action_under_the_id_of_another_is_set_aside_and_reported(place, heard):
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="twin", started_at=1.0))
        ledger.flush()
        ledger.write(a_record(action="twin", started_at=2.0))
        ledger.write(a_record(action="other"))
    assert place.stored() == {"twin", "other"}
    assert "another action has the id 'twin'" in heard[0]
    assert b'"started_at":2.0' in refused(place)


def test_a_number_that_no_database_holds_is_set_aside_and_stops_nobody(place, heard):
    giant = a_pass(call=a_pass().call.__class__(prompt=Prompt(messages=(), seed=2**64)))
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(a_record(giant, action="giant"))
        ledger.write(a_record(action="next"))
    assert place.stored() == {"next"}
    assert len(heard) == 1
    assert b"giant" in refused(place)


@given(
    counts=some.tuples(*[some.integers() | some.sampled_from([10**400, -(10**400)])] * 4),
    times=some.tuples(*[some.floats()] * 3),
)
def test_an_odd_count_or_time_never_costs_the_line_of_its_action(counts, times):
    prompt, cached, completion, reasoning = counts
    started, first_token, seconds = times
    usage = Usage(prompt=prompt, cached=cached, completion=completion, reasoning=reasoning)
    done = a_pass(usage=usage, started=started, first_token=first_token, seconds=seconds, busy_seconds=seconds)
    found = parsed(line_of(entry(a_record(done), PRICES)))
    assert isinstance(found, Entry), found
    assert all(0 <= getattr(found.passes[0], name) < 2**63 for name in ("prompt", "cached", "completion", "reasoning"))


def test_texts_that_are_half_a_character_or_a_whole_page_are_stored_in_brief(place, heard):
    with Ledger.open(place.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="a", error="\ud800é", why="x" * 10_000))
    with Reader(place.where) as reader:
        action = reader.action("a").action
    assert (action.error, len(action.why), action.why[-1]) == ("?é", 2000, "…")
    assert heard == []


def test_a_database_that_is_moved_away_is_begun_anew(file, heard):
    with Ledger.open(file.where, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        ledger.flush()
        file.path.unlink()
        ledger.write(a_record(action="new"))
        ledger.flush()
        assert file.stored() == {"new"}


def test_writing_after_closing_is_an_alarm_and_not_an_exception(place, heard):
    ledger = Ledger.open(place.where, PRICES, heard)
    ledger.close()
    ledger.write(a_record())
    assert "is closed" in heard[0]
    assert ledger.health().lost == 1


def test_closing_twice_is_closing_once(place, heard):
    ledger = Ledger.open(place.where, PRICES, heard)
    ledger.close()
    ledger.close()
    assert heard == []


class TestOpening:
    def test_a_folder_that_is_not_there_is_an_error_at_once(self, tmp_path, heard):
        with pytest.raises(LedgerError, match="a ledger cannot be kept at"):
            Ledger.open(tmp_path / "nowhere" / "ledger.db", PRICES, heard)

    def test_a_file_that_is_no_database_is_an_error_and_stays_as_it_was(self, path, heard):
        path.write_text("dear diary" * 200)
        with pytest.raises(LedgerError, match="not a database"):
            Ledger.open(path, PRICES, heard)
        assert path.read_text() == "dear diary" * 200

    def test_somebody_elses_database_is_an_error_and_gets_no_tables_of_ours(self, place, heard):
        place.execute("create table recipes (name text)")
        with pytest.raises(LedgerError, match=r"not a ledger; its tables: recipes"):
            Ledger.open(place.where, PRICES, heard)
        with pytest.raises(Exception, match=r"actions"):
            place.stored()

    def test_a_ledger_of_a_later_tierwise_is_not_written_to(self, place, heard):
        Ledger.open(place.where, PRICES, heard).close()
        place.execute("update ledger_version set version = 99")
        with pytest.raises(LedgerError, match="version 99"):
            Ledger.open(place.where, PRICES, heard)

    def test_a_folder_in_its_place_is_an_error(self, path, heard):
        path.mkdir()
        with pytest.raises(LedgerError, match="is a folder; name a file"):
            Ledger.open(path, PRICES, heard)


def test_the_words_of_the_ledger_come_without_a_database():
    words = ("records", "prices", "rows")
    program = (
        f"import sys, {', '.join(f'tierwise.ledger.{word}' for word in words)}; print('sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
