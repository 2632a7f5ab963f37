"""One pass: the call that asks for it, the chunks that arrive, the completion they make, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tierwise.spec.json import Fields, Json
from tierwise.spec.prompt import Prompt, draw_seed
from tierwise.spec.routing import Routing

Outcome = Literal["finished", "cut", "aborted", "failed"]
"""finished by itself · cut short by the budget or by its policy · aborted because it was no longer needed · failed in
the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens that passes consumed, as the engine counted them."""

    prompt: int = 0
    cached: int = 0
    """The share of `prompt` that the engine did not have to recompute."""
    completion: int = 0
    reasoning: int = 0
    """The share of `completion` that was thinking."""
    exact: bool = True
    """False when a part was counted from the stream because the engine never told."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            completion=self.completion + other.completion,
            reasoning=self.reasoning + other.reasoning,
            exact=self.exact and other.exact,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One pass to ask of an engine: everything needed to repeat it."""

    prompt: Prompt
    role: str = "draft"
    """What the policy calls a pass of this kind. The vocabulary is open; readers go by `candidate` and `after`."""
    candidate: bool = True
    """Whether it answers the user's prompt, so that its answer may be the action's."""
    after: tuple[int, ...] = ()
    """Numbers of the passes whose answers this one builds on. Empty for a pass that sees only the prompt."""
    draw: int = 0
    """Which of the independent draws it is. `ask` numbers them per choice and deployment: no two share a seed."""

    @property
    def seed(self) -> int:
        """Its own seed, so that draws are independent and can be replayed."""
        return draw_seed(self.prompt.seed, self.draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What an engine sent at one moment of a pass."""

    delta: Fields = field(default_factory=dict)
    """The OpenAI delta as it came: content, reasoning, tool calls, and unknown fields."""
    logprobs: Fields | None = None
    finish: str | None = None
    usage: Usage | None = None
    """Cumulative so far; the last one is the engine's own count."""
    routing: Routing | None = None
    """Of the whole pass, in one of its last chunks, where it was recorded. No client sees it."""

    @property
    def is_output(self) -> bool:
        """Whether the model said something here, rather than the protocol."""
        for name, value in self.delta.items():  # noqa: SIM110 - asked of every token, and `any` takes four times as long
            if value and name != "role":
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model said in one pass."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[Fields, ...] = ()
    logprobs: tuple[Fields, ...] = ()
    """OpenAI's per-token records, when they were asked for."""
    finish: str = "stop"
    extra: Fields = field(default_factory=dict)
    """Message fields that we do not know (`refusal`, `audio`, …)."""

    @property
    def mean_logprob(self) -> float | None:
        """Natural logarithm, averaged over tokens; None when the engine gave none."""
        values = [token.get("logprob") for token in self.logprobs]
        numbers = [value for value in values if isinstance(value, int | float)]
        return sum(numbers) / len(numbers) if numbers else None

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.tool_calls or self.reasoning or any(self.extra.values()))

    def message(self) -> dict[str, Json]:
        """The OpenAI assistant message."""
        message: dict[str, Json] = {"role": "assistant", "content": self.text or None, **self.extra}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [dict(call) for call in self.tool_calls]
        elif not self.text:
            message["content"] = ""
        return message

    def chunks(self) -> list[Chunk]:
        """The same as a stream would have brought it."""
        delta = self.message()
        if self.tool_calls:
            delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(self.tool_calls)]
        logprobs: Fields | None = {"content": [dict(token) for token in self.logprobs]} if self.logprobs else None
        return [Chunk(delta=delta, logprobs=logprobs), Chunk(finish=self.finish)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What became of one call: what the ledger stores, and what all totals are read from."""

    number: int
    """Counts the passes of an action from 0 in the order in which they started."""
    tier: str
    deployment: str
    call: Call
    outcome: Outcome
    completion: Completion
    usage: Usage
    started: float
    """Seconds after the action began."""
    first_token: float | None
    """Seconds after the pass started; None when no token came."""
    seconds: float
    busy_seconds: float
    """Seconds of the deployment that it occupied; passes that run side by side share each second equally."""
    error: str = ""
    retry_of: int | None = None
    """The pass that failed and that this one repeats."""
    routing: Routing | None = None
    """Where its tokens went in a mixture of experts, where that was recorded. Not kept in the ledger."""


class Recorder:
    """Joins the chunks of one pass into a completion and a count."""

    def __init__(self) -> None:
        self._reported = Usage(exact=False)  # by the engine, at last
        self._since = 0  # completion tokens that came after that
        self.finish: str | None = None
        self.has_output = False
        self.routing: Routing | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[Fields] = []
        self._tools: dict[int, dict[str, Json]] = {}
        self._extra: dict[str, Json] = {}

    @property
    def completion_tokens(self) -> int:
        """As in `usage`, which costs more to make."""
        return self._reported.completion + self._since

    @property
    def usage(self) -> Usage:
        """What the engine told, and what it sent after that."""
        return self._reported + Usage(completion=self._since, exact=False) if self._since else self._reported

    def add(self, chunk: Chunk) -> int:
        """Take one chunk in; a chunk that brings output but no count adds one token to what was counted.

        Returns:
            The completion tokens that it brought.
        """
        before = self._reported.completion + self._since
        for name, value in chunk.delta.items():
            match name, value:
                case "content", str():
                    self._text.append(value)
                case "reasoning", _ if chunk.delta.get("reasoning_content"):
                    pass  # some servers send the same text under both names
                case (("reasoning_content" | "reasoning"), str()):
                    self._reasoning.append(value)
                case "tool_calls", list():
                    self._add_tools(value)
                case (("role" | "content" | "reasoning_content" | "reasoning" | "tool_calls"), _):
                    pass
                case _:
                    self._extra[name] = _joined(self._extra.get(name), value)
        tokens: Sequence[Json] = ()
        if chunk.logprobs is not None and isinstance(content := chunk.logprobs.get("content"), list):
            tokens = content
            self._logprobs.extend(token for token in tokens if isinstance(token, dict))
        is_output = chunk.is_output
        self.has_output |= is_output
        if chunk.usage is not None:
            self._reported, self._since = chunk.usage, 0
        elif is_output:
            self._since += max(1, len(tokens))
        self.finish = chunk.finish or self.finish
        self.routing = chunk.routing or self.routing
        return self._reported.completion + self._since - before

    def _add_tools(self, parts: list[Json]) -> None:
        for part in parts:
            if not isinstance(part, dict):
                continue
            index = part.get("index")
            call = self._tools.setdefault(index if isinstance(index, int) else len(self._tools), {})
            for name, value in part.items():
                if name == "function" and isinstance(value, dict):
                    function = call.setdefault("function", {})
                    if isinstance(function, dict):
                        for key, piece in value.items():
                            function[key] = _joined(function.get(key), piece)
                elif name != "index" and (value is not None or name not in call):
                    call[name] = value

    def completion(self, finish: str = "stop") -> Completion:
        """What was said so far; `finish` is the reason when the engine gave none."""
        return Completion(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._tools[index] for index in sorted(self._tools)),
            logprobs=tuple(self._logprobs),
            finish=self.finish or finish,
            extra=self._extra,
        )


def _joined(before: Json, piece: Json) -> Json:
    """What a field holds once another chunk has brought a piece of it: texts grow, null changes nothing."""
    if isinstance(before, str) and isinstance(piece, str):
        return before + piece
    return before if piece is None else piece
