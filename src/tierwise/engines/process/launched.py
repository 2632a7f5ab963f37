"""An engine as a child process: a supervisor keeps it running, and a client sends requests to it.

Separate from the engines, which differ only in their command lines and in the fields of their requests.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tierwise.engines.engine import PassOn, one_by_one
from tierwise.engines.metrics import MetricsPage
from tierwise.engines.process.supervisor import Launch, Supervisor
from tierwise.spec.call import Call
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import Broken, EngineError, Garbled, Overloaded, Refused, TimedOut, TooLong
from tierwise.spec.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from tierwise.engines.engine import Health
    from tierwise.engines.metrics import MetricNames
    from tierwise.engines.openai.client import ChatClient
    from tierwise.engines.part import Part
    from tierwise.engines.process.followed import FollowedProcess
    from tierwise.engines.process.supervisor import Timeouts
    from tierwise.spec.call import Chunk
    from tierwise.spec.json import Fields

_REAP_SECONDS = 1.0

_MOST_FAILURES = 3
"""Consecutive failed passes before a probe. A request that breaks the engine fails twice, because a broken pass is
retried once; a third failure comes from another request, or from a client that sent it again."""

_HI = Prompt(messages=({"role": "user", "content": "Hi"},), fields={"max_tokens": 1})

_PROBE = Call(prompt=_HI, role="probe", candidate=False)
"""The probe, a pass that every engine can answer: if it fails, the engine is at fault, not the request."""

_PROBE_SECONDS = 5.0


@dataclass(slots=True)
class _Failures:
    """Failures of an engine's current process since its last successful pass."""

    url: str = ""
    """URL of that process; each process has its own port."""
    count: int = 0
    """Consecutive failed passes."""
    reason: str = ""
    """Empty until there are enough failures for a probe."""
    is_probed: bool = False
    """Whether a probe is in progress."""


class LaunchedEngine:
    """A supervised process that serves the OpenAI API at `URL/v1`.

    An engine that reports to be healthy but fails several consecutive passes is restarted, provided that it also fails
    a harmless probe. So no client's request can cause a restart.

    Args:
        name: the deployment's; its log is `logs/<name>.log`.
        launch: returns the launch for a free port.
        logs: folder of the logs.
        client: sends requests to the process.
        facts: returns `Health.facts` of the server at a URL; called once it is ready, and after every restart, because
            another version may have been installed meanwhile.
        capabilities: returns what the server at a URL can do, which may depend on its checkpoint; called as `facts` is.
        metrics: the metrics in its metrics page and its log; None if they are not read.
        timeouts: for the supervisor.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[int], Launch],
        *,
        logs: Path,
        client: ChatClient,
        facts: Callable[[str], Awaitable[Mapping[str, str]]] | None = None,
        capabilities: Callable[[str], Awaitable[Capabilities]] | None = None,
        metrics: MetricNames | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.supervisor = Supervisor(name, launch, logs=logs, timeouts=timeouts)
        self._name = name
        self._client = client
        self._ask_facts = facts
        self._ask_capabilities = capabilities
        self.capabilities = Capabilities()
        self._metrics = metrics
        self._facts: Mapping[str, str] = {}
        self._known_url = ""
        """URL of the process that has said what it is: until then it is not ready, so that nobody reads half of it."""
        self._learning = asyncio.Lock()
        self._learner: asyncio.Task[None] | None = None
        self.when_changed: Callable[[str], Awaitable[None]] | None = None
        """As `engine.TellsChanges`."""
        self.supervisor.when_ready = self._learn_again
        self._failures = _Failures()

    @property
    def thinking_off(self) -> Fields | None:
        """As `engine.SwitchesThinking`."""
        return self._client.thinking_off

    def follow(self, process: FollowedProcess, part: Part) -> None:  # noqa: ARG002 - for engines whose slots are leased
        """Send passes to a process that another process of Tierwise supervises. To be called before `start`.

        Args:
            process: the process.
            part: which part of its slots is for this process of Tierwise.
        """
        process.when_ready = self._learn_again
        self.supervisor = process  # type: ignore[assignment] # it has all that is asked of a supervisor here

    async def start(self) -> None:
        await self.supervisor.start()
        await self._ready()

    async def stop(self) -> None:
        if self._learner is not None:
            self._learner.cancel()
        await self._client.close()
        await self.supervisor.stop()

    def health(self) -> Health:
        launch = self.supervisor.launch
        command = shlex.join(launch.command) if launch is not None else ""
        health = self.supervisor.health()
        failing = self._failures.reason if launch is not None and launch.url == self._failures.url else ""
        is_asked = health.state == "ready" and launch is not None and launch.url != self._known_url
        return replace(
            health,
            state="starting" if is_asked else health.state,
            reason=health.reason or failing or ("it is asked what it is" if is_asked else ""),
            command=command,
            facts=self._facts,
            page=self._page(),
        )

    def _page(self) -> MetricsPage | None:
        if self._metrics is None or self.supervisor.state != "ready" or (launch := self.supervisor.launch) is None:
            return None
        return MetricsPage(
            url=f"{launch.url}/metrics",
            names=self._metrics,
            log_tail=self.supervisor.log_tail,
            waiting=lambda: self._client.waiting,
        )

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        return one_by_one(self.blocks(call))

    async def blocks(
        self, call: Call, *, at_once: bool = False, pass_on: PassOn | None = None
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """As `engine.SendsBlocks`."""
        url = await self._ready()
        try:
            async with aclosing(self._client.blocks(f"{url}/v1", call, at_once=at_once, pass_on=pass_on)) as blocks:
                async for chunks in blocks:
                    if any(chunk.finish is not None for chunk in chunks):
                        self._failures = _Failures()
                    yield chunks
        except (Broken, Garbled) as error:
            if isinstance(error, Broken):
                await self._await_exit()
            await self._count_failure(url, error)
            raise

    async def whole(self, call: Call) -> bytes:
        """Run one pass without streaming. Returns the body of the response."""
        return await self._client.whole(f"{await self._ready()}/v1", call)

    async def count_tokens(self, prompt: Prompt) -> int:
        """As `engine.CountsTokens`."""
        return await self._client.count_tokens(f"{await self._ready()}/v1", prompt)

    async def _ready(self) -> str:
        """The URL of a process that has said what it is."""
        url = await self.supervisor.ready()
        if url != self._known_url:
            await self._learn(url)
        return url

    def _learn_again(self, url: str) -> None:
        """A process is ready: after a restart it is asked at once, because no pass may come for a long time."""
        if self._known_url:
            self._learner = asyncio.create_task(self._learn(url))

    async def _learn(self, url: str) -> None:
        async with self._learning:
            if url == self._known_url:
                return
            facts = self._facts if self._ask_facts is None else dict(await self._ask_facts(url))
            found = self.capabilities if self._ask_capabilities is None else await self._ask_capabilities(url)
            if not self._still_runs(url) and self._known_url:
                return  # it ended meanwhile, so what it said may be less than it is; the next process is asked
            self._facts, self.capabilities = facts, found
            if self._known_url and self.when_changed is not None:
                await self.when_changed("")
            self._known_url = url

    async def _await_exit(self) -> None:
        """Wait until the exit of a process that just died is reported, so that a retry waits for the next process.

        A dead process closes its connections some milliseconds before its exit is reported. If the process is still
        alive, the failure has another cause, and this gives up.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_REAP_SECONDS):
                while self.supervisor.state == "ready":  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.01)

    async def _count_failure(self, url: str, error: EngineError) -> None:
        """Count a failure of an engine that is still running; after too many, send a probe.

        The caller waits for its result, so that a retry reaches the next process.
        """
        if not self._still_runs(url):
            return
        if self._failures.url != url:
            self._failures = _Failures(url)
        failures = self._failures
        failures.count += 1
        if failures.count < _MOST_FAILURES or failures.is_probed:
            return
        failures.reason = f"{failures.count} consecutive passes failed; the last: {error}"
        failures.is_probed = True
        try:
            await self._probe(url)
        except (Broken, Garbled) as own:
            if self._failures is failures and self._still_runs(url):  # no pass has succeeded meanwhile
                self.supervisor.restart(
                    f"engine {self._name!r} fails all passes and is restarted: {failures.reason}; a probe failed "
                    f"too: {own}"
                )
        except (Overloaded, TimedOut, TimeoutError):
            pass  # too busy to answer: the next failure probes again
        else:
            failures.count, failures.reason = 0, ""
        finally:
            failures.is_probed = False

    async def _probe(self, url: str) -> None:
        """Run a harmless pass."""
        with suppress(Refused, TooLong):  # also a valid answer, for example from a base model without a chat template
            async with asyncio.timeout(_PROBE_SECONDS), aclosing(self._client.stream(f"{url}/v1", _PROBE)) as stream:
                async for _ in stream:
                    pass

    def _still_runs(self, url: str) -> bool:
        launch = self.supervisor.launch
        return self.supervisor.state == "ready" and launch is not None and launch.url == url
