"""`tierwise bench --runner`: an agent works on each task, and what it asked is joined from the ledger by session."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from scripted_tiers import line
from tierwise.bench.joining import JoinFailed, joined
from tierwise.cli import app
from tierwise.environments import TASKS
from tierwise.ledger.read import Reader
from tierwise.runners import program as program_of
from tierwise.runs.directory import RunDirectory
from tierwise.testing.server import FakeServer, HttpReply, in_a_thread

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}", model: any}}
tiers:
  fast: {{deployment: far, policy: single}}
prices:
  far: {{prompt: 10.0, completion: 100.0}}
"""

AGENT = """
import json, os, sys, time, urllib.request

def ask(text, stream=False):
    body = {"model": os.environ["TIERWISE_MODEL"], "messages": [{"role": "user", "content": text}], "stream": stream}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
    )
    answer = urllib.request.urlopen(request, timeout=30)
    return answer if stream else json.load(answer)["choices"][0]["message"]["content"]

question = open(os.environ["INSTRUCTION"]).read()
"""
"""What our agents begin with."""

THREE_TURNS = (
    AGENT
    + """
for turn in range(3):
    said = ask(f"turn {turn}: {question}")
open(os.environ["OUT"], "w").write(said)
"""
)


class Upstream(FakeServer):
    """A model that counts for each task what it sent, and answers a question `N+1?` with `N+1`."""

    def __init__(self, right: int = 99, step: float = 0.0) -> None:
        super().__init__(prompt_tokens=11)
        self.asked: list[str] = []
        self._right = right
        self._step = step

    def reply_to(self, number, request):
        text = request.body["messages"][-1]["content"]
        self.asked.append(text)
        value = int(text.rpartition(" ")[2].partition("+")[0])
        answer = f"After some thought it is {value + 1}" if value < self._right else "no idea"
        if "slowly" in text:
            return HttpReply(text=" ".join(["word"] * 400), step=0.02)
        return HttpReply(text=answer, step=self._step)


@pytest.fixture
def bench(tmp_path, write_tasks):
    """Runs a bench with an agent, given as a Python program or a shell line."""

    def run(upstream, program, *options, tasks=4, question="{n}+1?", shell="", workload=None, config=CONFIG):
        config_text, config = config, tmp_path / "two.yaml"
        script = tmp_path / "agent.py"
        config.write_text(config_text.format(url=upstream.url))
        script.write_text(program)
        lines = [line(f"t {n}/ü", question.format(n=n), n + 1, tags=["sums"]) for n in range(tasks)]
        path = workload or write_tasks(*lines)
        command = shell or f"{sys.executable} {script}"
        arguments = ["bench", config, path, "--runner", f"command:{command}", "--out", tmp_path / "run", *options]
        done = CliRunner().invoke(app, [str(one) for one in arguments])
        return done, RunDirectory(tmp_path / "run")

    return run


@pytest.fixture
def over(tmp_path, monkeypatch):
    """The time limit of an agent is over once this file is there, however long that takes on this machine."""
    path = tmp_path / "over"

    async def look(clock):
        while not path.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
        clock.reschedule(asyncio.get_running_loop().time())

    @contextlib.asynccontextmanager
    async def timeout(_seconds):
        async with asyncio.timeout(None) as clock:
            looking = asyncio.create_task(look(clock))
            try:
                yield
            finally:
                looking.cancel()

    monkeypatch.setattr(program_of, "asyncio", SimpleNamespace(**{**vars(asyncio), "timeout": timeout}))
    return path


def test_every_token_of_a_task_is_joined_by_session(bench):
    with in_a_thread(Upstream(right=3)) as upstream:
        done, directory = bench(upstream, THREE_TURNS)
    assert done.exit_code == 0, done.output
    records = directory.read_records()
    assert sorted(str(record.outcome) for record in records) == ["correct"] * 3 + ["incorrect"]
    assert [len(record.agent.actions) for record in records] == [3] * 4
    assert sum(record.prompt_tokens for record in records) == upstream.produced.prompt == 4 * 3 * 11
    assert sum(record.completion_tokens for record in records) == upstream.produced.completion
    for record in records:
        assert record.dollars == pytest.approx((record.prompt_tokens * 10 + record.completion_tokens * 100) / 1e6)
        assert record.seconds > sum(action.seconds for action in record.agent.actions)
        assert all(action.exact for action in record.agent.actions)
    with Reader(directory.path / "ledger.db") as reader:
        assert {one.action.session for one in reader.recent()} == {record.action for record in records}


def test_an_aborted_request_costs_what_was_sent(bench):
    program = (
        AGENT
        + """
stream = ask("slowly " + question, stream=True)
for _ in range(12):
    stream.readline()
stream.close()
open(os.environ["OUT"], "w").write(ask(question))
"""
    )
    with in_a_thread(Upstream()) as upstream:
        done, directory = bench(upstream, program, "--concurrency", "2")
        while upstream.running:
            time.sleep(0.01)
        produced = upstream.produced
    assert done.exit_code == 0, done.output
    records = directory.read_records()
    assert {str(record.outcome) for record in records} == {"correct"}
    assert [[action.ending for action in record.agent.actions] for record in records] == [
        ["disconnected", "answered"]
    ] * 4
    assert [record.agent.turns for record in records] == [1] * 4
    sent = sum(action.completion for record in records for action in record.agent.actions)
    assert 4 * 6 + 4 * 5 < sent <= produced.completion < 4 * 400
    assert produced.completion - sent <= 4 * 2  # written after the gateway had left


def test_an_agent_that_takes_too_long_is_ended_with_all_its_processes(bench, tmp_path, over):
    own = f"(sleep 300 & echo $! > {tmp_path}/pid; touch {tmp_path}/begun; wait) &"
    waits = f"until [ -e {tmp_path}/begun ]; do sleep 0.02; done"
    shell = f"{own} {sys.executable} {tmp_path}/agent.py; {waits}; touch {over}; sleep 300"
    with in_a_thread(Upstream()) as upstream:
        done, directory = bench(upstream, THREE_TURNS, tasks=1, shell=shell)
    (record,) = directory.read_records()
    assert record.outcome == "correct", (record.why, done.output)  # it had written its answer
    assert record.agent.timed_out
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_the_time_limit_of_an_agent_is_in_seconds(tmp_path):
    ran = asyncio.run(program_of.run(["sleep", "300"], tmp_path, {}, 0.3, tmp_path / "log"))
    assert ran.timed_out
    assert 0.3 <= ran.seconds < 300


@pytest.mark.parametrize(
    ("program", "outcome", "words"),
    [
        (AGENT + "ask(question)", "no_answer", "the agent ended and wrote no answer to $OUT"),
        (AGENT + "ask(question); open(os.environ['OUT'], 'w').write(' \\n')", "no_answer", "wrote no answer"),
        (AGENT + "ask(question); sys.exit('out of ideas')", "error", "exit code 1: out of ideas"),
        (AGENT + "ask(question); os.kill(os.getpid(), 9)", "error", "exit code 137"),
        ("import nothing_of_this_name", "error", "No module named 'nothing_of_this_name'"),
        (AGENT + "open(os.environ['OUT'], 'w').write('1')", "error", "without asking the endpoint"),
    ],
)
def test_how_work_without_an_answer_counts(bench, program, outcome, words):
    with in_a_thread(Upstream()) as upstream:
        done, directory = bench(upstream, program, tasks=1)
        (record,) = directory.read_records()
        produced = upstream.produced.completion
    assert (str(record.outcome), words in record.why) == (outcome, True), record.why
    assert record.completion_tokens == produced
    assert done.exit_code == 1  # where no task has an answer, nothing is said about the tier


def test_a_time_limit_without_an_answer_counts_against_the_tier(bench, over):
    program = AGENT + f"ask(question); open({str(over)!r}, 'w'); time.sleep(300)"
    with in_a_thread(Upstream()) as upstream:
        done, directory = bench(upstream, program, tasks=1)
    (record,) = directory.read_records()
    assert str(record.outcome) == "no_answer"
    assert re.match(r"the time limit ended the agent after \d+ s", record.why)
    assert done.exit_code == 0


def test_a_model_that_fails_is_an_error_and_not_a_wrong_answer(bench):
    class Down(Upstream):
        def reply_to(self, number, request):
            return HttpReply(status=400, body=b'{"error": {"message": "bad tool", "code": "x"}}')

    program = AGENT + "\ntry:\n    ask(question)\nexcept Exception as error:\n    print(error)\n"
    with in_a_thread(Down()) as upstream:
        done, directory = bench(upstream, program, tasks=1)
    (record,) = directory.read_records()
    assert str(record.outcome) == "error", record.why
    assert done.exit_code == 1


def test_an_interrupted_run_keeps_what_is_finished(bench, tmp_path):
    with in_a_thread(Upstream()) as upstream:
        done, directory = bench(
            upstream, THREE_TURNS, "--limit", "4", "--budget-dollars", "0.004", "--concurrency", "1"
        )
        kept = directory.read_records()
        assert 0 < len(kept) < 4, done.output
        again = tmp_path / "run"
        done, directory = bench(upstream, THREE_TURNS, "--limit", "4", "--resume", again, "--concurrency", "1")
        assert done.exit_code == 0, done.output
        records = directory.read_records()
        assert records[: len(kept)] == kept
        assert len({record.action for record in records}) == 4
        assert sum(record.completion_tokens for record in records) == upstream.produced.completion
        done, _ = bench(upstream, THREE_TURNS, "--limit", "4", "--resume", again, "--concurrency", "1", shell="true")
    assert "the run in" in str(done.exception)


def test_a_run_is_continued_with_the_same_agent_only(bench, tmp_path):
    with in_a_thread(Upstream()) as upstream:
        bench(upstream, THREE_TURNS, "--budget-dollars", "0.001", "--concurrency", "1")
        done, _ = bench(upstream, THREE_TURNS, "--resume", tmp_path / "run", "--concurrency", "1", shell="true")
    assert "--runner was" in str(done.exception)


VOTES = CONFIG.replace("tiers:", "tiers:\n  max: {{deployment: far, policy: {{majority: {{n: 3}}}}}}")


def test_average_mode_is_one_pass_for_each_request_of_an_agent(bench):
    with in_a_thread(Upstream(right=2)) as upstream:
        asked = ("--mode", "both", "--repeats", "2")
        done, directory = bench(upstream, THREE_TURNS, *asked, tasks=3, config=VOTES)
        assert done.exit_code == 0, done.output
        produced = upstream.produced.completion
    rows = {}
    for record in directory.read_records():
        rows.setdefault((record.tier, record.mode), []).append(record)
    assert set(rows) == {("max", "average"), ("max", "max"), ("fast", "both")}
    for (_, mode), records in rows.items():
        assert {(record.task, record.repeat) for record in records} == {
            (f"t {n}/ü", repeat) for n in range(3) for repeat in range(2)
        }
        passes = {action.passes for record in records for action in record.agent.actions}
        assert (passes == {1}) == (mode != "max"), (mode, passes)
        assert sum(record.is_solved for record in records) == 4
        assert {record.taken for record in records} == {"request"}
    every = directory.read_records()
    assert len({record.action for record in every}) == len(every)  # a session for each
    assert len({record.seed for record in rows["max", "average"]}) == 6
    assert sum(record.completion_tokens for record in every) <= produced
    page = (directory.path / "report.html").read_text()
    assert "max · average" in page
    rows_to_compare = ["--base-tier", "max", "--base-mode", "average", "--tier", "max", "--mode", "max"]
    compared = CliRunner().invoke(app, ["compare", *([str(directory.path)] * 2), *rows_to_compare])
    assert "average: 1 pass" in compared.output, (compared.output, compared.exception)


def test_an_agent_has_all_passes_unless_a_mode_is_named(bench):
    with in_a_thread(Upstream()) as upstream:
        _, directory = bench(upstream, THREE_TURNS, tasks=1, config=VOTES)
    assert {(record.tier, record.mode) for record in directory.read_records()} == {("max", "max"), ("fast", "both")}


def test_a_run_is_not_continued_with_a_changed_program(bench, tmp_path):
    with in_a_thread(Upstream()) as upstream:
        bench(upstream, THREE_TURNS, "--budget-dollars", "0.001", "--concurrency", "1")
        asked = len(upstream.asked)
        done, _ = bench(upstream, THREE_TURNS + "#", "--resume", tmp_path / "run", "--concurrency", "1")
        assert len(upstream.asked) == asked
    assert re.search(r"agent\.py was sha256:\w+, now sha256:\w+", str(done.exception))


def test_the_agent_of_a_run_is_known_by_its_hashes(bench, tmp_path):
    with in_a_thread(Upstream()) as upstream:
        for name, program in (("first", THREE_TURNS), ("second", THREE_TURNS + "#"), ("third", THREE_TURNS)):
            bench(upstream, program, "--limit", "2")
            (tmp_path / "run").rename(tmp_path / name)
    policy, script = tmp_path / "gate.yaml", str(tmp_path / "agent.py")
    policy.write_text("quality: {margin: 0.9}\n")
    harness = {name: RunDirectory(tmp_path / name).read_manifest().harness for name in ("first", "second", "third")}
    assert harness["first"] == harness["third"] != harness["second"]
    assert {name for name, was in harness["first"].items() if harness["second"][name] != was} == {script}

    def noted(*arguments):
        return "The agents differ" in CliRunner().invoke(app, [str(one) for one in arguments]).output

    first, second, third = (tmp_path / name for name in harness)
    assert noted("compare", first, second)
    assert not noted("compare", first, third)
    assert noted("gate", second, "--against", first, "--policy", policy)
    assert not noted("gate", third, "--against", first, "--policy", policy)
    assert harness["first"][script] in (first / "report.html").read_text()
    Path(script).write_text(THREE_TURNS + "##")
    said = CliRunner().invoke(app, ["doctor", "--against", str(first), "--json"]).output
    assert "what the agent asks, and so every result" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runner", "harbr"], "did you mean 'harbor'"),
        (["--runner", '{"mini-swe-agent": {"turns": 3}}'], "has no environment, which mini_swe_agent needs"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_spent(bench, options, words):
    with in_a_thread(Upstream()) as upstream:
        done, directory = bench(upstream, THREE_TURNS, *options)
        assert upstream.requests == []
    assert words in str(done.exception)
    assert not directory.records_path.exists()


def test_tasks_with_an_environment_need_an_agent(bench, tmp_path):
    config = tmp_path / "one.yaml"
    config.write_text(CONFIG.format(url="http://127.0.0.1:1/v1"))
    done = CliRunner().invoke(app, ["bench", str(config), str(TASKS), "--out", str(tmp_path / "run")])
    assert "--runner" in str(done.exception)


def test_an_endpoint_without_sessions_is_refused_by_what_it_lacks():
    with (
        in_a_thread(FakeServer(HttpReply(status=404, body=b"{}"))) as server,
        pytest.raises(JoinFailed, match="no /v1/sessions"),
    ):
        asyncio.run(joined(server.url.removesuffix("/v1"), "", "s", time.monotonic()))


def test_runs_with_agents_are_compared_gated_and_graded_again(bench, tmp_path):
    with in_a_thread(Upstream()) as upstream:
        bench(upstream, THREE_TURNS, "--concurrency", "2")
        (tmp_path / "run").rename(tmp_path / "first")
        bench(upstream, THREE_TURNS + "ask(question)\n")
        (tmp_path / "run").rename(tmp_path / "second")
    runs = [str(tmp_path / "first"), str(tmp_path / "second")]
    (tmp_path / "second" / "manifest.json").write_text(
        (tmp_path / "second" / "manifest.json").read_text().replace("agent.py", "other.py")
    )
    compared = CliRunner().invoke(app, ["compare", *runs])
    assert compared.exit_code == 0, compared.output
    assert "The agents differ" in compared.output
    policy = tmp_path / "gate.yaml"
    policy.write_text("quality: {margin: 0.9}\ndollars: {ratio: 5.0}\n")
    gated = CliRunner().invoke(app, ["gate", runs[1], "--against", runs[0], "--policy", str(policy)])
    assert any(word in gated.output for word in ("PASS", "FAIL", "INCONCLUSIVE")), (gated.output, gated.exception)
    again = CliRunner().invoke(app, ["replay", runs[0]])
    assert again.exit_code == 0, (again.output, again.exception)
    page = (tmp_path / "first" / "report.html").read_text()
    assert "What the agent did" in page
    assert "$ per task" in page
