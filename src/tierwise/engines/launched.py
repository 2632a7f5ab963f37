"""An engine that is a process of ours: a supervisor that keeps it running, and a client that speaks to it.

Separate from the engines, because llama.cpp, vLLM, SGLang and the Transformers worker differ in what they are launched
with and in their words, and in nothing of this.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tierwise.engines.scrape import Page
from tierwise.engines.supervisor import Launch, Supervisor
from tierwise.spec.call import Call
from tierwise.spec.errors import Broken, EngineError, Garbled, Overloaded, Refused, TimedOut, TooLong
from tierwise.spec.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tierwise.engines.engine import Health
    from tierwise.engines.http import ChatClient
    from tierwise.engines.scrape import Table
    from tierwise.engines.supervisor import Patience
    from tierwise.spec.call import Chunk

_BURIAL_SECONDS = 1.0

_SUSPICIOUS = 3
"""Failed passes in a row after which we ask for one of our own. A request that the engine cannot take fails twice,
since a broken pass is tried once more; a third failure is somebody else's, or somebody insists."""

_HI = Prompt(messages=({"role": "user", "content": "Hi"},), fields={"max_tokens": 1})

_HI = Prompt(messages=({"role": "user", "content": "Hi"},), fields={"max_tokens": 1})

_PROBE = Call(prompt=_HI, role="probe", candidate=False)
"""A pass that every engine can answer, so that its failure is the engine's and not the request's."""

_PROBE_SECONDS = 5.0


@dataclass(slots=True)
class _Suspicion:
    """What is held against one life of an engine."""

    url: str = ""
    """Of that life: each has a port of its own."""
    failures: int = 0
    """Passes that failed in a row."""
    reason: str = ""
    """Empty until there are enough of them."""
    is_probed: bool = False
    """Whether a pass of our own is under way."""


class LaunchedEngine:
    """A supervised process that serves the OpenAI API at `URL/v1`.

    One that says it is well, and answers one pass after the other with what cannot be read or with errors of its own,
    is restarted; but only when it fails a harmless pass of ours too, so that no client's request ever restarts it.

    Args:
        name: the deployment's; its log is `logs/<name>.log`.
        launch: builds the launch for a free port.
        logs: folder of the logs.
        client: speaks to it.
        facts: asks the server at a URL what it is (`Health.facts`), once it is ready. A restart does not change
            them, since it launches the same.
        table: what its metrics page and its log call things, where we read them.
        patience: of the supervisor.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[int], Launch],
        *,
        logs: Path,
        client: ChatClient,
        facts: Callable[[str], Awaitable[Mapping[str, str]]] | None = None,
        table: Table | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.supervisor = Supervisor(name, launch, logs=logs, patience=patience)
        self._name = name
        self._client = client
        self._ask_facts = facts
        self._table = table
        self._facts: Mapping[str, str] = {}
        self._suspicion = _Suspicion()

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
        held_against = self._suspicion.reason if launch is not None and launch.url == self._suspicion.url else ""
        return replace(
            health,
            reason=health.reason or held_against,
            command=command,
            facts=self._facts,
            page=self._page(),
        )

    def _page(self) -> Page | None:
        if self._table is None or self.supervisor.state != "ready" or (launch := self.supervisor.launch) is None:
            return None
        return Page(url=f"{launch.url}/metrics", table=self._table, words=self.supervisor.last_words)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        url = await self.supervisor.ready()
        try:
            async with aclosing(self._client.stream(f"{url}/v1", call)) as stream:
                async for chunk in stream:
                    if chunk.finish is not None:
                        self._suspicion = _Suspicion()
                    yield chunk
        except (Broken, Garbled) as error:
            if isinstance(error, Broken):
                await self._notice_death()
            await self._suspect(url, error)
            raise

    async def whole(self, call: Call) -> bytes:
        """One pass that is not streamed: the body of its answer, for what the engine tells in no other way."""
        return await self._client.whole(f"{await self.supervisor.ready()}/v1", call)

    async def _learn(self, url: str) -> None:
        if self._ask_facts is not None and not self._facts:
            self._facts = dict(await self._ask_facts(url))

    async def _notice_death(self) -> None:
        """Wait until a process that has just died is known to be dead, so that a second attempt waits for the next one.

        A dead process closes its connections some milliseconds before anybody can bury it. One that lives on has
        failed in another way, and is not waited for.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_BURIAL_SECONDS):
                while self.supervisor.state == "ready":  # noqa: ASYNC110 - it has no event that others may wait for
                    await asyncio.sleep(0.01)

    async def _suspect(self, url: str, error: EngineError) -> None:
        """Count a failure against an engine that goes on as if nothing were wrong; after too many, put it to the test.

        The caller waits for the verdict, so that a second attempt meets the next process.
        """
        if not self._still_runs(url):
            return
        if self._suspicion.url != url:
            self._suspicion = _Suspicion(url)
        suspicion = self._suspicion
        suspicion.failures += 1
        if suspicion.failures < _SUSPICIOUS or suspicion.is_probed:
            return
        suspicion.reason = f"{suspicion.failures} passes in a row failed; the last: {error}"
        suspicion.is_probed = True
        try:
            await self._probe(url)
        except (Broken, Garbled) as verdict:
            if self._suspicion is suspicion and self._still_runs(url):  # no good pass has ended meanwhile
                self.supervisor.condemn(
                    f"engine {self._name!r} answers garbage and is restarted: {suspicion.reason}; one of ours as well: "
                    f"{verdict}"
                )
        except (Overloaded, TimedOut, TimeoutError):
            pass  # too busy to be judged: the next failure asks again
        else:
            suspicion.failures, suspicion.reason = 0, ""
        finally:
            suspicion.is_probed = False

    async def _probe(self, url: str) -> None:
        """Ask for a harmless pass."""
        with suppress(Refused, TooLong):  # an answer as well: a base model has no chat template, for one
            async with asyncio.timeout(_PROBE_SECONDS), aclosing(self._client.stream(f"{url}/v1", _PROBE)) as stream:
                async for _ in stream:
                    pass

    def _still_runs(self, url: str) -> bool:
        launch = self.supervisor.launch
        return self.supervisor.state == "ready" and launch is not None and launch.url == url
