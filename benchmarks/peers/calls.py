"""What the backend saw of one request: its calls, and the figures that follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FIELDS: dict[str, Any] = {
    "temperature": 0.37,
    "top_p": 0.83,
    "max_tokens": 77,
    "stop": ["@@"],
    "seed": 1234,
    "tools": [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_object"},
    "logprobs": True,
    "presence_penalty": 0.21,
    "user": "somebody",
    "x_vendor": {"keep": ["me"]},
}
"""The twelve fields of a request: eleven of OpenAI's, and one that only a vendor knows."""

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendCall:
    """One request that a system sent to the backend. Times are those of the monotonic clock, in seconds."""

    body: Mapping[str, Any]
    began: float
    ended: float | None = None
    """None while it runs."""
    is_aborted: bool = False
    """Whether the system hung up before the answer was complete."""
    prompt: int = 0
    completion: int = 0
    cached: int | None = None
    """Prompt tokens that the backend had in its cache; None if it does not say."""

    def runs_at(self, time: float) -> bool:
        return self.began <= time and (self.ended is None or self.ended > time)


def words(text: str) -> list[str]:
    """The tokens of the scripted backend."""
    return _WORD.findall(text)


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """The scripted backend's count of a conversation: the words of its texts."""
    return sum(len(words(text_of(message))) for message in messages)


def text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def peak(calls: Sequence[BackendCall]) -> int:
    """The largest number of answers in progress at one time; a call with `n` counts as n."""
    return max((sum(draws(call) for call in calls if call.runs_at(one.began)) for one in calls), default=0)


def draws(call: BackendCall) -> int:
    number = call.body.get("n")
    return number if isinstance(number, int) and number > 0 else 1


def true_tokens(calls: Sequence[BackendCall]) -> tuple[int, int]:
    """Prompt and completion tokens of all calls, aborted ones as far as they came."""
    return sum(call.prompt for call in calls), sum(call.completion for call in calls)


def usage_error(usage: Mapping[str, Any] | None, calls: Sequence[BackendCall]) -> int:
    """Tokens by which the reported usage differs from the backend's counts, prompt and completion added up.

    Usage that is missing, or lacks one of the two counts, reports 0 there.
    """
    told = usage or {}
    prompt, completion = true_tokens(calls)
    said = [value if isinstance(value := told.get(name), int) else 0 for name in ("prompt_tokens", "completion_tokens")]
    return abs(said[0] - prompt) + abs(said[1] - completion)


def beyond_flight(error: int, calls: Sequence[BackendCall]) -> int:
    """The part of an error that cannot be explained by tokens on the wire: one for each call that was aborted."""
    return max(0, error - sum(call.is_aborted for call in calls))


def writers(calls: Sequence[BackendCall], policy: str) -> list[BackendCall]:
    """The calls that write candidate answers. Critiques and ratings are not meant to have the client's fields.

    majority and cascade: all calls; best of 3: calls until three answers are drawn; refine: the first draft and the
    last call, which writes the answer.
    """
    in_order = sorted(calls, key=lambda call: call.began)
    match policy:
        case "best_of_3":
            drawn: list[BackendCall] = []
            for call in in_order:
                if sum(map(draws, drawn)) < 3:
                    drawn.append(call)
            return drawn
        case "refine":
            return in_order[:1] if len(in_order) < 2 else [in_order[0], in_order[-1]]
        case _:
            return in_order


def kept_fields(calls: Sequence[BackendCall], policy: str) -> list[str]:
    """The fields of `FIELDS` that every call that writes a candidate has with the client's value.

    `max_completion_tokens` is a name of `max_tokens`. Draws with the same seed would be the same draw, so one of
    them must have the client's seed, and the others any.
    """
    written = writers(calls, policy)
    return [name for name in FIELDS if written and _is_kept(name, [call.body for call in written])]


def _is_kept(name: str, bodies: Sequence[Mapping[str, Any]]) -> bool:
    wanted = FIELDS[name]
    match name:
        case "seed":
            return any(body.get("seed") == wanted for body in bodies) and all(
                isinstance(body.get("seed"), int) for body in bodies
            )
        case "max_tokens":
            return all(wanted in (body.get("max_tokens"), body.get("max_completion_tokens")) for body in bodies)
        case "stop":
            return all(body.get("stop") in (wanted, wanted[0]) for body in bodies)
        case _:
            return all(body.get(name) == wanted for body in bodies)


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """What went on after a client had hung up."""

    begun: int
    """Calls that ran at that moment."""
    running: int
    """Calls that still ran, or had begun anew, 100 ms later."""
    new: int
    """Calls that began after it."""
    slowest: float | None
    """Seconds until the last of them ended; None if one never did while it was watched."""

    @property
    def is_clean(self) -> bool:
        return self.begun > 0 and self.running == 0 and self.new == 0


def after_hang_up(calls: Sequence[BackendCall], left: float, *, within: float = 0.1) -> HangUp:
    """Args: calls of one request; left: when its client hung up; within: seconds that an abort may take."""
    begun = [call for call in calls if call.runs_at(left)]
    new = [call for call in calls if call.began > left]
    ends = [call.ended for call in (*begun, *new)]
    return HangUp(
        begun=len(begun),
        running=sum(call.ended is None or call.ended > left + within for call in (*begun, *new)),
        new=len(new),
        slowest=None if None in ends else max((end - left for end in ends if end is not None), default=0.0),
    )


@dataclass(slots=True, kw_only=True)
class Figures:
    """What was measured of one system with one policy on the scripted backend."""

    system: str
    policy: str
    way: str
    """What the system calls it."""
    seconds: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    prompts: list[float] = field(default_factory=list)
    """Prompt tokens sent, in multiples of the client's prompt."""
    errors: list[int] = field(default_factory=list)
    """Tokens by which reported usage differed from the backend's."""
    beyond: list[int] = field(default_factory=list)
    """The same, streams included, less one for each call that the system aborted."""
    true: list[int] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    """Seconds to the first byte of a stream's body."""
    first_words: list[float] = field(default_factory=list)
    """Seconds to the first text in a stream."""
    streams: list[float] = field(default_factory=list)
    """Seconds to the end of a stream."""
    stream_errors: list[int] = field(default_factory=list)
    """As `errors`, of streams that asked for usage."""
    kept: list[str] | None = None
    field_failure: str | None = None
    """What the system said to a request with all of the twelve fields, if it refused it."""
    hang_ups: list[HangUp] = field(default_factory=list)
    failure: str | None = None
