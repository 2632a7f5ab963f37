"""Our terminal tasks prove themselves: their solutions pass in every run, and doing nothing passes none.

    python benchmarks/terminal_tasks.py --runs 10
    python benchmarks/terminal_tasks.py --runs 10 --harbor FOLDER/bin/harbor

The first runs them in our sandbox directly. The second runs Harbor (its own agents `oracle` and `nop`) on our sandbox
as its environment, and reads the results that Harbor wrote; tierwise must be installed beside it. Exits with 1 if a
solution failed once, or doing nothing passed once.
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


async def directly(tasks: list[AgentTask], agent: str, runs: int, at_once: int) -> Counter[str]:
    """Passed attempts by task; an error is told, and is no pass."""
    passed: Counter[str] = Counter()
    room = asyncio.Semaphore(at_once)

    async def once(task: AgentTask) -> None:
        async with room:
            try:
                passed[task.name] += (await attempt(task, SOLVERS[agent])).reward == 1
            except TierwiseError as error:
                print(f"{task.name}, {agent}: {error}", file=sys.stderr)

    await asyncio.gather(*(once(task) for task in tasks for _ in range(runs)))
    return passed


def with_harbor(harbor: Path, folder: Path, agent: str, runs: int, at_once: int) -> Counter[str]:
    """The same, from the results of a job of Harbor's."""
    with tempfile.TemporaryDirectory() as jobs:
        line = [str(harbor), "run", "-p", str(folder), "-a", agent, "-e", ENVIRONMENT, "-k", str(runs)]
        line += ["-n", str(at_once), "-o", jobs, "--job-name", agent, "-y", "-q"]
        quiet = {"HARBOR_TELEMETRY": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = subprocess.run(line, env=os.environ | quiet, capture_output=True, text=True, check=False)
        passed: Counter[str] = Counter()
        for path in Path(jobs, agent).glob("*/result.json"):
            said = json.loads(path.read_text(encoding="utf-8"))
            rewards = (said.get("verifier_result") or {}).get("rewards") or {}
            passed[Path(said["config"]["task"]["path"]).name] += rewards.get("reward") == 1
            if said.get("exception_info"):
                print(f"{path.parent.name}: {said['exception_info']['exception_message']}", file=sys.stderr)
        if not passed:
            raise SystemExit(f"harbor wrote no results: {(done.stderr or done.stdout)[-2000:]}")
        return passed


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
            passed = with_harbor(chosen.harbor, chosen.tasks, agent, chosen.runs, chosen.at_once)
        else:
            passed = asyncio.run(directly(tasks, agent, chosen.runs, chosen.at_once))
        due = chosen.runs if agent == "oracle" else 0
        off = {task.name: passed[task.name] for task in tasks if passed[task.name] != due}
        wrong += len(off)
        total, seconds = len(tasks) * chosen.runs, time.monotonic() - began
        print(f"{agent}: {sum(passed.values())} of {total} attempts at {len(tasks)} tasks passed, in {seconds:.0f} s")
        for name, count in off.items():
            print(f"  {name}: {count} of {chosen.runs} passed, and {due} should")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
