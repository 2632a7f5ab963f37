"""A chat completion of HTTP as a job of the loop, and the loop's updates as events. What cannot be done is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from uuid import uuid4

import msgspec

from tierwise.engines.transformers.client import ROUTING
from tierwise.spec.errors import SpecError
from tierwise.spec.json import Json
from tierwise.worker.job import Job, Update
from tierwise.worker.sampling import SampledToken, SamplingParameters
from tierwise.worker.scoring import as_told
from tierwise.worker.text import StreamDecoder, Thinking, rendered, thinking_of

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class TooManyTokens(SpecError):
    """The prompt leaves no room for an answer."""


class StreamOptions(msgspec.Struct):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class ChatRequest(msgspec.Struct):
    """The fields that we look at; those that nobody here knows are left alone."""

    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    min_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    prompt_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    ignore_eos: bool | None = False
    priority: int | None = None
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    thinking_tokens: Count | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    tierwise_routing: bool | None = None
    """Whether to record this pass's experts, whatever the deployment's share."""
    # Asked for in other ways than by leaving them out, these are refused:
    n: int | None = None
    best_of: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    tool_choice: Any = None
    modalities: list[str] | None = None
    min_tokens: int | None = None
    guided_json: Any = None
    guided_regex: Any = None
    guided_choice: Any = None
    guided_grammar: Any = None
    structured_outputs: Any = None
    grammar: Any = None
    json_schema: Any = None

    def refused(self) -> tuple[str, str] | None:
        """The first field that cannot be done, and what to do instead."""
        for name in ("n", "best_of"):
            if getattr(self, name) not in (None, 1):
                return name, "one completion for each request; send several"
        if self.response_format is not None and self.response_format.get("type") != "text":
            return "response_format", "this engine cannot hold an answer to a format; check it, or use another engine"
        if self.tools or self.functions or self.tool_choice not in (None, "none", "auto"):
            return "tools", "this engine does not read tool calls; use another engine for them"
        if self.modalities not in (None, ["text"]):
            return "modalities", "this engine says text"
        if self.min_tokens:
            return "min_tokens", "this engine has no lower bound; `ignore_eos` with `max_tokens` gives an exact number"
        if self.prompt_logprobs is not None and self.stream:
            return "prompt_logprobs", "these come with whole answers; leave `stream` out"
        for name in _FORMATS:
            if getattr(self, name) is not None:
                return name, "this engine cannot hold an answer to a format; check it, or use another engine"
        return None


_FORMATS = (
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "grammar",
    "json_schema",
)


class Chat:
    """Turns requests into jobs.

    Args:
        tokenizer: of Transformers, with a chat template.
        context: tokens of prompt and answer together.
        thinks: whether to look for thinking.
        active: why a number of active experts cannot be had; empty where it can.
        is_sampled: whether the next pass is one of those whose experts are recorded.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        context: int,
        thinks: bool,
        active: Callable[[int], str],
        is_sampled: Callable[[], bool],
    ) -> None:
        self.tokenizer = tokenizer
        self._context = context
        self._thinking: Thinking | None = thinking_of(tokenizer) if thinks else None
        self._why_not_active = active
        self._is_sampled = is_sampled
        self._vocabulary = len(tokenizer)

    def job(self, request: ChatRequest, on_update: Callable[[Update], None]) -> Job:
        """The pass that is asked for.

        Raises:
            TooManyTokens: the prompt fills the context.
            SpecError: it cannot be done, or the messages cannot be read.
        """
        if (refused := request.refused()) is not None:
            raise SpecError(f"{refused[0]}: {refused[1]}", field=refused[0])
        if request.active_experts is not None and (why := self._why_not_active(request.active_experts)):
            raise SpecError(f"active_experts: {why}", field="active_experts")
        if request.thinking_tokens is not None and self._thinking is None:
            why = "this model has no marks around thinking, so there is none to end; leave it out"
            raise SpecError(f"thinking_tokens: {why}", field="thinking_tokens")
        text = rendered(self.tokenizer, request.messages, self._template_variables(request))
        prompt = self.tokens(text)
        if len(prompt) >= self._context:
            raise TooManyTokens(
                f"this deployment's context length is {self._context} tokens, and the prompt alone has {len(prompt)}; "
                "shorten it, or raise `context`",
                field="messages",
            )
        room = self._context - len(prompt)
        return Job(
            prompt=prompt,
            sampling=self._sampling(request),
            decoder=StreamDecoder(
                self.tokenizer,
                [request.stop] if isinstance(request.stop, str) else [stop for stop in request.stop or () if stop],
                thinking=self._thinking,
                is_thinking=self._thinking is not None and self._thinking.is_open(text),
                most_thinking=request.thinking_tokens,
            ),
            most_tokens=min(request.max_completion_tokens or request.max_tokens or room, room),
            on_update=on_update,
            active_experts=request.active_experts,
            priority=request.priority or 0,
            ignores_end=bool(request.ignore_eos),
            prompt_logprobs=request.prompt_logprobs,
            is_recorded=self._is_sampled() if request.tierwise_routing is None else request.tierwise_routing,
        )

    def tokens(self, text: str) -> list[int]:
        """Of a rendered prompt, in which the template has written all special tokens."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _template_variables(self, request: ChatRequest) -> dict[str, Json]:
        variables = dict(request.chat_template_kwargs or {})
        if request.reasoning_effort is not None:
            if "reasoning_effort" not in str(self.tokenizer.chat_template):
                why = "this model's chat template has no such word; leave it out, or use `chat_template_kwargs`"
                raise SpecError(f"reasoning_effort: {why}", field="reasoning_effort")
            variables.setdefault("reasoning_effort", request.reasoning_effort)
        return variables

    def _sampling(self, request: ChatRequest) -> SamplingParameters:
        return SamplingParameters(
            temperature=1.0 if request.temperature is None else request.temperature,
            top_k=request.top_k or 0,
            top_p=1.0 if request.top_p is None else request.top_p,
            min_p=request.min_p or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            repetition_penalty=request.repetition_penalty or 1.0,
            logit_bias=self._biases(request.logit_bias or {}),
            seed=uuid4().int if request.seed is None else request.seed,
            logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        )

    def _biases(self, given: Mapping[str, float]) -> dict[int, float]:
        found = {int(token): bias for token, bias in given.items() if token.isdecimal()}
        if len(found) < len(given) or any(token >= self._vocabulary for token in found):
            raise SpecError(f"logit_bias wants numbers of tokens below {self._vocabulary}", field="logit_bias")
        return found


class CompletionEvents:
    """The answer to one request in OpenAI's shapes."""

    def __init__(self, chat: Chat, request: ChatRequest, model: str) -> None:
        self._chat = chat
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}
        options = request.stream_options or StreamOptions()
        self._counts_always = options.continuous_usage_stats
        self._counts_last = options.include_usage
        self._has_begun = False

    def of(self, update: Update) -> list[dict[str, Any]]:
        """What is streamed for one update."""
        if update.fault:
            return [{"error": {"message": update.fault, "type": "server_error", "code": update.status}}]
        count = usage(update)
        counted = {"usage": count} if self._counts_always else {}
        if update.text is None:  # a piece of the prompt is through
            return [self._chunk([], **counted)] if self._counts_always else []
        delta, found = self._delta(update), []
        if delta or update.sampled is not None:
            choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": update.finish or None}
            if logprobs := self.logprobs(update):
                choice["logprobs"] = {"content": logprobs}
            found.append(self._chunk([choice], **counted))
        if update.finish and (self._counts_last or update.routing is not None):
            last = self._chunk([], usage=count)
            if update.routing is not None:
                last[ROUTING] = msgspec.to_builtins(update.routing)
            found.append(last)
        return found

    def whole(self, updates: list[Update]) -> dict[str, Any]:
        """The answer in one piece; `updates` end with the one that finishes it."""
        texts = [update.text for update in updates if update.text is not None]
        content = "".join(one.content for one in texts) + "".join(update.rest for update in updates)
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if thinking := "".join(one.thinking for one in texts):
            message["reasoning_content"] = thinking
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": updates[-1].finish}
        if logprobs := [one for update in updates for one in self.logprobs(update)]:
            choice["logprobs"] = {"content": logprobs}
        found = {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage(updates[-1])}
        if updates[-1].routing is not None:
            found[ROUTING] = msgspec.to_builtins(updates[-1].routing)
        if updates[-1].scores is not None:
            found["prompt_logprobs"] = as_told(updates[-1].scores, self._chat.tokenizer)
        return found

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices, **more}

    def _delta(self, update: Update) -> dict[str, str]:
        delta = {}
        if not self._has_begun:
            self._has_begun, delta = True, {"role": "assistant"}
        if update.text is not None and (content := update.text.content + update.rest):
            delta["content"] = content
        if update.text is not None and update.text.thinking:
            delta["reasoning_content"] = update.text.thinking
        return delta

    def logprobs(self, update: Update) -> list[dict[str, Any]]:
        """OpenAI's record of the token, where it was asked for; none for the token that ends an answer."""
        chosen = update.sampled
        if chosen is None or chosen.logprob is None or update.text is None or update.ends_here:
            return []
        return [{**_record(update.text.piece, chosen.logprob), "top_logprobs": self._likeliest(chosen)}]

    def _likeliest(self, chosen: SampledToken) -> list[dict[str, Any]]:
        return [_record(self._chat.tokenizer.decode([token]), value) for token, value in chosen.likeliest]


def _record(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def usage(update: Update) -> dict[str, Any]:
    """OpenAI's count so far."""
    return {
        "prompt_tokens": update.prompt,
        "completion_tokens": update.completion,
        "total_tokens": update.prompt + update.completion,
        "prompt_tokens_details": {"cached_tokens": update.cached},
        "completion_tokens_details": {"reasoning_tokens": update.reasoning},
    }
