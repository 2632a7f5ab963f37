"""An engine that is a process of ours: a supervisor that keeps it running, and a client that speaks to it.

Separate from the engines, because llama.cpp, vLLM, SGLang and the Transformers worker differ in what they are launched
with and in their words, and in nothing of this.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.engines.scrape import Page
from tierwise.engines.supervisor import Launch, Supervisor
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tierwise.engines.engine import Health
    from tierwise.engines.http import ChatClient
    from tierwise.engines.scrape import Table
    from tierwise.engines.supervisor import Patience
    from tierwise.spec.call import Call, Chunk

_BURIAL_SECONDS = 1.0


class LaunchedEngine:
    """A supervised process that serves the OpenAI API at `URL/v1`.

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
        self._client = client
        self._ask_facts = facts
        self._table = table
        self._facts: Mapping[str, str] = {}

    async def start(self) -> None:
        await self.supervisor.start()
        await self._learn(await self.supervisor.ready())

    async def stop(self) -> None:
        await self._client.close()
        await self.supervisor.stop()

    def health(self) -> Health:
        launch = self.supervisor.launch
        command = shlex.join(launch.command) if launch is not None else ""
        return replace(self.supervisor.health(), command=command, facts=self._facts, page=self._page())

    def _page(self) -> Page | None:
        if self._table is None or self.supervisor.state != "ready" or (launch := self.supervisor.launch) is None:
            return None
        return Page(url=f"{launch.url}/metrics", table=self._table, words=self.supervisor.last_words)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        url = await self.supervisor.ready()
        try:
            async with aclosing(self._client.stream(f"{url}/v1", call)) as stream:
                async for chunk in stream:
                    yield chunk
        except Broken:
            await self._notice_death()
            raise

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
