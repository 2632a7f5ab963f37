"""Records the pools behind the curves of rules and routes, in pieces, and packs them.

    python scripts/record_pools.py POOL --out FOLDER --minutes 20     again until it says that the pool is complete
    python scripts/record_pools.py POOL --out FOLDER --tasks 20 --draws 2    a pilot: how often one draw is right
    python scripts/record_pools.py POOL --out FOLDER --pack           FOLDER/POOL.tar.xz, to be committed

A deep pool has 16 draws of one model for each of 150 tasks, and is for stopping rules. A wide one has 4 draws of a
cheap and of a reference model for each of 700 tasks, and is for routes. The cheap model is right less often.
`precisions` has 3 draws of one checkpoint at several precisions for each of 300 tasks.

A piece may be ended at any time, also by `kill -9`: the next one continues where it ended. A packed pool has the tasks
of which all draws are there. It is unpacked with `tar -xf`, and is a directory for `tierwise pool replay`. Committed
pools are in benchmarks/pools; benchmarks/real_pools.py draws their curves.
"""

from __future__ import annotations

import argparse
import hashlib
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


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint of examples/coder.yaml with its launch levers."""

    checkpoint: str
    quantization: str = ""
    """A type of benchmarks/requantize.py, which writes the file; empty for the checkpoint as it is."""
    levers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the checkpoint in the config file."""
        return f"{self.checkpoint}-{self.quantization}" if self.quantization else self.checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPool:
    """Draws of one or several models for the tasks of one suite."""

    suite: SuiteChoice
    models: Mapping[str, Model] = field(default_factory=lambda: {"model": Model("coder-0.5b")})
    """By deployment."""
    draws: int = 16


def puzzles(generator: str, count: int = 150, seed: int = 10, **settings: Any) -> SuiteChoice:
    """Tasks of reasoning-gym with numbers as answers, which take about four tokens."""
    suite = ReasoningGymSuite(
        generators=(generator,), count=count, seed=seed, settings={generator: settings}, max_tokens=12
    )
    return SuiteChoice(reasoning_gym=suite)


def wide(generator: str, **settings: Any) -> RecordedPool:
    """A cheap and a reference model on tasks that no deep pool has."""
    models = {"cheap": Model("coder-0.5b"), "reference": Model("coder-1.5b")}
    return RecordedPool(suite=puzzles(generator, count=700, seed=20, **settings), models=models, draws=4)


def precisions() -> RecordedPool:
    """One checkpoint at several precisions. The top is the file at hand, Q4_K_M, with its KV cache at f16."""
    settings = {
        "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3},
        "products": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    }
    suite = ReasoningGymSuite(generators=tuple(settings), count=300, seed=50, settings=settings, max_tokens=12)
    cache = {kind: {"cache_type_k": kind, "cache_type_v": kind, "flash_attention": True} for kind in ("q8_0", "q4_0")}
    models = {
        "q4_k_m": Model("coder-1.5b"),
        "kv_q8_0": Model("coder-1.5b", levers=cache["q8_0"]),
        "kv_q4_0": Model("coder-1.5b", levers=cache["q4_0"]),
        "q3_k": Model("coder-1.5b", "Q3_K"),
        "q2_k": Model("coder-1.5b", "Q2_K"),
    }
    return RecordedPool(suite=SuiteChoice(reasoning_gym=suite), models=models, draws=3)


DECIMALS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "min_decimal_places": 1, "max_decimal_places": 1}

POOLS = {
    "sums": RecordedPool(suite=puzzles("chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=3)),
    "decimals": RecordedPool(suite=puzzles("decimal_chain_sum", max_digits=1, **DECIMALS)),
    "human-eval": RecordedPool(suite=SuiteChoice(human_eval=HumanEval(max_tokens=320))),
    "wide-sums": wide("chain_sum", min_terms=2, max_terms=2, min_digits=2, max_digits=3),
    "wide-decimals": wide("decimal_chain_sum", max_digits=2, **DECIMALS),
    "wide-products": wide("products", min_terms=2, max_terms=2, min_digits=1, max_digits=2),
    "precisions": precisions(),
}
"""Whether one draw is right for 30 to 80 % of their tasks is what a pilot shows."""


def make_tasks(pool: RecordedPool, path: Path) -> None:
    """Write the workload of a pool."""
    gym = pool.suite.reasoning_gym
    made = pool.suite.member.make(Path()).tasks if gym is None else answered_alone(gym)
    made = list({task.messages[-1]["content"]: task for task in reversed(made)}.values())[::-1]  # each prompt once
    about = f"tasks of {pool.suite.kind}, of which scripts/record_pools.py has the settings"
    write(path, made, WorkloadHeader(name=path.stem, description=about))


def requantized(model: Model, folder: Path) -> dict[str, str]:
    """The entry of a requantized checkpoint in a config file of this folder; writes the model's file."""
    name = f"{model.name}.gguf"
    if not (folder / name).exists():
        pull = [sys.executable, "-m", "tierwise", "pull", "examples/coder.yaml", model.checkpoint, "--quiet"]
        said = subprocess.run(pull, check=True, cwd=ROOT, capture_output=True, text=True).stdout
        whole = said.splitlines()[0].partition(": ")[2]
        program = [sys.executable, str(ROOT / "benchmarks" / "requantize.py")]
        subprocess.run([*program, whole, str(folder / name), "--type", model.quantization], check=True)
    digest = hashlib.sha256()
    with (folder / name).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return {"source": f"file:{name}", "sha256": digest.hexdigest()}


def config_of(pool: RecordedPool, folder: Path, slots: int, threads: int) -> dict[str, Any]:
    """The config file: a tier for each model, which draws once."""
    coder = yaml.safe_load((ROOT / "examples" / "coder.yaml").read_text(encoding="utf-8"))
    engine = {"engine": "llama.cpp", "context": 1024, "slots": slots, "threads": threads}
    sampling = {"temperature": 0.8, "top_p": 0.95}
    return {
        "checkpoints": {
            one.name: requantized(one, folder) if one.quantization else coder["checkpoints"][one.checkpoint]
            for one in pool.models.values()
        },
        "deployments": {name: engine | {"checkpoint": one.name} | one.levers for name, one in pool.models.items()},
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
        made = config_of(pool, folder, wanted.slots, wanted.threads)
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
