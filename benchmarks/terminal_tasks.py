"""Our terminal tasks prove themselves: their solutions pass in every run, and doing nothing passes none.

    python benchmarks/terminal_tasks.py --runs 10
    python benchmarks/terminal_tasks.py --runs 10 --harbor FOLDER/bin/harbor

The first runs them in our sandbox directly. The second runs Harbor (its own agents `oracle` and `nop`) on our sandbox
as its environment, and reads the results that Harbor wrote; tierwise must be installed beside it. Exits with 1 if a
solution failed once, doing nothing passed once, or an attempt had no reward.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tierwise.environments import TASKS, AgentTask, Solver, attempt, nop, oracle, read_tasks
from tierwise.spec.errors import TierwiseError

ENVIRONMENT = "tierwise.environments.harbor:SandboxEnvironment"
SOLVERS: dict[str, Solver] = {"oracle": oracle, "nop": nop}


Rewards = Counter[tuple[str, bool]]
"""Attempts with a reward, by task and whether they passed. One that ended with an error has none, and is told."""


async def directly(tasks: list[AgentTask], agent: str, runs: int, at_once: int) -> Rewards:
    found: Rewards = Counter()
    room = asyncio.Semaphore(at_once)

    async def once(task: AgentTask) -> None:
        async with room:
            try:
                found[task.name, (await attempt(task, SOLVERS[agent])).reward == 1] += 1
            except TierwiseError as error:
                print(f"{task.name}, {agent}: {error}", file=sys.stderr)

    await asyncio.gather(*(once(task) for task in tasks for _ in range(runs)))
    return found


def with_harbor(harbor: Path, folder: Path, agent: str, runs: int, at_once: int) -> Rewards:
    """The same, from the results of a job of Harbor's."""
    with tempfile.TemporaryDirectory() as jobs:
        line = [str(harbor), "run", "-p", str(folder), "-a", agent, "-e", ENVIRONMENT, "-k", str(runs)]
        line += ["-n", str(at_once), "-o", jobs, "--job-name", agent, "-y", "-q"]
        quiet = {"HARBOR_TELEMETRY": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = subprocess.run(line, env=os.environ | quiet, capture_output=True, text=True, check=False)
        found: Rewards = Counter()
        for path in Path(jobs, agent).glob("*/result.json"):
            said = json.loads(path.read_text(encoding="utf-8"))
            rewards = (said.get("verifier_result") or {}).get("rewards") or {}
            if "reward" in rewards:
                found[Path(said["config"]["task"]["path"]).name, rewards["reward"] == 1] += 1
            if said.get("exception_info"):
                print(f"{path.parent.name}: {said['exception_info']['exception_message']}", file=sys.stderr)
        if not found:
            raise SystemExit(f"harbor wrote no results: {(done.stderr or done.stdout)[-2000:]}")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--harbor", type=Path, help="harbor's program, of an environment that has tierwise too")
    parser.add_argument("--tasks", type=Path, default=TASKS)
    chosen = parser.parse_args()
    tasks = read_tasks(chosen.tasks)
    wrong = 0
    for agent in SOLVERS:
        began = time.monotonic()
        if chosen.harbor:
            found = with_harbor(chosen.harbor, chosen.tasks, agent, chosen.runs, chosen.at_once)
        else:
            found = asyncio.run(directly(tasks, agent, chosen.runs, chosen.at_once))
        passes = agent == "oracle"
        off = [task.name for task in tasks if found[task.name, passes] != chosen.runs]
        wrong += len(off)
        passed = sum(found[task.name, True] for task in tasks)
        total, seconds = len(tasks) * chosen.runs, time.monotonic() - began
        print(f"{agent}: {passed} of {total} attempts at {len(tasks)} tasks passed, in {seconds:.0f} s")
        for name in off:
            said = f"{found[name, True]} of {chosen.runs} passed, {found[name, False]} failed"
            print(f"  {name}: {said}, and all should have {'passed' if passes else 'failed'}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
