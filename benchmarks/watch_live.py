"""`tierwise watch` on a real llama.cpp: the checkpoint that was tested, and another quantization behind the same tier.

    python benchmarks/watch_live.py MODEL.gguf [--tasks 100] [--type Q2_K] [--folder DIR] [--out docs/drift.md]

A canary workload (which order number is a message about?) is measured with MODEL, by `tierwise bench`. Then
`tierwise watch` asks it again twice: with the same file, and with the file requantized to TYPE
(`benchmarks/requantize.py`) behind the same names of checkpoint, deployment and tier. Give the same --folder again to
continue after an interruption: what has ended is kept. The exit code is 1 if the same file raises an alarm, or the
other one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pages import write_between

HERE = Path(__file__).parent
MARK = "<!-- benchmarks/watch_live.py -->"
END = "<!-- end of benchmarks/watch_live.py -->"
MARGIN = 0.10
VERDICTS = {0: "PASS", 1: "FAIL", 2: "INCONCLUSIVE"}
ASKED = "Which order number is the message about? Give only the number."


class Watched(msgspec.Struct, kw_only=True):
    """What one `tierwise watch` said."""

    name: str
    verdict: str
    tasks: int
    """Completed when it was decided."""
    seconds: float
    change: str
    """Of the share solved, with its interval."""
    changed: list[str]
    """What the engines report otherwise."""


def tasks(count: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    texts = (
        "My last order was {old} and came in time, but order {order} has not arrived.",
        "Not order {old}, but order {order} is late.",
        "You sent me order {old} instead of {order}. Where is {order}?",
        "Order {order} has not arrived yet.",
    )
    found = []
    for number in range(count):
        order, old = draw.sample(range(10_000, 100_000), 2)
        text = draw.choice(texts).format(order=order, old=old)
        found.append(
            {
                "id": f"order-{number}",
                "messages": [{"role": "user", "content": f"{text}\n\n{ASKED}"}],
                "check": {"number": {"equals": order}},
                "max_tokens": 14,
            }
        )
    return found


def config(folder: Path, name: str, model: Path) -> Path:
    file = folder / f"{name}.yaml"
    settings = {
        "checkpoints": {"orders": {"source": f"file:{model.resolve()}"}},
        "deployments": {
            "small": {"engine": "llama.cpp", "checkpoint": "orders", "context": 1024, "slots": 4, "threads": 1}
        },
        "tiers": {"fast": {"deployment": "small", "policy": "single", "sampling": {"temperature": 0}}},
    }
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return file


def tierwise(*words: object) -> tuple[int, str]:
    """Run a command; its exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        check=False,
    )
    return done.returncode, done.stdout


def measured(folder: Path, file: Path, workload: Path) -> Path:
    """The run of the time at which it was tested."""
    tested = folder / "tested"
    if (tested / "report.html").exists():
        return tested
    how = ("--resume", tested) if tested.exists() else ("--out", tested)
    code, said = tierwise("bench", file, workload, "--tier", "fast", "--mode", "max", "--concurrency", 4, *how)
    if code:
        sys.exit(said)
    return tested


def watched(folder: Path, name: str, file: Path, workload: Path, tested: Path) -> Watched:
    kept = folder / f"{name}.said.json"
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Watched)
    attempt = sum(1 for _ in folder.glob(f"{name}.run*"))
    out = folder / f"{name}.run{attempt}"
    options = ("--against", tested, "--policy", folder / "gate.yaml", "--tier", "fast", "--out", out, "--json")
    code, said = tierwise("watch", file, workload, *options)
    (folder / f"{out.name}.stdout").write_text(said, encoding="utf-8")
    if code not in VERDICTS or not said.strip():
        sys.exit(f"watch ended with {code}: {said}")
    told = json.loads(said)
    lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines()
    starts = [json.loads(line)["began"] for line in lines]
    found = Watched(
        name=name,
        verdict=VERDICTS[code],
        tasks=len(lines),
        seconds=max(starts) - min(starts),
        change=_change(told),
        changed=told["changed_deployments"],
    )
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return found


def _change(told: dict[str, Any]) -> str:
    quality = next(one for one in told["checks"] if one["axis"] == "quality")["estimate"]
    if quality is None or quality["interval"] is None:
        return "–"
    ends = " to ".join(f"{100 * quality['interval'][end]:+.0f}" for end in ("low", "high"))
    return f"{100 * quality['value']:+.0f} points ({ends})"


def table(found: list[Watched], planned: int) -> str:
    rows = ["| what runs | verdict | tasks of the canary | share solved, change | also said |", "|---|---|---|---|---|"]
    for one in found:
        name = "the file that was tested" if one.name == "same" else f"the same, requantized to {one.name}"
        said = "; ".join(one.changed) or "nothing"
        rows.append(f"| {name} | {one.verdict} | {one.tasks} of {planned} | {one.change} | {said} |")
    return "\n".join(rows)


def problems(found: list[Watched]) -> list[str]:
    """What must not happen."""
    same, other = found
    return [
        said
        for said, is_wrong in (
            ("the same file is not told to be the same", same.verdict != "PASS"),
            ("another quantization is not noticed", other.verdict != "FAIL"),
        )
        if is_wrong
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a GGUF file")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--type", default="Q2_K", help="the other quantization")
    parser.add_argument("--folder", type=Path, help="where everything is kept, to continue")
    parser.add_argument("--out", type=Path, help="the page whose table is replaced")
    wanted = parser.parse_args()
    folder = wanted.folder or Path(tempfile.mkdtemp(prefix="watch-"))
    folder.mkdir(parents=True, exist_ok=True)
    workload = folder / "canary.jsonl"
    workload.write_bytes(msgspec.json.Encoder().encode_lines(tasks(wanted.tasks, seed=8)))
    (folder / "gate.yaml").write_text(f"quality: {{margin: {MARGIN}}}\n", encoding="utf-8")
    other = folder / f"{wanted.type}.gguf"
    if not other.exists():
        command = [sys.executable, HERE / "requantize.py", wanted.model, other, "--type", wanted.type]
        subprocess.run(list(map(str, command)), check=True)
    same = config(folder, "same", wanted.model)
    tested = measured(folder, same, workload)
    found = [watched(folder, wanted.type, config(folder, wanted.type, other), workload, tested)]
    found.insert(0, watched(folder, "same", same, workload, tested))
    made = table(found, wanted.tasks)
    print(made)
    if wanted.out:
        write_between(wanted.out, MARK, END, made)
    wrong = problems(found)
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
