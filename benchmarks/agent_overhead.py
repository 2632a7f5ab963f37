"""What an agent's turn costs through Tierwise, beside the bare agent in the same run.

    python benchmarks/agent_overhead.py --tasks 4 --pairs 30 --seconds 0.5

`tierwise bench --runner command:…` runs an agent on terminal tasks. Its turns alternate: one asks the tier and runs its
command in the task's sandbox, the next asks the model itself and runs the same command in this machine's bash, so both
meet the same load. The model answers after `--seconds`; real ones take longer, which makes the share smaller. Prints
the median of a turn each, the ratio of the sums with its 95 % interval over resampled pairs, and what a task costs
around its turns: sandbox, tests, join. Exits with 1 if the ratio is above 1.05.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tierwise.environments import TASKS
from tierwise.runs.directory import RunDirectory
from tierwise.testing.server import FakeServer, HttpReply, in_a_thread

BAR = 1.05
NAMES = ("archive-selected", "log-errors", "join-tables", "mend-encodings")
AGENT = Path(__file__).parent / "agent_programs" / "alternating.py"
CONFIG = """
deployments:
  far: {{engine: http, url: "{url}", model: any}}
tiers:
  fast: {{deployment: far, policy: single}}
"""


def ratio(pairs: Sequence[dict[str, float]]) -> float:
    return sum(pair["ours"] for pair in pairs) / sum(pair["bare"] for pair in pairs)


def interval(pairs: Sequence[dict[str, float]], seed: int = 0) -> tuple[float, float]:
    """At 95 %, by resampling the pairs."""
    rng = random.Random(seed)
    found = sorted(ratio(rng.choices(pairs, k=len(pairs))) for _ in range(2000))
    return found[49], found[1949]


def measure(folder: Path, tasks: int, pairs: int, seconds: float) -> tuple[list[dict[str, float]], list[float]]:
    """The seconds of each pair of turns, and of each task's surroundings."""
    for name in NAMES[:tasks]:
        shutil.copytree(TASKS / name, folder / "tasks" / name)
    with in_a_thread(FakeServer(HttpReply(text="```bash\nls\n```", waits=seconds))) as model:
        (folder / "one.yaml").write_text(CONFIG.format(url=model.url))
        env = {"PAIRS": str(pairs), "UPSTREAM": model.url, "RESULTS": str(folder / "results.jsonl")}
        line = [sys.executable, "-m", "tierwise", "bench", str(folder / "one.yaml"), str(folder / "tasks")]
        line += ["--runner", f"command:{sys.executable} {AGENT}", "--concurrency", "1", "--out", str(folder / "run")]
        done = subprocess.run(line, env=os.environ | env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    records = RunDirectory(folder / "run").read_records()
    turns = [action for record in records if record.agent for action in record.agent.actions]
    if len(turns) != tasks * (pairs + 1):
        raise SystemExit(f"{len(turns)} turns were joined, of {tasks * (pairs + 1)}")
    around = [later.began - record.began - (record.seconds or 0.0) for record, later in itertools.pairwise(records)]
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()], around


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=4, choices=range(2, len(NAMES) + 1))
    parser.add_argument("--pairs", type=int, default=30, help="pairs of turns in each task")
    parser.add_argument("--seconds", type=float, default=0.5, help="that the model takes to answer")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs, around = measure(Path(folder), chosen.tasks, chosen.pairs, chosen.seconds)
    for which in ("ours", "bare"):
        print(f"{which}: {1000 * statistics.median(pair[which] for pair in pairs):.1f} ms per turn (median)")
    found, (low, high) = ratio(pairs), interval(pairs)
    print(f"{found:.3f} times the bare agent [{low:.3f}, {high:.3f}], {len(pairs)} pairs of turns")
    print(f"{statistics.median(around):.2f} s around each task: sandbox, tests, join (median)")
    sys.exit(1 if found > BAR else 0)


if __name__ == "__main__":
    main()
