"""Which draws `tierwise tune --caps` asks again on a real llama.cpp, and whether they are those of the free tier.

    python benchmarks/thinking_caps.py --checkpoint FILE.gguf --out FOLDER [--tasks 56] [--draws 1]

The model is given the chat template of benchmarks/thinking.py, which opens thinking, and its questions, at temperature
0.8 and at most 64 tokens. It is no model that was trained to think, so this shows the recording, and not what a cap
costs in quality: a check accepts every answer with a digit. The table has for each capped tier how many draws were
taken over, how many of the others begin as the free tier's did, and the completion tokens of what was asked beside
those of all its draws. A folder that exists is resumed; one that is complete is only read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import msgspec
import yaml

from thinking import SYSTEM, TEMPLATE, questions
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialRecord
from tierwise.tuning.caps import thought
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.files.header import WorkloadHeader
from tierwise.workloads.files.write import write
from tierwise.workloads.task import Task

ROOT = Path(__file__).parents[1]
MARKS = 3
"""Characters with which an engine may end thinking at a cap."""


def prepared(folder: Path, checkpoint: Path, tasks: int) -> tuple[Path, Path]:
    """The config file and the workload."""
    folder.mkdir(parents=True, exist_ok=True)
    template, config, workload = (folder / name for name in ("thinking.jinja", "tierwise.yaml", "tasks.jsonl"))
    template.write_text(TEMPLATE, encoding="utf-8")
    engine = {"engine": "llama.cpp", "checkpoint": "m", "context": 1024, "slots": 2, "threads": 1}
    config.write_text(
        yaml.safe_dump(
            {
                "checkpoints": {"m": {"source": f"file:{checkpoint.resolve()}"}},
                "deployments": {"own": {**engine, "chat_template": str(template.resolve())}},
                "tiers": {"think": {"deployment": "own", "policy": "single", "sampling": {"temperature": 0.8}}},
                "prices": {"own": {"dollars_per_hour": 0.1}},
            },
            sort_keys=False,
        ),
        encoding="utf-8",
    )
    made = [
        Task(
            id=f"q{number}",
            messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
            max_tokens=64,
            check=msgspec.convert({"regex": {"pattern": "[0-9]"}}, CheckChoice),
        )
        for number, (question, _) in enumerate(questions(tasks))
    ]
    if not workload.exists():
        write(workload, made, WorkloadHeader(name="sums", description="benchmarks/thinking_caps.py"))
    return config, workload


def begins_alike(one: TrialRecord, free: TrialRecord) -> bool:
    """Whether a capped draw's thinking is the beginning of the free one's."""
    ours, theirs = ("" if record.draw is None else record.draw.reasoning for record in (one, free))
    return theirs.startswith(ours[: max(0, len(ours) - MARKS)])


def as_markdown(records: list[TrialRecord]) -> str:
    free = {(one.task, one.repeat): one for one in records if one.tier == "think"}
    lines = [
        "| tier | draws | taken over | asked | of these, begin as the free draw | tokens asked | tokens of all draws |",
        "|---|---|---|---|---|---|---|",
    ]
    for tier in dict.fromkeys(one.tier for one in records):
        drawn = [one for one in records if one.tier == tier]
        asked = [one for one in drawn if one.taken == "request"]
        alike = sum(begins_alike(one, free[one.task, one.repeat]) for one in asked)
        is_capped = "-thinking-" in tier
        tokens, all_ = (sum(one.completion_tokens or 0 for one in several) for several in (asked, drawn))
        lines.append(
            f"| {tier} | {len(drawn)} | {len(drawn) - len(asked)} | {len(asked)} | {alike if is_capped else ''} | "
            f"{tokens} | {all_} |"
        )
    lengths = sorted(thought(one) or 0 for one in free.values())
    middle = lengths[len(lengths) // 2]
    return "\n".join([*lines, "", f"The median draw of `think` thinks for {middle} tokens.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=56)
    parser.add_argument("--draws", type=int, default=1)
    wanted = parser.parse_args()
    config, workload = prepared(wanted.out, wanted.checkpoint, wanted.tasks)
    out = wanted.out / "tuned"
    pool = RunDirectory(out / "capped")
    if not pool.has_manifest or pool.is_unfinished:
        command = ["tune", str(config), str(workload), "--caps", "--draws", str(wanted.draws), "--orders", "1"]
        promise = ["--promise", "net", "--loss", "0.3", "--out", str(out)]
        # Whether anything can be promised does not matter here.
        subprocess.run([sys.executable, "-m", "tierwise", *command, *promise], check=False, cwd=ROOT)
    if not pool.has_manifest or pool.is_unfinished:
        raise SystemExit(f"the pool in {pool.path} is not complete; run the same command again")
    print(as_markdown([one for one in pool.read_records() if one.is_graded]))


if __name__ == "__main__":
    main()
