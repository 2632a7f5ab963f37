"""Records to remember, made in a line; and the alarms that were heard."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.records import Check, Decision, Record, Trace
from tierwise.spec.ask import Verdict
from tierwise.spec.call import Call, Completion, Pass, Usage
from tierwise.spec.prompt import Prompt

if TYPE_CHECKING:
    from tierwise.ledger.records import Event

SECRET = "what the user said"

PROMPT = Prompt(messages=({"role": "user", "content": SECRET},), seed=7)

PRICES = PriceBook(
    {
        "small": Price(dollars_per_hour=0.36),
        "large": Price(prompt=0.15, cached=0.015, completion=0.6, dollars_per_hour=1.0),
    }
)

_ids = itertools.count()


def a_pass(number: int = 0, **changes: object) -> Pass:
    done = Pass(
        number=number,
        tier="fast",
        deployment="small",
        call=Call(prompt=PROMPT, draw=number),
        outcome="finished",
        completion=Completion(text=SECRET, finish="stop"),
        usage=Usage(prompt=40, cached=8, completion=12, reasoning=5),
        started=0.25 * number,
        first_token=0.1,
        seconds=0.5,
        busy_seconds=0.25,
    )
    return replace(done, **changes)


def asked(number: int, **call: object) -> Call:
    return Call(prompt=PROMPT, draw=number, **call)


def a_check(number: int | None, *, ok: bool = True, score: float = 1.0, why: str = "") -> Check:
    return Check(number=number, kind="number", verdict=Verdict(ok=ok, score=score, why=why), seconds=0.01)


def a_record(
    *events: Event, action: str | None = None, started_at: float = 1_800_000_000.5, **changes: object
) -> Record:
    action = action or f"{os.getpid()}-{next(_ids)}"
    record = Record(
        trace=Trace(action=action, began=12.0, started_at=started_at, events=list(events)),
        model="auto",
        tier="fast",
        reason="cheapest first",
        ending="answered",
        seconds=1.5,
        first_output=0.2,
        stream=True,
        finish="stop",
        why="one draft",
    )
    return replace(record, **changes)


def a_cascade(action: str = "cascade") -> Record:
    """One action with a pass of every outcome, a repeat, a critique of two drafts, checks of each kind, decisions."""
    large = {"tier": "max", "deployment": "large"}
    return a_record(
        a_pass(0, outcome="failed", error="the engine died [and said so]", first_token=None, usage=Usage(prompt=40)),
        a_pass(1, retry_of=0),
        a_check(1, ok=False, score=0.0, why="no number found"),
        a_pass(3, **large, outcome="aborted", usage=Usage(prompt=40, completion=3, exact=False)),
        a_pass(2, **large),
        a_check(2, score=0.5),
        a_pass(4, **large, call=asked(4, role="critique", candidate=False, after=(1, 2))),
        a_pass(5, **large, call=asked(5, role="refine", after=(2, 4)), outcome="cut"),
        a_check(None, score=float("nan")),
        Decision(tier="auto", reason="escalates until number accepts", at=0.0),
        Decision(tier="auto", reason="fast not accepted", signal="verifier", level=0.25, after=(0, 1), at=0.75),
        action=action,
        tier="max",
        caller="ticket-17",
    )


class Heard(list):
    """Collects alarms; used as `on_alarm`."""

    def __call__(self, error: Exception) -> None:
        self.append(str(error))
