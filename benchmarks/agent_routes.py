"""Tiers of one agent's task: a route with sticky sessions beside its fixed tiers, on our terminal tasks.

    python benchmarks/agent_routes.py
    python benchmarks/agent_routes.py --config two_sizes.yaml --tasks archive-selected log-errors --turns 8

Without `--config`, two scripted models stand behind `fast` and `max`, at a tenth of the price: the small one knows the
solutions of the easy tasks and talks at length on the others, the large one knows all. So what is solved is by
construction, and what is shown is the books: which turns of a task went where, what a task and a solved one cost, and
that Σ tokens of the tasks are what the models sent. `auto` asks `fast` first, accepts answers of at most 400 tokens,
and stays with `max` for the rest of a task once one was longer. With `--config`, a file with real models; its tiers and
routes are compared. The agent is `agent_programs/loop.py`, unless `--runner` names another.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from tierwise.environments import TASKS, read_task
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialRecord
from tierwise.testing.server import HttpReply, HttpRequest, in_a_thread

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from scripted_agent_models import ScriptedAgentModel

AGENT = Path(__file__).parent / "agent_programs" / "loop.py"
CONFIG = """
deployments:
  small: {{engine: http, url: "{small}", model: any}}
  large: {{engine: http, url: "{large}", model: any}}
tiers:
  fast: {{deployment: small, policy: single}}
  max: {{deployment: large, policy: single}}
routes:
  auto: {{cascade: [fast, max], signals: [{{length: 400}}]}}
prices:
  small: {{prompt: 0.1, completion: 0.4}}
  large: {{prompt: 1.0, completion: 4.0}}
"""


class Model(ScriptedAgentModel):
    """Says what it knows in the format of our small agent; of what it does not know it talks at length."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        reply = super().reply_to(number, request)
        return HttpReply(text=reply.text.replace("mswea_bash_command", "bash"))

    def in_words(self, task: str, turn: int, messages: object) -> HttpReply:
        if task not in self._solutions and turn == 1:
            return HttpReply(text=f"{'perhaps ' * 500}\n```bash\ntrue\n```")
        if turn > 1:
            return HttpReply(text="DONE")
        return super().in_words(task, turn, messages)


def easy(names: Collection[str]) -> list[str]:
    """The tasks whose author calls them easy."""
    return [name for name in names if read_task(TASKS / name).metadata.get("difficulty") == "easy"]


def run(config: Path, tasks: Path, runner: str, turns: int, out: Path) -> RunDirectory:
    """Measure all tiers and routes of a config file."""
    names = [*planned(config)]
    line = [sys.executable, "-m", "tierwise", "bench", str(config), str(tasks), "--runner", runner, "--out", str(out)]
    for name in names:
        line += ["--tier", name]
    line += ["--concurrency", "2", "--mode", "max"]
    done = subprocess.run(line, env=os.environ | {"TURNS": str(turns)}, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    return RunDirectory(out)


def planned(config: Path) -> list[str]:
    from tierwise import plan  # noqa: PLC0415 - only here

    found = plan.load(config)
    return [*found.file.tiers, *found.file.routes]


def told(records: list[TrialRecord]) -> None:
    """Print a row for each tier."""
    of: defaultdict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        of[record.tier].append(record)
    print("\n| tier | solved | $ per task | $ per solved | tokens per task | turns | escalations | turns by tier |")
    print("|---|---|---|---|---|---|---|---|")
    for tier, rows in sorted(of.items()):
        graded = [(one, one.agent) for one in rows if one.is_graded and one.agent is not None]
        solved, spent = sum(one.is_solved for one, _ in graded), sum(one.dollars or 0.0 for one, _ in graded)
        tokens = sum((one.prompt_tokens or 0) + (one.completion_tokens or 0) for one, _ in graded)
        by: defaultdict[str, int] = defaultdict(int)
        for _, agent in graded:
            for action in agent.actions:
                by[action.tier] += 1
        shares = ", ".join(f"{name} {count}" for name, count in sorted(by.items()))
        per_solved = f"${spent / solved:.6f}" if solved else "–"
        turns = sum(agent.turns for _, agent in graded)
        steps = sum(agent.escalations for _, agent in graded)
        count = max(1, len(graded))
        print(
            f"| {tier} | {solved} of {len(graded)} | ${spent / count:.6f} | {per_solved} | {tokens / count:.0f} | "
            f"{turns / count:.1f} | {steps} | {shares} |"
        )


def scripted(folder: Path, tasks: Path, names: list[str], runner: str, turns: int) -> None:
    """With two scripted models: also that every token is joined."""
    with ExitStack() as stack:
        small = stack.enter_context(in_a_thread(Model(TASKS, easy(names))))
        large = stack.enter_context(in_a_thread(Model(TASKS, names)))
        config = folder / "two.yaml"
        config.write_text(CONFIG.format(small=small.url, large=large.url))
        records = run(config, tasks, runner, turns, folder / "run").read_records()
        told(records)
        sent = [small.produced, large.produced]
        made = sum(one.prompt for one in sent), sum(one.completion for one in sent)
    joined = sum(one.prompt_tokens or 0 for one in records), sum(one.completion_tokens or 0 for one in records)
    print(f"\nprompt and completion tokens: the models sent {made}, the tasks were charged {joined}")
    sys.exit(0 if made == joined else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="with real models; two scripted ones without it")
    parser.add_argument("--tasks", nargs="*", default=[], help="names of terminal tasks; all without it")
    parser.add_argument("--runner", default=f"command:{sys.executable} {AGENT}")
    parser.add_argument("--turns", type=int, default=12, help="of our small agent, at most")
    chosen = parser.parse_args()
    names = chosen.tasks or sorted(path.parent.name for path in TASKS.glob("*/task.toml"))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in names:
            shutil.copytree(TASKS / name, folder / "tasks" / name)
        if chosen.config is None:
            scripted(folder, folder / "tasks", names, chosen.runner, chosen.turns)
        told(run(chosen.config, folder / "tasks", chosen.runner, chosen.turns, folder / "run").read_records())


if __name__ == "__main__":
    main()
