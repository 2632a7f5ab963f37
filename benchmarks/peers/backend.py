"""The backend of all systems: answers as scripted, or forwards to a real server, and remembers every call.

    python benchmarks/peers/backend.py [--forward URL]     prints its URL, which ends in /v1

A scripted answer takes `seconds`, of which a stream spends a third before its first word; the words are spread evenly
over the rest. A token is a word. `POST /reset {"seconds": 0.15}` forgets the calls, and `GET /calls` lists them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

if __package__:
    from peers.calls import BackendCall, prompt_tokens, text_of, words
else:  # as a program
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from peers.calls import BackendCall, prompt_tokens, text_of, words

ANSWER = "Two and two are four, that is candidate {number}. The answer is {answer}."
ANSWERS = (4, 5, 6)
"""Of the first candidates, so that a judge of three has to decide; all later ones answer 4."""
GRADE = re.compile(r"`draft (\d+): ` and its letter")
SCORE = {"score": 7, "reasoning": "right"}
FORWARDED_LIMIT = 256
"""Completion tokens of a forwarded call that sets no limit, as a server's own default."""


class Backend:
    """Counts, answers, and forgets."""

    def __init__(self, forward: str | None, seconds: float = 0.15) -> None:
        self._forward, self._seconds = forward, seconds
        self.calls: list[BackendCall] = []
        self._session: aiohttp.ClientSession | None = None

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """One call, counted until its end or until the client hangs up."""
        body = json.loads(await request.read())
        number = len(self.calls)
        self.calls.append(BackendCall(body=body, began=time.monotonic()))
        ledger = self.calls  # a reset begins another list
        is_complete = False
        try:
            answered = await (self._relay if self._forward else self._script)(request, body, ledger, number)
            is_complete = True
            return answered
        finally:
            ledger[number] = replace(ledger[number], ended=time.monotonic(), is_aborted=not is_complete)

    # ── scripted ────────────────────────────────────────────────────────
    async def _script(
        self, request: web.Request, body: dict[str, Any], calls: list[BackendCall], number: int
    ) -> web.StreamResponse:
        said = words_of(body, number)
        calls[number] = replace(calls[number], prompt=prompt_tokens(body["messages"]))
        finish = "stop"
        if len(said) > limit_of(body):
            said, finish = said[: limit_of(body)], "length"
        choices = max(1, body.get("n") or 1)
        seconds = self._seconds
        if body.get("stream"):
            return await self._stream(request, body, said, finish, calls, number)
        await asyncio.sleep(seconds)
        calls[number] = replace(calls[number], completion=choices * len(said))
        answers = [
            {
                "index": index,
                "message": {"role": "assistant", "content": _joined(words_of(body, number + index)[: len(said)])},
                "finish_reason": finish,
                "logprobs": _logprobs(said) if body.get("logprobs") else None,
            }
            for index in range(choices)
        ]
        return web.json_response(_chunk("chat.completion", body, answers, usage=_usage(calls[number])))

    async def _stream(
        self,
        request: web.Request,
        body: dict[str, Any],
        said: list[str],
        finish: str,
        calls: list[BackendCall],
        number: int,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        began, seconds = time.monotonic(), self._seconds
        await asyncio.sleep(seconds / 3)
        await response.prepare(request)
        for place, word in enumerate(said):
            due = began + seconds / 3 + seconds * 2 / 3 * (place + 1) / len(said)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            delta = {"content": word if place == 0 else f" {word}"} | ({"role": "assistant"} if place == 0 else {})
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            if body.get("logprobs"):
                choice["logprobs"] = _logprobs([word])
            await response.write(_event(_chunk("chat.completion.chunk", body, [choice])))
            calls[number] = replace(calls[number], completion=place + 1)
        ending = {"index": 0, "delta": {}, "finish_reason": finish}
        await response.write(_event(_chunk("chat.completion.chunk", body, [ending])))
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(_event(_chunk("chat.completion.chunk", body, [], usage=_usage(calls[number]))))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    # ── forwarded ───────────────────────────────────────────────────────
    async def _relay(
        self, request: web.Request, body: dict[str, Any], calls: list[BackendCall], number: int
    ) -> web.StreamResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0, force_close=True)
            )
        sent = dict(body)
        if not sent.get("max_tokens") and not sent.get("max_completion_tokens"):
            sent["max_tokens"] = FORWARDED_LIMIT
        async with self._session.post(f"{self._forward}/chat/completions", json=sent) as answer:
            kind = answer.headers.get("Content-Type", "application/json")
            if "event-stream" not in kind:
                data = await answer.read()
                calls[number] = counted(calls[number], data)
                return web.Response(body=data, status=answer.status, headers={"Content-Type": kind})
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": kind})
            await response.prepare(request)
            async for line in answer.content:
                await response.write(line)
                if line.startswith(b"data: {"):
                    calls[number] = counted(calls[number], line[6:])
            await response.write_eof()
            return response

    # ── control ─────────────────────────────────────────────────────────
    async def reset(self, request: web.Request) -> web.Response:
        wanted = json.loads(await request.read() or b"{}")
        self._seconds = wanted.get("seconds", self._seconds)
        self.calls = []
        return web.json_response({})

    async def listed(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "model", "object": "model"}]})

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        for prefix in ("", "/v1"):
            app.router.add_post(f"{prefix}/chat/completions", self.chat)
            app.router.add_get(f"{prefix}/models", self.models)
        app.router.add_post("/reset", self.reset)
        app.router.add_get("/calls", self.listed)
        return app


def words_of(body: dict[str, Any], number: int) -> list[str]:
    """The scripted answer: a grade to who asks for one, else a candidate that no other call gets."""
    schema = json.dumps(body.get("response_format") or {})
    last = text_of(body["messages"][-1]).lower()
    if '"score"' in schema or '{"score"' in last.replace(" ", ""):
        return words(json.dumps(SCORE))
    if "rate the above response" in last:
        return ["7"]
    if graded := GRADE.findall(last):
        return words(" ".join(f"Draft {draft}: B" for draft in graded))
    answer = ANSWERS[number] if number < len(ANSWERS) else ANSWERS[0]
    if body.get("model") == "cheap":
        return words(f"I would have to guess, this is candidate {number}.")
    if body.get("response_format"):
        return words(json.dumps({"candidate": number, "answer": answer}))
    return words(ANSWER.format(number=number, answer=answer))


def limit_of(body: dict[str, Any]) -> int:
    limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return min((limit for limit in limits if isinstance(limit, int)), default=10_000)


def counted(call: BackendCall, data: bytes) -> BackendCall:
    """The call with what a body or an event of a real server says of its tokens."""
    with contextlib.suppress(ValueError):
        said = json.loads(data)
        usage, timings = said.get("usage"), said.get("timings")
        if isinstance(usage, dict):
            details = usage.get("prompt_tokens_details") or {}
            return replace(
                call,
                prompt=usage.get("prompt_tokens", 0),
                completion=usage.get("completion_tokens", 0),
                cached=details.get("cached_tokens"),
            )
        if isinstance(timings, dict):
            cached = timings.get("cache_n", 0)
            return replace(call, prompt=timings["prompt_n"] + cached, completion=timings["predicted_n"], cached=cached)
    return call


def _joined(said: list[str]) -> str:
    return " ".join(said)


def _usage(call: BackendCall) -> dict[str, int]:
    return {
        "prompt_tokens": call.prompt,
        "completion_tokens": call.completion,
        "total_tokens": call.prompt + call.completion,
    }


def _logprobs(said: list[str]) -> dict[str, Any]:
    return {"content": [{"token": word, "logprob": -0.1, "bytes": None, "top_logprobs": []} for word in said]}


def _chunk(kind: str, body: dict[str, Any], choices: list[Any], *, usage: Any = None) -> dict[str, Any]:
    made = {"id": "scripted", "object": kind, "created": 0, "model": body.get("model"), "choices": choices}
    return made if usage is None else {**made, "usage": usage}


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def serve(forward: str | None) -> None:
    runner = web.AppRunner(
        Backend(forward).application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    await web.SockSite(runner, listener).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forward", metavar="URL", help="a server to forward to, with /v1")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args().forward))


if __name__ == "__main__":
    main()
