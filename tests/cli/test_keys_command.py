"""`tierwise keys` on a ledger of its own."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tierwise.cli import app


@pytest.fixture
def keys(tmp_path):
    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["keys", *arguments, "--ledger", str(tmp_path / "ledger.db")])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else str(result.exception)

    return run


def test_a_key_is_created_changed_by_name_and_listed(keys):
    made = json.loads(keys("create", "--name", "alice", "--max-budget", "5", "--rpm-limit", "3", "--json"))
    assert made["key"].startswith(f"tw-{made['id']}-")
    keys("update", "alice", "--max-budget", "2", "--remove", "rpm_limit", "--model", "fast")
    keys("team", "red", "--tpm-limit", "9")
    keys("team", "red", "--max-budget", "1")
    found = json.loads(keys("list", "--json"))
    (alice,), (red,) = found["keys"], found["teams"]
    assert (alice["max_budget"], alice["rpm_limit"], alice["models"]) == (2.0, None, ["fast"])
    assert (red["team_id"], red["max_budget"], red["tpm_limit"]) == ("red", 1.0, 9)
    assert made["key"] not in keys("list", "--json") + keys("audit", "--json")


def test_a_team_is_deleted_with_its_keys(keys):
    made = json.loads(keys("create", "--name", "alice", "--team", "red", "--json"))
    with_limit = keys("team", "red", "--delete", "--rpm-limit", "9", code=2)
    assert keys("team", "red", "--delete").split()[-1] == made["id"], with_limit
    found = json.loads(keys("list", "--json"))
    assert (found["teams"], found["keys"][0]["state"]) == ([], "revoked")
    assert "no team 'red'" in keys("team", "red", "--delete", code=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--max-budget", "nan"), "allowed are 0"),
        (("--max-budget", "-1"), "allowed are 0"),
        (("--remove", "rpm_limits"), "did you mean 'rpm_limit'"),
        (("--remove", "rpm_limit", "--rpm-limit", "1"), "both set and removed"),
        (("--model-max-budget", "fast"), "NAME=DOLLARS"),
        (("--budget-duration", "30d"), "give max_budget"),
    ],
)
def test_a_bad_change_is_refused(keys, arguments, words):
    keys("create", "--name", "alice")
    assert words in " ".join(keys("update", "alice", *arguments, code=1).split())
