"""A ledger of an earlier version is upgraded when it is written to, and nothing is lost, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import old
import pytest
import sqlalchemy
from places import Place, on_a_small_disk
from scenes import PRICES, Heard, a_pass, a_record
from sqlalchemy import types

from tierwise.ledger.by import By
from tierwise.ledger.database import connect
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger, recover
from tierwise.ledger.tables import VERSION

HERE = Path(__file__).parent
NAMES = ["cascade", "vote", "refine", "judge", "probe", "cut", "failed", "hung up", "no pass"]


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def file(tmp_path):
    """A place for what only a file does."""
    return Place(str(tmp_path / "ledger.db"))


def open_and_close(place):
    heard = Heard()
    Ledger.open(place.where, PRICES, heard).close()
    assert heard == []


def version_of(place):
    return place.execute("select version from ledger_version")[0][0]


def everything_in(place, names=NAMES):
    """All that a reader can be asked."""
    with Reader(place.where) as reader:
        return {
            "totals": {by: msgspec.to_builtins(reader.totals(by)) for by in By} | {"all": [reader.total()]},
            "actions": [reader.action(name) for name in names],
            "newest": reader.recent(100),
            "contents": reader.stored_content(),
        }


def assert_totals(place, expected=old.TOTALS):
    """They are what version 1 itself found: whole numbers exactly, the others up to rounding."""
    with Reader(place.where) as reader:
        found = {by: msgspec.to_builtins(reader.totals(by)) for by in By}
        found["all"] = [msgspec.to_builtins(reader.total())]
    for by, totals in expected.items():
        for one, other in zip(found[by], totals, strict=True):
            assert one.pop("key") == other["key"]
            assert one == pytest.approx({name: other[name] for name in one}, rel=1e-12)


@pytest.mark.parametrize("dump", [old.VERSION_1, old.WITHOUT_CONTENTS])
def test_a_ledger_of_version_1_is_upgraded_when_it_is_opened_and_says_what_it_said(place, dump):
    old.put(place, dump)
    before = everything_in(place)
    assert version_of(place) == 1
    open_and_close(place)
    assert version_of(place) == VERSION
    after = everything_in(place)
    assert [after[part] for part in ("actions", "contents")] == [before[part] for part in ("actions", "contents")]
    assert [one.action for one in after["newest"]] == [one.action for one in before["newest"]]
    assert_totals(place)


def test_passes_of_version_1_answer_the_prompt_where_their_role_says_so(place):
    old.put(place)
    open_and_close(place)
    found = place.execute("select distinct role, candidate from passes order by role")
    assert [(role, bool(candidate)) for role, candidate in found] == [
        ("critique", False),
        ("draft", True),
        ("judge", False),
        ("probe", False),
        ("refine", True),
        ("vote", True),
    ]


def test_an_upgraded_ledger_is_written_to_like_any_other(place, heard):
    old.put(place)
    with Ledger.open(place.where, PRICES, heard, content=True) as ledger:
        ledger.write(a_record(a_pass(), action="new", started_at=1_799_971_201.0))
    with Reader(place.where) as reader:
        assert reader.action("new").spent.passes == 1
        (day,) = [total for total in reader.totals(By.DAY) if total.key == "2027-01-15"]
        before = next(total for total in old.TOTALS["day"] if total["key"] == "2027-01-15")
        assert (day.actions, day.passes) == (before["actions"] + 1, before["passes"] + 1)
    assert heard == []


def test_a_journal_of_version_1_is_stored_in_a_ledger_of_this_one(place, heard):
    old.put(place)
    old.put_journal(place)
    recover(place.where, heard)
    with Reader(place.where) as reader:
        tree = reader.action("in the journal")
        assert [(node.done.role, node.done.candidate) for node in (tree.roots[0], tree.roots[0].children[0])] == [
            ("draft", True),
            ("critique", False),
        ]
        assert reader.total().actions == len(NAMES) + 1
        assert any(kept.action.id == "in the journal" for kept in reader.stored_content())
    assert heard == []


def test_a_reader_reads_a_ledger_of_version_1_and_leaves_it_as_it_is(place):
    old.put(place)
    assert_totals(place)
    said = everything_in(place)
    assert [tree.action.id for tree in said["actions"]] == NAMES
    assert [len(tree.decisions) for tree in said["actions"]] == [0] * len(NAMES)
    assert version_of(place) == 1


@pytest.mark.parametrize("by", By)
def test_a_reader_of_version_1_adds_up_since_any_moment(place, by):
    old.put(place)
    moments = [1_799_971_200.0, 1_799_971_201.0, 1_799_981_000.0, 1_800_057_600.0, 1_800_144_000.5]
    with Reader(place.where) as reader:
        before = [reader.totals(by, since) for since in moments]
    open_and_close(place)
    with Reader(place.where) as reader:
        for since, expected in zip(moments, before, strict=True):
            found = reader.totals(by, since)
            assert [(one.key, one.actions, one.passes, one.prompt) for one in found] == [
                (one.key, one.actions, one.passes, one.prompt) for one in expected
            ]


# ── version 2 ───────────────────────────────────────────────────────────


def test_a_ledger_of_version_2_is_upgraded_when_it_is_opened_and_says_what_it_said(place):
    old.put(place, old.VERSION_2)
    before = everything_in(place, ["cascade", "vote", "no pass"])
    assert [len(tree.decisions) for tree in before["actions"]] == [2, 0, 0]
    assert [kept.action.id for kept in before["contents"]] == ["vote"]
    assert version_of(place) == 2
    open_and_close(place)
    assert version_of(place) == VERSION
    assert everything_in(place, ["cascade", "vote", "no pass"]) == before


def test_actions_of_version_2_belong_to_no_session_and_later_ones_to_theirs(place, heard):
    old.put(place, old.VERSION_2)
    with Ledger.open(place.where, PRICES, heard) as ledger:
        record = a_record(a_pass(), action="new", started_at=1_800_057_600.0)
        record.trace.session = "agent-7"
        ledger.write(record)
    with Reader(place.where) as reader:
        sessions = {name: reader.action(name).action.session for name in ("vote", "new")}
        assert sessions == {"vote": None, "new": "agent-7"}
    assert heard == []


# ── version 3 ───────────────────────────────────────────────────────────


def test_a_ledger_of_version_3_is_upgraded_and_adds_up_by_reason_as_before(place):
    old.put(place, old.VERSION_3)
    names = ["cascade", "vote", "no pass"]
    before = everything_in(place, names)
    assert [one["key"] for one in before["totals"][By.REASON]] == ["cheapest first"]
    assert version_of(place) == 3
    open_and_close(place)
    assert version_of(place) == VERSION
    assert everything_in(place, names) == before


# ── the shape ───────────────────────────────────────────────────────────


def shape_of(place):
    """Tables with their columns (name, kind, may be null), keys and indexes."""
    engine = connect(place.location, patience=5.0, read_only=True)
    with engine.begin() as connection:
        inspector = sqlalchemy.inspect(connection)
        shape = {
            table: (
                {
                    (one["name"], kind_of(one["type"]), one["nullable"], one["default"])
                    for one in inspector.get_columns(table)
                },
                inspector.get_pk_constraint(table)["constrained_columns"],
                {tuple(one["column_names"]) for one in inspector.get_indexes(table)},
                [(key["constrained_columns"], key["referred_table"]) for key in inspector.get_foreign_keys(table)],
            )
            for table in inspector.get_table_names()
        }
    engine.dispose()
    return shape


def kind_of(column):
    """A column's type as far as a database tells types apart: it has many names for one."""
    kinds = (types.Boolean, types.Float, types.Numeric, types.Integer, types.JSON, types.String)
    return next(kind.__name__ for kind in kinds if isinstance(column, kind))


@pytest.mark.parametrize("dump", [old.VERSION_1, old.WITHOUT_CONTENTS, old.VERSION_2])
def test_an_upgraded_ledger_has_the_shape_of_a_new_one(place, dump, heard):
    open_and_close(place)
    new = shape_of(place)
    place.clear()
    old.put(place, dump)
    open_and_close(place)
    assert shape_of(place) == new


def test_a_process_of_version_1_that_still_runs_fails_and_adds_nothing_that_totals_would_miss(place):
    old.put(place)
    columns = (
        "id, started_at, day, model, tier, reason, ending, stream, seconds, first_output, finish, why, error, caller"
    )
    values = "'late', 1.0, '1970-01-01', 'm', 't', '', 'answered', true, 1.0, 1.0, 'stop', '', '', ''"
    insert = f"insert into actions ({columns}) values ({values})"
    place.execute(insert)
    open_and_close(place)
    with pytest.raises(Exception, match="day"):
        place.execute(insert.replace("late", "later"))


# ── the copy ────────────────────────────────────────────────────────────


def test_a_copy_of_the_file_is_kept_as_it_was(file):
    old.put(file)
    before = everything_in(file)
    open_and_close(file)
    copy = Place(f"{file.where}.v1.bak")
    assert version_of(copy) == 1
    assert everything_in(copy) == before
    assert sorted(file.left_over()) == ["ledger.db.v1.bak"]


def test_what_a_copy_that_was_killed_left_is_no_copy(file):
    file.path.with_name(".ledger.db.v1.bak.new").write_bytes(b"half of it")
    old.put(file)
    open_and_close(file)
    assert file.left_over() == ["ledger.db.v1.bak"]


def test_a_copy_that_is_there_is_never_overwritten(file):
    file.path.with_name("ledger.db.v1.bak").write_bytes(b"not ours")
    file.path.with_name("ledger.db.v1.2.bak").write_bytes(b"")
    old.put(file)
    open_and_close(file)
    assert file.path.with_name("ledger.db.v1.bak").read_bytes() == b"not ours"
    assert file.path.with_name("ledger.db.v1.2.bak").read_bytes() == b""
    assert version_of(Place(f"{file.where}.v1.3.bak")) == 1


def test_the_copy_of_an_interrupted_upgrade_is_used_again_unless_the_ledger_has_grown(file):
    old.put(file)
    copy = Place(f"{file.where}.v1.bak")
    old.put(copy)
    open_and_close(file)
    assert "ledger.db.v1.2.bak" not in file.left_over()
    file.path.unlink()
    old.put(file)
    file.execute("update actions set caller = 'of another ledger' where id = 'no pass'")
    open_and_close(file)
    assert Place(f"{file.where}.v1.2.bak").execute("select count(*) from actions") == [(len(NAMES),)]
    file.path.with_name("ledger.db.v1.2.bak").unlink()
    file.path.unlink()
    old.put(file)
    file.execute(
        "insert into actions select 'more', started_at, day, model, tier, reason, ending, stream, seconds,"
        " first_output, finish, why, error, caller from actions where id = 'cut'"
    )
    open_and_close(file)
    assert {row[0] for row in Place(f"{file.where}.v1.2.bak").execute("select id from actions")} == {*NAMES, "more"}


# ── what may go wrong ───────────────────────────────────────────────────

KILLED_AT_EVERY_STATEMENT = """
    import signal
    from sqlalchemy import Engine, event

    def killed_at(number):
        'Whether it was killed before it had run so many statements.'
        if (child := os.fork()) == 0:
            left = iter(range(number, -1, -1))

            def count(*_):
                if next(left) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(Engine, "before_cursor_execute", count)
            event.listen(Engine, "commit", count)
            Ledger.open(where, PRICES, print).close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        return status != 0

    def ids():
        with Reader(where) as reader:
            return {one.action.id for one in reader.recent(100)}, reader.total().passes

    old.put(place)
    expected = ids()
    number = versions = 0
    while killed_at(number):
        assert ids() == expected, number
        assert place.execute("select version from ledger_version") == [(1,)], number
        number += 1
    assert ids() == expected
    assert place.execute("select version from ledger_version") == [(VERSION,)]
    print(number)
"""


def program(body, where):
    imports = f"""
        import os, sys
        sys.path.insert(0, {str(HERE)!r})
        import old
        from places import fill, here
        from scenes import *
        from tierwise.ledger.read import Reader
        from tierwise.ledger.store import Ledger
        from tierwise.ledger.tables import VERSION
        place = here()
        where = place.where
    """
    return [sys.executable, "-c", textwrap.dedent(imports) + textwrap.dedent(body), where]


def test_an_upgrade_that_is_killed_at_any_statement_changes_nothing(place):
    whole = program(KILLED_AT_EVERY_STATEMENT, place.where)
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15
    assert_totals(place)
    if place.is_file:
        assert [name for name in place.left_over() if "bak" in name] == ["ledger.db.v1.bak"]


def test_two_processes_that_open_an_old_ledger_at_the_same_time_upgrade_it_once(place):
    old.put(place)
    body = """
        heard = Heard()
        with Ledger.open(where, PRICES, heard, patience=30) as ledger:
            ledger.write(a_record(a_pass()))
            assert ledger.flush(60)
        assert not heard, heard
    """
    with contextlib.ExitStack() as running:
        writers = [running.enter_context(subprocess.Popen(program(body, place.where))) for _ in range(3)]
        assert [writer.wait(90) for writer in writers] == [0, 0, 0]
    with Reader(place.where) as reader:
        assert reader.total().actions == len(NAMES) + 3
    if place.is_file:
        assert [name for name in place.left_over() if "bak" in name] == ["ledger.db.v1.bak"]


FULL_DISKS = """
    folder = place.path.parent
    reasons = set()
    for room in range(0, 600_000, 20_000):
        old.put(place)
        ballast = fill(folder, leaving=room)
        heard = Heard()
        with Ledger.open(where, PRICES, heard, patience=0.1) as ledger:
            for alarm in heard:
                assert "cannot be written now" in alarm, alarm
                # Or there is no room to open it.
                reported = f"has version 1 and cannot be upgraded to {VERSION} now" in alarm
                reasons.add("copy" if "no copy" in alarm else "upgrade" if reported else "opening")
            ledger.write(a_record(a_pass(), action="meanwhile"))
            ballast.unlink()
            assert ledger.flush(30), (heard, ledger.health())
            assert ledger.health().lost == 0
        with Reader(where) as reader:
            assert reader.total().actions == 10
            assert reader.action("meanwhile").spent.passes == 1
        assert place.execute("select version from ledger_version") == [(VERSION,)]
        for file in folder.iterdir():
            file.unlink()
    print(*sorted(reasons))
"""


@pytest.mark.sandbox
def test_an_upgrade_on_a_full_disk_reported_and_made_up_for_when_there_is_room(tmp_path):
    done = on_a_small_disk(program(FULL_DISKS, tmp_path / "ledger.db"), tmp_path)
    assert (done.stdout, done.returncode) == ("copy opening upgrade\n", 0), done.stderr
