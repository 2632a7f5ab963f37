"""What `--runner` and a workload's `runner` may say."""

from __future__ import annotations

import msgspec
import pytest

from tierwise.runners import Command, Harbor, MiniSweAgent, parse_runner
from tierwise.runners.harbor import finished
from tierwise.runners.mini_swe_agent import MiniConfig
from tierwise.runners.program import Ran
from tierwise.runners.work import RunnerFailed
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.workloads.files import load

TASK = '{"id": "a", "messages": [{"role": "user", "content": "1+1?"}], "check": {"number": {"equals": 2}}}\n'


@pytest.mark.parametrize(
    ("text", "kind", "member"),
    [
        ("command: python my_agent.py --fast", "command", Command("python my_agent.py --fast")),
        ('{"command": "a | b"}', "command", Command("a | b")),
        ("mini-swe-agent", "mini_swe_agent", MiniSweAgent()),
        (
            '{"mini-swe-agent": {"turns": 8, "tool_calls": true}}',
            "mini_swe_agent",
            MiniSweAgent(turns=8, tool_calls=True),
        ),
        (
            '{"mini-swe-agent": {"config": {"agent": {"system_template": "Write one command."}}}}',
            "mini_swe_agent",
            MiniSweAgent(config=MiniConfig(agent={"system_template": "Write one command."})),
        ),
        ("harbor", "harbor", Harbor()),
        ('{"harbor": {"options": {"max_turns": 8}}}', "harbor", Harbor(options={"max_turns": 8})),
    ],
)
def test_a_runner_is_named_with_its_settings(text, kind, member):
    chosen = parse_runner(text)
    assert (chosen.kind, chosen.member) == (kind, member)
    assert parse_runner(msgspec.json.encode(chosen).decode()) == chosen  # what a manifest keeps


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mini", "allowed: command, harbor, inspect, mini-swe-agent"),
        ("command:", "length >= 1"),
        ('{"mini-swe-agent": {"turns": 0}}', "turns"),
        ('{"mini-swe-agent": {"config": {"agnet": {}}}}', "agent"),
        ('{"command": "a", "harbor": {}}', "exactly one"),
        ("{", "--runner"),
    ],
)
def test_what_is_no_runner_is_refused_by_name(text, words):
    with pytest.raises((SpecError, ConfigErrors), match=words):
        parse_runner(text)


def test_a_workload_s_header_names_one(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"workload": {"runner": {"command": "./agent"}}}\n' + TASK)
    assert load(path).header.runner.member == Command("./agent")
    path.write_text('{"workload": {"runner": "minisweagent"}}\n' + TASK)
    with pytest.raises(ConfigErrors, match="did you mean 'mini-swe-agent'"):
        load(path)


@pytest.mark.parametrize(
    ("runner", "variable"), [(MiniSweAgent(), "TIERWISE_MINI_SWE_AGENT"), (Harbor(), "TIERWISE_HARBOR")]
)
def test_a_harness_that_is_not_there_is_named_with_how_to_get_it(runner, variable, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SpecError, match="pip install"):
        runner.check()
    monkeypatch.setenv(variable, str(tmp_path / "none"))
    with pytest.raises(SpecError, match=variable):
        runner.check()


def test_the_version_of_a_harness_is_that_of_its_own_python(monkeypatch, tmp_path):
    python, program = tmp_path / "bin" / "python", tmp_path / "bin" / "mini"
    python.parent.mkdir()
    program.touch()
    python.write_text('#!/bin/sh\necho "2.4.6"\n')
    python.chmod(0o755)
    monkeypatch.setenv("TIERWISE_MINI_SWE_AGENT", str(program))
    assert MiniSweAgent().versions() == {"mini-swe-agent": "2.4.6"}
    python.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SpecError, match="no package mini-swe-agent"):
        MiniSweAgent().versions()


def test_a_harbor_without_a_python_is_known_by_the_hash_of_its_program(monkeypatch, tmp_path):
    program = tmp_path / "harbor"
    program.write_text("one")
    monkeypatch.setenv("TIERWISE_HARBOR", str(program))
    one = Harbor().versions()["harbor"]
    program.write_text("two")
    assert one.startswith("sha256:")
    assert Harbor().versions()["harbor"] not in (one, "unknown")


@pytest.mark.parametrize("line", ["sh {file} --fast", "FAST=1 python '{file}'", "exec {file}"])
def test_a_command_is_known_by_its_line_and_by_its_files(line, tmp_path):
    path = tmp_path / "agent.py"
    path.write_text("1")
    command = Command(line.format(file=path))
    one = command.versions()
    path.write_text("2")
    two = command.versions()
    assert {name for name in one if one[name] != two[name]} == {str(path)}
    assert Command(command.line + " ").versions()["command"] != one["command"]
    assert Command("echo 'open").versions().keys() == {"command"}


RAN = Ran(code=0, timed_out=False, seconds=40.0, said="said")
SPAN = {"started_at": "2026-11-30T10:00:00Z", "finished_at": "2026-11-30T10:00:07.500Z"}


def test_a_result_of_harbor_s_is_read():
    result = {
        "verifier_result": {"rewards": {"reward": 1.0}},
        "exception_info": None,
        "agent_execution": SPAN,
        "more": 1,
    }
    found = finished(msgspec.json.encode(result), RAN)
    assert (found.reward, found.seconds, found.timed_out, found.code) == (1.0, 7.5, False, 0)
    late = result | {"exception_info": {"exception_type": "AgentTimeoutError", "exception_message": "after 9 s"}}
    assert finished(msgspec.json.encode(late), RAN).timed_out


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"exception_info": {"exception_type": "RuntimeError", "exception_message": "tmux"}}, "RuntimeError: tmux"),
        ({"verifier_result": {"rewards": {}}}, "it has no reward"),
        ({"verifier_result": {"rewards": {"reward": "high"}}}, "cannot be read"),
    ],
)
def test_a_trial_of_harbor_s_that_broke_off_says_nothing_about_a_tier(result, words):
    with pytest.raises(RunnerFailed, match=words):
        finished(msgspec.json.encode(result), RAN)
