"""The Python API. Public names are listed in `tierwise.__all__`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
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
    """Read and validate a config file.

    Raises:
        NotFound: the file does not exist.
        ConfigErrors: the file is invalid; lists all errors, each with its path in the file and its line.
    """
    return planning.load(Path(config))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one request."""

    answers: Sequence[Answer]
    """One answer per choice."""
    trace: Trace
    """All passes, verdicts and decisions of the action."""
    tier: str
    """The tier that served the request."""
    dollars: float
    """Cost of all passes under the config file's prices."""

    @property
    def text(self) -> str:
        """The first answer's text."""
        return self.answers[0].completion.text


class Running:
    """A service that runs in this process; see `start`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lifecycle = RequestLifecycle(service, Metrics({}))

    @property
    def models(self) -> list[str]:
        """The names to ask: tiers, then routes."""
        return self.service.router.names

    async def ask(
        self,
        model: str,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        on_chunk: Callable[[int, Chunk], Awaitable[None]] | None = None,
        **fields: Any,
    ) -> Result:
        """Ask a tier or a route, like a request to the endpoint. The action is recorded if there is a ledger.

        Args:
            model: a name in `models`.
            messages: a question, or a conversation in the OpenAI format.
            on_chunk: called with the number of a choice and each chunk that is shown to the user, as it arrives.
            fields: any other field of an OpenAI chat completion, and `tierwise` (`budget`, `verifier`, `action`).

        Raises:
            SpecError: a field is invalid, or the model does not exist.
            EngineError: an engine failed.
            BudgetError: nothing was answered within the budget.
        """
        asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        trace = self.service.new_trace()
        body = msgspec.json.encode({**fields, "model": model, "messages": asked})
        context = self._lifecycle.receive(trace, wire.read(body))

        async def show(choice: int, chunks: Sequence[Chunk]) -> None:
            assert on_chunk is not None  # noqa: S101 - else it is not called
            for chunk in chunks:
                await on_chunk(choice, chunk)

        shows = None if on_chunk is None else show
        await self._lifecycle.answer(context, shows, is_stopped=lambda: False)
        return Result(
            answers=context.answers,
            trace=trace,
            tier=context.action.tier,
            dollars=self.service.prices.total(trace.passes).dollars,
        )


@asynccontextmanager
async def start(
    config: str | Path | Plan,
    *,
    ledger: str | Path | None = None,
    content: bool = False,
    uncertified: bool = False,
) -> AsyncGenerator[Running, None]:
    """Start the engines of a config file, and stop them when the block ends.

    Args:
        config: the file, or the result of `load`.
        ledger: the ledger that records every action: a SQLite file or a `postgresql://` URL; nothing is recorded if
            None.
        content: whether to store requests and answers in the ledger.
        uncertified: whether a route whose certificate does not hold is answered by its safe tier; else it is an error.

    Raises:
        SpecError: the file is invalid, a checkpoint is not on this machine (run `tierwise pull`), or a certificate
            does not hold.
        Broken: an engine did not start.
    """
    plan = config if isinstance(config, Plan) else load(config)
    keeping = nullcontext(None) if ledger is None else opened(ledger, plan, Metrics({}), content=content)
    with keeping as book:
        async with launched(plan, ledger=book, uncertified=uncertified) as service:
            await service.start()
            yield Running(service)


def open_ledger(where: str | Path) -> Reader:
    """Open a ledger for reading: `recent()`, `action(id)`, `totals(by)`. Close it, or use it as a context manager.

    Raises:
        NotFound: it does not exist.
        SpecError: it is not a ledger, or a later version of Tierwise wrote it.
    """
    from tierwise.ledger.read import Reader  # noqa: PLC0415 - SQLAlchemy is slow to import

    return Reader(where)


def read_run(directory: str | Path) -> list[Arm]:
    """The arms of a run written by `tierwise bench` or `tierwise import`: one per tier and mode, with its records.

    Raises:
        NotFound: the directory contains no run.
        SpecError: the run cannot be read; names file and line.
    """
    from tierwise.analysis.arms import arms  # noqa: PLC0415 - only measuring needs it

    return arms(Path(directory))


def compare(base: Arm, other: Arm, *, common: bool = False, changed_tasks: Collection[str] = ()) -> Comparison:
    """Compare two arms task by task. Each change is the other arm's value minus the base's, with its 95 % interval.

    Args:
        base: the baseline.
        other: the arm to compare with it.
        common: compare the tasks that both arms completed, even if more than 2 % were not run.
        changed_tasks: tasks that differ between the runs, as intended.

    Raises:
        SpecError: the arms have no task in common; a task differs and is not in `changed_tasks`; or `common` is false,
            and more than 2 % were not run or a server refused the requests of an arm.
    """
    from tierwise.analysis.compare import compare as compared  # noqa: PLC0415 - NumPy and SciPy are slow to import
    from tierwise.analysis.pairs import pair  # noqa: PLC0415

    return compared(pair(base, other, common=common, changed_tasks=changed_tasks))
