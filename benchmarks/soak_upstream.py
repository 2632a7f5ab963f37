"""The server behind a soak: answers every API that Tierwise asks, fails at times, and counts each token that it sends.

A prompt with `hold` is answered with a few words and then silence, until the gateway hangs up: so a client that leaves
then has no token under way, and what the gateway counted must be what was sent. A prompt with `fault` is at times
answered with a failure, and one with `same` always with the same words, so that votes agree. Where passes run side by
side, both may abort others, with tokens under way that nobody receives: what each pass of such a request was sent is
kept by its id, which begins with `beside-`. `GET /counts` tells the counts, `GET /passes` those of these passes.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import uvloop

from tierwise.testing.replies import HttpReply, HttpRequest, chunked, head
from tierwise.testing.server import FakeServer, serve

FAILING = 0.5
"""Share of the requests with `fault` that fail: refused, overloaded, garbled, or cut within the answer."""
HELD_WORDS = 5
_FOR_EVER = 1e9
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


class SoakServer(FakeServer):
    """Counts prompts and words as they are written."""

    keeps_requests = False

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.passes: dict[str, tuple[int, int]] = {}
        """Prompt and completion tokens by id of the request."""
        self._random = random.Random(1)
        self._beside = ""
        """The id of the request that is being answered, if what it is sent is kept."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if request.method == "GET":
            pages = {"counts": self.counts, "passes": self.passes}
            page = pages.get(request.target.rpartition("/")[2], {"object": "list", "data": []})
            return HttpReply(body=json.dumps(page).encode())
        asked: dict[str, Any] = request.body
        text = str(asked.get("messages") or asked.get("prompt") or asked.get("input"))
        prompt = 1 + len(text) // 4
        if request.target.endswith("/tokenize"):
            return HttpReply(body=json.dumps({"count": prompt, "max_model_len": 4096, "tokens": []}).encode())
        self.counts["requests"] += 1
        own = request.headers.get("x-request-id", "")
        self._beside = own if own.startswith("beside-") else ""
        if request.target.endswith("/embeddings"):
            return self._embedding(prompt)
        is_held = "hold" in text
        is_sound = is_held or "fault" not in text or self._random.random() >= FAILING
        failing = "" if is_sound else self._random.choice(("500", "429", "bad", "cut"))
        if failing in ("500", "429"):
            return HttpReply(status=int(failing), body=b'{"error": {"message": "on purpose", "code": 0}}')
        most = asked.get("max_tokens") or asked.get("max_completion_tokens") or 16
        first = 0 if "same" in text else number * 7919
        words = [f"{(first + place) % 99991} " for place in range(most)]
        is_raw = request.target.endswith("/v1/completions")
        if not asked.get("stream"):
            return self._whole(words, prompt, failing, is_held=is_held, is_raw=is_raw)
        return self._stream(asked, words, prompt, failing, is_held=is_held, is_raw=is_raw)

    def _add(self, prompt: int, completion: int) -> None:
        if self._beside:
            self.passes[self._beside] = prompt, completion
            return
        self.counts["prompt"] += prompt
        self.counts["completion"] += completion

    def _embedding(self, prompt: int) -> HttpReply:
        self._add(prompt, 0)
        data = [{"object": "embedding", "index": 0, "embedding": [0.5] * 32}]
        usage = {"prompt_tokens": prompt, "total_tokens": prompt}
        return HttpReply(body=json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode())

    def _whole(self, words: list[str], prompt: int, failing: str, *, is_held: bool, is_raw: bool) -> HttpReply:
        if is_held:
            return HttpReply(waits=_FOR_EVER)
        if failing:
            return HttpReply(response=lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{", closes=True)
        self._add(prompt, len(words))
        text = "".join(words)
        said = {"text": text} if is_raw else {"message": {"role": "assistant", "content": text}}
        usage = dict(zip(_USAGE, (prompt, len(words), prompt + len(words)), strict=True))
        body = {"id": "x", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", **said}], "usage": usage}
        return HttpReply(body=json.dumps(body).encode())

    def _stream(
        self, asked: dict[str, Any], words: list[str], prompt: int, failing: str, *, is_held: bool, is_raw: bool
    ) -> HttpReply:
        if is_held or failing == "cut":
            words = words[:HELD_WORDS]
        is_whole = not (is_held or failing)
        tells_all = not is_whole or asked["model"] == "n"
        events = list(_events(words, prompt, is_raw=is_raw, is_whole=is_whole, tells_all=tells_all))
        if failing != "bad":
            self._add(prompt, len(words))
        if is_held:
            return HttpReply(raw=[b"".join(events)], stays_open=True)
        if failing == "cut":
            return HttpReply(response=lambda: _begun(b"".join(events)), closes=True)
        if failing:
            return HttpReply(response=lambda: _begun(b"data: {no JSON\n\n"), closes=True)
        if self._beside:  # at once, so that what is aborted then was sent
            return HttpReply(raw=[b"".join(events)])
        half = len(events) // 2
        return HttpReply(raw=[b"".join(events[:half]), b"".join(events[half:])])


def _events(words: list[str], prompt: int, *, is_raw: bool, is_whole: bool, tells_all: bool) -> Iterator[bytes]:
    """One event for each word; then the end, if the answer has one. Usage so far is in each event, or at the end."""
    last = len(words) if is_whole else 0
    form, begin = (_TEXT, _TEXT) if is_raw else (_DELTA, _BEGIN)
    for number, word in enumerate(words, 1):
        finish = b'"stop"' if number == last else b"null"
        usage = b',"usage":' + _used(prompt, number) if tells_all else b""
        yield (begin if number == 1 else form) % (word.encode(), finish, usage)
    if is_whole and not tells_all:
        yield _COUNT % _used(prompt, last)
    if is_whole:
        yield b"data: [DONE]\n\n"


_TEXT = b'data: {"id":"x","model":"m","choices":[{"index":0,"text":"%b","finish_reason":%b}]%b}\n\n'
_DELTA = b'data: {"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":%b}]%b}\n\n'
_BEGIN = _DELTA.replace(b'{"content"', b'{"role":"assistant","content"')
_COUNT = b'data: {"id":"x","model":"m","choices":[],"usage":%b}\n\n'


def _used(prompt: int, completion: int) -> bytes:
    return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (prompt, completion, prompt + completion)


def _begun(body: bytes) -> bytes:
    """A response of chunks that lacks its end."""
    return head(HttpReply(), {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}) + chunked(body)


if __name__ == "__main__":
    uvloop.run(serve(SoakServer()))
