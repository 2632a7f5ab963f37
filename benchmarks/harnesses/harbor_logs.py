"""Harbor: jobs in our sandbox as its environment. Two ask a tier, twice for each task; one runs our solutions.

The agent writes a tier's answer into a file, which each task's tests compare. A refused question is an exception that
Harbor counts as infrastructure; a question that takes longer than the task allows is a time-out, which it grades.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from harnesses.answers import QUESTIONS
from harnesses.tier import TIERS, environment, run
from tierwise.environments import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harnesses.tier import Fixture, Place

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("harbor==0.26.0", str(REPOSITORY))
QUIET = {"HARBOR_TELEMETRY": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
KEPT = ("archive-selected", "git-rescue")
"""Of our tasks."""
SLOW = "wait"
TASK = """
schema_version = "1.1"

[metadata]
category = "{group}"

[environment]
cpus = 1
memory_mb = 256
storage_mb = 64
network_mode = "no-network"

[agent]
timeout_sec = {seconds}

[verifier]
timeout_sec = 60.0
"""
TEST = """#!/bin/bash
reward=0
[ "$(cat /app/answer)" = "{target}" ] && reward=1
echo $reward > /logs/verifier/reward.txt
"""
AGENT = """
import asyncio
import json
import urllib.error
import urllib.request

from harbor.agents.base import BaseAgent


class BadRequestError(Exception):
    pass


class Asking(BaseAgent):
    def __init__(self, *args, url="", **kwargs):
        super().__init__(*args, **kwargs)
        self.url = url

    @staticmethod
    def name():
        return "asking"

    def version(self):
        return "1"

    async def setup(self, environment):
        pass

    async def run(self, instruction, environment, context):
        if instruction.strip() == "wait":
            await asyncio.sleep(60)
        body = {"model": self.model_name.partition("/")[2], "messages": [{"role": "user", "content": instruction}]}
        request = urllib.request.Request(
            self.url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            answer = json.load(await asyncio.to_thread(urllib.request.urlopen, request))
        except urllib.error.HTTPError as error:
            raise BadRequestError(json.load(error)["error"]["message"]) from error
        said = answer["choices"][0]["message"]["content"]
        context.n_input_tokens = answer["usage"]["prompt_tokens"]
        context.n_output_tokens = answer["usage"]["completion_tokens"]
        await environment.exec(f"printf '%s' '{said}' > /app/answer")
"""


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers and with the solutions. Yields the files of results, and where they belong."""
    questions, ours = place.folder / "questions", place.folder / "ours"
    for one in QUESTIONS:
        _task(questions / one.id, one.group, one.text, one.target)
    _task(questions / SLOW, "none", SLOW, "never", seconds=2.0)
    for name in KEPT:
        shutil.copytree(TASKS / name, ours / name)
    (place.folder / "asking.py").write_text(AGENT, encoding="utf-8")
    keys = {**QUIET, "PYTHONPATH": f"{place.folder}{os.pathsep}{REPOSITORY / 'src'}"}
    harbor = environment(place.home / "harbor", *PACKAGES, python=place.python) / "harbor"
    jobs: dict[str, list[str | Path]] = {
        tier: [questions, "-a", "asking:Asking", "-m", f"openai/{tier}", "--ak", f"url={place.url}"] for tier in TIERS
    }
    jobs["oracle"] = [ours, "-a", "oracle"]
    for name, words in jobs.items():
        command: list[str | Path] = [harbor, "run", "-p", *words, "--job-name", name, "-o", "jobs", "-k", "2"]
        command += ["-n", "1", "-e", "tierwise.environments.harbor:SandboxEnvironment", "-y", "-q"]
        said = run(command, place.folder, keys)
        found = sorted((place.folder / "jobs" / name).rglob("result.json"))
        if not found:
            raise SystemExit(f"Harbor wrote nothing:\n{said[-3000:]}")
        extra = [place.folder / "jobs" / name / file for file in ("config.json", "lock.json")]
        yield from ((path, f"harbor/{path.relative_to(place.folder / 'jobs')}") for path in (*found, *extra))


def _task(folder: Path, group: str, text: str, target: str, seconds: float = 60.0) -> None:
    files = {
        "task.toml": TASK.format(group=group, seconds=seconds),
        "instruction.md": text,
        "environment/Dockerfile": "FROM python:3.12\nWORKDIR /app\n",
        "tests/test.sh": TEST.format(target=target),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
