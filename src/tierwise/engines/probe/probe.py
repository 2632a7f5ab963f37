"""Probes what a running server does with the request fields that Tierwise relies on.

Sends about twenty small requests sequentially, and one prompt that is too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from tierwise.engines import ENGINES
from tierwise.engines.metrics import read as read_metrics
from tierwise.engines.openai.failure import read_failure
from tierwise.engines.openai.proxy import proxy_to
from tierwise.engines.openai.quirks import SERVERS, Server, known_as
from tierwise.engines.probe.findings import TRAITS, Finding, Probed, Switch
from tierwise.engines.probe.reach import REACH_SECONDS, hushed, reach, read_base, text_of
from tierwise.engines.probe.reply import ProbeReply, context_of, first_choice, mapping, speaks, stream_events
from tierwise.engines.probe.slots import ASKED, side_by_side
from tierwise.engines.probe.thinking import ThinkingSample, find_switch
from tierwise.engines.within import within
from tierwise.spec.errors import Broken, NotFound, TooLong

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tierwise.spec.json import Json

_SECONDS = 60.0  # for one answer
_SILENCES = 2  # consecutive requests without an answer, after which the probe stops
_LEAVING_SECONDS = 5.0  # for a server to notice that its client disconnected
_LONGEST = 200_000  # tokens; a longer context is not exceeded
_WORDS = 6_000  # of the long prompt if the context is unknown
_LOUD = "Write ten random words."
_PLAIN = "Count from 1 to 20, with commas."
_TOOL: Json = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}}},
}
_SCHEMA: Json = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


class _Refused(Exception):
    """The server did not answer a request that a check needs."""


class Probe:
    """A probe of one server.

    Args:
        url: base URL; `/v1` is added if it is missing.
        model: the server's name for the model; default: its first model.
        api_key: sent with every request.
        tell: called with each trait before it is probed.
        seconds: timeout of one answer.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        tell: Callable[[str], None] = lambda _: None,
        seconds: float = _SECONDS,
    ) -> None:
        self._url = read_base(url)
        self._model = model or ""
        self._key = api_key
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._tell = tell
        self._seconds = seconds
        self._proxy = proxy_to(url)
        self._session: aiohttp.ClientSession
        self._server: Server | None = None
        self._context: int | None = None
        self._slots: int | None = None
        self._switch: Switch | None = None
        self._models: list[str] = []
        self._findings: dict[str, Finding] = {}
        self._left_out: set[str] = set()
        """Fields that it rejects, which later requests omit."""
        self._drawn: dict[int, str] = {}
        """Text by seed."""
        self._thinks: str = ""
        """The field in which an answer had thinking."""
        self._silences = 0
        """Consecutive requests without an answer."""

    async def run(self) -> Probed:
        """Run all checks.

        Raises:
            SpecError: the URL is invalid.
            Broken, TimedOut, Garbled: it cannot be reached, or is not an OpenAI-compatible server; see `reach`.
            NotFound: it does not have the model.
        """
        # A new connection for each request: the server may close a kept one just when it is reused.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(headers=self._headers, connector=connector) as self._session:
            version = await self._identify()
            for trait in TRAITS:
                self._tell(trait)
                found = await self._found(getattr(self, f"_{trait}"))
                self._findings[trait] = Finding(verdict=found.verdict, note=hushed(found.note, self._key))
        return Probed(
            url=self._url,
            model=self._model,
            server=self._server.name if self._server is not None else "",
            version=version,
            date=datetime.now(UTC).date().isoformat(),
            findings=self._findings,
            models=self._models,
            context=self._context,
            slots=self._slots,
            switch=self._switch,
            is_whole=self._silences < _SILENCES,
        )

    async def _found(self, look: Callable[[], Coroutine[Any, Any, Finding]]) -> Finding:
        if self._silences >= _SILENCES:
            return Finding(verdict="unseen", note=f"skipped after {_SILENCES} requests without an answer")
        try:
            found = await look()
        except _Refused as refused:
            found = Finding(verdict="unseen", note=str(refused))
        except TimeoutError:
            self._silences += 1
            return Finding(verdict="unseen", note=f"no answer within {self._seconds:g} s")
        except aiohttp.ClientError as error:
            self._silences += 1
            return Finding(verdict="unseen", note=f"the connection failed: {str(error) or type(error).__name__}")
        self._silences = 0
        return found

    # ── identity ──────────────────────────────────────────────────────────

    async def _identify(self) -> str:
        """Identify the server and its models. Returns its version."""
        listing = await reach(
            self._session, self._url, proxy=self._proxy, seconds=self._seconds, may_lack_list=bool(self._model)
        )
        self._url, models, headers = listing.url, listing.models, listing.headers
        self._models = listing.names
        if not self._model and not self._models:
            raise Broken(f"{self._url}/models lists no model; set one with --model")
        if self._model and self._models and self._model not in self._models:
            raise NotFound(f"{self._url} has no model {self._model!r}; it has: {', '.join(self._models[:20])}")
        self._model = self._model or self._models[0]
        about = next((one for one in models if one.get("id") == self._model), {})
        pages = {page: await self._page(page) for page in sorted({one.page for one in SERVERS if one.page})}
        self._server = known_as(owned_by=str(about.get("owned_by", "")), headers=headers, pages=pages)
        props = mapping(pages.get("/props", ""))
        self._context = context_of(about, props, mapping(pages.get("/info", "")))
        self._slots = slots if isinstance(slots := props.get("total_slots"), int) and slots > 0 else None
        if self._server is None or not self._server.version[0]:
            return str(headers.get("x-litellm-version", ""))
        page, key = self._server.version
        return str(mapping(await self._page(page)).get(key, ""))

    async def _page(self, path: str) -> str:
        """The text of one of its pages; empty if it does not have it."""
        try:
            root = self._url.removesuffix("/v1")
            limit = min(REACH_SECONDS, self._seconds)
            page = f"{root}{path}"
            async with within(limit, self._session, page, proxy=self._proxy, allow_redirects=False) as response:
                return await text_of(response) if response.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError):
            return ""

    # ── checks ──────────────────────────────────────────────────────────

    async def _temperature(self) -> Finding:
        reply = await self._ask(_LOUD, seed=7, temperature=1.5, max_tokens=16)
        if reply.status != 200:
            self._left_out.add("temperature")
            await self._draw(7)
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        self._drawn[7] = reply.said
        for seed in (8, 9, 10):
            if await self._draw(seed) != reply.said:
                return Finding(verdict="yes")
        return Finding(verdict="no", note=f"{len(self._drawn)} draws with different seeds have the same text")

    async def _seed(self) -> Finding:
        first = self._drawn.get(7) or await self._draw(7)
        if first != await self._draw(7):
            return Finding(verdict="no", note="two draws of one seed differ")
        if 8 not in self._drawn:
            await self._draw(8)
        if all(said == first for said in self._drawn.values()):
            return Finding(verdict="unseen", note="a different seed gave the same text, as a fixed seed would")
        return Finding(verdict="yes")

    async def _draw(self, seed: int) -> str:
        """The text with a seed, at the highest temperature that the server supports."""
        self._drawn[seed] = (await self._need(_LOUD, seed=seed, temperature=1.5, max_tokens=16)).said
        return self._drawn[seed]

    async def _greedy(self) -> Finding:
        if "temperature" in self._left_out:
            return Finding(verdict="unseen", note="it does not support temperature")
        one, same = [(await self._need(_PLAIN, temperature=0, max_tokens=24)).said for _ in range(2)]
        return Finding(verdict="yes" if one == same else "no")

    async def _stop(self) -> Finding:
        said = (await self._need(_PLAIN, temperature=0, max_tokens=24)).message.get("content") or ""
        words = [word for word in said.split() if len(word) > 1 or word.isalnum()]
        if len(words) < 2:
            return Finding(verdict="unseen", note=f"its answer is too short to be cut: {said[:40]!r}")
        end = words[len(words) // 2]
        cut = await self._need(_PLAIN, temperature=0, max_tokens=24, stop=[end])
        if end in (cut.message.get("content") or ""):
            return Finding(verdict="no", note=f"went on after {end!r}")
        return Finding(verdict="yes", note="" if cut.finish == "stop" else f"with finish reason {cut.finish!r}")

    async def _max_tokens(self) -> Finding:
        reply = await self._need(_PLAIN, temperature=0, max_tokens=3)
        told = reply.counted("completion_tokens")
        if told is not None and told > 3:
            return Finding(verdict="no", note=f"returned {told} tokens instead of 3")
        if reply.finish != "length":
            return Finding(verdict="no", note=f"a truncated answer has finish reason {reply.finish!r}")
        return Finding(verdict="yes")

    async def _n(self) -> Finding:
        reply = await self._ask(_LOUD, n=2, temperature=1, max_tokens=8)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        if (count := len(reply.choices)) != 2:
            return Finding(verdict="no", note=f"returned {count} choice instead of 2")
        told = reply.counted("completion_tokens")
        if told is not None and told <= 8 and all(one.get("finish_reason") == "length" for one in reply.choices):
            return Finding(verdict="no", note=f"counts 2 choices of 8 tokens as {told}")
        return Finding(verdict="yes")

    async def _logprobs(self) -> Finding:
        reply = await self._ask(_PLAIN, temperature=0, max_tokens=2, logprobs=True, top_logprobs=1)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        told = reply.choices[0].get("logprobs") if reply.choices else None
        return Finding(verdict="yes" if isinstance(told, dict) and told.get("content") else "no")

    async def _stream_usage(self) -> Finding:
        async with self._stream(_PLAIN, temperature=0, max_tokens=4) as lines:
            told = [line async for line in lines if (mapping(line).get("usage") or {}).get("completion_tokens")]
        return Finding(verdict="yes" if told else "no")

    async def _cached_tokens(self) -> Finding:
        prompt = " ".join(f"Item {number} is blue." for number in range(60))
        told = [await self._need(f"{prompt} {_PLAIN}", temperature=0, max_tokens=2) for _ in range(2)][1]
        cached = told.counted("prompt_tokens_details", "cached_tokens")
        if cached is None:
            return Finding(verdict="no")
        return Finding(verdict="yes") if cached else Finding(verdict="unseen", note="reports 0 for a repeated prompt")

    async def _tools(self) -> Finding:
        reply = await self._ask("What time is it?", tools=[_TOOL], max_tokens=48, temperature=0)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        return Finding(verdict="yes", note="" if reply.message.get("tool_calls") else "but this model called none")

    async def _tools_shown(self) -> Finding:
        """Tools that the chat template renders make the prompt longer."""
        if self._findings["tools"].verdict != "yes":
            return Finding(verdict="unseen", note="it does not support tools")
        asked = "What time is it?"
        without, beside = [
            (await self._need(asked, max_tokens=1, temperature=0, **fields)).counted("prompt_tokens")
            for fields in ({}, {"tools": [_TOOL]})
        ]
        if not without or not beside:
            return Finding(verdict="unseen", note="it does not count prompt tokens")
        if beside > without:
            return Finding(verdict="yes", note=f"{beside - without} more prompt tokens")
        return Finding(verdict="no", note=f"{beside} prompt tokens with and without a tool")

    async def _logprobs_with_tools(self) -> Finding:
        if {self._findings["logprobs"].verdict, self._findings["tools"].verdict} != {"yes"}:
            return Finding(verdict="unseen", note="it does not support both separately")
        try:
            asked: dict[str, Json] = {"tools": [_TOOL], "logprobs": True, "max_tokens": 4, "temperature": 0}
            async with self._stream("What time is it?", **asked) as lines:
                told = [line async for line in lines if first_choice(line).get("logprobs")]
        except _Refused as refused:
            return Finding(verdict="no", note=str(refused))
        return Finding(verdict="yes" if told else "no")

    async def _json_schema(self) -> Finding:
        form: Json = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True}}
        reply = await self._ask("Is the sky blue?", response_format=form, max_tokens=64, temperature=0)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        said = str(reply.message.get("content") or "")
        if isinstance(mapping(said).get("ok"), bool):
            return Finding(verdict="yes")
        if reply.finish == "length" and said.lstrip().startswith("{"):
            return Finding(verdict="unseen", note="64 tokens were not enough")
        return Finding(verdict="no", note=f"it returned {said[:40]!r}")

    async def _unknown_fields(self) -> Finding:
        reply = await self._ask(_PLAIN, max_tokens=2, tierwise_probe=True)
        if reply.status == 200:
            return Finding(verdict="yes", note="and ignores them")
        return Finding(verdict="no", note=reply.why())

    async def _reasoning(self) -> Finding:
        if self._thinks:
            return Finding(verdict="yes", note=f"under `{self._thinks}`")
        return Finding(verdict="unseen", note="no answer had thinking")

    async def _thinking(self) -> Finding:
        async def sample(most: int, **fields: Json) -> ThinkingSample | None:
            reply = await self._ask(_PLAIN, temperature=0, max_tokens=most, **fields)
            if reply.status != 200 or not reply.choices:
                return None
            answer = str(reply.message.get("content") or "")
            return ThinkingSample(thought=reply.thought, answer=answer, prompt_tokens=reply.counted("prompt_tokens"))

        found, self._switch = await find_switch(sample)
        return found

    async def _thinking_tokens(self) -> Finding:
        if self._switch is None:
            return Finding(verdict="unseen", note="no thinking switch was found, so there was nothing to limit")
        if not self._switch.cap:
            return Finding(verdict="no", note="no known field limits thinking")
        return Finding(verdict="yes", note=f"under `{self._switch.cap}`")

    async def _side_by_side(self) -> Finding:
        if self._slots is not None:
            return Finding(verdict="yes" if self._slots > 1 else "no", note=f"it reports {self._slots} slots")

        refused: list[str] = []

        async def stream() -> AsyncGenerator[str]:
            try:
                async with self._stream(_PLAIN, temperature=0, max_tokens=32) as lines:
                    async for line in lines:
                        if speaks(line):
                            yield line
            except _Refused as error:
                refused.append(str(error))

        together = await side_by_side(stream, ASKED)
        if 0 < len(refused) < ASKED:
            self._slots = ASKED - len(refused)
            return Finding(verdict="no", note=f"rejected {len(refused)} of {ASKED} concurrent requests: {refused[0]}")
        if refused or together is None:
            return Finding(verdict="unseen", note=refused[0] if refused else "its answers arrive as one chunk")
        if together == ASKED:
            return Finding(verdict="yes", note=f"{ASKED} of {ASKED} concurrently; more were not tried")
        self._slots = together
        return Finding(verdict="yes" if together > 1 else "no", note=f"{together} of {ASKED} concurrently")

    async def _too_long(self) -> Finding:
        if self._context is not None and self._context > _LONGEST:
            return Finding(verdict="unseen", note=f"its context of {self._context} tokens was not exceeded")
        words = _WORDS if self._context is None else self._context + 64
        reply = await self._ask(" ".join(str(number % 1000) for number in range(words)), max_tokens=1)
        if reply.status != 200:
            failure = read_failure(reply.status, reply.text.encode(), {})
            known = isinstance(failure.blame(self._model), TooLong)
            return Finding(verdict="yes" if known else "no", note=reply.why())
        if (told := reply.counted("prompt_tokens")) is not None and told < words:
            return Finding(verdict="no", note=f"a prompt of {words} words was cut to {told} tokens and answered")
        if self._context is None:
            return Finding(verdict="unseen", note=f"its context is unknown and has room for {words} words")
        return Finding(verdict="no", note=f"answered {words} words with a context of {self._context} tokens")

    async def _abort(self) -> Finding:
        if await self._running() is None:
            return Finding(verdict="unseen", note="it has no known metric of running requests")
        async with self._stream("Count from 1 to 1000.", temperature=0, max_tokens=400) as lines:
            await anext(lines, None)
            busy = await self._running()
        if not busy:
            return Finding(verdict="unseen", note="the answer ended before it could be aborted")
        try:
            async with asyncio.timeout(_LEAVING_SECONDS):
                while await self._running():  # noqa: ASYNC110 - only its metrics page has this
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return Finding(verdict="no", note=f"requests still run after {_LEAVING_SECONDS:g} s, this one or others")
        return Finding(verdict="yes")

    # ── requests ────────────────────────────────────────────────────────

    async def _running(self) -> float | None:
        """Requests that it reports as running or waiting; None if it does not publish that."""
        row = ENGINES.get(self._server.engine) if self._server is not None else None
        names = row.metrics if row is not None else None
        reported = read_metrics(await self._page("/metrics"), names) if names is not None else {}
        found = [reported[name] for name in ("requests_running", "requests_waiting") if name in reported]
        return sum(found) if found else None

    async def _need(self, prompt: str, **fields: Json) -> ProbeReply:
        """An answer that a check needs."""
        reply = await self._ask(prompt, **fields)
        if reply.status != 200 or not reply.choices:
            raise _Refused(f"refused, {reply.why()}")
        return reply

    async def _ask(self, prompt: str, **fields: Json) -> ProbeReply:
        async with self._posted(self._body(prompt, fields)) as response:
            text = await text_of(response)
            reply = ProbeReply(response.status, text)
        for name in ("reasoning_content", "reasoning"):
            if reply.message.get(name):
                self._thinks = name
        return reply

    @asynccontextmanager
    async def _stream(self, prompt: str, **fields: Json) -> AsyncGenerator[AsyncGenerator[str]]:
        """The data of a stream's events; leaving the block disconnects."""
        body = self._body(prompt, {**fields, "stream": True, "stream_options": {"include_usage": True}})
        async with self._posted(body) as response:
            try:
                if response.status != 200:
                    text = await text_of(response)
                    raise _Refused(f"refused, {ProbeReply(response.status, text).why()}")
                yield stream_events(response)
            finally:
                response.close()

    def _posted(self, body: Json) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        page, options = f"{self._url}/chat/completions", {"proxy": self._proxy, "allow_redirects": False}
        return within(self._seconds, self._session, page, method="POST", json=body, **options)

    def _body(self, prompt: str, fields: Mapping[str, Json]) -> Json:
        asked = {name: value for name, value in fields.items() if name not in self._left_out}
        return {"model": self._model, "messages": [{"role": "user", "content": prompt}], **asked}
