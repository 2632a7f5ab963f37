"""Eight votes on one prompt: the prompt tokens that the engine computes, and the time, relative to one pass.

    python benchmarks/prompt_once.py [--only ENGINE] [--checkpoint FOLDER [--vllm PYTHON [--block 32]]]
        [--votes 8] [--answers 8,32,96,256] [--tables curve,short,waits] [--rounds 3] [--json FILE]

llama.cpp runs the quickstart's checkpoint (`tierwise pull examples/quickstart.yaml`). With a folder, the Transformers
worker runs it too, and with the interpreter of a vLLM on this machine, vLLM does. Every prompt is new, of about 610
tokens with SmolLM2. Tokens are those of the trace, from which the ledger is written; `engine` is the count on the
engine's own metrics page. Two times are compared with the votes': one pass, and the sum of a prefill alone and the same
votes on a prompt that is cached already. CPU time is that of the engine's processes, which other load on the machine
disturbs less. Two more tables are of llama.cpp. `short` finds where sharing begins to pay: the same votes on shorter
prompts, with and without it. `waits` has the time to the first token of a single pass that comes while the votes run,
with and without the slot that they leave free.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from tierwise import plan
from tierwise.catalog import pull
from tierwise.engines import LlamaCpp, Transformers, Vllm
from tierwise.engines.engine import Deployment, SharesPrompts
from tierwise.engines.llama_cpp import launch as llama_cpp
from tierwise.engines.metrics import read
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.settings import LaunchContext
from tierwise.engines.transformers import launch as transformers
from tierwise.engines.vllm import ROW as VLLM
from tierwise.ledger.records import Trace
from tierwise.run import Action, Tier
from tierwise.spec.ask import Answer, Ask
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk
from tierwise.spec.prompt import Prompt

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.yaml"
SENTENCE = "The quick brown fox jumps over the lazy dog and runs along the river. "
REPEATS = 38
FAIR_ANSWER = 96
TOKENS_LIMIT, VLLM_TOKENS_LIMIT, SHORT_LIMIT, LONG_LIMIT = 1.05, 1.18, 2.5, 1.1


@dataclass(frozen=True)
class Votes:
    """A policy that waits for all of its votes."""

    n: int
    sets: frozenset[str] = frozenset({"seed"})

    def most(self, _: Any) -> Budget:
        return Budget(passes=self.n)

    def tiers(self) -> tuple[str, ...]:
        return ()

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        async with ask.panel([Call(prompt=prompt, role="vote")] * self.n) as arrivals:
            passes = [vote async for vote in arrivals]
        assert all(passes), "a vote failed"
        assert passes[0] is not None
        return Answer(completion=passes[0].completion, chosen=passes[0].number)


class Plain:
    """An engine without prefills."""

    def __init__(self, engine: LaunchedEngine) -> None:
        self.stream, self.health = engine.stream, engine.health


class Watched(Plain):
    """An engine that tells when the votes run.

    Args:
        engine: the engine.
        votes: how many of them.
        leaves_free: whether they leave a slot free for single passes.
    """

    def __init__(self, engine: LaunchedEngine, votes: int, *, leaves_free: bool) -> None:
        super().__init__(engine)
        assert isinstance(engine, SharesPrompts)
        self.prefill = engine.prefill
        self.prefills, self.runs = asyncio.Event(), asyncio.Event()
        self._engine, self._left, self._leaves_free = engine, votes, leaves_free
        self.stream = self._watched

    async def _watched(self, call: Call) -> AsyncGenerator[Chunk, None]:
        if call.is_prefill:
            self.prefills.set()
        begins = not call.is_prefill
        async with aclosing(self._engine.stream(call if self._leaves_free else replace(call, group=""))) as chunks:
            async for chunk in chunks:
                if begins and chunk.is_output:
                    begins, self._left = False, self._left - 1
                    if not self._left:
                        self.runs.set()
                yield chunk


@dataclass(frozen=True, kw_only=True)
class Taken:
    seconds: float
    uncached: int
    counted: float
    """The engine's own count of the same."""
    cpu: float
    """CPU seconds of the engine's processes."""


class Bench:
    def __init__(self, engine: LaunchedEngine, votes: int) -> None:
        self._engine, self._votes = engine, votes
        self._number = 0

    def prompt(self, answer: int, repeats: int = REPEATS) -> Prompt:
        """A prompt that begins like no other."""
        self._number += 1
        text = f"{self._number} is the number of this story. {SENTENCE * repeats}What happens next?"
        fields = {"max_tokens": answer, "temperature": 1.0, "ignore_eos": True}
        return Prompt(messages=({"role": "user", "content": text},), fields=fields, seed=self._number)

    async def measure(self, votes: int, prompt: Prompt, *, shares: bool = True) -> Taken:
        engine: Any = self._engine if shares else Plain(self._engine)
        deployment = Deployment(name="measured", engine=engine, slots=self._votes)
        tier = Tier(name="votes", deployment=deployment, policy=Votes(votes))
        before, used, began = await self._computed(), self._cpu(), time.perf_counter()
        trace = Trace(action="act", began=asyncio.get_running_loop().time(), started_at=0.0)
        await Action(tier, trace).solve(prompt)
        seconds = time.perf_counter() - began
        uncached = sum(done.usage.prompt - done.usage.cached for done in trace.passes)
        cpu = self._cpu() - used
        return Taken(seconds=seconds, uncached=uncached, counted=await self._computed() - before, cpu=cpu)

    def _cpu(self) -> float:
        """CPU seconds so far of the engine and the processes that it started."""
        pid = self._engine.supervisor.pid
        assert pid is not None
        return cpu_seconds(pid)

    async def _computed(self) -> float:
        page = self._engine.health().page
        assert page is not None
        async with aiohttp.ClientSession() as client, client.get(page.url) as response:
            found = read(await response.text(), page.names)
        return found["prefix_cache_queries"] - found["prefix_cache_hits"]

    async def at(self, answer: int) -> dict[str, float]:
        """One round at a length of answers."""
        one = await self.measure(1, self.prompt(answer))
        prefill = await self.measure(1, self.prompt(1))
        prompt = self.prompt(answer)
        votes = await self.measure(self._votes, prompt)
        cached = await self.measure(self._votes, prompt)
        return {
            "tokens": votes.uncached / one.uncached,
            "engine": votes.counted / one.counted,
            "one": one.seconds,
            "votes": votes.seconds,
            "ratio": votes.seconds / one.seconds,
            "of_sum": votes.seconds / (prefill.seconds + cached.seconds),
            "cpu_ratio": votes.cpu / one.cpu,
            "cpu_of_sum": votes.cpu / (prefill.cpu + cached.cpu),
        }

    async def sharing(self, repeats: int) -> dict[str, float]:
        """Votes of eight tokens on a shorter prompt, with and without sharing."""
        shared = await self.measure(self._votes, self.prompt(8, repeats))
        plain = await self.measure(self._votes, self.prompt(8, repeats), shares=False)
        one = await self.measure(1, self.prompt(1, repeats))
        return {"prompt": one.uncached, "shared": shared.seconds, "plain": plain.seconds}

    async def first_token(self) -> float:
        """Seconds until a single pass on a short prompt has its first token."""
        began = time.perf_counter()
        async with aclosing(self._engine.stream(Call(prompt=self.prompt(8, repeats=1)))) as chunks:
            async for chunk in chunks:
                if chunk.is_output:
                    return time.perf_counter() - began
        raise AssertionError("the single pass had no token")

    async def amid(self, answer: int, *, prefill: bool = False, leaves_free: bool = True) -> float:
        """The same, for a pass that comes when the votes of an action run, or when their prompt is computed."""
        engine: Any = Watched(self._engine, self._votes, leaves_free=leaves_free)
        deployment = Deployment(name="measured", engine=engine, slots=self._votes)
        trace = Trace(action="votes", began=asyncio.get_running_loop().time(), started_at=0.0)
        action = Action(Tier(name="votes", deployment=deployment, policy=Votes(self._votes)), trace)
        async with asyncio.TaskGroup() as group:
            group.create_task(action.solve(self.prompt(answer)))
            await (engine.prefills if prefill else engine.runs).wait()
            return await self.first_token()

    async def fairness(self, answer: int) -> dict[str, float]:
        """The waits of a single pass, in seconds."""
        return {
            "alone": await self.first_token(),
            "prefill": (await self.measure(1, self.prompt(1))).seconds,
            "amid_prefill": await self.amid(answer, prefill=True),
            "amid_votes": await self.amid(answer),
            "without": await self.amid(answer, leaves_free=False),
        }


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and its descendants that run."""
    ticks = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    own = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    children = " ".join(path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return own + sum(cpu_seconds(int(child)) for child in children.split())


async def medians(rounds: int, one: Any) -> dict[str, float]:
    found = [await one() for _ in range(rounds)]
    return {name: statistics.median(row[name] for row in found) for name in found[0]}


def engines(given: argparse.Namespace, logs: Path) -> Iterator[tuple[str, LaunchedEngine]]:
    def context(model: Path) -> LaunchContext:
        return LaunchContext(base=Path.cwd(), logs=logs, model=model)

    levers: dict[str, Any] = {"checkpoint": "m", "slots": given.votes, "context": 2048}
    if given.only in (None, "llama.cpp"):
        model = asyncio.run(pull(plan.load(QUICKSTART).checkpoint("smollm2")))
        yield "llama.cpp", llama_cpp.build(LlamaCpp(**levers, threads=2), "measured", context(model))
    if given.checkpoint is None:
        return
    folder = given.checkpoint.absolute()
    if given.only in (None, "transformers"):
        yield "transformers", transformers.build(Transformers(**levers, threads=2), "measured", context(folder))
    if given.vllm is not None and given.only in (None, "vllm"):
        settings = Vllm(**levers, python=given.vllm, block_size=given.block, cpu_kv_cache_gib=1, enforce_eager=True)
        engine: Any = VLLM.build(settings, "measured", context(folder))
        yield "vllm", engine


async def measured(name: str, engine: LaunchedEngine, given: argparse.Namespace) -> dict[str, Any]:
    """The figures of an engine, printed as they are measured."""
    await engine.start()
    try:
        bench, kept = Bench(engine, given.votes), True
        await bench.at(8)  # to warm up
        curve, short, waits = {}, [], {}
        if "curve" in given.tables:
            curve = await curve_of(name, bench, given)
            kept = all(is_kept(name, answer, row) for answer, row in curve.items())
            print(f"  limits {'kept' if kept else 'NOT kept'}: prompt tokens ≤ {tokens_limit(name)} ×, and in time")
            print(f"  ≤ {SHORT_LIMIT} × one pass up to 32 tokens, then ≤ {LONG_LIMIT} × a prefill and cached votes")
        if name == "llama.cpp" and "short" in given.tables:
            print("  prompt tokens   votes, shared   votes, plain")
            for many in (0, 1, 3, 8):
                short.append(row := await medians(given.rounds, lambda many=many: bench.sharing(many)))
                print(f"  {row['prompt']:13.0f}   {row['shared']:11.2f} s   {row['plain']:10.2f} s", flush=True)
        if name == "llama.cpp" and "waits" in given.tables:
            waits = await waits_of(bench, given)
            kept &= waits["amid_votes"] <= waits["alone"] + waits["prefill"]
        return {"curve": curve, "short": short, "waits": waits, "kept": kept}
    finally:
        with suppress(Exception):
            await engine.stop()


async def curve_of(name: str, bench: Bench, given: argparse.Namespace) -> dict[int, dict[str, float]]:
    """The costs per length of answer, printed as they are measured."""
    print(f"{name}: {given.votes} votes over one pass")
    print("  answer   prompt tokens   engine's count   one pass      votes   over one pass   over prefill and votes")
    curve = {}
    for answer in map(int, given.answers.split(",")):
        curve[answer] = row = await medians(given.rounds, lambda answer=answer: bench.at(answer))
        print(
            f"  {answer:6}   {row['tokens']:11.3f} ×   {row['engine']:12.3f} ×   {row['one']:6.2f} s   "
            f"{row['votes']:6.2f} s   {row['ratio']:5.2f} × (CPU {row['cpu_ratio']:.2f})   "
            f"{row['of_sum']:5.2f} × (CPU {row['cpu_of_sum']:.2f})",
            flush=True,
        )
    return curve


async def waits_of(bench: Bench, given: argparse.Namespace) -> dict[str, float]:
    """The waits of a single pass, printed."""
    waits = await medians(given.rounds, lambda: bench.fairness(FAIR_ANSWER))
    print(f"  seconds to the first token of a single pass that comes to {given.votes} votes of {FAIR_ANSWER} tokens")
    print("  alone   during their prefill   during the votes   the same, without a free slot   with ÷ without")
    print(
        f"  {waits['alone']:5.2f}   {waits['amid_prefill']:20.2f}   {waits['amid_votes']:16.2f}   "
        f"{waits['without']:29.2f}   {waits['amid_votes'] / waits['without']:12.2f} ×"
    )
    most = waits["alone"] + waits["prefill"]
    print(f"  limit during the votes: {most:.2f} s, alone plus the prefill of the votes", flush=True)
    return waits


def tokens_limit(name: str) -> float:
    """Uncached prompt tokens over those of one pass; with vLLM, each vote computes one block of its cache."""
    return VLLM_TOKENS_LIMIT if name == "vllm" else TOKENS_LIMIT


def is_kept(name: str, answer: int, row: dict[str, float]) -> bool:
    in_time = row["ratio"] <= SHORT_LIMIT if answer <= 32 else row["of_sum"] <= LONG_LIMIT
    return row["tokens"] <= tokens_limit(name) and in_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["llama.cpp", "transformers", "vllm"], help="measure only this engine")
    parser.add_argument("--checkpoint", type=Path, help="a folder with a safetensors checkpoint")
    parser.add_argument("--vllm", help="an interpreter that has vLLM")
    parser.add_argument("--block", type=int, help="vLLM's `block_size`; its default is 128 on the CPU")
    parser.add_argument("--votes", type=int, default=8)
    parser.add_argument("--answers", default="8,32,96,256", help="tokens per answer, separated by commas")
    parser.add_argument("--tables", default="curve,short,waits", help="which tables, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as logs:
        for name, engine in engines(given, Path(logs)):
            found[name] = asyncio.run(measured(name, engine, given))
            if given.json is not None:
                given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    sys.exit(not all(one["kept"] for one in found.values()))


if __name__ == "__main__":
    main()
