"""Asks a server that somebody else runs what it does with the fields that tiers and ledgers stand on.

Some twenty small requests, one after the other, and one prompt that is too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from tierwise.engines import ENGINES
from tierwise.engines.metrics import read as read_metrics
from tierwise.engines.openai.proxy import proxy_to
from tierwise.engines.openai.quirks import SERVERS, Server, known_as
from tierwise.engines.openai.wire import read_failure
from tierwise.engines.probe.findings import TRAITS, Finding, Probed
from tierwise.spec.errors import Broken, NotFound, TooLong

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tierwise.spec.json import Json

_SECONDS = 60.0  # for one answer
_LEAVING_SECONDS = 5.0  # for a server to notice that its client is gone
_LONGEST = 200_000  # tokens; a longer context is not overrun to see what happens
_WORDS = 6_000  # of the long prompt where nobody told the context
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


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back."""

    status: int
    body: dict[str, Any]
    text: str

    @property
    def choices(self) -> list[dict[str, Any]]:
        found = self.body.get("choices")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @property
    def message(self) -> dict[str, Any]:
        return (self.choices[0].get("message") or {}) if self.choices else {}

    @property
    def said(self) -> str:
        """Answer and thinking, as one text."""
        message = self.message
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        return f"{thought}{message.get('content') or ''}"

    @property
    def finish(self) -> str:
        return str(self.choices[0].get("finish_reason")) if self.choices else ""

    def counted(self, *path: str) -> int | None:
        """A number under `usage`; None where it is not told."""
        found: Any = self.body.get("usage")
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, int) else None

    def why(self) -> str:
        """Its own words for a failure."""
        return f"{self.status}: {read_failure(self.status, self.text.encode(), {}).message[:160]}"


class _Refused(Exception):
    """The server did not answer what another question stands on."""


class Probe:
    """One look at one server.

    Args:
        url: its base, with `/v1`.
        model: what it calls the model; its first one where that is not given.
        api_key: sent with every request.
        tell: called with each trait before it is looked at.
        seconds: for one answer.
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
        self._url = url.rstrip("/")
        self._root = self._url.removesuffix("/v1")
        self._model = model or ""
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._tell = tell
        self._seconds = seconds
        self._proxy = proxy_to(url)
        self._session: aiohttp.ClientSession
        self._server: Server | None = None
        self._context: int | None = None
        self._thinks: str = ""
        """The field in which some answer brought thinking."""

    async def run(self) -> Probed:
        """Ask it everything.

        Raises:
            Broken: it cannot be reached, or it answers nothing at all.
            NotFound: it has no such model.
        """
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        # A connection of its own for each: one that is kept may be closed by the server while it is taken again.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers, connector=connector) as self._session:
            version = await self._meet()
            findings = {}
            for trait in TRAITS:
                self._tell(trait)
                findings[trait] = await self._found(getattr(self, f"_{trait}"))
        name = self._server.name if self._server is not None else ""
        today = datetime.now(UTC).date().isoformat()
        return Probed(url=self._url, model=self._model, server=name, version=version, date=today, findings=findings)

    async def _found(self, look: Callable[[], Coroutine[Any, Any, Finding]]) -> Finding:
        try:
            return await look()
        except _Refused as refused:
            return Finding(verdict="unseen", note=str(refused))
        except TimeoutError:
            return Finding(verdict="unseen", note=f"no answer within {self._seconds:g} s")
        except aiohttp.ClientError as error:
            return Finding(verdict="unseen", note=f"the connection broke: {str(error) or type(error).__name__}")

    # ── who it is ───────────────────────────────────────────────────────

    async def _meet(self) -> str:
        """Find out what it is and what it serves; gives its version."""
        try:
            async with self._get(f"{self._url}/models") as response:
                text, headers = await response.text(errors="replace"), response.headers
                reply = _Reply(response.status, _mapping(text), text)
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise Broken(f"{self._url} cannot be reached: {why}; give the base that ends in /v1") from error
        listed = reply.body.get("data")
        models = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = [str(one.get("id")) for one in models]
        if reply.status in (401, 403):
            raise Broken(f"{self._url} wants another key ({reply.why()}); name its variable with --api-key-env")
        if not self._model and not names:
            raise Broken(f"{self._url}/models lists no model ({reply.why()}); name one with --model")
        if self._model and names and self._model not in names:
            raise NotFound(f"{self._url} has no model {self._model!r}; it has: {', '.join(names[:20])}")
        self._model = self._model or names[0]
        about = next((one for one in models if one.get("id") == self._model), {})
        pages = {page: await self._page(page) for page in sorted({one.page for one in SERVERS if one.page})}
        lower = {name.lower(): value for name, value in headers.items()}
        self._server = known_as(owned_by=str(about.get("owned_by", "")), headers=lower, pages=pages)
        self._context = _context(about, _mapping(pages.get("/props", "")), _mapping(pages.get("/info", "")))
        if self._server is None or not self._server.version[0]:
            return str(lower.get("x-litellm-version", ""))
        page, key = self._server.version
        return str(_mapping(await self._page(page)).get(key, ""))

    async def _page(self, path: str) -> str:
        """The text of a page of its own; empty where it has none."""
        try:
            async with self._get(f"{self._root}{path}") as response:
                return await response.text(errors="replace") if response.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError):
            return ""

    # ── what it does ────────────────────────────────────────────────────

    async def _seed(self) -> Finding:
        one, same, other = [
            (await self._need(_LOUD, seed=seed, temperature=1.5, max_tokens=16)).said for seed in (7, 7, 8)
        ]
        if one != same:
            return Finding(verdict="no", note="two draws of one seed differ")
        if one == other:
            return Finding(verdict="unseen", note="another seed gave the same text, as a fixed one would")
        return Finding(verdict="yes")

    async def _greedy(self) -> Finding:
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
        return Finding(verdict="yes", note="" if cut.finish == "stop" else f"and says {cut.finish!r}")

    async def _max_tokens(self) -> Finding:
        reply = await self._need(_PLAIN, temperature=0, max_tokens=3)
        told = reply.counted("completion_tokens")
        if told is not None and told > 3:
            return Finding(verdict="no", note=f"{told} tokens came for 3")
        if reply.finish != "length":
            return Finding(verdict="no", note=f"an answer that was cut ends with {reply.finish!r}")
        return Finding(verdict="yes")

    async def _n(self) -> Finding:
        reply = await self._ask(_LOUD, n=2, temperature=1, max_tokens=8)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        if (count := len(reply.choices)) != 2:
            return Finding(verdict="no", note=f"{count} choice for 2")
        told = reply.counted("completion_tokens")
        if told is not None and told <= 8 and all(one.get("finish_reason") == "length" for one in reply.choices):
            return Finding(verdict="no", note=f"2 choices of 8 tokens are counted as {told}")
        return Finding(verdict="yes")

    async def _logprobs(self) -> Finding:
        reply = await self._ask(_PLAIN, temperature=0, max_tokens=2, logprobs=True, top_logprobs=1)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        told = reply.choices[0].get("logprobs") if reply.choices else None
        return Finding(verdict="yes" if isinstance(told, dict) and told.get("content") else "no")

    async def _stream_usage(self) -> Finding:
        async with self._stream(_PLAIN, temperature=0, max_tokens=4) as lines:
            told = [line async for line in lines if (_mapping(line).get("usage") or {}).get("completion_tokens")]
        return Finding(verdict="yes" if told else "no")

    async def _cached_tokens(self) -> Finding:
        prompt = " ".join(f"Item {number} is blue." for number in range(60))
        told = [await self._need(f"{prompt} {_PLAIN}", temperature=0, max_tokens=2) for _ in range(2)][1]
        cached = told.counted("prompt_tokens_details", "cached_tokens")
        if cached is None:
            return Finding(verdict="no")
        return (
            Finding(verdict="yes") if cached else Finding(verdict="unseen", note="tells 0 for a prompt that came twice")
        )

    async def _tools(self) -> Finding:
        reply = await self._ask("What time is it?", tools=[_TOOL], max_tokens=48, temperature=0)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        return Finding(verdict="yes", note="" if reply.message.get("tool_calls") else "and this model called none")

    async def _json_schema(self) -> Finding:
        form: Json = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True}}
        reply = await self._ask("Is the sky blue?", response_format=form, max_tokens=64, temperature=0)
        if reply.status != 200:
            return Finding(verdict="no", note=f"refused, {reply.why()}")
        said = str(reply.message.get("content") or "")
        if isinstance(_mapping(said).get("ok"), bool):
            return Finding(verdict="yes")
        if reply.finish == "length" and said.lstrip().startswith("{"):
            return Finding(verdict="unseen", note="64 tokens were not enough")
        return Finding(verdict="no", note=f"it said {said[:40]!r}")

    async def _unknown_fields(self) -> Finding:
        reply = await self._ask(_PLAIN, max_tokens=2, tierwise_probe=True)
        if reply.status == 200:
            return Finding(verdict="yes", note="and passes over them")
        return Finding(verdict="no", note=reply.why())

    async def _reasoning(self) -> Finding:
        if self._thinks:
            return Finding(verdict="yes", note=f"under `{self._thinks}`")
        return Finding(verdict="unseen", note="no answer had any")

    async def _too_long(self) -> Finding:
        if self._context is not None and self._context > _LONGEST:
            return Finding(verdict="unseen", note=f"its context of {self._context} tokens was not overrun")
        words = _WORDS if self._context is None else self._context + 64
        reply = await self._ask(" ".join(str(number % 1000) for number in range(words)), max_tokens=1)
        if reply.status != 200:
            failure = read_failure(reply.status, reply.text.encode(), {})
            known = isinstance(failure.blame(self._model), TooLong)
            return Finding(verdict="yes" if known else "no", note=reply.why())
        if (told := reply.counted("prompt_tokens")) is not None and told < words:
            return Finding(verdict="no", note=f"a prompt of {words} words was cut to {told} tokens, with a 200")
        if self._context is None:
            return Finding(verdict="unseen", note=f"its context is not told, and holds {words} words")
        return Finding(verdict="no", note=f"took {words} words into {self._context} tokens, with a 200")

    async def _abort(self) -> Finding:
        if await self._running() is None:
            return Finding(verdict="unseen", note="it shows no count of running requests that we know")
        async with self._stream("Count from 1 to 1000.", temperature=0, max_tokens=400) as lines:
            await anext(lines, None)
            busy = await self._running()
        if not busy:
            return Finding(verdict="unseen", note="the answer was over before it could be left")
        try:
            async with asyncio.timeout(_LEAVING_SECONDS):
                while await self._running():  # noqa: ASYNC110 - only its page knows
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return Finding(verdict="no", note=f"still at work after {_LEAVING_SECONDS:g} s, or others are")
        return Finding(verdict="yes")

    # ── how it is asked ─────────────────────────────────────────────────

    async def _running(self) -> float | None:
        """Requests that it works on or keeps waiting, as it counts them; None where it does not publish that."""
        row = ENGINES.get(self._server.engine) if self._server is not None else None
        names = row.metrics if row is not None else None
        reported = read_metrics(await self._page("/metrics"), names) if names is not None else {}
        found = [reported[name] for name in ("requests_running", "requests_waiting") if name in reported]
        return sum(found) if found else None

    async def _need(self, prompt: str, **fields: Json) -> _Reply:
        """An answer, without which there is nothing to see."""
        reply = await self._ask(prompt, **fields)
        if reply.status != 200 or not reply.choices:
            raise _Refused(f"refused, {reply.why()}")
        return reply

    async def _ask(self, prompt: str, **fields: Json) -> _Reply:
        async with self._session.post(
            f"{self._url}/chat/completions", json=self._body(prompt, fields), proxy=self._proxy
        ) as response:
            text = await response.text(errors="replace")
            reply = _Reply(response.status, _mapping(text), text)
        for name in ("reasoning_content", "reasoning"):
            if reply.message.get(name):
                self._thinks = name
        return reply

    @asynccontextmanager
    async def _stream(self, prompt: str, **fields: Json) -> AsyncGenerator[AsyncGenerator[str]]:
        """The data of an answer's events; leaving the block leaves the server."""
        body = self._body(prompt, {**fields, "stream": True, "stream_options": {"include_usage": True}})
        response = await self._session.post(f"{self._url}/chat/completions", json=body, proxy=self._proxy)
        try:
            if response.status != 200:
                text = await response.text(errors="replace")
                raise _Refused(f"refused, {_Reply(response.status, _mapping(text), text).why()}")
            yield _events(response)
        finally:
            response.close()

    def _body(self, prompt: str, fields: Mapping[str, Json]) -> Json:
        return {"model": self._model, "messages": [{"role": "user", "content": prompt}], **fields}

    def _get(self, url: str) -> Any:
        return self._session.get(url, proxy=self._proxy, timeout=aiohttp.ClientTimeout(total=min(10, self._seconds)))


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[str]:
    async for line in response.content:
        if line.startswith(b"data:"):
            yield line[5:].strip().decode(errors="replace")


def _mapping(text: str) -> dict[str, Any]:
    """A JSON object; empty where the text is none."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _context(about: Mapping[str, Any], props: Mapping[str, Any], info: Mapping[str, Any]) -> int | None:
    """Tokens that one request may hold, as vLLM and SGLang, llama.cpp, or TGI tell it."""
    settings = props.get("default_generation_settings")
    told = about.get("max_model_len"), settings.get("n_ctx") if isinstance(settings, dict) else None
    return next((one for one in (*told, info.get("max_total_tokens")) if isinstance(one, int)), None)
