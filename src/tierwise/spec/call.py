"""One pass: the call, the chunks of its stream, the completion they form, and the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Literal

import msgspec

from tierwise.spec.deltas import DeltaJoiner
from tierwise.spec.json import Fields, Json
from tierwise.spec.logprobs import log_probability
from tierwise.spec.prompt import Prompt, draw_seed
from tierwise.spec.routing import Routing
from tierwise.spec.thinking import begins_with_thinking, without_thinking
from tierwise.spec.values import frozen_value

Outcome = Literal["finished", "cut", "aborted", "failed", "lost_to_thinking"]
"""finished: the engine stopped · cut: by the budget or the policy · aborted: no longer needed · failed: engine
error · lost_to_thinking: the engine stopped, at a limit or by itself, and had produced nothing but thinking."""


@frozen_value
class Usage:
    """Tokens that passes consumed, as the engine counted them."""

    prompt: int = 0
    cached: int = 0
    """The part of `prompt` that came from the engine's prefix cache."""
    completion: int = 0
    reasoning: int = 0
    """The part of `completion` that was thinking."""
    exact: bool = True
    """False if some tokens were counted from the stream because the engine did not report them."""
    cost: float | None = None
    """What the server itself says that it charges, in its currency; None if it says nothing."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            completion=self.completion + other.completion,
            reasoning=self.reasoning + other.reasoning,
            exact=self.exact and other.exact,
            cost=_sum(self.cost, other.cost),
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


@frozen_value
class Call:
    """A request for one pass: everything needed to repeat it."""

    prompt: Prompt
    role: str = "draft"
    """What the policy calls a pass of this kind. The vocabulary is open; readers go by `candidate` and `after`."""
    candidate: bool = True
    """Whether it answers the user's prompt, so that its answer may become the action's."""
    after: tuple[int, ...] = ()
    """Numbers of the passes whose output this one sees; empty for a pass that sees only the prompt."""
    continues: int | None = None
    """The number of the pass that it continues. The user is shown the two as one answer."""
    draw: int = 0
    """Index of the independent draw. `ask` numbers draws per choice and deployment, so no two share a seed."""
    sends_seed: bool = True
    """Whether the engine is given the seed; false if it refused one."""
    group: str = ""
    """Id of its action, if several of its passes run side by side on the deployment; else empty."""
    is_prefill: bool = False
    """Whether it only computes the prompt, for passes with the same prompt that follow."""
    streamed: bool = True
    """Whether the engine streams; false if it refuses these fields in a stream. An aborted pass is then not counted."""

    @property
    def seed(self) -> int:
        """The seed of this draw, so that draws are independent and can be replayed."""
        return draw_seed(self.prompt.seed, self.draw)


class Chunk(msgspec.Struct, frozen=True, kw_only=True, eq=False):  # noqa: PLW1641 - deltas are mappings
    """One event of an engine's stream. A struct, because one is made for every token, and a frozen dataclass takes 14
    times as long.
    """

    delta: Fields = msgspec.field(default_factory=dict)
    """The OpenAI delta as received: content, reasoning, tool calls, and unknown fields."""
    logprobs: Fields | None = None
    tokens: int = 1
    """How many tokens its output is, where neither log-probabilities nor usage say it: of how many events it is."""
    finish: str | None = None
    usage: Usage | None = None
    """Cumulative; the last one is the engine's final count."""
    routing: Routing | None = None
    """Routing of the whole pass, in one of its last chunks, if recorded. Not sent to clients."""
    response: Fields | None = None
    """Fields of the response besides the message (`system_fingerprint`, `service_tier`, `stop_reason`, …)."""
    scores: tuple[float, ...] = ()
    """What a reward model says of the conversation: its logit, or one for each of its classes."""
    completion_id: str = ""
    """The engine's id of the pass; empty if it sent none."""
    model: str = ""
    """The model that the server says has answered; empty if it does not."""
    remark: str = ""
    """What the trace says about the engine because of this chunk, as the predicate of a sentence."""

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, whatever the ids of their passes and models are."""
        if not isinstance(other, Chunk):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _COMPARED)

    @property
    def is_output(self) -> bool:
        """Whether the chunk carries model output rather than protocol fields only."""
        for name, value in self.delta.items():  # noqa: SIM110 - asked of every token, and `any` takes four times as long
            if value and name != "role":
                return True
        return False


_COMPARED = tuple(name for name in Chunk.__struct_fields__ if name not in ("tokens", "completion_id", "model"))


@frozen_value
class Completion:
    """The output of one pass."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[Fields, ...] = ()
    logprobs: tuple[Fields, ...] = ()
    """OpenAI's per-token records, if requested."""
    thought: int = field(default=0, compare=False)
    """How many of `logprobs`, from the first, are of thinking; 0 too if the engine does not say."""
    finish: str = "stop"
    extra: Fields = field(default_factory=dict)
    """Message fields without a field here (`refusal`, `audio`, …)."""
    response: Fields | None = None
    """Fields of the response besides the message, for the client."""
    scores: tuple[float, ...] = ()
    """As of `Chunk`: a reward model has no other output."""

    @property
    def mean_logprob(self) -> float | None:
        """Mean natural-log probability over tokens; None if the engine gave none."""
        read = (log_probability(token.get("logprob")) for token in self.logprobs)
        values = [value for value in read if value is not None]
        return sum(values) / len(values) if values else None

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.tool_calls or self.reasoning or any(self.extra.values()))

    @property
    def is_only_thinking(self) -> bool:
        """Whether it holds thinking, and neither an answer nor a tool call."""
        if self.tool_calls or any(value for name, value in self.extra.items() if not name.startswith("reasoning")):
            return False
        if not self.text.strip():
            return bool(self.reasoning.strip())
        return begins_with_thinking(self.text) and not without_thinking(self.text)

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
        """The completion as stream chunks."""
        delta = self.message()
        if self.tool_calls:
            delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(self.tool_calls)]
        logprobs: Fields | None = {"content": [dict(token) for token in self.logprobs]} if self.logprobs else None
        return [Chunk(delta=delta, logprobs=logprobs), Chunk(finish=self.finish, response=self.response)]


@frozen_value
class Pass:
    """The result of one call: what the ledger stores and all totals are computed from."""

    number: int
    """Index of the pass within the action, from 0, in start order."""
    tier: str
    deployment: str
    call: Call
    outcome: Outcome
    completion: Completion
    usage: Usage
    started: float
    """Seconds after the start of the action."""
    first_token: float | None
    """Seconds after the start of the pass; None if no token came."""
    seconds: float
    busy_seconds: float
    """Its share of the deployment's time, in seconds: concurrent passes share each second equally."""
    error: str = ""
    retry_of: int | None = None
    """The number of the failed pass that this one retries."""
    routing: Routing | None = None
    """Expert routing of its tokens, if recorded. Not stored in the ledger."""


_UNCOUNTED = Usage(exact=False)


class Recorder:
    """Assembles the chunks of one pass into a completion and counts its tokens.

    Attributes:
        finish: the engine's finish reason; None until it came.
        metered_tokens: completion tokens for a budget: the engine's count, plus the tokens received since that count
            last grew, so that an engine which repeats a count cannot go on for ever. They never shrink.
        metered_reasoning: tokens of thinking for a budget: the engine's count, or those received if they are more.
        shown: the last chunk in the form for a client, without its finish reason: more output may follow that.
    """

    __slots__ = (
        "_deltas",
        "_logprobs",
        "_received",
        "_reported",
        "_response",
        "_scores",
        "_since",
        "_thinking",
        "_thought",
        "_unseen",
        "finish",
        "has_output",
        "metered_reasoning",
        "metered_tokens",
        "routing",
        "shown",
    )

    def __init__(self) -> None:
        self._reported = _UNCOUNTED  # the engine's highest count
        self._since = 0  # completion tokens received since
        self._received = 0  # completion tokens received in all
        self._unseen = 0  # of these, since the engine's count last grew
        self.metered_tokens = 0
        self.metered_reasoning = 0
        self._thinking = 0  # tokens of chunks that are thinking and nothing else
        self.finish: str | None = None
        self.has_output = False
        self.routing: Routing | None = None
        self.shown = Chunk()
        self._deltas = DeltaJoiner()
        self._logprobs: list[Fields] = []
        self._thought = 0
        self._response: Fields | None = None
        self._scores: tuple[float, ...] = ()

    @property
    def completion_tokens(self) -> int:
        """`usage.completion`, without the cost of building `usage`."""
        return (self._reported.completion + self._since) or (0 if self._reported.exact else self._received)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of thinking: as `metered_reasoning`, but what was received counts up to the completion tokens."""
        return max(self._reported.reasoning, min(self._thinking, self.completion_tokens))

    @property
    def usage(self) -> Usage:
        """The engine's latest count plus the tokens received since. A count of 0 that is not exact is none."""
        found = self._reported
        if found.completion == 0 and self._received and not found.exact:
            found = replace(found, completion=self._received)
        elif self._since:
            found += Usage(completion=self._since, exact=False)
        thought = self.reasoning_tokens
        return replace(found, reasoning=thought) if thought > found.reasoning else found

    def add(self, chunk: Chunk) -> int:
        """Add a chunk. A chunk with output but no usage counts as one token, or as its number of logprobs.

        Returns:
            The tokens that it added to `metered_tokens`.
        """
        before = self.metered_tokens
        self.add_all((chunk,))
        return self.metered_tokens - before

    def add_all(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Add chunks. Returns them in the form for a client, as `shown`."""
        shown = []
        for chunk in chunks:
            delta = self._deltas.add(chunk.delta) if chunk.delta else chunk.delta
            if (
                delta is chunk.delta
                and "content" in delta
                and len(delta) == 1
                and chunk.logprobs is None
                and chunk.finish is None
                and chunk.response is None
                and chunk.routing is None
            ):  # nearly every chunk
                self.has_output = True
                tokens = chunk.tokens
                self._received += tokens
                self._since += tokens
                self._unseen += tokens
                if chunk.usage is not None:
                    self._report(chunk.usage)
                if (metered := self._reported.completion + self._unseen) > self.metered_tokens:
                    self.metered_tokens = metered
                self.shown = chunk
            else:
                self._add(chunk, delta)
            shown.append(self.shown)
        return shown

    def _report(self, usage: Usage) -> None:
        known = self._reported.completion
        self._reported, self._since = _later(self._reported, usage), 0
        if self._reported.completion > known:
            self._unseen = 0
        self.metered_reasoning = max(self.metered_reasoning, self._reported.reasoning)

    def _add(self, chunk: Chunk, delta: Fields) -> None:
        """Add a chunk with any fields, and `delta` in the form for a client."""
        thinks = is_thinking(delta)
        tokens: Sequence[Json] = ()
        if chunk.logprobs is not None and isinstance(content := chunk.logprobs.get("content"), list):
            tokens = content
            self._logprobs.extend(token for token in tokens if isinstance(token, dict))
            if thinks:
                self._thought = len(self._logprobs)
        if chunk.is_output:
            self.has_output = True
            count = max(chunk.tokens, len(tokens))
            self._received += count
            self._since += count
            self._unseen += count
        if chunk.usage is not None:
            self._report(chunk.usage)
        if chunk.finish is not None:
            self.finish = self.finish or chunk.finish
        self.routing = chunk.routing or self.routing
        self._scores = chunk.scores or self._scores
        if chunk.response is not None:
            self._response = {**(self._response or {}), **chunk.response}
        is_whole = delta is chunk.delta and chunk.finish is None and chunk.response is None
        self.shown = chunk if is_whole else Chunk(delta=delta, logprobs=chunk.logprobs, usage=chunk.usage)
        before = self.metered_tokens
        self.metered_tokens = max(before, self._reported.completion + self._unseen)
        if thinks and self.metered_tokens > before:
            self._thinking += self.metered_tokens - before
            self.metered_reasoning = max(self.metered_reasoning, self._thinking)

    def end(self) -> Chunk:
        """What a client is still to be shown of the output: pieces that waited for others."""
        return Chunk(delta=self._deltas.end())

    def completion(self, finish: str = "stop") -> Completion:
        """The output so far; `finish` is used if the engine gave no reason."""
        deltas = self._deltas
        calls = deltas.tool_calls
        finish = self.finish or finish
        if finish == "stop" and (calls or deltas.extra.get("function_call")):
            finish = "tool_calls" if calls else "function_call"
        return Completion(
            text=deltas.text,
            reasoning=deltas.reasoning,
            tool_calls=calls,
            logprobs=tuple(self._logprobs),
            thought=self._thought,
            finish=finish,
            extra=deltas.extra,
            response=self._response,
            scores=self._scores,
        )


def is_thinking(delta: Fields) -> bool:
    """Whether a delta brings thinking and nothing of the answer."""
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    return bool(thought) and not (delta.get("content") or delta.get("tool_calls"))


def _later(before: Usage, after: Usage) -> Usage:
    """The later of two counts of one pass. Counts only grow: a field that shrank was not counted again."""
    if after.prompt >= before.prompt and after.completion >= before.completion:
        return after
    return Usage(
        prompt=max(before.prompt, after.prompt),
        cached=max(before.cached, after.cached),
        completion=max(before.completion, after.completion),
        reasoning=max(before.reasoning, after.reasoning),
        exact=before.exact,
        cost=before.cost if after.cost is None else after.cost,
    )
