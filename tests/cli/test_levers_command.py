"""`tierwise levers`, and the page that is written from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tierwise.cli.levers import as_markdown, chosen, names_in_order, table
from tierwise.engines.lever import Lever
from tierwise.spec.errors import NotFound

PAGE = Path(__file__).parents[2] / "docs" / "levers.md"


def tierwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tierwise", "levers", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_the_matrix_shows_every_lever_of_every_engine_in_eighty_columns():
    lines = tierwise().stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert {row.name for rows in table().values() for row in rows} <= {line.split(" ")[0] for line in lines}


def test_one_engines_levers_are_told_with_their_source():
    said = tierwise("llama.cpp").stdout
    assert "moe_cache_mib  llama.cpp, launch\n  sets    --moe-cache-mib" in said
    assert said.count("\n  source") == len(table()["llama.cpp"])


def test_one_lever_is_told_on_every_engine_that_has_it():
    rows = json.loads(tierwise("--lever", "active_experts", "--json").stdout)
    assert {"llama.cpp", "vllm"} <= {row["engine"] for row in rows}
    assert {row["name"] for row in rows} == {"active_experts"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lama.cpp",), "did you mean 'llama.cpp'?"),
        (("--lever", "active_expert"), "did you mean 'active_experts'?"),
    ],
)
def test_what_nobody_knows_is_refused_with_what_was_meant(arguments, words):
    done = tierwise(*arguments)
    assert (done.returncode, words in done.stderr) == (2, True)


def test_every_row_says_what_it_sets_what_it_takes_what_it_does_and_where_that_is_known_from():
    for rows in table().values():
        for row in rows:
            assert all((row.sets, row.values, row.changes, row.source)), row


def test_no_engine_has_a_lever_twice_in_one_scope():
    for rows in table().values():
        assert len({(row.name, row.scope) for row in rows}) == len(rows)


def a(name: str, scope: str = "launch", **more: str) -> Lever:
    return Lever(name=name, sets="x", scope=scope, values="x", **more)


def test_levers_of_most_engines_come_first_and_those_of_requests_last():
    found = {"one": (a("z"), a("b"), a("r", "request")), "two": (a("z"), a("a"))}
    assert names_in_order(found) == ["z", "a", "b", "r"]


def test_a_lever_of_launch_and_request_is_shown_as_both():
    found = {"one": (a("k"), a("k", "request", needs="a|b"))}
    assert "| `k` | launch, request |" in as_markdown(found)
    assert "a\\|b" in as_markdown(found)


def test_engine_and_lever_choose_together():
    found = {"one": (a("k"), a("l")), "two": (a("k"),)}
    assert chosen(found, "one", "k") == {"one": (a("k"),)}
    with pytest.raises(NotFound):
        chosen(found, "three", None)


def test_the_page_shows_the_table_as_it_is():
    _, _, shown = PAGE.read_text(encoding="utf-8").partition("<!-- tierwise levers --markdown -->\n")
    assert shown == as_markdown(table()), "the table has changed: run `make levers`"
