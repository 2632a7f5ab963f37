"""What a judge adds to candidates of a small real model, beside the other ways to choose among them.

    python benchmarks/judging.py [--tasks 100] [--out FOLDER]

Makes sums with reasoning-gym, of which one pass of Qwen2.5-Coder-0.5B gets about half right and one of the 1.5B model
nearly all, and measures each way live on llama.cpp: one pass, a vote of four, the likeliest of four, four graded by the
larger model in a tournament or each by itself, and four graded by their own model. Prints points against one pass with
paired 95 % intervals, and tokens of all passes. With --out, what is there is not measured again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from puzzles import answered_alone
from real_pools import points
from tierwise.runs.directory import RunDirectory
from tierwise.stats.design import Design
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite

if TYPE_CHECKING:
    from tierwise.runs.records import TrialRecord

ROOT = Path(__file__).parents[1]
DRAWN = 4
SEED = 30
SUMS = {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3}
ONE = "one pass"


def judged(**settings: Any) -> dict[str, Any]:
    return {"best_of_n": {"n": DRAWN, "scorer": {"judge": settings}}}


WAYS: dict[str, tuple[str, Any]] = {
    "one": (ONE, "single"),
    "vote": (f"majority of {DRAWN}", {"majority": {"n": DRAWN}}),
    "likely": (f"likeliest of {DRAWN}", {"best_of_n": {"n": DRAWN}}),
    "met": (f"best of {DRAWN}, tournament by the larger model", judged(tier="strong")),
    "graded": (f"best of {DRAWN}, each graded by the larger model", judged(tier="strong", pivots=0)),
    "itself": (f"best of {DRAWN}, each graded by its own model", judged(pivots=0)),
    "strong": ("one pass of the larger model", "single"),
}
"""Tiers: what the table calls them, and their policies."""


def config() -> str:
    coder = yaml.safe_load((ROOT / "examples" / "coder.yaml").read_text(encoding="utf-8"))
    engine = {"engine": "llama.cpp", "context": 1024, "slots": 8, "threads": 2}
    models = {"small": "coder-0.5b", "large": "coder-1.5b"}
    sampling = {"temperature": 0.8, "top_p": 0.95}
    return yaml.safe_dump(
        {
            "checkpoints": coder["checkpoints"],
            "deployments": {name: {**engine, "checkpoint": one} for name, one in models.items()},
            "tiers": {
                name: {"deployment": "large" if name == "strong" else "small", "policy": policy, "sampling": sampling}
                for name, (_, policy) in WAYS.items()
            },
        },
        sort_keys=False,
    )


def tasks(count: int) -> bytes:
    """The workload. The answer alone is asked for, which takes about four tokens."""
    suite = ReasoningGymSuite(
        generators=("chain_sum",), count=count, seed=SEED, settings={"chain_sum": SUMS}, max_tokens=12
    )
    return msgspec.json.Encoder().encode_lines(answered_alone(suite))


def measured(folder: Path, tier: str) -> list[TrialRecord]:
    at = folder / tier
    if not RunDirectory(at).has_manifest or RunDirectory(at).is_unfinished:
        words = ("bench", f"{folder / 'judging.yaml'}", f"{folder / 'tasks.jsonl'}", "--tier", tier, "--mode", "max")
        command = [sys.executable, "-m", "tierwise", *words, "--concurrency", "2", "--out", f"{at}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr[-2000:])
    return [record for record in RunDirectory(at).read_records() if record.is_graded]


def row(name: str, records: list[TrialRecord], base: dict[str, float]) -> str:
    common = [record for record in records if record.task in base]
    sample = Design({}, {}).sample([record.task for record in common])
    right = [float(record.is_solved) for record in common]
    against = sample.difference(right, [base[record.task] for record in common])
    every = [done for record in common for done in record.passes or ()]
    prompt, cached, completion = (
        sum(getattr(done, f"{kind}_tokens") or 0 for done in every) / len(common)
        for kind in ("prompt", "cached", "completion")
    )
    passes = len(every) / len(common)
    change = "" if name == ONE else points(against, signed=True)
    return (
        f"| {name} | {points(sample.share(right))} | {change} | {passes:.1f} | "
        f"{prompt - cached:.0f} | {completion:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--out", type=Path, help="folder of the runs; default: a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "judging.yaml").write_text(config(), encoding="utf-8")
        (folder / "tasks.jsonl").write_bytes(tasks(asked.tasks))
        found = {name: measured(folder, name) for name in WAYS}
    base = {record.task: float(record.is_solved) for record in found["one"]}
    print("| how | % right | points against one pass | passes | prompt tokens computed | completion tokens |")
    print("|---|---|---|---|---|---|")
    for name, (called, _) in WAYS.items():
        print(row(called, found[name], base))


if __name__ == "__main__":
    main()
