"""Which tokens of a completion are thinking, which are the answer, and which of those say what the answer is.

Tokens are records of log-probabilities. They are aligned with the text by their bytes, because a character may be
spread over several tokens.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

from tierwise.spec.call import Completion
from tierwise.spec.json import Fields, Json
from tierwise.verifiers.answers import marked, spoken

MOST_VALUES = 200
"""Values of a tool call that are looked for among its tokens; more are not needed to see how sure it is."""

marked_result = lru_cache(maxsize=4)(marked)
"""`marked`, kept for the signals that read the same answer one after the other."""


def reasoning_tokens(completion: Completion) -> Sequence[Fields]:
    """The tokens of thinking, as far as the engine or the text tells them apart."""
    return completion.logprobs[: _begins(completion)]


def answer_tokens(completion: Completion) -> Sequence[Fields]:
    """The tokens after thinking."""
    return completion.logprobs[_begins(completion) :]


def span_tokens(completion: Completion) -> Sequence[Fields]:
    r"""The tokens that say what the answer is: the name and the values of tool calls, else the last marked result
    (`\boxed{…}`, `the answer is …`), else the values of a JSON answer, else the whole answer.

    All tokens of the answer if they cannot be aligned with it.
    """
    tokens = answer_tokens(completion)
    if completion.tool_calls:
        return _Aligned(tokens).covering(_called(completion.tool_calls)) or tokens
    said = spoken(completion)
    if (values := _json_values(said)) is not None:
        return _Aligned(tokens).covering(values) or tokens
    if (result := marked_result(said)) is not None:
        return _Aligned(tokens).last(result) or tokens
    return tokens


class _Aligned:
    """Tokens by the bytes of the text that they form."""

    def __init__(self, tokens: Sequence[Fields]) -> None:
        pieces = [_bytes_of(token) for token in tokens]
        self._tokens = tokens
        self._text = b"".join(pieces)
        self._ends = list(accumulate(map(len, pieces)))

    def last(self, part: str) -> Sequence[Fields]:
        """The tokens of the last place of a text; empty if it is not there."""
        wanted = part.encode("utf-8", "replace")
        begins = self._text.rfind(wanted)
        return self._within(begins, len(wanted)) if wanted and begins >= 0 else ()

    def covering(self, parts: Iterable[str]) -> Sequence[Fields]:
        """The tokens of these texts, each looked for after the one before; those that are not there are left out."""
        found: list[Fields] = []
        place = 0
        for part in parts:
            wanted = part.encode("utf-8", "replace")
            begins = self._text.find(wanted, place) if wanted else -1
            if begins >= 0:
                found += self._within(begins, len(wanted))
                place = begins + len(wanted)
        return found

    def _within(self, begins: int, length: int) -> Sequence[Fields]:
        first = bisect_right(self._ends, begins)
        last = bisect_left(self._ends, begins + length)
        return self._tokens[first : last + 1]

    def begin_of(self, text: str) -> int:
        """The index of the first token of the last place of a text; 0 if it is not there."""
        begins = self._text.rfind(text.encode("utf-8", "replace"))
        return bisect_right(self._ends, begins) if begins > 0 else 0


def _begins(completion: Completion) -> int:
    """The index of the first token after thinking."""
    if completion.thought or not completion.logprobs:
        return min(completion.thought, len(completion.logprobs))
    said = spoken(completion)
    if said and (completion.reasoning or said != completion.text):
        return _Aligned(completion.logprobs).begin_of(said)
    return 0


def _bytes_of(token: Fields) -> bytes:
    given = token.get("bytes")
    if isinstance(given, list):
        try:
            return bytes(given)  # type: ignore[arg-type]
        except (TypeError, ValueError):  # not all of them are bytes
            pass
    text = token.get("token")
    return text.encode("utf-8", "replace") if isinstance(text, str) else b""


def _called(calls: Sequence[Fields]) -> Iterator[str]:
    """The name of each call and the values of its arguments, as they are written."""
    for call in calls:
        function = call.get("function")
        if not isinstance(function, Mapping):
            continue
        if isinstance(name := function.get("name"), str):
            yield name
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            yield from _json_values(arguments) or (arguments,)


def _json_values(text: str) -> list[str] | None:
    """The values of a JSON object or list as they are written, without keys; None if the text is none."""
    text = text.strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found: list[str] = []
    waiting: list[Json] = [value]
    while waiting and len(found) < MOST_VALUES:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += reversed(list(one.values()))
        elif isinstance(one, list):
            waiting += reversed(one)
        else:
            found.append(one if isinstance(one, str) else json.dumps(one))
    return found
