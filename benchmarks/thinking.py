"""Thinking that is lost, recovered, capped and ended early: answers that are right, and tokens, on a real llama.cpp.

    python benchmarks/thinking.py --checkpoint FILE.gguf [--tasks 24] [--limit 192] [--recovery] [--json FILE]

The model is given a chat template that opens thinking, as that of Qwen3.5 does, and is asked for sums and products. A
model that was not trained to think often ends without closing its thinking: its answer is lost. Every way answers the
same questions at temperature 0: without recovery (the first pass of `recovered` alone), with it (from the thinking,
closed, and by the switch), with thinking off, with a cap, and with trial answers. The table has the right answers, and
tokens of all passes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tierwise.engines import LlamaCpp
from tierwise.engines.engine import Deployment
from tierwise.engines.llama_cpp import launch as llama_cpp
from tierwise.engines.llama_cpp.capabilities import capabilities
from tierwise.engines.settings import LaunchContext
from tierwise.ledger.records import Trace
from tierwise.policies import Policy, Single, Thinking
from tierwise.run import Action, Tier
from tierwise.spec.call import Completion
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.clock import now
from tierwise.spec.json import Fields
from tierwise.spec.prompt import Prompt
from tierwise.verifiers import Number
from tierwise.verifiers.pooled import judge

TEMPLATE = """\
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.reasoning_content %}{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}
{{- m.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}
{%- else %}{{ '<think>\\n' }}{%- endif %}{%- endif %}
"""
SYSTEM = (
    "Think step by step first. Write </think> when you are done thinking, and then the answer as one number. "
    "Check your steps before you answer."
)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to answer all questions."""

    name: str
    right: int
    lost: int
    """Answers with nothing but thinking."""
    completion: float
    """Mean completion tokens of all passes of an action; the next ones are means too."""
    reasoning: float
    """Completion tokens of the first pass."""
    uncached: float
    """Prompt tokens that were not cached."""
    passes: float


def questions(count: int) -> list[tuple[str, int]]:
    chance = random.Random(0)
    found = []
    for _ in range(count):
        a, b, c = chance.randint(11, 40), chance.randint(3, 9), chance.randint(10, 90)
        found.append((f"What is {a} * {b} + {c}?", a * b + c))
    return found


def prompt_of(question: str, limit: int, seed: int) -> Prompt:
    messages = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": question})
    return Prompt(messages=messages, fields={"temperature": 0, "max_tokens": limit}, seed=seed)


async def answered(
    deployment: Deployment, policy: Policy, fields: Fields, limit: int, count: int
) -> list[tuple[Trace, Completion]]:
    """The trace and the answer of every question, two at a time."""
    tier = Tier(name="tier", deployment=deployment, policy=policy, sampling=fields)
    slots = asyncio.Semaphore(2)

    async def one(number: int, question: str) -> tuple[Trace, Completion]:
        async with slots:
            trace = Trace(action=str(number), began=now(), started_at=0.0)
            answer = await Action(tier, trace).solve(prompt_of(question, limit, number))
            return trace, answer.completion

    return list(await asyncio.gather(*(one(number, asked) for number, (asked, _) in enumerate(questions(count)))))


async def summed(name: str, done: Sequence[tuple[Trace, Completion]], wanted: Iterable[int]) -> Way:
    right = [(await judge(Number(equals=number), said)).ok for (_, said), number in zip(done, wanted, strict=True)]
    passes = [trace.passes for trace, _ in done]
    count = len(done)
    return Way(
        name=name,
        right=sum(right),
        lost=sum(not (said.text.strip() or said.tool_calls) for _, said in done),
        completion=sum(one.usage.completion for each in passes for one in each) / count,
        reasoning=sum(each[0].usage.completion for each in passes) / count,
        uncached=sum(one.usage.prompt - one.usage.cached for each in passes for one in each) / count,
        passes=sum(map(len, passes)) / count,
    )


async def measured(checkpoint: Path, count: int, limit: int, *, only_recovery: bool) -> list[Way]:
    folder = Path(tempfile.mkdtemp(prefix="thinking-"))
    template = folder / "thinking.jinja"
    template.write_text(TEMPLATE)
    settings = LlamaCpp(checkpoint="m", chat_template=str(template), slots=4, context=1024)
    engine = llama_cpp.build(settings, "model", LaunchContext(base=folder, logs=folder, model=checkpoint))
    able, wanted = capabilities(settings), [number for _, number in questions(count)]
    resends = Capabilities(continues=True)
    ways: list[Way] = []
    await engine.start()
    try:

        async def run(
            name: str, policy: Policy, able: Capabilities = able, **fields: bool
        ) -> list[tuple[Trace, Completion]]:
            deployment = Deployment(name="model", engine=engine, slots=4, context=1024, capabilities=able)
            done = await answered(deployment, policy, fields, limit, count)
            ways.append(await summed(name, done, wanted))
            print(ways[-1], flush=True)
            return done

        recovered = await run("recovered", Single())
        first = [(_first(trace), trace.passes[0].completion) for trace, _ in recovered]
        ways.insert(0, await summed("without recovery", first, wanted))
        await run("recovered by the switch", Single(), Capabilities())
        if only_recovery:
            return ways
        await run("thinking off", Single(), thinking=False)
        await run("cap of 64, its own", Thinking(tokens=64, trials=0))
        await run("cap of 64, resent", Thinking(tokens=64, trials=0), resends)
        early = Thinking(every=24, agree=2, trials=6, trial_tokens=12)
        await run("2 trials agree, control", early)
        await run("2 trials agree, resent", early, resends)
    finally:
        await engine.stop()
    return ways


def _first(trace: Trace) -> Trace:
    return Trace(action=trace.action, began=trace.began, started_at=0.0, events=[trace.passes[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--limit", type=int, default=192)
    parser.add_argument("--recovery", action="store_true", help="measure recovery only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ways = asyncio.run(measured(options.checkpoint, options.tasks, options.limit, only_recovery=options.recovery))
    heads = ("completion tokens", "of the first pass", "uncached prompt tokens", "passes")
    print(f"| way | right of {options.tasks} | lost | {' | '.join(heads)} |")
    print("|---|---|---|---|---|---|---|")
    for way in ways:
        means = " | ".join(f"{mean:.1f}" for mean in (way.completion, way.reasoning, way.uncached))
        print(f"| {way.name} | {way.right} | {way.lost} | {means} | {way.passes:.2f} |")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(way) for way in ways], indent=2))


if __name__ == "__main__":
    main()
