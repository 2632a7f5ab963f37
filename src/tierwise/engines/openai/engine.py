"""A server that is already running, as an engine."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from tierwise.engines.engine import Health, PassOn, one_by_one
from tierwise.engines.metrics import MetricsPage
from tierwise.spec.errors import Broken, Misconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from tierwise.engines.metrics import MetricNames
    from tierwise.engines.openai.client import ChatClient
    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt

_NEVER = float("-inf")
_FAILED_SECONDS = 10.0  # a failure counts for this long; the state of a remote server is unknown between passes


class HttpEngine:
    """A server that Tierwise did not launch.

    Args:
        url: base URL, including `/v1`.
        client: sends requests to it.
        metrics: the metrics in its metrics page; None if unknown.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        client: ChatClient,
        *,
        metrics: MetricNames | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        root = self._url.removesuffix("/v1")
        self._page = None if metrics is None else MetricsPage(url=f"{root}/metrics", names=metrics)
        self._client = client
        self._clock = clock
        self._failed_at = _NEVER
        self._reason = ""
        self._answers_as: dict[str, str] = {}
        """The model and the `system_fingerprint` in its last answer."""
        self.when_changed: Callable[[str], Awaitable[None]] | None = None
        """As `engine.TellsChanges`."""

    @property
    def thinking_off(self) -> Fields | None:
        """As `engine.SwitchesThinking`."""
        return self._client.thinking_off

    async def start(self) -> None:
        """Nothing to start. If the server is down, passes report it."""

    async def stop(self) -> None:
        await self._client.close()

    def health(self) -> Health:
        """Failed for some seconds after a failed pass, then ready again, because only a pass can tell."""
        if self._clock() - self._failed_at < _FAILED_SECONDS:
            return Health(state="failed", reason=self._reason)
        return Health(state="ready", reason=self._reason, page=self._page)

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        return one_by_one(self.blocks(call))

    async def blocks(
        self, call: Call, *, at_once: bool = False, pass_on: PassOn | None = None
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """As `engine.SendsBlocks`."""
        known = self._answers_as.get("model", "")
        try:
            async with aclosing(self._client.blocks(self._url, call, at_once=at_once, pass_on=pass_on)) as blocks:
                async for chunks in blocks:
                    self._failed_at, self._reason = _NEVER, ""
                    for chunk in chunks:
                        if chunk.response or (chunk.model != known and chunk.model):
                            await self._compare(chunk)
                            known = self._answers_as.get("model", "")
                    yield chunks
        except Broken as error:
            self._failed_at, self._reason = self._clock(), str(error)
            raise
        except Misconfigured as error:  # other requests may be accepted, and waiting does not help
            self._reason = str(error)
            raise

    async def count_tokens(self, prompt: Prompt) -> int:
        """As `engine.CountsTokens`."""
        return await self._client.count_tokens(self._url, prompt)

    async def _compare(self, chunk: Chunk) -> None:
        """Tell if the server says that it is another than in its last answer. One that says nothing is not."""
        given = {"model": chunk.model, "system_fingerprint": (chunk.response or {}).get("system_fingerprint")}
        for name, value in given.items():
            if not isinstance(value, str) or not value:
                continue
            before = self._answers_as.get(name, value)
            self._answers_as[name] = value
            if value != before and self.when_changed is not None:
                await self.when_changed(f"answers with {name} {value!r}, and answered with {before!r} before")
