"""CPU that the decision of a route costs, beside the same passes asked for by name, in one run.

    python benchmarks/route_decision.py [--actions 200] [--rounds 9] [--json FILE]

A scripted engine answers at once, with 5 alternatives of every token, so what is measured is Tierwise alone: the policy
of the route, its signals, and what it says of itself on the trace, in the header and in the ledger. The same passes by
name, with the same log-probabilities, are the bare way; blocks of both alternate, so that noise affects them equally.
The figure is the median over rounds of the difference per action. The exit code is 1 if a decision takes over 1 ms
a signal.

An answer of 400 words stands for the longest that a cheap tier usually gives: signals read all its tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Record
from tierwise.ledger.rows import entry
from tierwise.policies import Cascade, Policy, Single
from tierwise.policies.acceptance import CascadeSignal
from tierwise.router.certified import CertifiedRoute, SafeTier
from tierwise.run import Action, Tier
from tierwise.spec.call import Call, Chunk
from tierwise.spec.json import Json
from tierwise.testing import ScriptedEngine, ask_user, new_trace, tier, tiers_of
from tierwise.verifiers import Number, Verifier

MOST_MS = 1.0

_TOP: list[Json] = [{"token": "x", "logprob": math.log(p)} for p in (0.9, 0.05, 0.03, 0.01, 0.01)]


class Answering(ScriptedEngine):
    """Gives every token five alternatives, whoever asks."""

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        async for chunk in super().stream(call):
            content = chunk.delta.get("content")
            token: Json = {"token": content, "logprob": math.log(0.9), "top_logprobs": _TOP}
            yield msgspec.structs.replace(chunk, logprobs={"content": [token]}) if content else chunk


@dataclass(frozen=True, kw_only=True)
class Case:
    """A decision, and the number of passes that it rests on."""

    name: str
    policy: Policy
    answer: str
    passes: int
    verifier: Verifier | None = None
    signals: int = 1
    """Signals that are read; each may cost `MOST_MS`."""


LONG = " ".join(f"word{number}" for number in range(400))


LONG_MARKED = f"{LONG} so the final answer is 42."


def _cascade(**signal: float) -> Cascade:
    return Cascade(ladder=("fast", "max"), signals=(msgspec.convert(signal, CascadeSignal),))


ALL = Cascade(
    ladder=("fast", "max"),
    signals=tuple(
        msgspec.convert(one, CascadeSignal)
        for one in (
            {"length": 1},
            {"entropy": 0.0},
            {"span_probability": 1.0},
            {"margin": 1.0},
            {"tail_confidence": 99.0},
        )
    ),
)
"""Every signal of one pass, none of which accepts."""


CASES = (
    Case(name="verifier accepts", policy=_cascade(margin=0.9), answer="4", passes=1, verifier=Number(equals=4)),
    Case(name="verifier refuses", policy=_cascade(margin=0.9), answer="5", passes=2, verifier=Number(equals=4)),
    Case(name="span_probability accepts", policy=_cascade(span_probability=0.5), answer="4", passes=1),
    Case(name="agreement of 2 accepts", policy=_cascade(agreement=2), answer="4", passes=2),
    Case(name="margin accepts, 400 words", policy=_cascade(margin=0.5), answer=LONG, passes=1),
    Case(name="margin accepts, 400 words, marked result", policy=_cascade(margin=0.5), answer=LONG_MARKED, passes=1),
    Case(
        name="span_probability accepts, 400 words, marked result",
        policy=_cascade(span_probability=0.5),
        answer=LONG_MARKED,
        passes=1,
    ),
    Case(name="span_probability is not read, 400 words", policy=_cascade(span_probability=0.5), answer=LONG, passes=2),
    Case(name="five signals refuse, 400 words, marked result", policy=ALL, answer=LONG_MARKED, passes=2, signals=5),
    Case(name="entropy refuses, 400 words", policy=_cascade(entropy=0.0), answer=LONG, passes=2),
    Case(name="tail_confidence accepts, 400 words", policy=_cascade(tail_confidence=0.1), answer=LONG, passes=1),
    Case(
        name="void certificate",
        policy=SafeTier(CertifiedRoute(certificate="ab" * 32, safe="max", state="void", reasons=("an alarm",))),
        answer="4",
        passes=1,
    ),
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """CPU of a case, per action."""

    case: str
    bare_ms: float
    route_ms: float
    decision_ms: float
    ratio: float


async def _act(tiers: dict[str, Tier], name: str, case: Case, passes: int) -> None:
    """One action: asked by name as many times as the route makes passes, or the route once; as the ledger keeps it."""
    prompt = ask_user("2+2?", logprobs=True, top_logprobs=5, temperature=0.7)
    trace = new_trace()
    for _ in range(passes):
        action = Action(tiers[name], trace, tiers=tiers, verifier=case.verifier)
        answer = await action.solve(prompt)
    record = Record(
        trace=trace,
        model=name,
        tier=action.tier,
        reason=f"{action.reason} {action.decision}",
        ending="answered",
        seconds=0.0,
        first_output=None,
        answers=(answer.completion,),
    )
    entry(record, PriceBook({}))


async def _cpu_ms(tiers: dict[str, Tier], name: str, case: Case, actions: int) -> float:
    passes = case.passes if name == "fast" else 1
    began = time.process_time()
    for _ in range(actions):
        await _act(tiers, name, case, passes)
    return (time.process_time() - began) * 1000 / actions


async def _measured(case: Case, actions: int, rounds: int) -> Row:
    engine = Answering(case.answer, step=0.0)
    fast, top = (tier(Single(), engine, name=name) for name in ("fast", "max"))
    tiers = tiers_of([fast, top, Tier(name="auto", deployment=top.deployment, policy=case.policy)])
    before = len(engine.calls)
    await _act(tiers, "auto", case, 1)
    assert len(engine.calls) - before == case.passes, (case.name, len(engine.calls) - before)
    bare, route = [], []
    for _ in range(rounds):
        bare.append(await _cpu_ms(tiers, "fast", case, actions))
        route.append(await _cpu_ms(tiers, "auto", case, actions))
    differences = [there - here for here, there in zip(bare, route, strict=True)]
    return Row(
        case=case.name,
        bare_ms=statistics.median(bare),
        route_ms=statistics.median(route),
        decision_ms=statistics.median(differences),
        ratio=statistics.median(there / here for here, there in zip(bare, route, strict=True)),
    )


def main() -> int:
    """Measure every case, print a table, and say whether each decision is cheap enough."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--actions", type=int, default=200, help="actions per block")
    parser.add_argument("--rounds", type=int, default=9, help="blocks of each way")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = [asyncio.run(_measured(case, options.actions, options.rounds)) for case in CASES]
    print("| decision | passes | bare, ms | route, ms | decision, ms | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    for case, row in zip(CASES, rows, strict=True):
        figures = f"{row.bare_ms:.3f} | {row.route_ms:.3f} | {row.decision_ms:.3f} | {row.ratio:.2f}"
        print(f"| {row.case} | {case.passes} | {figures} |")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    return int(any(row.decision_ms > MOST_MS * case.signals for case, row in zip(CASES, rows, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
