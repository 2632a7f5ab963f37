"""A backup holds all that was acknowledged, whoever is writing meanwhile; and what cannot be written can be read."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from places import Place
from scenes import PRICES, Heard, a_cascade, a_pass, a_record
from test_show import run
from test_store import output_of, start
from typer.testing import CliRunner

from ledger import old
from tierwise.cli.ledger import app
from tierwise.ledger.backup import back_up
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.spec.errors import LedgerError, NotFound, SpecError


@pytest.fixture
def file(tmp_path):
    return Place(str(tmp_path / "ledger.db"))


@pytest.fixture
def filled(file):
    with Ledger.open(file.where, PRICES, Heard()) as ledger:
        ledger.write(a_cascade())
    return file


def tree_of(path, action="cascade"):
    with Reader(path) as reader:
        return reader.action(action)


def test_a_backup_is_the_ledger_in_one_file(filled, tmp_path):
    copy = tmp_path / "copy.db"
    said = run("backup", copy, "--ledger", filled.path)
    assert said.startswith(f"{copy}: 1 action, {copy.stat().st_size / 1e6:.1f} MB")
    assert repr(tree_of(copy)) == repr(tree_of(filled.path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "ledger.db"]


def test_a_backup_holds_what_still_waits_in_the_journal_of_a_living_process(file, tmp_path):
    with Ledger.open(file.where, PRICES, Heard()) as ledger:
        ledger.write(a_record(action="stored"))
        ledger.flush()
        with file.locked():
            ledger.write(a_record(a_pass(), action="waiting"))
            assert back_up(file.where, tmp_path / "copy.db").actions == 2
    assert tree_of(tmp_path / "copy.db", "waiting").spent.passes == 1


BUSY = """
    with Ledger.open(where, PRICES, Heard()) as ledger:
        for number in range(1500):
            record = a_record(a_pass())
            ledger.write(record)
            print(record.trace.action, flush=True)
"""


def test_backups_while_two_processes_write_hold_all_that_was_acknowledged_before(file, tmp_path):
    Ledger.open(file.where, PRICES, Heard()).close()
    writers = [start(BUSY, file), start(BUSY, file)]
    for number in range(5):
        first = [writer.stdout.readline().strip() for writer in writers for _ in range(50)]
        back_up(file.where, copy := tmp_path / f"copy-{number}.db")
        assert set(first) <= Place(str(copy)).stored()
    for writer in writers:
        output_of(writer)


def test_an_old_ledger_is_copied_as_it_is(file, tmp_path):
    old.put(file, old.WITHOUT_CONTENTS)
    back_up(file.where, tmp_path / "copy.db")
    copy = Place(str(tmp_path / "copy.db"))
    assert copy.execute("select version from ledger_version") == [(1,)]
    assert copy.stored() == file.stored()


def test_a_backup_overwrites_nothing(filled, tmp_path):
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(SpecError, match="exists, and a backup never overwrites"):
        back_up(filled.where, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_damaged_ledger_gives_no_backup(filled, tmp_path):
    with filled.path.open("r+b") as raw:
        raw.seek(3 * 4096)
        raw.write(b"\xff" * 3 * 4096)
    with pytest.raises(LedgerError, match="damaged"):
        back_up(filled.where, tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.db"]


@pytest.mark.parametrize(
    ("where", "target", "error", "message"),
    [
        ("nothing.db", "copy.db", NotFound, "no ledger at"),
        ("ledger.db", "nowhere/copy.db", SpecError, "there is no folder"),
        ("text", "copy.db", LedgerError, "not a database"),
        (".", "copy.db", SpecError, "is a folder; name a file"),
        ("/dev/null", "copy.db", SpecError, "is not a regular file"),
        ("postgresql://me@here/books", "copy.db", SpecError, "pg_dump"),
    ],
)
def test_what_cannot_be_backed_up_is_an_error_that_says_why(filled, tmp_path, where, target, error, message):
    (tmp_path / "text").write_text("dear diary" * 200)
    with pytest.raises(error, match=message):
        back_up(where if "/" in where else str(tmp_path / where), tmp_path / target)
    assert not (tmp_path / "copy.db").exists()


def test_a_full_disk_ends_a_backup_in_a_sentence(filled, tmp_path):
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000));"
        "sys.argv[0] = 'tierwise'; from tierwise.cli import main; main()"
    )
    command = [sys.executable, "-c", limited, "ledger", "backup", tmp_path / "copy.db", "--ledger", filled.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be copied" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.db"]


@pytest.mark.parametrize("place", ["/dev/null", "/dev/zero", "."])
def test_readers_refuse_what_is_no_file(place):
    with pytest.raises(SpecError, match="name a file"):
        Reader(place)


READ_ONLY = 'mount -t tmpfs none "$1" && cp "$2"/* "$1" && mount -o remount,ro none "$1" && shift 2 && exec "$@"'


def on_a_read_only_disk(source, folder, *command):
    namespaces = ["unshare", "--mount", "--user", "--map-root-user"]
    if subprocess.run([*namespaces, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    program = [*namespaces, "sh", "-c", READ_ONLY, "sh", folder, source, sys.executable, "-m", "tierwise", *command]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.sandbox
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_ledger_on_a_read_only_disk_is_read(tmp_path, mode):
    source, disk = tmp_path / "source", tmp_path / "disk"
    source.mkdir(), disk.mkdir()
    with Ledger.open(source / "ledger.db", PRICES, Heard()) as ledger:
        ledger.write(a_cascade())
    with closing(sqlite3.connect(source / "ledger.db")) as database:
        assert database.execute(f"pragma journal_mode={mode}").fetchone() == (mode,)
    (source / "ledger.db.1.00000000a.pending.jsonl").write_bytes(b"{}\n")
    done = on_a_read_only_disk(source, disk, "ledger", "show", "cascade", "--ledger", disk / "ledger.db")
    assert (done.returncode, "cascade" in done.stdout) == (0, True), done.stderr
    assert "actions in its 1 journals are not shown" in done.stderr
    done = on_a_read_only_disk(source, disk, "ledger", "backup", tmp_path / "copy.db", "--ledger", disk / "ledger.db")
    assert done.returncode == 0, done.stderr
    assert repr(tree_of(tmp_path / "copy.db")) == repr(tree_of(source / "ledger.db"))


@pytest.mark.sandbox
def test_a_write_ahead_log_on_a_read_only_disk_is_never_passed_over_in_silence(tmp_path):
    source, disk = tmp_path / "source", tmp_path / "disk"
    source.mkdir(), disk.mkdir()
    Ledger.open(source / "ledger.db", PRICES, Heard()).close()
    with closing(sqlite3.connect(source / "ledger.db")) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table more (name text)")
        (source / "ledger.db-shm").unlink()
        done = on_a_read_only_disk(source, disk, "ledger", "sum", "--ledger", disk / "ledger.db")
    assert done.returncode == 1
    assert "to a folder that you can write" in done.stderr


def test_help_names_the_verb():
    assert "backup" in CliRunner().invoke(app, ["--help"]).stdout
