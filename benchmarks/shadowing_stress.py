"""Do shadows make users wait? Users at 2.5 × the capacity of a real llama.cpp, with every answer shadowed.

    python benchmarks/shadowing_stress.py [--rounds 8] [--folder DIR] [--out docs/drift.md]

The model of `examples/quickstart.yaml` serves the cheap tier and the reference tier of a route in one process with two
slots and one thread, so that shadows compete with users for everything. In each round five users ask at once, and the
next round comes a random moment after the last answer: shadows begin between rounds, and the next round meets them.
The same requests are asked in three arms, in the order A B C C B A: without shadows, with `wait_for: free_slot` and
with `wait_for: idle`. After each block with shadows nobody asks for some time, and the shadows that waited are counted.

The certificate is one that `tierwise tune` did not make: its figures allow any difference, because only time is
measured. Give the same --folder again to continue after an interruption: blocks that have ended are kept. The exit code
is 1 if a shadow began without a free slot, did not leave its slot to a user, or none ended once the load had fallen.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import msgspec
import openai
import yaml

from pages import write_between
from shadowing_live import Served, serving
from tierwise import plan as planning
from tierwise.certificate import Certificate, Figure, Promise
from tierwise.spec.deployed import Deployed

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from certificates import certificate_for  # noqa: E402 - made-up figures, as in the tests

MARK = "<!-- benchmarks/shadowing_stress.py -->"
END = "<!-- end of benchmarks/shadowing_stress.py -->"
USERS, SLOTS = 5, 2
ARMS = ("off", "free_slot", "idle")
QUIET_SECONDS = 60.0
LETTING_GO = 2.0
"""Seconds for which an engine may still compute for a shadow that was stopped; llama.cpp looks once a second."""


class Block(msgspec.Struct, kw_only=True):
    """One arm, once."""

    arm: str
    seconds: list[list[float]]
    """Of users' requests: rounds × users."""
    under_load: dict[str, int]
    """Outcomes of shadows while users asked."""
    outcomes: dict[str, int]
    """The same after the quiet time."""
    began_full: int
    """Shadows' passes that began while users had every slot."""
    held: list[float]
    """Seconds that a stopped shadow's pass went on after a user's pass had begun that stopped it."""
    dollars_share: float
    """Of shadows that yielded, in all busy seconds."""


def config(folder: Path, arm: str) -> Path:
    """A config file with a route that keeps every cheap answer, and its certificate."""
    made = yaml.safe_load((HERE.parent / "examples" / "quickstart.yaml").read_text(encoding="utf-8"))
    tiers = {
        name: {"deployment": "small", "policy": "single", "sampling": {"temperature": temperature}}
        for name, temperature in (("fast", 0), ("max", 0.7))
    }
    shadow = {} if arm == "off" else {"shadow": {"share": 1.0, "wait_for": arm}}
    route = {"cascade": ["fast", "max"], "signals": [{"length": 999}], "certificate": "auto.json", **shadow}
    deployment = {"engine": "llama.cpp", "checkpoint": "smollm2", "context": 1024, "slots": SLOTS, "threads": 1}
    settings = {
        "checkpoints": made["checkpoints"],
        "deployments": {"small": deployment},
        "tiers": tiers,
        "routes": {"auto": route},
        "prices": made["prices"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tierwise.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    plan = planning.load(file)
    certificate(plan).write(folder / "auto.json")
    return file


def certificate(plan: planning.Plan) -> Certificate:
    """One that allows any difference."""
    version = f"xllamacpp {metadata.version('xllamacpp')}"
    running = {"small": Deployed(name="small", engine="llama.cpp", slots=SLOTS, facts={"version": version})}
    return msgspec.structs.replace(
        certificate_for(plan, running),
        promise=Promise(kind="harm", limit=0.5, confidence=0.95),
        disagreement=Figure(value=0.999),
        void_if=["it is used for more than a measurement of time"],
    ).signed()


async def ask(client: openai.AsyncOpenAI, text: str, seed: int) -> float:
    began = time.monotonic()
    await client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": text}], seed=seed, max_tokens=48, stop=["\n", "."]
    )
    return time.monotonic() - began


async def users(served: Served, rounds: int) -> list[list[float]]:
    """The seconds of each user's request in each round; the same requests and pauses in every block."""
    draw, found = random.Random(5), []
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=600, max_retries=0) as client:
        for number in range(rounds):
            texts = [
                f"Name a thing that is {draw.choice(('red', 'big', 'old'))} ({number}, {user})."
                for user in range(USERS)
            ]
            found.append(await asyncio.gather(*(ask(client, text, number) for text in texts)))
            await asyncio.sleep(draw.uniform(0.5, 4.0))
    return found


def ended(outcomes: dict[str, int]) -> int:
    return sum(outcomes.get(name, 0) for name in ("agreed", "differed"))


async def measured(folder: Path, arm: str, rounds: int) -> Block:
    with serving(config(folder, arm), folder) as served:
        seconds = await users(served, rounds)
        under_load = {} if arm == "off" else served.outcomes()
        if arm != "off":
            deadline = time.monotonic() + QUIET_SECONDS
            while served.shadow["waiting"] and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(1)
        outcomes = {} if arm == "off" else served.outcomes()
    passes = passes_of(folder / "ledger.db")
    theirs = [one for one in passes if not one.is_shadow]
    shadows = [one for one in passes if one.is_shadow]
    busy = sum(one.end - one.begin for one in passes)
    yielded = sum(one.end - one.begin for one in shadows if one.yielded)
    return Block(
        arm=arm,
        seconds=seconds,
        under_load=under_load,
        outcomes=outcomes,
        began_full=sum(beside(theirs, one.begin) >= (1 if arm == "idle" else SLOTS) for one in shadows),
        held=[held(one, theirs, 1 if arm == "idle" else SLOTS) for one in shadows if one.yielded],
        dollars_share=yielded / busy,
    )


class OnePass(msgspec.Struct, frozen=True):
    """A pass in the ledger; seconds since 1970."""

    is_shadow: bool
    yielded: bool
    begin: float
    end: float


def passes_of(ledger: Path) -> list[OnePass]:
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        rows = database.execute(
            "SELECT model, ending, started_at + started, started_at + started + passes.seconds FROM passes "
            "JOIN actions ON action = id"
        ).fetchall()
    return [OnePass(model.endswith("(shadow)"), ending == "yielded", begin, end) for model, ending, begin, end in rows]


def beside(passes: list[OnePass], at: float) -> int:
    """Passes that run at a moment, those that began in it not included."""
    return sum(one.begin < at < one.end for one in passes)


def held(shadow: OnePass, theirs: list[OnePass], places: int) -> float:
    """Seconds that a shadow's pass went on after users' passes had taken this many places."""
    moments = [one.begin for one in theirs if shadow.begin <= one.begin <= shadow.end]
    needed = [at for at in moments if sum(one.begin <= at < one.end for one in theirs) >= places]
    return shadow.end - min(needed, default=shadow.end)


def delay(blocks: list[Block], arm: str) -> tuple[float, float, float]:
    """The mean difference of a round's mean seconds with shadows and without, and its 95 % bootstrap interval."""
    means = {
        name: [
            statistics.fmean(second for one in blocks if one.arm == name for second in one.seconds[number])
            for number in range(len(blocks[0].seconds))
        ]
        for name in ("off", arm)
    }
    pairs = [there - here for here, there in zip(means["off"], means[arm], strict=True)]
    draw = random.Random(0)
    drawn = sorted(statistics.fmean(draw.choices(pairs, k=len(pairs))) for _ in range(4000))
    return statistics.fmean(pairs), drawn[100], drawn[-101]


def table(blocks: list[Block]) -> str:
    rows = [
        "| arm | a user's request | p95 | delay, mean of rounds | ended under load | yielded | in 60 s after | held |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        own = [one for one in blocks if one.arm == arm]
        seconds = [second for one in own for each in one.seconds for second in each]
        figures = [f"{statistics.median(seconds):.2f} s", f"{statistics.quantiles(seconds, n=20)[-1]:.2f} s"]
        if arm == "off":
            figures += ["", "", "", "", ""]
        else:
            mean, low, high = delay(blocks, arm)
            holds = [one for block in own for one in block.held]
            load, all_of_it = (
                sum(map(ended, of)) for of in ([one.under_load for one in own], [one.outcomes for one in own])
            )
            asked = len(seconds)
            figures += [
                f"{mean:+.2f} s [{low:+.2f}, {high:+.2f}]",
                f"{load} of {asked}",
                str(sum(one.outcomes.get("yielded", 0) for one in own)),
                f"{all_of_it - load} of {asked - load}",
                f"median {statistics.median(holds):.3f} s, at most {max(holds):.3f} s" if holds else "–",
            ]
        name = {"off": "no shadows"}.get(arm, f"`wait_for: {arm}`")
        rows.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(rows)


def problems(blocks: list[Block]) -> list[str]:
    """What must not happen."""
    shadowed = [one for one in blocks if one.arm != "off"]
    return [
        said
        for said, is_wrong in (
            ("a shadow began without a free slot", any(one.began_full for one in shadowed)),
            ("a shadow did not leave its slot", any(value > LETTING_GO for one in shadowed for value in one.held)),
            ("no shadow ended once the load had fallen", any(not ended(one.outcomes) for one in shadowed)),
        )
        if is_wrong
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="of five users, in each of six blocks")
    parser.add_argument("--folder", type=Path, help="where everything is kept, to continue")
    parser.add_argument("--out", type=Path, help="the page whose table is replaced")
    wanted = parser.parse_args()
    folder = wanted.folder or Path(tempfile.mkdtemp(prefix="stress-"))
    blocks = []
    for number, arm in enumerate((*ARMS, *reversed(ARMS))):
        place = folder / f"{number}-{arm}"
        kept = place / "block.json"
        if not kept.exists():
            place.mkdir(parents=True, exist_ok=True)
            for left in place.glob("ledger.db*"):
                left.unlink()
            block = asyncio.run(measured(place, arm, wanted.rounds))
            kept.write_bytes(msgspec.json.format(msgspec.json.encode(block)))
            print(arm, block.outcomes, f"held {[round(one, 3) for one in block.held]}", flush=True)
        blocks.append(msgspec.json.decode(kept.read_bytes(), type=Block))
    made = table(blocks)
    print(made)
    if wanted.out:
        write_between(wanted.out, MARK, END, made)
    wrong = problems(blocks)
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
