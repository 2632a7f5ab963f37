"""`tierwise workload` as a script meets it: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from ledger.scenes import PRICES, PROMPT, Heard, a_pass, a_record
from scripted_tiers import line
from tierwise.cli import app
from tierwise.ledger.store import Ledger
from tierwise.spec.call import Completion
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.verifiers.packages import is_installed
from tierwise.workloads.files import load


def run(*words):
    done = CliRunner().invoke(app, ["workload", *map(str, words)])
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def sums(tmp_path):
    path = tmp_path / "sums.jsonl"
    tasks = [line(f"{tag}{number}", tags=[tag], cluster=f"c{number // 2}") for tag in "ab" for number in range(4)]
    path.write_bytes(msgspec.json.Encoder().encode_lines(tasks))
    return path


def test_check_says_what_a_workload_holds_and_what_it_cannot_show(sums):
    said = run("check", sums).stdout
    assert f"ok {sums}: 8 tasks, SHA-256 " in said
    assert "  clusters: 2\n" in said
    assert "  checks: number 8\n  tags: a 4, b 4\n" in said
    assert "note: 8 tasks: a share is accurate to ±" in said


def test_check_as_json_is_json(sums):
    facts = json.loads(run("check", sums, "--json").stdout)
    assert (facts["tasks"], facts["arrival"], facts["judges"], facts["needs_sandbox"]) == (8, "closed", [], False)


def test_check_refuses_what_is_wrong(sums):
    sums.write_text('{"id": "a"}\n')
    with pytest.raises(ConfigErrors, match=r"sums.jsonl:1: the key 'messages' is missing"):
        run("check", sums)
    with pytest.raises(NotFound):
        run("check", sums.with_name("none.jsonl"))


def test_a_sample_is_a_workload_and_says_what_was_drawn(sums, tmp_path):
    said = run("sample", sums, "--count", 4, "--out", tmp_path / "some.jsonl", "--seed", 3).stdout
    assert "some.jsonl: 4 of 8 tasks of sums, proportional, seed 3\n  a: 2 of 4\n  b: 2 of 4\n" in said
    found = load(tmp_path / "some.jsonl")
    assert len(found.tasks) == 4
    assert "drawn by tags, proportional, seed 3" in found.header.description
    with pytest.raises(SpecError, match="already exists"):
        run("sample", sums, "--count", 4, "--out", tmp_path / "some.jsonl")


@pytest.mark.parametrize("name", ["g.jsonl", "g"])
def test_a_suite_is_made_with_its_version_and_its_hash_in_it(tmp_path, name):
    row = {"question": "Two and two?", "answer": "#### 4"}
    (tmp_path / "data.jsonl").write_bytes(msgspec.json.Encoder().encode_lines([row]))
    said = run("make", "gsm8k", "--file", tmp_path / "data.jsonl", "--out", tmp_path / name).stdout
    assert "1 tasks of gsm8k (data.jsonl), SHA-256 " in said
    found = load(tmp_path / name)
    assert (found.header.source.kind, found.header.made.version, found.tasks[0].id) == (
        "gsm8k",
        "data.jsonl",
        "gsm8k/0000",
    )


def test_a_suite_lacks_its_file_or_its_place(tmp_path):
    with pytest.raises(ConfigErrors, match="the key 'file' is missing"):
        run("make", "gsm8k", "--out", tmp_path / "x.jsonl")
    with pytest.raises(SpecError, match="give a path to write to"):
        run("make", "human-eval")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("human-eval", "--seed", 1), "human_eval.seed: unknown key; allowed: count, max_tokens, seconds"),
        (("mbpp", "--file", "x", "--since", "2025-01-01"), "mbpp.since: unknown key"),
        (("human-eval", "--data-dir", "."), "human-eval reads no file of yours"),
    ],
)
def test_an_option_that_a_suite_does_not_have_is_refused(tmp_path, words, why):
    with pytest.raises(SpecError) as caught:
        run("make", *words, "--out", tmp_path / "x.jsonl")
    assert why in str(caught.value)


def test_puzzles_are_made_and_can_be_made_again(tmp_path):
    if not is_installed("reasoning-gym"):
        pytest.skip("tierwise[workloads] is not installed")
    words = ("make", "reasoning-gym", "--generator", "gcd", "--count", 3, "--seed", 5, "--out")
    run(*words, tmp_path / "a")
    run(*words, tmp_path / "b")
    (tmp_path / "b" / "tasks.jsonl").unlink()
    assert load(tmp_path / "a").tasks == load(tmp_path / "b").tasks
    assert run("make", "reasoning-gym", "--list").stdout.startswith("ab\n")


@pytest.fixture
def ledger(tmp_path):
    def write(*, content):
        with Ledger.open(tmp_path / "ledger.db", PRICES, Heard(), content=content) as book:
            for number in range(3):
                said = {"prompt": PROMPT, "answers": (Completion(text="write to a@b.org"),)}
                book.write(a_record(a_pass(), action=f"a{number}", started_at=1e9 + number, **said))
        return tmp_path / "ledger.db"

    return write


def test_recorded_actions_become_a_workload_with_their_arrivals(ledger, tmp_path):
    words = ("--ledger", ledger(content=True), "--out", tmp_path / "real", "--check", "agrees:max", "--limit", 2)
    said = run("from-ledger", *words).stdout
    assert "2 tasks of 2 recorded actions, graded by agrees:max\n  redacted: emails 2\n" in said
    assert "review the tasks before you share them" in said
    found = load(tmp_path / "real")
    assert [task.id for task in found.tasks] == ["a1", "a2"]
    assert found.judges == ("max",)
    assert found.arrival == f"trace:{tmp_path / 'real' / 'arrivals.txt'}"
    assert (tmp_path / "real" / "arrivals.txt").read_text() == "0.000\n1.000\n"


def test_a_ledger_without_content_says_how_it_gets_some(ledger, tmp_path):
    with pytest.raises(SpecError, match="serve --keep-content"):
        run("from-ledger", "--ledger", ledger(content=False), "--out", tmp_path / "x.jsonl", "--check", "judge:max")
    assert not (tmp_path / "x.jsonl").exists()


def test_a_check_must_be_chosen(ledger, tmp_path):
    done = CliRunner().invoke(app, ["workload", "from-ledger", "--out", str(tmp_path / "x.jsonl")])
    assert done.exit_code == 2
