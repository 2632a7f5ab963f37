"""`tierwise bench` end to end: it launches the tiers and writes a table, a report, records and a ledger."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from typer.testing import CliRunner

from scripted_tiers import Answering, line
from tierwise.cli import app
from tierwise.cli.pull import bring, unhashed
from tierwise.plan import parse
from tierwise.policies import BestOfN, Single
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import Broken, Refused, SpecError, TierwiseError
from tierwise.testing import Reply, ScriptedEngine

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}/v1", model: fast}}
tiers:
  fast: {{deployment: far, policy: single}}
  max: {{deployment: far, policy: {{best_of_n: {{n: 3}}}}}}
prices:
  far: {{completion: 100.0}}
"""


@pytest.fixture
def config(tmp_path, endpoint):
    """Writes a config file whose one deployment is an endpoint in this process."""

    def write(engine):
        path = tmp_path / "two.yaml"
        path.write_text(CONFIG.format(url=endpoint(engine, fast=Single())))
        return path

    return write


@pytest.fixture
def tasks(write_tasks):
    return write_tasks(*(line(f"t{number}", f"{number}+1?", number + 1, tags=["sums"]) for number in range(6)))


def sums(step=0.0, right=6):
    return Answering({f"{n}+1?": f"{n + 1}" for n in range(right)}, step=step)


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_bench_launches_the_tiers_measures_them_and_reports(config, tasks, tmp_path):
    out = tmp_path / "run"
    done = run(config(sums(right=4)), tasks, "--out", out)
    assert done.exit_code == 0, done.output
    for words in ("fast", "max", "4 of 6", "p50", "passes", "tokens", "$ per action", "not shown to help"):
        assert words in done.output.replace("$ per\naction", "$ per action"), words
    for path in ("report.html", "records.jsonl", "ledger.db"):
        assert str(out / path) in done.output
        assert (out / path).stat().st_size > 0
    records = RunDirectory(out).read_records()
    assert len(records) == 18
    with closing(sqlite3.connect(out / "ledger.db")) as ledger:
        callers = {caller for (caller,) in ledger.execute("select caller from actions")}
        (dollars,) = ledger.execute("select sum(dollars_tokens + dollars_time) from passes").fetchone()
    assert callers == {record.action for record in records}
    assert dollars == pytest.approx(sum(record.spent for record in records))
    assert "stopped" in (out / "serve.log").read_text()
    (far,) = RunDirectory(out).read_manifest().deployments
    assert (far.name, far.engine, far.tiers, far.weights) == ("far", "http", ["fast", "max"], None)


def test_average_mode_is_the_first_candidate_of_max_mode_without_extra_requests(config, tasks, tmp_path):
    draws = {f"{n}+1?": [f"{n + 1}" if n < 4 else "a wrong one: 99", f"{n + 1}", "0"] for n in range(6)}
    engine = Answering(draws)
    done = run(config(engine), tasks, "--out", tmp_path / "run", "--tier", "max")
    assert done.exit_code == 0, done.output
    records = {record.key: record for record in RunDirectory(tmp_path / "run").read_records()}
    assert (len(records), len(engine.calls)) == (12, 18)
    whole = [record for key, record in records.items() if key.mode == "max"]
    singles = [records[record.key._replace(mode="average")] for record in whole]
    assert [(record.taken, record.outcome, record.answer) for record in singles] == [
        ("candidate", "correct" if draws[f"{n}+1?"][0] == f"{n + 1}" else "incorrect", draws[f"{n}+1?"][0])
        for n in (int(record.task.removeprefix("t")) for record in whole)
    ]
    for record, single in zip(whole, singles, strict=True):
        (only,) = single.passes
        assert (record.taken, len(record.passes)) == ("request", 3)
        assert only in record.passes
        assert (single.completion_tokens, single.prompt_tokens) == (only.completion_tokens, only.prompt_tokens)
        assert 0 < single.dollars == only.dollars < record.dollars
        assert (single.spent, single.action) == (0.0, record.action)


def test_a_checkpoint_without_a_hash_is_hashed_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    config = (
        "checkpoints: {m: {source: 'file:m.gguf'}}\n"
        "deployments: {small: {engine: llama.cpp, checkpoint: m}}\n"
        "tiers: {fast: {deployment: small, policy: single}}\n"
    )
    plan = parse(config, tmp_path / "two.yaml")
    assert unhashed(plan) == ["m"]
    bring(plan, unhashed(plan), quiet=True)
    assert unhashed(plan) == []


def test_results_are_printed_as_json_with_nothing_else_on_standard_output(config, tasks, tmp_path):
    done = run(config(sums()), tasks, "--out", tmp_path / "run", "--json", "--mode", "average", "--tier", "max")
    shown = json.loads(done.stdout)
    (row,) = shown["rows"]
    assert (row["tier"], row["mode"], row["quality"]["value"], row["passes"]) == ("max", "average", 1.0, 1.0)
    assert shown["report"] == str(tmp_path / "run" / "report.html")


def test_a_running_endpoint_is_measured(endpoint, config, tasks, tmp_path):
    url = endpoint(sums(), fast=Single(), max=BestOfN(n=2))
    done = run(config(sums()), tasks, "--out", tmp_path / "run", "--url", f"{url}/v1", "--limit", 2)
    assert done.exit_code == 0, done.output
    assert "ledger" not in done.output
    assert len(RunDirectory(tmp_path / "run").read_records()) == 6


def test_too_many_infrastructure_errors_give_exit_code_1_and_a_report(config, tasks, tmp_path):
    engine = ScriptedEngine(Reply(error=Broken("out of memory", engine="far")), step=0.0)
    done = run(config(engine), tasks, "--out", tmp_path / "run", "--tier", "fast")
    assert done.exit_code == 1
    assert "too many to trust the result" in " ".join(done.output.split())
    assert "out of memory" in done.output
    assert (tmp_path / "run" / "report.html").exists()


def test_a_run_whose_requests_are_refused_says_so_stops_and_cannot_be_gated(config, write_tasks, tmp_path):
    engine = ScriptedEngine(Reply(error=Refused("seed is not supported", engine="far")), step=0.0)
    tasks = write_tasks(*(line(f"t{number}", f"{number}+1?", number + 1) for number in range(60)))
    out, base = tmp_path / "run", tmp_path / "base"
    done = run(config(engine), tasks, "--out", out, "--tier", "fast", "--concurrency", 2)
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "stopped: fast: the server refused 5 of 5 requests. Most common:" in said
    assert "seed is not supported" in said
    assert "Not a result. fast: the server refused" in said
    assert 5 <= len(RunDirectory(out).read_records()) <= 7
    assert run(config(sums(right=60)), tasks, "--out", base, "--tier", "fast").exit_code in (0, 1)
    (tmp_path / "gate.yaml").write_text("quality: {margin: 0.05}\n")
    judged = CliRunner().invoke(
        app, ["gate", str(out), "--against", str(base), "--policy", str(tmp_path / "gate.yaml"), "--common"]
    )
    assert isinstance(judged.exception, SpecError), "an error, which exits with 2"
    assert "a refused request is not a wrong answer" in str(judged.exception).lower()
    assert "FAIL" not in judged.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--tier", "fats"), "did you mean 'fast'?"), (("--out", "OLD"), "already holds a run")],
)
def test_invalid_input_is_reported_before_anything_runs(config, tasks, tmp_path, arguments, message):
    old = tmp_path / "old"
    old.mkdir()
    (old / "records.jsonl").write_text("{}")
    done = run(config(sums()), tasks, *(str(old) if one == "OLD" else one for one in arguments))
    assert isinstance(done.exception, TierwiseError)
    assert message in str(done.exception)


def tierwise(*arguments, code="from tierwise.cli import main; main()"):
    """Runs the program as a process."""
    command = [sys.executable, "-c", code, "bench", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_an_invalid_workload_gives_exit_code_2_and_every_error(config, write_tasks):
    path = write_tasks({**line("a"), "chekc": 1}, "{", line("c"))
    with tierwise(config(sums()), path) as program:
        output, _ = program.communicate(timeout=60)
    assert program.returncode == 2
    assert "tasks.jsonl:1: chekc: unknown key" in output
    assert "tasks.jsonl:2: not JSON" in output


def test_a_missing_extra_is_named_with_its_install_command(config, tasks):
    code = "import sys; sys.modules['altair'] = None; from tierwise.cli import main; main()"
    with tierwise(config(sums()), tasks, code=code) as program:
        output, _ = program.communicate(timeout=60)
    assert program.returncode == 2
    assert "tierwise bench needs altair: pip install 'tierwise[bench]'" in output


def killed(program, moment):
    """Kill a program with SIGKILL once the condition holds."""
    try:
        moment(program)
    finally:
        program.kill()
        program.communicate(timeout=60)


def grown(out, size):
    """Waits until the run's records exceed a size."""

    def wait(program):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and program.poll() is None and size_of(out) <= size:
            time.sleep(0.005)

    return wait


def size_of(out):
    path = out / "records.jsonl"
    return path.stat().st_size if path.exists() else 0


def test_a_run_that_is_killed_repeatedly_loses_no_record_and_repeats_none(endpoint, config, tasks, tmp_path):
    out, chance = tmp_path / "run", random.Random(7)
    url = endpoint(sums(step=0.1), fast=Single(), max=BestOfN(n=2))
    arguments = (config(sums()), tasks, "--url", url, "--repeats", 2, "--out", out)
    seen = []
    for _ in range(4):
        killed(tierwise(*arguments), grown(out, size_of(out) + chance.randrange(1500)))
        with (out / "records.jsonl").open("ab") as file:
            file.write(b'{"action":"torn in the mi')
        records = RunDirectory(out).read_records()
        assert records[: len(seen)] == seen
        assert len({record.key for record in records}) == len(records)
        seen = records
    assert 0 < len(seen) < 36
    with tierwise(*arguments) as program:
        output, _ = program.communicate(timeout=120)
    assert program.returncode == 0, output
    assert f"{len(seen)} of them were measured before" in output
    records, manifest = RunDirectory(out).read_records(), RunDirectory(out).read_manifest()
    assert records[: len(seen)] == seen
    assert [record.key for record in records] == list(dict.fromkeys(record.key for record in records))
    assert {record.key for record in records} == manifest.keys()
    assert all(record.outcome == "correct" for record in records)
    assert [session.ended is None for session in manifest.sessions] == [True] * 4 + [False]


def test_a_killed_run_that_launched_its_tiers_can_be_resumed(config, tasks, tmp_path):
    out = tmp_path / "run"
    arguments = (config(sums(step=0.1)), tasks, "--tier", "fast")
    killed(tierwise(*arguments, "--out", out), grown(out, 0))
    kept = len(RunDirectory(out).read_records())
    done = run(*arguments, "--resume", out)
    assert done.exit_code == 0, done.output
    assert len(RunDirectory(out).read_records()) == 6 > kept > 0
    assert "6 of 6" in done.output
    again = run(*arguments, "--resume", out)
    assert "is complete" in str(again.exception)


def test_a_spend_limit_ends_a_run_and_prints_how_to_continue(config, tasks, tmp_path):
    out = tmp_path / "run"
    done = run(config(sums()), tasks, "--out", out, "--tier", "fast", "--concurrency", 1, "--budget-dollars", "0.00035")
    assert done.exit_code == 0, done.output
    assert "stopped: the next action would exceed $0.00035" in done.output
    assert f"--resume {out}" in done.output
    assert "timing error of the runner: p99" in done.output
    assert len(RunDirectory(out).read_records()) == 3


def test_arrivals_follow_a_trace_and_invalid_lines_are_named(config, tasks, tmp_path):
    trace = tmp_path / "trace"
    trace.write_text("0\n0.1\nlater\n")
    arguments = (config(sums()), tasks, "--out", tmp_path / "run", "--tier", "fast", "--arrival", f"trace:{trace}")
    assert "trace:3: 'later' is not a time" in str(run(*arguments).exception)
    trace.write_text("0\n0.1\n0.4\n")
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    began = sorted(record.began for record in RunDirectory(tmp_path / "run").read_records())
    assert [moment - began[0] for moment in began] == pytest.approx([0, 0.1, 0.4, 0.6, 0.7, 1.0], abs=0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_its_records_and_leaves_no_process(config, tasks, tmp_path, number):
    out = tmp_path / "run"
    with tierwise(config(sums(step=0.4)), tasks, "--out", out, "--concurrency", 1) as program:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (out / "records.jsonl").exists():
            time.sleep(0.05)
        time.sleep(1.0)
        program.send_signal(number)
        output, _ = program.communicate(timeout=60)
    assert program.returncode == 130, output
    assert "Partial:" in output
    assert (out / "report.html").exists()
    assert 1 <= len(RunDirectory(out).read_records()) < 18
    assert "stopped" in (out / "serve.log").read_text()


def test_a_config_that_cannot_be_served_gives_the_reason(tmp_path, tasks):
    path = tmp_path / "two.yaml"
    path.write_text(
        "deployments: {far: {engine: http, url: 'http://127.0.0.1:9/v1', api_key_env: NO_SUCH_KEY_HERE}}\n"
        "tiers: {fast: {deployment: far, policy: single}}\n"
    )
    done = run(path, tasks, "--out", tmp_path / "run")
    assert isinstance(done.exception, TierwiseError)
    assert "NO_SUCH_KEY_HERE" in str(done.exception)
