"""Tierwise in a program of your own. What is meant to be used stands in `tierwise.__all__`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise import plan as planning
from tierwise.gateway import wire
from tierwise.gateway.lifecycle import RequestLifecycle
from tierwise.gateway.metrics import Metrics
from tierwise.gateway.server import open_ledger as opened
from tierwise.ledger.records import Trace
from tierwise.plan import Plan
from tierwise.service import Service, launched
from tierwise.spec.ask import Answer
from tierwise.spec.call import Chunk

if TYPE_CHECKING:
    from tierwise.analysis.arms import Arm
    from tierwise.analysis.compare import Comparison
    from tierwise.ledger.read import Reader


def load(config: str | Path) -> Plan:
    """Read and check a config file.

    Raises:
        NotFound: there is no such file.
        ConfigErrors: all that is wrong with it, each with its path in the file and its line.
    """
    return planning.load(Path(config))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one request."""

    answers: Sequence[Answer]
    """One for each choice."""
    trace: Trace
    """Every pass, verdict and decision behind them."""
    tier: str
    """The tier that served."""
    dollars: float
    """What all passes cost under the prices of the config file."""

    @property
    def text(self) -> str:
        """The first answer's text."""
        return self.answers[0].completion.text


class Running:
    """A config file at work in this process; see `start`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lifecycle = RequestLifecycle(service, Metrics({}))

    @property
    def models(self) -> list[str]:
        """The names that can be asked: tiers, then routes."""
        return self.service.router.names

    async def ask(
        self,
        model: str,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        on_chunk: Callable[[int, Chunk], Awaitable[None]] | None = None,
        **fields: Any,
    ) -> Result:
        """Ask a tier or a route, as the endpoint would; the action is recorded where there is a ledger.

        Args:
            model: a name in `models`.
            messages: a question, or a conversation in OpenAI's shape.
            on_chunk: gets what the user may see as it comes, with the number of its choice.
            fields: any other field of OpenAI's chat completion, and `tierwise` (`budget`, `verifier`, `action`).

        Raises:
            SpecError: a field is wrong, or there is no such model.
            EngineError: an engine failed.
            BudgetError: nothing could be answered within the budget.
        """
        asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        trace = self.service.new_trace()
        body = msgspec.json.encode({**fields, "model": model, "messages": asked})
        context = self._lifecycle.receive(trace, wire.read(body))
        await self._lifecycle.answer(context, on_chunk, is_stopped=lambda: False)
        return Result(
            answers=context.answers,
            trace=trace,
            tier=context.action.tier,
            dollars=self.service.prices.total(trace.passes).dollars,
        )


@asynccontextmanager
async def start(
    config: str | Path | Plan, *, ledger: str | Path | None = None, content: bool = False
) -> AsyncGenerator[Running, None]:
    """Start the engines of a config file in this process, and stop them when the block is left.

    Args:
        config: the file, or what `load` returned.
        ledger: a SQLite file or a `postgresql://` URL in which every action is recorded; none is kept without it.
        content: have the ledger keep what was asked and answered.

    Raises:
        SpecError: the file is wrong, or a checkpoint is not on this machine (`tierwise pull` brings it).
        Broken: an engine did not come up.
    """
    plan = config if isinstance(config, Plan) else load(config)
    keeping = nullcontext(None) if ledger is None else opened(ledger, plan, Metrics({}), content=content)
    with keeping as book:
        async with launched(plan, ledger=book) as service:
            await service.start()
            yield Running(service)


def open_ledger(where: str | Path) -> Reader:
    """Read a ledger: `recent()`, `action(id)`, `totals(by)`. Close it, or use it as a context manager.

    Raises:
        NotFound: there is none.
        SpecError: it is no ledger, or one of a later Tierwise.
    """
    from tierwise.ledger.read import Reader  # noqa: PLC0415 - SQLAlchemy is slow to import

    return Reader(where)


def read_run(directory: str | Path) -> list[Arm]:
    """The arms of a run that `tierwise bench` or `tierwise import` wrote: one for each tier and mode, with its records.

    Raises:
        NotFound: the directory holds no run.
        SpecError: it cannot be read; names file and line.
    """
    from tierwise.analysis.arms import arms  # noqa: PLC0415 - only measuring needs it

    return arms(Path(directory))


def compare(base: Arm, other: Arm, *, common: bool = False) -> Comparison:
    """Compare two arms task by task: each change is the other's value minus the base's, with its 95 % interval.

    Args:
        base: the arm to compare with.
        other: the arm in question.
        common: go by the tasks that both ended, also where more than 2 % were not run.

    Raises:
        SpecError: they have no task in common, or too many were not run.
    """
    from tierwise.analysis.compare import compare as compared  # noqa: PLC0415 - NumPy and SciPy are slow to import
    from tierwise.analysis.pairs import pair  # noqa: PLC0415

    return compared(pair(base, other, common=common))
