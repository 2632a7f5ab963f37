"""What only a server does: it refuses, goes away and comes back; and its password is shown nowhere."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from scenes import PRICES, Heard, a_pass, a_record

from endpoints import EMPTY, Endpoint, serving, tier_of
from postgresql import PASSWORD
from tierwise.ledger.location import locate
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.spec.errors import LedgerError
from tierwise.testing import ScriptedEngine

SECRETS = ("p@ss", "p%40ss", "wörd", "w%C3%B6rd")


@pytest.fixture
def heard():
    return Heard()


def assert_silent(*texts):
    assert not [secret for text in texts for secret in SECRETS if secret in text]


def test_a_wrong_password_is_an_error_at_once_that_shows_none(postgresql, heard):
    url = postgresql.url(password=PASSWORD + "!")
    with pytest.raises(LedgerError, match="password authentication failed") as caught:
        Ledger.open(url, PRICES, heard)
    assert_silent(str(caught.value))
    with pytest.raises(LedgerError, match="cannot be read") as caught:
        Reader(url)
    assert_silent(str(caught.value))
    assert heard == []


def test_a_database_that_is_not_there_is_an_error_at_once(postgresql, heard):
    with pytest.raises(LedgerError, match='database "nowhere" does not exist') as caught:
        Ledger.open(postgresql.url("nowhere"), PRICES, heard)
    assert_silent(str(caught.value))


def test_a_url_that_the_driver_cannot_read_is_not_quoted(postgresql, heard):
    with pytest.raises(LedgerError) as caught:
        Ledger.open(f"postgresql://me:p%zzp%40ss@127.0.0.1:{postgresql.port}/x", PRICES, heard)
    assert "p%zz" not in str(caught.value)
    assert_silent(str(caught.value))


def test_without_the_driver_the_extra_is_named(heard):
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from tierwise.ledger.read import Reader\n"
        "Reader('postgresql://me@127.0.0.1/x')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'tierwise[postgresql]'" in done.stderr


def test_actions_wait_in_the_journal_while_the_server_is_away(postgresql, database, heard):
    with Ledger.open(database, PRICES, heard) as ledger:
        ledger.write(a_record(a_pass(), action="before"))
        assert ledger.flush()
        postgresql.stop()
        try:
            ledger.write(a_record(a_pass(), action="meanwhile"))
            assert not ledger.flush(1.5)
            assert (ledger.health().pending, ledger.health().unjournaled) == (1, 0)
            assert "cannot be written now" in heard[0]
        finally:
            postgresql.start()
        assert ledger.flush(30)
        assert ledger.health().is_good
    with Reader(database) as reader:
        assert {one.action.id for one in reader.recent()} == {"before", "meanwhile"}
    assert_silent(*heard)


def test_a_server_that_is_away_when_the_ledger_is_opened_is_waited_for(postgresql, database, heard):
    postgresql.stop()
    try:
        began = time.monotonic()
        ledger = Ledger.open(database, PRICES, heard)
        assert time.monotonic() - began < 10
        assert "cannot be written now" in heard[0]
        ledger.write(a_record(a_pass(), action="early"))
        with pytest.raises(LedgerError, match="cannot be read"):
            Reader(database)
    finally:
        postgresql.start()
    assert ledger.flush(30)
    ledger.close()
    with Reader(database) as reader:
        assert reader.action("early").spent.passes == 1
    assert_silent(*heard)


def test_what_was_never_stored_is_by_the_next_process_with_the_same_url(postgresql, database, heard):
    postgresql.stop()
    try:
        ledger = Ledger.open(database, PRICES, heard)
        ledger.write(a_record(a_pass(), action="left"))
        ledger.close(0.1)
        assert "none is lost" in heard[-1]
    finally:
        postgresql.start()
    Ledger.open(database, PRICES, heard).close()
    with Reader(database) as reader:
        assert reader.action("left").spent.passes == 1


def test_a_value_that_no_column_takes_is_set_aside_and_stops_nobody(database, heard):
    with Ledger.open(database, PRICES, heard) as ledger:
        ledger.write(a_record(a_pass(), action="nul\0"))
        ledger.write(a_record(a_pass(), action="next"))
    with Reader(database) as reader:
        assert [one.action.id for one in reader.recent()] == ["next"]
        assert reader.total().actions == 1
    (alarm,) = heard
    assert "NUL" in alarm
    journal = locate(database).journal
    assert b'"nul\\u0000"' in journal.with_name(f"{journal.name}.refused.jsonl").read_bytes()


def test_journals_are_for_their_owner_only(database, heard):
    with Ledger.open(database, PRICES, heard):
        assert locate(database).journal.parent.stat().st_mode & 0o77 == 0


def test_tables_that_are_emptied_under_a_running_ledger_are_made_again(database, postgresql, heard):
    name = database.rpartition("/")[2]
    with Ledger.open(database, PRICES, heard) as ledger:
        ledger.write(a_record(action="old"))
        assert ledger.flush()
        postgresql.execute(name, "drop schema public cascade; create schema public")
        ledger.write(a_record(action="new"))
        assert ledger.flush()
    with Reader(database) as reader:
        assert [one.action.id for one in reader.recent()] == ["new"]


def test_a_schema_of_its_own_keeps_a_ledger_apart_from_the_tables_of_others(database, postgresql, heard):
    name = database.rpartition("/")[2]
    postgresql.execute(name, "create table recipes (name text); create schema books")
    url = f"{database}?options=-csearch_path%3Dbooks"
    with Ledger.open(url, PRICES, heard) as ledger:
        ledger.write(a_record(a_pass(), action="apart"))
    with Reader(url) as reader:
        assert reader.total().actions == 1
    assert postgresql.execute(name, "select count(*) from books.actions") == [(1,)]
    with pytest.raises(LedgerError, match="its tables: recipes"):
        Ledger.open(database, PRICES, heard)


# ── the command line ────────────────────────────────────────────────────


@pytest.fixture
def config(tmp_path):
    """A config file whose one deployment is an endpoint in this process."""
    with serving(tier_of(engine=ScriptedEngine("4"))) as upstream:
        file = tmp_path / "tierwise.yaml"
        file.write_text(
            f"deployments: {{far: {{engine: http, url: '{upstream.url}/v1', model: tier}}}}\n"
            "tiers: {fast: {deployment: far, policy: single}}\n"
        )
        yield file
    while EMPTY:
        EMPTY.pop().pull_down()


def tierwise(*arguments, **environment):
    command = [sys.executable, "-W", "error", "-m", "tierwise", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment, timeout=120
    )
    assert_silent(done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr
    return done


def models(database):
    found = json.loads(tierwise("ledger", "sum", "--by", "model", "--json", TIERWISE_LEDGER=database).stdout)
    return {group["model"]: group["actions"] for group in found["groups"]}


def test_ask_records_in_the_database_and_ledger_shows_it(config, database):
    tierwise("ask", "2+2?", "--config", config, "--ledger", database)
    assert models(database) == {"fast": 1}
    (newest,) = json.loads(tierwise("ledger", "show", "--json", "--ledger", database).stdout)
    tree = tierwise("ledger", "show", newest["id"], "--ledger", database).stdout
    assert "#0 draft" in tree


def test_serve_records_in_the_database(config, database, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "tierwise", "serve", config, "--port", "0"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"TIERWISE_LEDGER": database}
        ) as process,
    ):
        try:
            port = int(re.fullmatch(r"serving on http://127\.0\.0\.1:(\d+)\n", process.stdout.readline())[1])
            assert Endpoint(None, None, port, None, None).chat("fast").status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert models(database) == {"fast": 1}
    assert_silent((tmp_path / "log").read_text())


def test_bench_records_in_the_database_and_shows_its_password_to_nobody(config, database, tmp_path):
    pytest.importorskip("altair")
    tasks = tmp_path / "tasks.jsonl"
    task = {"id": "t", "messages": [{"role": "user", "content": "2+2?"}], "check": {"number": {"equals": 4}}}
    tasks.write_text(json.dumps(task) + "\n")
    done = tierwise("bench", config, tasks, "--out", tmp_path / "run", "--ledger", database)
    assert locate(database).name in done.stdout
    assert models(database) == {"fast": 1}
    assert_silent(*(file.read_text(errors="replace") for file in (tmp_path / "run").rglob("*") if file.is_file()))


def test_a_wrong_url_is_an_error_before_anything_starts(config, tmp_path):
    for command in (["serve", config], ["ask", "hi", "--config", config], ["ledger", "sum"]):
        arguments = [*map(str, command), "--ledger", "mysql://me:p@ss@db/books"]
        done = subprocess.run(
            [sys.executable, "-m", "tierwise", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2
        assert "postgresql://USER@HOST:PORT/DATABASE" in done.stderr
        assert_silent(done.stdout, done.stderr)
