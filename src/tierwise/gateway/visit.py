"""One request while it is being answered, whatever protocol brought it: routed, run, counted and remembered."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING

from tierwise.gateway.reply import Head
from tierwise.ledger.records import Ending, Record, Trace
from tierwise.ledger.rows import facts
from tierwise.run import Action, Sink
from tierwise.spec.clock import now
from tierwise.spec.errors import PolicyError, SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.wire import Asked
    from tierwise.ledger.prices import PriceBook
    from tierwise.run import Tier
    from tierwise.service import Service
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Pass
    from tierwise.spec.json import Json

_LOG = logging.getLogger("tierwise")


class Desk:
    """Where requests come in and are remembered, around one service."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    def receive(self, trace: Trace, asked: Asked) -> Visit:
        """A request that can be answered.

        Raises:
            SpecError: there is no such model, or it asks for more than a tier holds.
        """
        router = self._service.router
        tier = router.route(asked.model)
        _check_bounds(asked, router.reach(asked.model))
        action = Action(
            tier, trace, tiers=router.tiers, budget=asked.budget, verifier=asked.verifier, judges=asked.judges
        )
        return Visit(trace=trace, headers={"x-tierwise-action": trace.action}, asked=asked, action=action)

    def remember(self, visit: Visit) -> None:
        """Put the action into the ledger before its last byte is sent; only once."""
        if visit.is_remembered:
            return
        visit.is_remembered = True
        record = visit.record()
        self._metrics.ended(record, self._service.prices)
        try:
            if self._service.ledger is not None:
                self._service.ledger.write(record)
        except Exception as error:  # noqa: BLE001 - it promises never to raise, and no answer shall hang on that
            self._metrics.alarm()
            _LOG.error("LEDGER: action %s is not remembered: %r", visit.trace.action, error)


async def answers(visit: Visit, shows: Sequence[Sink]) -> list[Answer]:
    """Every choice, side by side; the first that fails ends them all."""
    solve, prompt_of = visit.action.solve, visit.asked.prompt_of
    try:
        if len(shows) == 1:  # nearly always; a group of tasks would cost it dearly
            return [await solve(prompt_of(0), shows[0])]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(solve(prompt_of(choice), show)) for choice, show in enumerate(shows)]
        return [task.result() for task in tasks]
    except TierwiseError:
        raise
    except Exception as error:  # a group of them, or a bug: whatever it is, the user gets it in OpenAI's shape
        found = _first(error)
        if isinstance(found, TierwiseError):
            raise found from None
        _LOG.exception("action %s broke", visit.trace.action)
        raise PolicyError(f"Tierwise itself broke: {found!r}; its log says where") from error


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def _check_bounds(asked: Asked, tiers: Sequence[Tier]) -> None:
    for tier in tiers:
        context = tier.deployment.context
        for name in ("max_tokens", "max_completion_tokens"):
            wanted = asked.prompt.fields.get(name)
            if context is not None and isinstance(wanted, int) and wanted > context:
                raise SpecError(
                    f"{name}: {wanted} is more than the {context} that tier {tier.name!r} holds", field=name
                )


@dataclass(slots=True, kw_only=True)
class Visit:
    """What is known of one request while it is being answered."""

    trace: Trace
    headers: dict[str, str]
    asked: Asked
    action: Action
    head: Head = field(init=False)
    preparing: float = field(init=False)
    """Seconds until everything was ready to run."""
    answers: list[Answer] = field(default_factory=list)
    ending: Ending = "disconnected"
    error: str = ""
    first_output: float | None = None
    is_remembered: bool = False

    def __post_init__(self) -> None:
        self.head = Head(self.trace.action, self.asked.model, int(time()), self.asked.wants_logprobs)
        self.preparing = self.seconds()

    def fail(self, error: TierwiseError) -> None:
        self.ending, self.error = "failed", f"{type(error).__name__}: {error}"

    def seconds(self) -> float:
        return now() - self.trace.began

    def show_moment(self) -> None:
        """The user sees the first of the answer now."""
        if self.first_output is None:
            self.first_output = self.seconds()

    def progress(self) -> str:
        ended = len(self.trace.passes)
        return f"{ended} of {self.trace.started} passes done" if self.trace.started else "waiting"

    def headers_now(self, prices: PriceBook | None) -> dict[str, str]:
        """What is known at this moment; a stream's headers leave before its passes and dollars are."""
        headers = {
            **self.headers,
            "x-tierwise-model": self.asked.model,
            "x-tierwise-tier": self.action.tier,
            "x-tierwise-overhead-ms": f"{self.overhead() * 1000:.2f}",
        }
        if prices is not None:
            headers["x-tierwise-passes"] = str(len(self.trace.passes))
            headers["x-tierwise-dollars"] = f"{prices.total(self.trace.passes).dollars:.9f}"
        return headers

    def overhead(self) -> float:
        """Seconds of this action so far in which no pass ran; while some run, what came before the first of them."""
        passes = self.trace.passes
        if len(passes) < self.trace.started:
            return self.preparing
        covered, reached = 0.0, 0.0
        for done in sorted(passes, key=lambda one: one.started):
            end = done.started + done.seconds
            covered += max(0.0, end - max(done.started, reached))
            reached = max(reached, end)
        return max(0.0, self.seconds() - covered)

    def record(self) -> Record:
        """The action as the ledger keeps it."""
        return Record(
            trace=self.trace,
            model=self.asked.model,
            tier=self.action.tier,
            reason=self.action.reason,
            ending=self.ending,
            seconds=self.seconds(),
            first_output=self.first_output,
            stream=self.asked.stream,
            finish=self.answers[0].completion.finish if self.answers else "",
            why=self.answers[0].why if self.answers else "",
            error=self.error,
            caller=self.asked.caller,
            prompt=self.asked.prompt,
            answers=tuple(answer.completion for answer in self.answers),
            verifier=self.asked.verifier,
        )


def usage_of(visit: Visit, prices: PriceBook) -> dict[str, Json]:
    """OpenAI's usage over all passes, with ours under `tierwise`."""
    passes = visit.trace.passes
    total = visit.trace.usage
    cost = prices.total(passes)
    tells = visit.asked.wants_candidates
    return {
        "prompt_tokens": total.prompt,
        "completion_tokens": total.completion,
        "total_tokens": total.prompt + total.completion,
        "prompt_tokens_details": {"cached_tokens": total.cached},
        "completion_tokens_details": {"reasoning_tokens": total.reasoning},
        "tierwise": {
            "action": visit.trace.action,
            "tier": visit.action.tier,
            "reason": visit.action.reason,
            "why": [answer.why for answer in visit.answers],
            "agreement": [answer.agreement for answer in visit.answers],
            "dollars": cost.dollars,
            "exact": total.exact,
            "passes": [_pass_of(done, prices, tells=tells) for done in passes],
        },
    }


def _pass_of(done: Pass, prices: PriceBook, *, tells: bool) -> dict[str, Json]:
    """`PassFacts` and what is told on the wire only. `tells` adds what it said, as far as it came: whoever has it can
    grade a candidate that was not chosen.
    """
    told: dict[str, Json] = facts(done)
    for name, value in told.items():
        if type(value) is float:
            told[name] = round(value, 6)
    told["prompt_tokens"] = done.usage.prompt
    told["cached_tokens"] = done.usage.cached
    told["completion_tokens"] = done.usage.completion
    told["dollars"] = prices.cost(done).dollars
    if tells:
        told["message"] = done.completion.message()
    else:
        del told["draw"], told["finish"]
    return told
