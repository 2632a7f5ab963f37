"""What two settings of a route do on a real llama.cpp: passes that are cut, and sessions.

    python benchmarks/live_policies.py --small FILE.gguf --large FILE.gguf [--only cut|session] [--json FILE]

`cut`: word problems through a route of both models, with and without ending unsure passes of the small one while they
are written. The threshold is the median of the lowest windows of its passes without it. After each cut the slots of the
engine are looked at: when it stopped writing, and how many tokens it had written, compared with the ledger's count.

`session`: a conversation of 6 turns through the same route, with and without a session. The default signals accept no
open text of the small model, so each turn climbs, unless the session begins at the large model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from tierwise.engines import LlamaCpp
from tierwise.engines.engine import Deployment
from tierwise.engines.llama_cpp import launch as llama_cpp
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.settings import LaunchContext
from tierwise.ledger.records import Trace
from tierwise.policies import Cascade, Single
from tierwise.policies.signals import Cut
from tierwise.run import Action, Tier
from tierwise.spec.ask import Answer
from tierwise.spec.call import Call, Chunk, Pass
from tierwise.spec.prompt import Prompt
from tierwise.stats.confidence import lowest_window
from tierwise.verifiers import Number
from tierwise.verifiers.pooled import judge

SLOTS, CONTEXT, WINDOW = 4, 2048, 16
HOW = "Think step by step, and end with the result as a number."
PROBLEMS: list[tuple[str, Callable[[int, int, int], int]]] = [
    ("A shelf has {a} books. {b} are lent and {c} come back. How many are on it?", lambda a, b, c: a - b + c),
    ("{a} boxes have {b} pens each, and {c} pens are lost. How many pens are left?", lambda a, b, c: a * b - c),
    ("A train with {a} people lets {b} out, and {c} get in. How many are in it?", lambda a, b, c: a - b + c),
]
NUMBERS = [(42, 9, 4), (31, 7, 12)]
TURNS = [
    "Explain in two sentences what a binary search does.",
    "Write it in Python.",
    "Which error is easy to make in its loop?",
    "Rename its variables to longer names.",
    "What happens if the list is empty?",
    "Describe a test for it.",
]


@asynccontextmanager
async def running(name: str, checkpoint: Path) -> AsyncGenerator[Deployment]:
    """A deployment of a model on llama.cpp."""
    folder = Path(tempfile.mkdtemp(prefix="live-"))
    settings = LlamaCpp(checkpoint="m", slots=SLOTS, context=CONTEXT, threads=2)
    engine = llama_cpp.build(settings, name, LaunchContext(base=folder, logs=folder, model=checkpoint))
    await engine.start()
    try:
        yield Deployment(name=name, engine=engine, slots=SLOTS, context=CONTEXT)
    finally:
        with suppress(Exception):
            await engine.stop()


class Watched:
    """An engine that looks at its slots after a pass was closed before its end."""

    def __init__(self, engine: LaunchedEngine) -> None:
        self.health = engine.health
        self.start, self.stop = engine.start, engine.stop
        self.looks: list[dict[str, float]] = []
        self._engine = engine

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        has_ended = False
        async with aclosing(self._engine.stream(call)) as chunks:
            try:
                async for chunk in chunks:
                    has_ended = has_ended or chunk.finish is not None
                    yield chunk
            finally:
                await chunks.aclose()
                if not has_ended:
                    await self._look()

    async def _look(self) -> None:
        """Only one pass at a time runs on the small model, so the slot that wrote last is that of the pass."""
        began = time.perf_counter()
        slots = await self._slots()
        while any(slot["is_processing"] for slot in slots):
            slots = await self._slots()
        seconds = time.perf_counter() - began
        written = [_written(slot) for slot in slots]
        await asyncio.sleep(0.5)
        later = [_written(slot) for slot in await self._slots()]
        self.looks.append({"seconds": seconds, "wrote_on": sum(later) - sum(written)})

    async def _slots(self) -> Any:
        page = self._engine.health().page
        assert page is not None
        async with aiohttp.ClientSession() as client, client.get(page.url.replace("/metrics", "/slots")) as response:
            return await response.json()


def _written(slot: dict[str, Any]) -> int:
    """Tokens of a slot's last pass."""
    found = slot.get("next_token", {})
    return int((found[0] if isinstance(found, list) else found).get("n_decoded", 0))


async def predicted(deployment: Deployment) -> float:
    """Completion tokens so far by the engine's own count."""
    page = deployment.engine.health().page
    assert page is not None
    async with aiohttp.ClientSession() as client, client.get(page.url) as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("llamacpp:tokens_predicted_total "))


def single(deployment: Deployment) -> Tier:
    return Tier(name=deployment.name, deployment=deployment, policy=Single())


def route(small: Deployment, large: Deployment, **settings: Any) -> tuple[Tier, list[Tier]]:
    """A route over both models, and its tiers."""
    policy = Cascade(ladder=("small", "large"), **settings)
    return Tier(name="auto", deployment=large, policy=policy), [single(small), single(large)]


async def act(tier: Tier, prompt: Prompt, others: Sequence[Tier] = (), session: str = "") -> tuple[Answer, Trace]:
    """The answer and the trace of one action."""
    trace = Trace(action="act", began=asyncio.get_running_loop().time(), started_at=time.time(), session=session)
    action = Action(tier, trace, tiers={one.name: one for one in others})
    return await action.solve(prompt), trace


def passes_of(traces: Sequence[Trace], tier: str = "") -> list[Pass]:
    return [done for trace in traces for done in trace.passes if tier in ("", done.tier)]


def totals(passes: Sequence[Pass]) -> dict[str, int]:
    return {
        "passes": len(passes),
        "prompt": sum(done.usage.prompt for done in passes),
        "computed": sum(done.usage.prompt - done.usage.cached for done in passes),
        "completion": sum(done.usage.completion for done in passes),
    }


async def measured_cut(small: Deployment, large: Deployment) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cut = None
    for way in ("without", "with"):
        assert isinstance(small.engine, LaunchedEngine)
        watched = Watched(small.engine)
        auto, tiers = route(replace(small, engine=watched), large, cut=cut)
        traces, right, before = list[Trace](), 0, await predicted(small)
        for text, result in problems():
            fields: Any = {"temperature": 0, "max_tokens": 128}
            prompt = Prompt(messages=({"role": "user", "content": f"{text} {HOW}"},), fields=fields, seed=len(traces))
            answer, trace = await act(auto, prompt, tiers)
            traces.append(trace)
            right += (await judge(Number(equals=result), answer.completion)).ok
        cheap = passes_of(traces, "small")
        ended = [done for done in cheap if done.outcome == "cut"]
        row: dict[str, Any] = {
            "right": right,
            "cut": len(ended),
            "small": totals(cheap),
            "large": totals(passes_of(traces, "large")),
            "cut_tokens": sum(done.usage.completion for done in ended),
            "counted": await predicted(small) - before,
            "looks": watched.looks,
        }
        found[way] = row
        print(
            f"  {way:7} right {right} of {len(traces)}, tokens: small {row['small']['completion']} in "
            f"{len(cheap)} passes, {len(ended)} of them cut after {row['cut_tokens']}; large "
            f"{row['large']['completion']} in {row['large']['passes']}; /metrics of the small one: {row['counted']:.0f}"
        )
        if watched.looks:
            slowest = max(look["seconds"] for look in watched.looks)
            wrote = sum(look["wrote_on"] for look in watched.looks)
            print(f"          slots stopped within {slowest:.3f} s, and wrote {wrote} tokens in the 0.5 s after that")
        if cut is None:
            lowest = [lowest_window(done.completion.logprobs, WINDOW) for done in cheap]
            below = statistics.median(value for value in lowest if value is not None)
            print(f"  threshold: {below:.2f} nats over {WINDOW} tokens")
            cut = Cut(below=below, window=WINDOW)
    return found


def problems() -> list[tuple[str, int]]:
    return [(text.format(a=a, b=b, c=c), result_of(a, b, c)) for text, result_of in PROBLEMS for a, b, c in NUMBERS]


async def measured_session(small: Deployment, large: Deployment) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for session in ("", "conversation"):
        auto, tiers = route(small, large)
        traces, messages, seconds = list[Trace](), list[Any](), list[float]()
        messages = [{"role": "system", "content": f"You teach programming. Conversation {session or 'alone'}."}]
        for turn in TURNS:
            messages.append({"role": "user", "content": turn})
            prompt = Prompt(messages=tuple(messages), fields={"temperature": 0, "max_tokens": 64}, seed=1)
            began = time.perf_counter()
            answer, trace = await act(auto, prompt, tiers, session)
            seconds.append(time.perf_counter() - began)
            traces.append(trace)
            messages.append({"role": "assistant", "content": answer.completion.text})
        way = "with" if session else "without"
        found[way] = {"small": totals(passes_of(traces, "small")), "large": totals(passes_of(traces, "large"))}
        found[way]["seconds"] = sum(seconds)
        print(f"  {way} a session: small {found[way]['small']}; large {found[way]['large']}; {sum(seconds):.1f} s")
    return found


async def measured(given: argparse.Namespace) -> dict[str, Any]:
    parts: dict[str, Callable[[Deployment, Deployment], Any]] = {
        "cut": measured_cut,
        "session": measured_session,
    }
    found = {}
    async with running("small", given.small) as small, running("large", given.large) as large:
        for name in (given.only,) if given.only else parts:
            print(f"{name}:", flush=True)
            found[name] = await parts[name](small, large)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=Path, required=True, help="a GGUF file of a small model")
    parser.add_argument("--large", type=Path, required=True, help="a GGUF file of a larger one")
    parser.add_argument("--only", choices=["cut", "session"], help="measure only this")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    found = asyncio.run(measured(given))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
