"""Tiers of one agent's task: a route with sticky sessions beside its fixed tiers, on our terminal tasks.

    python benchmarks/agent_routes.py
    python benchmarks/agent_routes.py --model MODEL.gguf --tag "one command" --turns 8 --repeats 2 --concurrency 1
    python benchmarks/agent_routes.py --config two.yaml --runner "$(cat benchmarks/agent_programs/mini_small.json)"

Without `--model` and `--config`, two scripted models stand behind `fast` and `max`, at a tenth of the price: the small
one knows the solutions of the easy tasks and talks at length on the others, the large one knows all. So what is solved
is by construction, and what is shown is the books: which turns of a task went where, what a task and a solved one cost,
and that Σ tokens of the tasks are what the models sent. `auto` asks `fast` first, accepts answers of at most 400
tokens, and stays with `max` for the rest of a task once one was longer.

With `--model`, tiers of one checkpoint on llama.cpp: `fast` is one pass, `max` the best of three by their mean
log-probability, and `auto` accepts an answer of `fast` if its margin is at least `--margin`. With `--config`, the tiers
and routes of a file. The agent is `agent_programs/loop.py`, unless `--runner` names another.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from tierwise.analysis.summary import RunSummary, summary_of
from tierwise.environments import TASKS, read_task
from tierwise.report import numbers
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

ONE_CHECKPOINT = """
checkpoints:
  it: {{source: "file:{model}"}}
deployments:
  whole: {{engine: llama.cpp, checkpoint: it, context: 8192, slots: 3, threads: {threads}}}
tiers:
  fast: {{deployment: whole, policy: single, sampling: {sampling}}}
  max: {{deployment: whole, policy: {{best_of_n: {{n: 3}}}}, sampling: {sampling}}}
routes:
  auto: {{cascade: [fast, max], signals: [{{margin: {margin}}}]}}
prices:
  whole: {{prompt: 0.1, cached: 0.01, completion: 0.4}}
"""
SAMPLING = "{temperature: 0.7, top_p: 0.8, top_k: 20, repetition_penalty: 1.1, max_tokens: 400}"
"""As Qwen2.5's own generation_config.json, and no endless answers."""


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


def run(config: Path, tasks: Path, out: Path, runner: str, turns: int, more: Sequence[str]) -> list[TrialRecord]:
    """Measure all tiers and routes of a config file, and print a table."""
    line = [sys.executable, "-m", "tierwise", "bench", str(config), str(tasks), "--runner", runner, "--out", str(out)]
    for name in planned(config):
        line += ["--tier", name]
    done = subprocess.run([*line, "--mode", "max", *more], env=os.environ | {"TURNS": str(turns)}, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    directory = RunDirectory(out)
    records = directory.read_records()
    told(summary_of(directory), records)
    return records


def planned(config: Path) -> list[str]:
    from tierwise import plan  # noqa: PLC0415 - only here

    found = plan.load(config)
    return [*found.file.tiers, *found.file.routes]


def copied(names: Sequence[str], folder: Path, seconds: float) -> Path:
    """Copies of our tasks, of which each may take so many seconds."""
    for name in names:
        shutil.copytree(TASKS / name, folder / name)
        file = folder / name / "task.toml"
        text, count = re.subn(
            r"(?<=\[agent\]\ntimeout_sec = )[\d.]+", f"{seconds:.1f}", file.read_text(encoding="utf-8")
        )
        if count != 1:
            raise SystemExit(f"{name}/task.toml has no time limit of the agent to replace")
        file.write_text(text, encoding="utf-8")
    return folder


def told(found: RunSummary, records: list[TrialRecord]) -> None:
    """Print a row for each tier, and which tasks it solved."""
    heads = "tier", "solved", "$ per task", "$ per solved", "tokens per task", "turns", "p50 of a task", "escalations"
    print(f"\n| {' | '.join(heads)} | turns by tier |\n{'|---' * (len(heads) + 1)}|")
    worked = {row.tier: row for row in found.agents}
    for row in found.rows:
        agent = worked.get(row.tier)
        if agent is None:
            print(f"| {row.tier} | none of {row.counts.measured} graded | | | | | | | |")
            continue
        tokens = (row.prompt_tokens or 0.0) + (row.completion_tokens or 0.0)
        shares = ", ".join(f"{name or 'none'} {count}" for name, count in agent.tiers.items())
        cells = [
            f"{row.counts.correct} of {row.counts.graded}: {numbers.ranged(row.quality, numbers.percent)}",
            numbers.ranged(row.dollars, numbers.dollars),
            numbers.ranged(row.dollars_per_solved, numbers.dollars),
            f"{tokens:.0f}",
            numbers.ranged(agent.turns, "{:.1f}".format),
            numbers.ranged(row.action.p50, numbers.seconds),
            numbers.ranged(agent.escalations, "{:.2f}".format),
            shares,
        ]
        print(f"| {row.tier} | {' | '.join(cells)} |")
    limited = sum(row.timed_out for row in found.agents)
    missing = sum(row.counts.not_run for row in found.rows)
    print(f"\n{found.tasks} tasks, {found.repeats} times each; {limited} at the time limit; {missing} not run")
    print(f"errors: {found.errors or 'none'}\n")
    graded: defaultdict[str, defaultdict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.is_graded:
            graded[record.task][record.tier].append(record.is_solved)
    for task, by in sorted(graded.items()):
        print(f"{task}: " + ", ".join(f"{tier} {sum(ones)} of {len(ones)}" for tier, ones in sorted(by.items())))


def scripted(names: list[str], tasks: Path, out: Path, runner: str, turns: int, more: Sequence[str]) -> None:
    """With two scripted models: also that every token is joined."""
    with ExitStack() as stack:
        small = stack.enter_context(in_a_thread(Model(TASKS, easy(names))))
        large = stack.enter_context(in_a_thread(Model(TASKS, names)))
        config = tasks.with_name("two.yaml")
        config.write_text(CONFIG.format(small=small.url, large=large.url))
        records = run(config, tasks, out, runner, turns, more)
        sent = [small.produced, large.produced]
        made = sum(one.prompt for one in sent), sum(one.completion for one in sent)
    joined = sum(one.prompt_tokens or 0 for one in records), sum(one.completion_tokens or 0 for one in records)
    print(f"\nprompt and completion tokens: the models sent {made}, the tasks were charged {joined}")
    sys.exit(0 if made == joined else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file: tiers of this checkpoint")
    parser.add_argument("--margin", type=float, default=0.8, help="with --model: what `auto` accepts of `fast`")
    parser.add_argument("--threads", type=int, default=1, help="with --model: of llama.cpp")
    parser.add_argument("--config", type=Path, help="the tiers and routes of this file")
    parser.add_argument("--tasks", nargs="*", default=[], help="names of terminal tasks; all without it")
    parser.add_argument("--tag", help="of these, the tasks with this tag")
    parser.add_argument("--runner", default=f"command:{sys.executable} {AGENT}")
    parser.add_argument("--turns", type=int, default=12, help="of our small agent, at most")
    parser.add_argument("--repeats", type=int, default=1, help="times that each tier works on each task")
    parser.add_argument("--concurrency", type=int, default=2, help="tasks at once")
    parser.add_argument("--seconds", type=float, default=300.0, help="that a task may take, in place of its own limit")
    parser.add_argument("--minutes", type=float, help="start no task after so many; what is missing is counted")
    parser.add_argument("--out", type=Path, help="keep the run here")
    chosen = parser.parse_args()
    names = chosen.tasks or sorted(path.parent.name for path in TASKS.glob("*/task.toml"))
    if chosen.tag is not None:
        names = [name for name in names if chosen.tag in read_task(TASKS / name).metadata.get("tags", [])]
        if not names:
            parser.error(f"none of these tasks has the tag {chosen.tag!r}")
    more = ["--concurrency", str(chosen.concurrency), "--repeats", str(chosen.repeats)]
    more += ["--timeout", str(chosen.seconds)]
    if chosen.minutes is not None:
        more += ["--budget-minutes", str(chosen.minutes)]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tasks, out = copied(names, folder / "tasks", chosen.seconds), chosen.out or folder / "run"
        config = chosen.config
        if chosen.model is not None:
            config = folder / "one_checkpoint.yaml"
            values = {"model": chosen.model.absolute(), "margin": chosen.margin, "threads": chosen.threads}
            config.write_text(ONE_CHECKPOINT.format(sampling=SAMPLING, **values))
        if config is None:
            scripted(names, tasks, out, chosen.runner, chosen.turns, more)
        run(config, tasks, out, chosen.runner, chosen.turns, more)


if __name__ == "__main__":
    main()
