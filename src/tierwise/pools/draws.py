"""One recorded draw: its output, whole or cut, with its keys and verdicts, each found once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, overload

from tierwise.engines.replay.engine import token_ends
from tierwise.run.recovery import has_no_answer, is_lost
from tierwise.spec.call import Completion, Usage

if TYPE_CHECKING:
    from tierwise.runs.draws import TokenTrace
    from tierwise.spec.ask import Verdict
    from tierwise.spec.json import Fields


class RecordedCompletion(Completion):
    """A completion of a pool. Its mean log-probability is computed once."""

    __slots__ = ("_mean",)
    _mean: float | None

    @property
    def mean_logprob(self) -> float | None:
        try:
            return self._mean
        except AttributeError:
            object.__setattr__(self, "_mean", _mean(self.logprobs))
            return self._mean


def _mean(tokens: Sequence[Fields]) -> float | None:
    if isinstance(tokens, RecordedTokens):
        values = tokens.logprobs()
        return sum(values) / len(values) if values else None
    return Completion(logprobs=tuple(tokens)).mean_logprob


class RecordedTokens(Sequence[Any]):
    """OpenAI's records of a draw's tokens, made when they are looked at: as objects they would fill the memory."""

    def __init__(self, trace: TokenTrace, whole: str, count: int) -> None:
        self._trace = trace
        self._whole = whole
        self._count = min(count, len(trace.chosen))

    def logprobs(self) -> list[float]:
        return [-one / 1000 for one in self._trace.chosen[: self._count]]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        trace, reached = self._trace, 0
        for index in range(self._count):
            length = trace.lengths[index]
            text = self._whole[reached : reached + length]
            reached += length
            yield _record(text, trace.chosen[index], trace.top[index])

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return list(self)[index]


def _record(text: str, chosen: int, top: Sequence[int]) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": -chosen / 1000,
        "bytes": list(text.encode(errors="replace")),
        "top_logprobs": [{"token": "", "logprob": -one / 1000} for one in top],
    }


@dataclass(slots=True, kw_only=True, eq=False)
class Draw:
    """A recorded pass. Values are found once, whichever setting asks for them first."""

    index: int
    """Of the draws of its task and source."""
    completion: RecordedCompletion
    """As a call without log-probabilities returns it."""
    usage: Usage
    tokens: TokenTrace | None
    bound: int | None
    """Maximum completion tokens of the recorded pass; None if only the context limited it."""
    first_token: float
    """Seconds after its start."""
    seconds: float
    correct: bool | None
    """Whether the task's check accepts it; None if that is not known."""
    failure: str = ""
    """Why the engine gave no answer; empty if it did."""
    has_facts: bool = False
    """Whether the recording has its key and verdict."""
    vote: str | None = None
    """Its key as recorded: by the request's verifier, else by `equality: auto`."""
    verdict: Verdict | None = None
    """Of the request's verifier, as recorded; None without one."""
    recoveries: tuple[Draw, ...] | None = ()
    """Of a draw that was lost to thinking: the recorded passes that tried to answer in its place, in their order; empty
    if the endpoint did not try; None if the recording does not say."""
    parts: dict[tuple[int, bool, bool], Part] = field(default_factory=dict)
    """What was looked at: by number of tokens, whether with log-probabilities, and whether the engine ended it."""

    @property
    def count(self) -> int:
        """Its completion tokens."""
        return self.usage.completion

    @property
    def is_lost(self) -> bool:
        """Whether it was lost to thinking, whatever answered in its place."""
        return is_lost(self.completion, self.usage)

    @property
    def served(self) -> Draw:
        """The draw whose answer one pass serves: itself, or its recovery if it was lost to thinking."""
        return next((one for one in self.recoveries or () if not has_no_answer(one.completion, one.usage)), self)

    def answers(self, bound: int | None) -> bool:
        """Whether it equals a pass with this limit: it ended by itself, or was not cut earlier."""
        is_whole = self.completion.finish != "length" or self.bound is None
        return is_whole or (bound is not None and bound <= (self.bound or 0))

    def part(self, tokens: int, *, logprobs: bool, ended: bool = True) -> Part:
        """The first `tokens` tokens of it.

        Args:
            tokens: at most `count`.
            logprobs: whether the call asked for log-probabilities.
            ended: whether the engine gave a finish reason; false for a pass that was stopped from outside.
        """
        key = (tokens, logprobs, ended)
        found = self.parts.get(key)
        if found is None:
            found = Part(draw=self, completion=self._cut(tokens, logprobs=logprobs, ended=ended), tokens=tokens)
            if tokens >= self.count:
                found.correct, found.is_graded = self.correct, self.correct is not None
            self.parts[key] = found
        return found

    def _cut(self, tokens: int, *, logprobs: bool, ended: bool) -> RecordedCompletion:
        whole = self.completion
        text = whole.reasoning + whole.text
        listed = RecordedTokens(self.tokens, text, tokens) if logprobs and self.tokens is not None else ()
        is_whole = tokens >= self.count
        last = len(text) if is_whole else self._ends(text)[tokens]
        thought = len(whole.reasoning)
        return RecordedCompletion(
            text=text[thought:last] if last > thought else "",
            reasoning=text[: min(last, thought)],
            tool_calls=whole.tool_calls if is_whole else (),
            logprobs=cast("tuple[Fields, ...]", listed),
            finish=whole.finish if is_whole and ended else "length",
            extra=whole.extra if is_whole else {},
        )

    def _ends(self, text: str) -> list[int]:
        lengths = self.tokens.lengths if self.tokens is not None else []
        return token_ends(lengths, len(text), self.count)

    def usage_of(self, tokens: int, cached: int | None = None) -> Usage:
        """The usage after the first `tokens` tokens; `cached` prompt tokens instead of the recorded ones."""
        usage = self.usage
        return Usage(
            prompt=usage.prompt,
            cached=usage.cached if cached is None else min(cached, usage.prompt),
            completion=tokens,
            reasoning=min(usage.reasoning, tokens),
            exact=usage.exact,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Part:
    """The first tokens of a draw, as one pass returned them, with what has been found out about it."""

    draw: Draw
    completion: RecordedCompletion
    tokens: int
    votes: dict[object, str | None] = field(default_factory=dict)
    """Its key by equality, or by the verifier's settings."""
    verdicts: dict[bytes, Verdict] = field(default_factory=dict)
    """By the verifier's settings."""
    correct: bool | None = None
    """Whether the task's check accepts it; None if it has not been graded, or could not be."""
    is_graded: bool = False
