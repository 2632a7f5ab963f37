"""What the settings of a cascade cost and reach, on a recorded pool of a small real model.

    python benchmarks/cascade.py [--pool FOLDER] [--orders 50] [--out FILE]

Without --pool it makes 60 tasks with reasoning-gym that one pass of Qwen2.5-Coder-0.5B gets right about 45 % of the
time, and records a pool: 14 draws of this model and of SmolLM2-135M, which gets nearly none right. Both run on
llama.cpp. Then it replays the settings below, each on several orders of the draws, and prints the table of
docs/policies.md.

The cheap tier is one pass, the dear one a majority of 8. `sure` accepts by the least likely token of the answer,
`margin` by the mean of p1 - p2, `agreement` by two equal draws. `weak` begins with the model that is nearly always
wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import yaml

from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite

ROOT = Path(__file__).parents[1]
TASKS = {
    "chain_sum": (26, {"min_terms": 2, "max_terms": 3, "min_digits": 2, "max_digits": 3}),
    "letter_counting": (20, {"min_words": 2, "max_words": 4}),
    "products": (14, {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}),
}
SEED = 11

GRID = """
baseline: max
settings:
  max: {tier: fast, policy: {majority: {n: 8}}}
  one: fast
  agreement: {policy: {cascade: {tiers: [one, max], signals: [{agreement: 2}]}}}
  sure: {policy: {cascade: {tiers: [one, max], signals: [{span_probability: {each: [0.3, 0.5, 0.7, 0.9]}}]}}}
  sure, agreement:
    policy:
      cascade: {tiers: [one, max], signals: [{span_probability: {each: [0.3, 0.5, 0.7, 0.9]}}, {agreement: 2}]}
  margin: {policy: {cascade: {tiers: [one, max], signals: [{margin: {each: [0.5, 0.7, 0.9]}}]}}}
  tail: {policy: {cascade: {tiers: [one, max], signals: [{tail_confidence: 5.5}]}}}
  entropy: {policy: {cascade: {tiers: [one, max], signals: [{entropy: {each: [0.2, 0.4]}}]}}}
  default: {policy: {cascade: {tiers: [one, max]}}}
  three votes first: {policy: {cascade: {tiers: [one, three, max]}}}
  three: {tier: fast, policy: {majority: {n: 3}}}
  weak: small
  weak first: {policy: {cascade: {tiers: [weak, max]}}}
"""


def config() -> str:
    """The example's checkpoints with one pass of each model as tiers."""
    examples = [yaml.safe_load((ROOT / "examples" / name).read_text()) for name in ("coder.yaml", "quickstart.yaml")]
    checkpoints = {name: one for example in examples for name, one in example["checkpoints"].items()}
    engine = {"engine": "llama.cpp", "context": 4096, "slots": 8, "threads": 2}
    tier = {"policy": "single", "sampling": {"temperature": 0.7, "top_p": 0.95}}
    return yaml.safe_dump(
        {
            "checkpoints": {name: checkpoints[name] for name in ("coder-0.5b", "smollm2")},
            "deployments": {
                "half": {**engine, "checkpoint": "coder-0.5b"},
                "tiny": {**engine, "checkpoint": "smollm2"},
            },
            "tiers": {"small": {"deployment": "tiny", **tier}, "fast": {"deployment": "half", **tier}},
        },
        sort_keys=False,
    )


def tasks() -> bytes:
    """The workload."""
    made = [
        task
        for name, (count, settings) in TASKS.items()
        for task in ReasoningGymSuite(
            generators=(name,), count=count, seed=SEED, settings={name: settings}, max_tokens=256
        )
        .make(Path())
        .tasks
    ]
    return msgspec.json.Encoder().encode_lines(made)


def tierwise(*words: str) -> str:
    """Run a command; its output."""
    command = [sys.executable, "-m", "tierwise", *words]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def recorded(folder: Path) -> Path:
    """Record the pool."""
    (folder / "tiers.yaml").write_text(config())
    (folder / "tasks.jsonl").write_bytes(tasks())
    out = folder / "pool"
    words = ("pool", "record", f"{folder / 'tiers.yaml'}", f"{folder / 'tasks.jsonl'}")
    tierwise(*words, "--draws", "14", "--concurrency", "8", "--out", f"{out}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, help="a pool that this program recorded")
    parser.add_argument("--orders", type=int, default=50)
    parser.add_argument("--out", type=Path, help="folder of the pool; default: a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        pool = asked.pool or recorded(folder)
        grid = Path(temporary) / "grid.yaml"
        grid.write_text(GRID)
        words = ("pool", "replay", f"{pool}", "--policies", f"{grid}", "--orders", f"{asked.orders}", "--json")
        found = json.loads(tierwise(*words))
    print(f"{found['tasks']} tasks, {found['orders']} orders of their draws\n")
    print("| setting | correct | points to max | passes | tokens | tokens to max |\n|---|---|---|---|---|---|")
    for one in found["settings"]:
        points, tokens = (one["difference"][name] if one.get("difference") else None for name in ("correct", "tokens"))
        print(
            f"| {one['name']} | {100 * one['correct']['value']:.1f} % | {_between(points, 100)} | "
            f"{one['passes']['value']:.2f} | {one['tokens']['value']:.1f} | {_between(tokens, 1)} |"
        )


def _between(one: dict[str, object] | None, scale: float) -> str:
    if one is None:
        return ""
    interval, value = one["interval"], one["value"]
    assert isinstance(value, float)
    if not isinstance(interval, dict):
        return f"{scale * value:+.1f}"
    return f"{scale * value:+.1f} [{scale * interval['low']:+.1f}, {scale * interval['high']:+.1f}]"


if __name__ == "__main__":
    main()
