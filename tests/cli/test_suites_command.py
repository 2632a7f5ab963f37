"""`tierwise suites`: every suite with what it can show; the table of docs/suites.md is the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.cli.suites import COLUMNS, _facts, cells, smallest
from tierwise.spec.errors import NotFound
from tierwise.stats.power import exact_power
from tierwise.workloads.suites import ROWS, SUITES, SuiteChoice

PAGE = Path(__file__).parents[2] / "docs" / "suites.md"
TABLE = re.compile(r"(<!-- table: suites;[^\n]*-->\n)(.*?)(<!-- end -->)", re.DOTALL)


def said(*words):
    result = CliRunner().invoke(app, ["suites", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_every_suite_is_listed_with_size_modes_caveats_and_licence():
    found = {one["name"]: one for one in json.loads(said("--json"))}
    assert {"aime", "gpqa-diamond", "swe-bench-verified", "swe-bench-pro", "terminal-bench-2"} <= set(found)
    assert {"human-eval", "gsm8k", "mbpp", "reasoning-gym"} <= set(found)
    for one in found.values():
        assert one["caveats"]
        assert one["licence"]
        assert one["average"]["source"]
        assert one["maximum"]["source"]
    assert found["gpqa-diamond"]["smallest_difference"]["as_average"]["0.15"] < 0.08


def test_every_suite_that_is_run_here_can_be_made():
    here = {row.name.replace("-", "_") for row in ROWS if row.runner == "here"}
    assert here == set(SuiteChoice.__struct_fields__)
    done = CliRunner().invoke(app, ["workload", "make", "no-suite", "--out", "x.jsonl"])
    assert done.exit_code == 2
    assert all(name in done.output for name in SUITES)


@pytest.mark.parametrize("tasks", [89, 198, 731])
def test_the_smallest_difference_is_the_one_at_which_the_power_is_80_percent(tasks):
    found = smallest(tasks)["0.15"]
    assert exact_power(tasks, 0.15, found) == pytest.approx(0.8, abs=0.002)


def test_one_year_of_aime_shows_nothing_where_a_quarter_of_the_problems_differ():
    assert set(smallest(30).values()) == {None}
    assert smallest(30, 64)["0.05"] is None
    assert 0.1 < smallest(30, 64)["0.15"] < 0.2


def test_one_suite_is_shown_with_its_caveats():
    shown = said("swe-bench-verified")
    assert "59.4 %" in shown
    assert "exact McNemar" in shown


def test_an_unknown_suite_is_named_with_the_closest():
    with pytest.raises(NotFound, match="there is no suite 'gpqa'; allowed: aime, gpqa-diamond"):
        said("gpqa")


def test_the_documents_table_is_true():
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(cells(_facts(row)))} |" for row in ROWS]
    (found,) = TABLE.findall(PAGE.read_text(encoding="utf-8"))
    assert found[1] == "".join(f"{line}\n" for line in lines)
