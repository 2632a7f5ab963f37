"""The time of `tierwise compare` for two runs of 1,000 tasks, for the whole command.

    python benchmarks/compare.py [--tasks 1000] [--times 9] [--json FILE]

The limit applies to CPU seconds, which depend little on other load. Exits with 1 if it is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gate import FLIPS, runs
from tierwise.runs.directory import ConfigSource, Manifest, Planned, RunDirectory, RunSettings, SourceFile, timestamp
from tierwise.runs.machine import machine, versions

if TYPE_CHECKING:
    from tierwise.analysis.arms import Arm

LIMIT = 0.7
"""CPU seconds allowed."""


def write(arm: Arm, path: Path) -> None:
    folder = RunDirectory.create(path)
    variant = arm.variant
    folder.write_manifest(
        Manifest(
            run=path.name,
            began=timestamp(),
            ended=timestamp(),
            url="",
            config=ConfigSource(path="tierwise.yaml", sha256="0" * 64, text=""),
            workload=SourceFile(path="workload.jsonl", sha256="0" * 64),
            tasks=sorted(arm.tasks),
            variants=[Planned(tier=variant.tier, mode=variant.mode, most_passes=1)],
            settings=RunSettings(seed=0, concurrency=4, timeout=600.0),
            versions=versions(),
            machine=machine(),
        )
    )
    with folder.recorder() as recorder:
        recorder.write(*arm.records.values())


def seconds(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a command, children included."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after, ended = os.times(), time.perf_counter()
    own = after.children_user - before.children_user + after.children_system - before.children_system
    return own, ended - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("main", "candidate")]
        for arm, path in zip(runs(np.random.default_rng(0), given.tasks, FLIPS, 0.0), paths, strict=True):
            write(arm, path)
        command = [sys.executable, "-m", "tierwise", "compare", *map(str, paths)]
        took = [seconds(command) for _ in range(given.times)]
    cpu, wall = (statistics.median(one) for one in zip(*took, strict=True))
    print(f"tierwise compare, {given.tasks} tasks: {cpu:.2f} s of CPU, {wall:.2f} s (medians of {given.times})")
    if given.json is not None:
        given.json.write_text(json.dumps({"cpu": cpu, "wall": wall, "each": took}), encoding="utf-8")
    return 0 if cpu <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
