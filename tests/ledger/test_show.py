"""`tierwise ledger`: trees and tables for people, JSON for programs, and messages for mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from scenes import PRICES, Heard, a_cascade, a_pass, a_record
from typer.testing import CliRunner

from tierwise.cli.ledger import app
from tierwise.ledger.lines import line_of
from tierwise.ledger.rows import entry
from tierwise.ledger.store import Ledger
from tierwise.spec.errors import NotFound, SpecError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger.open(path, PRICES, Heard()) as ledger:
        ledger.write(a_cascade())
        ledger.write(a_record(a_pass(), action="later", started_at=1_800_100_000.0, model="fast [beta]"))
        ledger.write(a_record(action="refused", ending="failed", tier="", error="no room", started_at=1_800_000_001.0))
    return path


def run(*arguments, **environment):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_an_action_is_drawn_as_a_tree_of_its_passes(path):
    text = run("show", "cascade", "--ledger", path)
    assert re.findall(r"^[│├└─ ]*#\d", text, re.MULTILINE) == [
        "├── #0",
        "│   └── #1",
        "├── #2",
        "│   └── #4",
        "│       └── #5",
        "├── #3",
    ]
    assert "repeats #0" in text
    assert "after #1, #2" in text
    assert "the engine died [and said so]" in text
    assert "✗ not accepted by number 0.00: no number found" in text
    assert "about 40 → 3 tokens" in text
    assert "caller's id: ticket-17" in text
    assert "decision of auto: escalates until number accepts  0.00 s" in text
    assert "decision of auto: fast not accepted (verifier 0.25)  after #0, #1  0.75 s" in text


def test_an_action_as_json_has_every_pass_with_its_checks_and_its_place_in_the_tree(path):
    action = json.loads(run("show", "casc", "--json", "--ledger", path))
    assert [(done["number"], done["parent"], done["outcome"], done["cancelled"]) for done in action["passes"]] == [
        (0, None, "failed", False),
        (1, 0, "finished", False),
        (2, None, "finished", False),
        (3, None, "aborted", True),
        (4, 2, "finished", False),
        (5, 4, "cut", True),
    ]
    assert action["passes"][1]["checks"][0]["why"] == "no number found"
    assert action["checks"][0]["score"] is None
    assert [done["candidate"] for done in action["passes"]] == [True, True, True, True, False, True]
    assert [(one["reason"], one["level"], one["after"]) for one in action["decisions"]] == [
        ("escalates until number accepts", None, []),
        ("fast not accepted", 0.25, [0, 1]),
    ]
    assert action["spent"]["completion"] == sum(done["completion"] for done in action["passes"])
    assert action["spent"]["dollars"] == pytest.approx(sum(done["dollars"] for done in action["passes"]))


def test_an_action_names_its_session(tmp_path):
    record = a_record(a_pass(), action="turn")
    record.trace.session = "agent-7"
    with Ledger.open(tmp_path / "ledger.db", PRICES, Heard()) as ledger:
        ledger.write(record)
    assert "session: agent-7" in run("show", "turn", "--ledger", tmp_path / "ledger.db")
    assert json.loads(run("show", "turn", "--json", "--ledger", tmp_path / "ledger.db"))["session"] == "agent-7"


def test_without_an_action_the_newest_are_listed(path):
    assert [line.split()[0] for line in run("show", "--ledger", path).splitlines()] == [
        "action",
        "later",
        "refused",
        "cascade",
    ]
    newest = json.loads(run("show", "--last", "2", "--json", "--ledger", path))
    assert [(action["id"], action["spent"]["passes"]) for action in newest] == [("later", 1), ("refused", 0)]


def test_names_are_printed_as_they_are_also_where_they_look_like_markup(path):
    assert "fast [beta] → fast" in run("show", "--ledger", path)


def test_totals_are_a_table_with_a_line_for_all(path):
    header, *groups, everything = run("sum", "--by", "deployment", "--ledger", path).splitlines()[:5]
    assert header.split()[:3] == ["deployment", "actions", "passes"]
    assert [line.split("  ")[0] for line in groups] == ["(no pass)", "large", "small"]
    assert everything.split()[:3] == ["all", "3", "7"]


def test_totals_of_many_groups_have_the_same_columns_and_a_line_for_each(tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger.open(path, PRICES, Heard()) as ledger:
        for number in range(201):
            record = a_record(a_pass(), action=f"a{number}")
            record.trace.session = f"task-{number:03}"
            ledger.write(record)
    header, *groups, everything = run("sum", "--by", "session", "--ledger", path).splitlines()
    assert header.split()[:3] == ["session", "actions", "passes"]
    assert [line.split()[:3] for line in groups] == [[f"task-{number:03}", "1", "1"] for number in range(201)]
    assert everything.split()[:3] == ["all", "201", "201"]
    assert len({len(line) for line in (header, *groups, everything)}) == 1


@pytest.mark.parametrize("by", ["tier", "model", "deployment", "role", "outcome", "day"])
def test_totals_as_json_add_up_whatever_they_are_grouped_by(path, by):
    totals = json.loads(run("sum", "--by", by, "--json", "--ledger", path))
    assert sum(group["passes"] for group in totals["groups"]) == totals["total"]["passes"] == 7
    assert all(by in group for group in totals["groups"])


@pytest.mark.parametrize(
    ("since", "actions"),
    [("2027-01-15", 3), ("2027-01-16T00:00", 1), ("2027-01-16T13:00+02:00", 1), ("2027-02-01", 0), ("1h", None)],
)
def test_since_takes_days_moments_and_ages(path, since, actions):
    totals = json.loads(run("sum", "--since", since, "--json", "--ledger", path))
    assert actions is None or totals["total"]["actions"] == actions


def test_the_ledger_can_be_named_in_the_environment(path):
    assert "later" in run("show", TIERWISE_LEDGER=str(path))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["show", "nothing"], NotFound, "the newest is later"),
        (["sum", "--since", "yesterday"], SpecError, "'yesterday' is not a time"),
    ],
)
def test_a_mistake_is_an_error_that_says_what_to_write(path, arguments, error, message):
    with pytest.raises(error, match=message):
        run(*arguments, "--ledger", path)


def test_a_missing_ledger_is_an_error_and_not_an_empty_file(tmp_path):
    with pytest.raises(NotFound, match="no ledger at"):
        run("show", "--ledger", tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_shown_too(path):
    line = line_of(entry(a_record(action="left"), PRICES))
    path.with_name("ledger.db.1.00000000a.pending.jsonl").write_bytes(line)
    assert "left" in run("show", "--ledger", path)


def test_asking_for_help_loads_no_database():
    program = "import sys, tierwise.cli; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_text_of_others_forges_neither_lines_nor_escape_sequences(tmp_path):
    evil = "\x1b[2Jx\n#9 forged  finished"
    path = tmp_path / "ledger.db"
    with Ledger.open(path, PRICES, Heard()) as ledger:
        record = a_record(a_pass(error=evil), action="evil", ending="failed", error=evil, caller=evil, model="m\x1b[2J")
        ledger.write(record)
    for text in (run("show", "evil", "--ledger", path), run("show", "--ledger", path)):
        assert "\x1b" not in text
        assert not re.search(r"^[│├└─ ]*#9 forged", text, re.MULTILINE)
        assert "\\x1b[2J" in text
