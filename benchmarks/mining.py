"""Mines the newest commits of a repository, and says what became of each and what mining cost beside the tests.

    python benchmarks/mining.py REPO --at COMMIT --limit 20 --out FOLDER

Without other options it is this project's own history that it can mine. The commits up to `--at` are cloned first, so
that later ones change nothing. Exits with 1 if fewer than `--least` commits are tasks, or if mining took more than
twice as long as the tests that it ran, without the building of environments, which are kept for later.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

MOST_COST = 2.0
INSTALL = "pip install -q -e .[dev,bench,oidc,grpc,postgresql]"


def clone(repository: Path, commit: str, into: Path) -> Path:
    """The history up to a commit, which shares the objects of the repository."""
    place = into / repository.resolve().name.removesuffix(".git")
    subprocess.run(["git", "clone", "-q", "--shared", "--no-checkout", repository, place], check=True)
    named = subprocess.run(["git", "-C", place, "rev-parse", f"{commit}^{{commit}}"], check=True, capture_output=True)
    subprocess.run(["git", "-C", place, "update-ref", "--no-deref", "HEAD", named.stdout.strip()], check=True)
    return place


def table(found: dict[str, Any]) -> str:
    """What became of the commits, in Markdown."""
    rows = found["candidates"]
    reasons = Counter(re.sub(r"\d+", "N", row["reason"]) for row in rows if not row["task"])
    tasks = [row for row in rows if row["task"]]
    lines = ["| commits that change code and tests | |", "|---|---|", f"| tried | {len(rows)} |"]
    lines.append(f"| validated | {len(tasks)} |")
    lines += [f"| left out: {why} | {count} |" for why, count in reasons.most_common()]
    for name in ("fail_to_pass", "pass_to_pass"):
        counts = sorted(row[name] for row in tasks) or [0]
        shown = f"{counts[0]}, {statistics.median(counts):g}, {counts[-1]}"
        lines.append(f"| `{name}` of a task: least, median, most | {shown} |")
    lines.append(f"| flaky tests left out | {sum(len(row['validated'].get('flaky', [])) for row in tasks)} |")
    spent = found["seconds"]
    lines.append(f"| building environments, once | {spent['environments']:.0f} s |")
    lines.append(f"| mining without that | {spent['total'] - spent['environments']:.0f} s |")
    lines.append(f"| of which tests ran | {spent['tests']:.0f} s |")
    lines.append(f"| mining / tests | {cost(found):.2f} × |")
    return "\n".join(lines)


def cost(found: dict[str, Any]) -> float:
    spent = found["seconds"]
    return float((spent["total"] - spent["environments"]) / spent["tests"]) if spent["tests"] else 0.0


def ended(line: list[str]) -> int:
    """The exit code of a command that is given time to write what it has when both are interrupted."""
    with subprocess.Popen(line) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--at", default="HEAD")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--least", type=int, default=8)
    parser.add_argument("--tests", default="pytest -q")
    parser.add_argument("--install", default=INSTALL)
    parser.add_argument("--pass-to-pass", default="changed", help="the folder is the default of from-git")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        history = clone(chosen.repository, chosen.at, Path(folder))
        line = [sys.executable, "-m", "tierwise", "workload", "from-git", str(history)]
        line += ["--tests", chosen.tests, "--install", chosen.install, "--limit", str(chosen.limit)]
        line += ["--pass-to-pass", chosen.pass_to_pass, "--out", str(chosen.out)]
        if ended(line) not in (0, 130):  # 130: interrupted, and what there was is kept
            sys.exit(2)
    if not chosen.out.exists():
        sys.exit("interrupted before any commit was a task")
    found = json.loads((chosen.out / "mining.json").read_text(encoding="utf-8"))
    print(table(found))
    validated = sum(bool(row["task"]) for row in found["candidates"])
    sys.exit(1 if validated < chosen.least or cost(found) > MOST_COST else 0)


if __name__ == "__main__":
    main()
