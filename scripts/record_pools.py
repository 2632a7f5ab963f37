"""Records the pools behind the curves of rules and routes, in pieces, and packs them.

    python scripts/record_pools.py POOL --out FOLDER --minutes 20     again until it says that the pool is complete
    python scripts/record_pools.py POOL --out FOLDER --tasks 20 --draws 2    a pilot: how often one draw is right
    python scripts/record_pools.py POOL --out FOLDER --pack           FOLDER/POOL.tar.xz, to be committed

A deep pool has 16 draws of one model for each of 150 tasks, and is for stopping rules. A wide one has 4 draws of a
cheap and of a reference model for each of 700 tasks, and is for routes. The cheap model is right less often.

A piece may be ended at any time, also by `kill -9`: the next one continues where it ended. A packed pool has the tasks
of which all draws are there. It is unpacked with `tar -xf`, and is a directory for `tierwise pool replay`. Committed
pools are in benchmarks/pools; benchmarks/real_pools.py draws their curves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tierwise.runs.directory import RunDirectory
from tierwise.workloads.files.header import WorkloadHeader
from tierwise.workloads.files.write import write
from tierwise.workloads.suites import SuiteChoice
from tierwise.workloads.suites.human_eval import HumanEval
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from packing import pack  # noqa: E402
from puzzles import answered_alone  # noqa: E402 - benchmarks are programs


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPool:
    """Draws of one or several models for the tasks of one suite."""

    suite: SuiteChoice
    models: Mapping[str, str] = field(default_factory=lambda: {"model": "coder-0.5b"})
    """Deployments, each with its checkpoint in examples/coder.yaml."""
    draws: int = 16


def puzzles(generator: str, count: int = 150, seed: int = 10, **settings: Any) -> SuiteChoice:
    """Tasks of reasoning-gym with numbers as answers, which take about four tokens."""
    suite = ReasoningGymSuite(
        generators=(generator,), count=count, seed=seed, settings={generator: settings}, max_tokens=12
    )
    return SuiteChoice(reasoning_gym=suite)


def wide(generator: str, **settings: Any) -> RecordedPool:
    """A cheap and a reference model on tasks that no deep pool has."""
    models = {"cheap": "coder-0.5b", "reference": "coder-1.5b"}
    return RecordedPool(suite=puzzles(generator, count=700, seed=20, **settings), models=models, draws=4)


DECIMALS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "min_decimal_places": 1, "max_decimal_places": 1}

POOLS = {
    "sums": RecordedPool(suite=puzzles("chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=3)),
    "decimals": RecordedPool(suite=puzzles("decimal_chain_sum", max_digits=1, **DECIMALS)),
    "human-eval": RecordedPool(suite=SuiteChoice(human_eval=HumanEval(max_tokens=320))),
    "wide-sums": wide("chain_sum", min_terms=2, max_terms=2, min_digits=2, max_digits=3),
    "wide-decimals": wide("decimal_chain_sum", max_digits=2, **DECIMALS),
    "wide-products": wide("products", min_terms=2, max_terms=2, min_digits=1, max_digits=2),
}
"""Whether one draw is right for 30 to 80 % of their tasks is what a pilot shows."""


def make_tasks(pool: RecordedPool, path: Path) -> None:
    """Write the workload of a pool."""
    gym = pool.suite.reasoning_gym
    made = pool.suite.member.make(Path()).tasks if gym is None else answered_alone(gym)
    made = list({task.messages[-1]["content"]: task for task in reversed(made)}.values())[::-1]  # each prompt once
    about = f"tasks of {pool.suite.kind}, of which scripts/record_pools.py has the settings"
    write(path, made, WorkloadHeader(name=path.stem, description=about))


def config_of(pool: RecordedPool, slots: int, threads: int) -> dict[str, Any]:
    """The config file: a tier for each model, which draws once."""
    coder = yaml.safe_load((ROOT / "examples" / "coder.yaml").read_text(encoding="utf-8"))
    engine = {"engine": "llama.cpp", "context": 1024, "slots": slots, "threads": threads}
    sampling = {"temperature": 0.8, "top_p": 0.95}
    return {
        "checkpoints": {one: coder["checkpoints"][one] for one in pool.models.values()},
        "deployments": {name: engine | {"checkpoint": one} for name, one in pool.models.items()},
        "tiers": {
            "draw" if len(pool.models) == 1 else name: {"deployment": name, "policy": "single", "sampling": sampling}
            for name in pool.models
        },
        "prices": {name: {"dollars_per_hour": 0.05 * (1 + number)} for number, name in enumerate(pool.models)},
    }


def tierwise(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "tierwise", *arguments], check=False, cwd=ROOT).returncode


def record(name: str, folder: Path, wanted: argparse.Namespace) -> int:
    """Record one piece. Returns the exit code of the recording."""
    pool, at = POOLS[name], folder / name
    tasks, config = folder / f"{name}.jsonl", folder / f"{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    if not tasks.exists():
        make_tasks(pool, tasks)
    if not config.exists():
        made = config_of(pool, wanted.slots, wanted.threads)
        config.write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    limit = () if wanted.tasks is None else ("--limit", str(wanted.tasks))
    draws = pool.draws if wanted.draws is None else wanted.draws
    size = ("--draws", str(draws), "--concurrency", str(wanted.slots), *limit)
    budget = () if wanted.minutes is None else ("--budget-minutes", str(wanted.minutes))
    code = tierwise("pool", "record", str(config), str(tasks), *size, *budget, "--out", str(at))
    directory = RunDirectory(at)
    if directory.has_manifest:
        total, found = len(directory.read_manifest().keys()), len(directory.read_records())
        print(f"{name}: {found} of {total} draws" + ("; complete" if found == total else "; run it again to continue"))
    return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", choices=sorted(POOLS))
    parser.add_argument("--out", type=Path, required=True, help="folder of the pools")
    parser.add_argument("--minutes", type=float, help="start no draw after this time")
    parser.add_argument("--draws", type=int, help="other than the pool's, for a pilot")
    parser.add_argument("--tasks", type=int, help="fewer tasks, for a pilot")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pack", action="store_true", help="pack the recorded pool")
    wanted = parser.parse_args()
    folder = wanted.out.resolve()
    name = wanted.pool
    packed = folder / f"{name}.tar.xz"
    sys.exit(pack(name, folder / name, packed) if wanted.pack else record(name, folder, wanted))


if __name__ == "__main__":
    main()
