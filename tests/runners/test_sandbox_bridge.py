"""An agent that runs on this machine works in the sandbox of its task."""

from __future__ import annotations

import asyncio
import shlex
import sys

import pytest

from tierwise.environments import TASKS, Sandbox, read_task
from tierwise.runners import Command, Work
from tierwise.runners.bridge import bridged

pytestmark = pytest.mark.sandbox


def work(tmp_path, name="archive-selected", seconds=120.0):
    task = None if name is None else read_task(TASKS / name)
    return Work(
        task=name or "none",
        messages=[{"role": "user", "content": "1+1?"}],
        environment=task,
        url="http://127.0.0.1:1",
        key="",
        session="s.1",
        model="fast",
        seed=3,
        seconds=seconds,
        log=tmp_path / "log",
    )


def ran(tmp_path, line, **how):
    return asyncio.run(Command(line).attempt(work(tmp_path, **how)))


def test_what_a_line_does_in_the_sandbox_is_graded_by_the_task_s_tests(tmp_path):
    solution = shlex.quote(str(TASKS / "archive-selected" / "solution" / "solve.sh"))
    solved = ran(tmp_path, f'"$SANDBOX" < {solution}')
    assert (solved.reward, solved.code, solved.answer) == (1.0, 0, None), (solved.said, solved.tests)
    undone = ran(tmp_path, '"$SANDBOX" "echo seen by the agent; exit 7"; echo "code $?"')
    assert (undone.reward, undone.code) == (0.0, 0)
    assert undone.said.splitlines() == ["seen by the agent", "code 7"]
    assert "seen by the agent" in (tmp_path / "log").read_text()


def test_a_line_is_told_the_endpoint_the_model_and_the_task(tmp_path):
    endpoint = ["OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY"]
    names = [*endpoint, "TIERWISE_MODEL", "TASK", "SEED"]
    line = "; ".join(f"echo ${name}" for name in names)
    done = ran(tmp_path, f"{line}; cat $INSTRUCTION; echo; cat $MESSAGES; pwd > $OUT", name=None)
    base = "http://127.0.0.1:1/v1/x/s.1"
    assert done.said.splitlines() == [
        base,
        base,
        "http://127.0.0.1:1/x/s.1",
        "none",
        "fast",
        "none",
        "3",
        "1+1?",
        '[{"role":"user","content":"1+1?"}]',
    ]
    assert "tierwise-agent-" in done.answer


def test_commands_go_on_where_others_stopped_and_end_when_their_client_leaves(tmp_path):
    program = tmp_path / "agent.py"
    program.write_text(
        "import subprocess, os, time\n"
        "box = os.environ['SANDBOX']\n"
        "subprocess.run([box, 'echo one > /tmp/state; cd /tmp; pwd'], check=True)\n"
        "waiting = subprocess.Popen([box, 'touch /tmp/began; sleep 300; touch /tmp/ended'])\n"
        "while subprocess.run([box, 'test -e /tmp/began']).returncode: time.sleep(0.05)\n"
        "waiting.kill()\n"
        "while not subprocess.run([box, 'pgrep -x sleep']).returncode: time.sleep(0.05)\n"
        "print(subprocess.run([box, 'cat /tmp/state; ls /tmp'], stdout=subprocess.PIPE).stdout)\n"
    )
    done = ran(tmp_path, f"{sys.executable} {program}")
    assert done.code == 0, done.said
    assert "one\\n" in done.said
    assert "began" in done.said
    assert "ended" not in done.said


def test_a_sandbox_that_has_ended_is_told_and_not_waited_for(tmp_path):
    async def main():
        async with Sandbox() as sandbox, bridged(sandbox, tmp_path) as variables:
            await sandbox.stop()
            process = await asyncio.create_subprocess_exec(variables["SANDBOX"], "true", stderr=asyncio.subprocess.PIPE)
            _, said = await process.communicate()
            return process.returncode, said.decode()

    code, said = asyncio.run(main())
    assert code == 125
    assert "the sandbox has ended" in said
