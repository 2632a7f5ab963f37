"""An engine that is a process of ours: a supervisor that keeps it running, and a client that speaks to it.

Separate from the engines, which differ only in what they are launched with and in the fields of their requests.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tierwise.engines.metrics import MetricsPage
from tierwise.engines.process.supervisor import Launch, Supervisor
from tierwise.spec.call import Call
from tierwise.spec.errors import Broken, EngineError, Garbled, Overloaded, Refused, TimedOut, TooLong
from tierwise.spec.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tierwise.engines.engine import Health
    from tierwise.engines.metrics import MetricNames
    from tierwise.engines.openai.client import ChatClient
    from tierwise.engines.process.supervisor import Timeouts
    from tierwise.spec.call import Chunk

_REAP_SECONDS = 1.0

_MOST_FAILURES = 3
"""Failed passes in a row after which we ask for one of our own. A request that the engine cannot take fails twice,
since a broken pass is tried once more; a third failure is another request's, or the client sent it again."""

_HI = Prompt(messages=({"role": "user", "content": "Hi"},), fields={"max_tokens": 1})

_PROBE = Call(prompt=_HI, role="probe", candidate=False)
"""A pass that every engine can answer: if it fails, the engine is at fault and not the request."""

_PROBE_SECONDS = 5.0


@dataclass(slots=True)
class _Failures:
    """How the present process of an engine has failed since its last good pass."""

    url: str = ""
    """Of that process: each has a port of its own."""
    count: int = 0
    """Passes that failed in a row."""
    reason: str = ""
    """Empty until there are enough of them."""
    is_probed: bool = False
    """Whether a pass of our own is under way."""


class LaunchedEngine:
    """A supervised process that serves the OpenAI API at `URL/v1`.

    One that reports that it is healthy, and answers pass after pass with errors of its own or with what cannot be
    read, is restarted; but only if it fails a harmless pass of ours too, so that no client's request ever restarts it.

    Args:
        name: the deployment's; its log is `logs/<name>.log`.
        launch: builds the launch for a free port.
        logs: folder of the logs.
        client: speaks to it.
        facts: asks the server at a URL what it is (`Health.facts`), once it is ready. A restart does not change
            them, since it launches the same.
        metrics: the names on its metrics page and in its log, where we read them.
        timeouts: of the supervisor.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[int], Launch],
        *,
        logs: Path,
        client: ChatClient,
        facts: Callable[[str], Awaitable[Mapping[str, str]]] | None = None,
        metrics: MetricNames | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.supervisor = Supervisor(name, launch, logs=logs, timeouts=timeouts)
        self._name = name
        self._client = client
        self._ask_facts = facts
        self._metrics = metrics
        self._facts: Mapping[str, str] = {}
        self._failures = _Failures()

    async def start(self) -> None:
        await self.supervisor.start()
        await self._learn(await self.supervisor.ready())

    async def stop(self) -> None:
        await self._client.close()
        await self.supervisor.stop()

    def health(self) -> Health:
        launch = self.supervisor.launch
        command = shlex.join(launch.command) if launch is not None else ""
        health = self.supervisor.health()
        failing = self._failures.reason if launch is not None and launch.url == self._failures.url else ""
        return replace(
            health,
            reason=health.reason or failing,
            command=command,
            facts=self._facts,
            page=self._page(),
        )

    def _page(self) -> MetricsPage | None:
        if self._metrics is None or self.supervisor.state != "ready" or (launch := self.supervisor.launch) is None:
            return None
        return MetricsPage(url=f"{launch.url}/metrics", names=self._metrics, log_tail=self.supervisor.log_tail)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        url = await self.supervisor.ready()
        try:
            async with aclosing(self._client.stream(f"{url}/v1", call)) as stream:
                async for chunk in stream:
                    if chunk.finish is not None:
                        self._failures = _Failures()
                    yield chunk
        except (Broken, Garbled) as error:
            if isinstance(error, Broken):
                await self._await_exit()
            await self._count_failure(url, error)
            raise

    async def whole(self, call: Call) -> bytes:
        """One pass that is not streamed: the body of its answer, for what the engine tells in no other way."""
        return await self._client.whole(f"{await self.supervisor.ready()}/v1", call)

    async def _learn(self, url: str) -> None:
        if self._ask_facts is not None and not self._facts:
            self._facts = dict(await self._ask_facts(url))

    async def _await_exit(self) -> None:
        """Wait until a process that has just died is known to be dead, so that a second attempt waits for the next one.

        A dead process closes its connections some milliseconds before its exit is reported. One that lives on has
        failed in another way; then this gives up.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_REAP_SECONDS):
                while self.supervisor.state == "ready":  # noqa: ASYNC110 - it has no event that others may wait for
                    await asyncio.sleep(0.01)

    async def _count_failure(self, url: str, error: EngineError) -> None:
        """Count a failure of an engine that goes on as if nothing were wrong; after too many, ask for a pass of ours.

        The caller waits for its outcome, so that a second attempt meets the next process.
        """
        if not self._still_runs(url):
            return
        if self._failures.url != url:
            self._failures = _Failures(url)
        failures = self._failures
        failures.count += 1
        if failures.count < _MOST_FAILURES or failures.is_probed:
            return
        failures.reason = f"{failures.count} passes in a row failed; the last: {error}"
        failures.is_probed = True
        try:
            await self._probe(url)
        except (Broken, Garbled) as own:
            if self._failures is failures and self._still_runs(url):  # no good pass has ended meanwhile
                self.supervisor.restart(
                    f"engine {self._name!r} answers garbage and is restarted: {failures.reason}; a pass of ours failed "
                    f"too: {own}"
                )
        except (Overloaded, TimedOut, TimeoutError):
            pass  # too busy to answer ours: the next failure asks again
        else:
            failures.count, failures.reason = 0, ""
        finally:
            failures.is_probed = False

    async def _probe(self, url: str) -> None:
        """Ask for a harmless pass."""
        with suppress(Refused, TooLong):  # an answer as well: a base model has no chat template, for one
            async with asyncio.timeout(_PROBE_SECONDS), aclosing(self._client.stream(f"{url}/v1", _PROBE)) as stream:
                async for _ in stream:
                    pass

    def _still_runs(self, url: str) -> bool:
        launch = self.supervisor.launch
        return self.supervisor.state == "ready" and launch is not None and launch.url == url
