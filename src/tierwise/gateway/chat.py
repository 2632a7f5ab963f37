"""One chat completion from its bytes to its ledger entry: read, route, run, answer, remember."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING

from tierwise.gateway.failures import status_of
from tierwise.gateway.reply import EventStream, Head, send_error, send_json
from tierwise.gateway.wire import Asked, read
from tierwise.ledger.records import Ending, Record, Trace
from tierwise.run import Action, Show, unseen
from tierwise.spec.clock import now
from tierwise.spec.errors import BodyTooLarge, PolicyError, SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from starlette.types import Receive, Scope, Send

    from tierwise.gateway.metrics import Metrics
    from tierwise.ledger.prices import PriceBook
    from tierwise.router import Decision
    from tierwise.run import Tier
    from tierwise.service import Service
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Chunk, Pass
    from tierwise.spec.json import Json

MOST_BYTES = 32 * 1024 * 1024
"""Of a request body; images make them large."""
BODY_SECONDS = 120.0
"""How long a body may take to arrive. Without it, one that stops half-way would keep a drain waiting for ever."""

_LOG = logging.getLogger("tierwise")


class HungUp(Exception):
    """The user is gone."""


class Chat:
    """`POST /v1/chat/completions`, as a bare ASGI application: it must see a hang-up the moment it happens."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        headers: dict[str, str] = {}
        try:
            body = await _body(receive)
            trace = self._service.new_trace()
            headers = {"x-tierwise-action": trace.action}
            asked = read(body)
            decision = self._service.router.route(asked.model, asked.verifier)
            _check_bounds(asked, decision.climb)
        except HungUp:
            return
        except TierwiseError as error:
            self._metrics.refused(status_of(error))
            await send_error(send, error, headers)
            return
        visit = Visit(trace=trace, headers=headers, asked=asked, decision=decision)
        self._metrics.begun()
        try:
            async with _until_hung_up(receive):
                await (self._stream(visit, send) if asked.stream else self._whole(visit, send))
        except asyncio.CancelledError:
            visit.ending, visit.error = "failed", "the server was stopped"
            raise
        finally:
            self._remember(visit)

    async def _whole(self, visit: Visit, send: Send) -> None:
        prices = self._service.prices
        try:
            visit.answers = await _answers(visit, [unseen] * visit.asked.choices)
        except TierwiseError as error:
            visit.fail(error)
            self._remember(visit)
            await send_error(send, error, visit.headers_now(prices), usage_of(visit, prices))
            return
        visit.ending = "answered"
        visit.show_moment()
        self._remember(visit)
        body = visit.head.whole(visit.answers, usage_of(visit, prices))
        await send_json(send, 200, body, visit.headers_now(prices))

    async def _stream(self, visit: Visit, send: Send) -> None:
        prices = self._service.prices
        with EventStream(send, lambda: visit.headers_now(None), visit.progress) as events:
            try:
                shows = [Shown(visit, events, index) for index in range(visit.asked.choices)]
                visit.answers = await _answers(visit, shows)
            except TierwiseError as error:
                visit.fail(error)
                self._remember(visit)
                await events.failed(error, visit.headers_now(prices), usage_of(visit, prices))
                return
            visit.ending = "answered"
            self._remember(visit)
            if visit.asked.wants_usage:
                await events.event(visit.head.usage(usage_of(visit, prices)))
            await events.done()

    def _remember(self, visit: Visit) -> None:
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


async def _answers(visit: Visit, shows: Sequence[Show]) -> list[Answer]:
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


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MOST_BYTES:
                    most = MOST_BYTES // 2**20
                    raise BodyTooLarge(f"the body has more than {most} MiB; send less, or link the images")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise SpecError(f"the body stopped after {size} bytes; it must arrive within {BODY_SECONDS:g} s") from None


@asynccontextmanager
async def _until_hung_up(receive: Receive) -> AsyncGenerator[None]:
    """Cancel the block when the user hangs up, so that everything that runs for him is aborted, and leave quietly."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - coroutines run in tasks
    is_over, before = False, None

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal before
        if not is_over:
            before = task.cancelling()  # a group of tasks that failed leaves its own cancellation behind (Python 3.11)
            task.cancel()

    listening = asyncio.create_task(_hang_up(receive))
    listening.add_done_callback(leave)
    try:
        yield
    except asyncio.CancelledError:
        if before is None or task.uncancel() > before:
            raise
    finally:
        is_over = True
        listening.cancel()


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _check_bounds(asked: Asked, climb: Sequence[Tier]) -> None:
    for tier in climb:
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
    decision: Decision
    action: Action = field(init=False)
    head: Head = field(init=False)
    preparing: float = field(init=False)
    """Seconds until everything was ready to run."""
    answers: list[Answer] = field(default_factory=list)
    ending: Ending = "disconnected"
    error: str = ""
    first_output: float | None = None
    is_remembered: bool = False

    def __post_init__(self) -> None:
        asked = self.asked
        self.action = Action(
            self.decision.climb, self.trace, budget=asked.budget, verifier=asked.verifier, judges=asked.judges
        )
        self.head = Head(self.trace.action, asked.model, int(time()), asked.wants_logprobs)
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
        tier = self.action.tier or self.decision.climb[0].name
        headers = {
            **self.headers,
            "x-tierwise-tier": tier,
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
            reason=self.decision.reason,
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


class Shown:
    """Shows one choice to the user as it comes."""

    def __init__(self, visit: Visit, events: EventStream, index: int) -> None:
        self._visit = visit
        self._events = events
        self._index = index

    async def __call__(self, chunk: Chunk) -> bool:
        visit = self._visit
        if visit.first_output is None and chunk.is_output:
            visit.show_moment()
        if chunk.delta or chunk.finish:
            await self._events.event(visit.head.chunk(self._index, chunk))
        return True


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
            "reason": visit.decision.reason,
            "why": [answer.why for answer in visit.answers],
            "agreement": [answer.agreement for answer in visit.answers],
            "dollars": cost.dollars,
            "exact": total.exact,
            "passes": [{**_pass_of(done, prices), **(_said_by(done) if tells else {})} for done in passes],
        },
    }


def _pass_of(done: Pass, prices: PriceBook) -> dict[str, Json]:
    return {
        "number": done.number,
        "role": done.call.role,
        "tier": done.tier,
        "outcome": done.outcome,
        "prompt_tokens": done.usage.prompt,
        "cached_tokens": done.usage.cached,
        "completion_tokens": done.usage.completion,
        "started": round(done.started, 6),
        "first_token": None if done.first_token is None else round(done.first_token, 6),
        "seconds": round(done.seconds, 6),
        "dollars": prices.cost(done).dollars,
    }


def _said_by(done: Pass) -> dict[str, Json]:
    """What a pass said, as far as it came: whoever has it can grade a candidate that was not chosen."""
    said = done.completion
    return {"draw": done.call.draw, "message": said.message(), "finish": said.finish}
