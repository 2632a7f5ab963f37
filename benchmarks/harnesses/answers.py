"""A server that answers a few questions, some of them wrongly, for the tier that harnesses are run against.

`python benchmarks/harnesses/answers.py` prints its URL, and serves until it is stopped.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass

from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, serve

REFUSED = {"message": "the question is longer than the context", "type": "invalid_request_error", "code": "too_long"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One task, and what the server says to it, in turn. Without a reply the request is refused."""

    id: str
    group: str
    text: str
    target: str
    replies: tuple[str, ...]


QUESTIONS = (
    Question(id="sum-2", group="sums", text="What is 8 + 9?", target="17", replies=("17", "18")),
    Question(id="product-1", group="products", text="What is 6 x 7?", target="42", replies=("41",)),
    Question(id="word-1", group="words", text="Wie viele Buchstaben hat „Öl“?", target="2", replies=("2",)),
    Question(id="word-2", group="words", text="How many letters has „naïve“?", target="5", replies=()),
)

PROGRAMS = (
    Question(
        id="double",
        group="easy",
        text="Print twice the number that is read.",
        target="",
        replies=("```python\nprint(2 * int(input()))\n```", "```python\nprint(int(input()))\n```"),
    ),
    Question(id="greet", group="medium", text="Print „Öl“.", target="", replies=("```python\nprint('Öl')\n```",)),
    Question(id="wrong", group="hard", text="Print the larger of two numbers.", target="", replies=("no program",)),
)
"""Tasks of LiveCodeBench, with answers as a model writes them."""


class Answering(FakeServer):
    """Finds the question in the last message, and answers with its next reply."""

    def __init__(self) -> None:
        super().__init__(prompt_tokens=21)
        self._asked: Counter[str] = Counter()

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        said = json.dumps(request.body, ensure_ascii=False)
        question = next((one for one in (*QUESTIONS, *PROGRAMS) if one.text in said), None)
        if question is None or not question.replies:
            return HttpReply(status=400, body=json.dumps({"error": REFUSED}).encode())
        turn, self._asked[question.id] = self._asked[question.id], self._asked[question.id] + 1
        del number
        return HttpReply(text=question.replies[turn % len(question.replies)], first=0.02)


if __name__ == "__main__":
    asyncio.run(serve(Answering()))
