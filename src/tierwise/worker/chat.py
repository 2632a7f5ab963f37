"""Chat completion requests as jobs of the loop, and its updates as responses. Unsupported fields are rejected."""

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
from tierwise.worker.scoring import prompt_logprobs_field
from tierwise.worker.text import StreamDecoder, Thinking, find_thinking, render_prompt

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ContextExceeded(SpecError):
    """The prompt fills the context length."""


class UsageOptions(msgspec.Struct):
    """`stream_options` of the OpenAI API, and vLLM's `continuous_usage_stats`."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class WorkerChatRequest(msgspec.Struct):
    """The fields of a chat completion request that the worker reads; unknown fields are ignored."""

    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    stream: bool | None = False
    stream_options: UsageOptions | None = None
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
    """Whether to record this pass's experts; overrides the deployment's `experts_sampled`."""
    # Values of these fields that ask for unsupported features are rejected:
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

    def unsupported(self) -> tuple[str, str] | None:
        """The first unsupported field, and what to do instead; None if all are supported."""
        for name in ("n", "best_of"):
            if getattr(self, name) not in (None, 1):
                return name, "this engine returns one completion per request; send several requests"
        if self.response_format is not None and self.response_format.get("type") != "text":
            return "response_format", _NO_FORMATS
        if self.tools or self.functions or self.tool_choice not in (None, "none", "auto"):
            return "tools", "this engine does not support tool calls; use another engine"
        if self.modalities not in (None, ["text"]):
            return "modalities", "this engine generates text only"
        if self.min_tokens:
            return "min_tokens", "this engine has no minimum; `ignore_eos` with `max_tokens` gives an exact number"
        if self.prompt_logprobs is not None and self.stream:
            return "prompt_logprobs", "not available in streams; remove `stream`"
        for name in _FORMATS:
            if getattr(self, name) is not None:
                return name, _NO_FORMATS
        return None


_NO_FORMATS = "this engine does not support structured outputs; verify the answer instead, or use another engine"
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
        tokenizer: a Transformers tokenizer with a chat template.
        context: maximum tokens of prompt and answer together.
        thinks: whether to separate thinking from the answer.
        active: returns why a number of active experts is not possible; empty if it is.
        is_sampled: returns whether the experts of the next pass are recorded.
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
        self._thinking: Thinking | None = find_thinking(tokenizer) if thinks else None
        self._why_unsupported = active
        self._is_sampled = is_sampled
        self._vocabulary = len(tokenizer)

    def job(self, request: WorkerChatRequest, on_update: Callable[[Update], None]) -> Job:
        """The job for a request.

        Raises:
            ContextExceeded: the prompt fills the context length.
            SpecError: a field is not supported, or the messages are invalid.
        """
        if (problem := request.unsupported()) is not None:
            raise SpecError(f"{problem[0]}: {problem[1]}", field=problem[0])
        if request.active_experts is not None and (why := self._why_unsupported(request.active_experts)):
            raise SpecError(f"active_experts: {why}", field="active_experts")
        if request.thinking_tokens is not None and self._thinking is None:
            why = "this model has no thinking tokens, so its thinking cannot be capped; remove it"
            raise SpecError(f"thinking_tokens: {why}", field="thinking_tokens")
        text = render_prompt(self.tokenizer, request.messages, self._template_variables(request))
        prompt = self.tokens(text)
        if len(prompt) >= self._context:
            raise ContextExceeded(
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
                max_thinking_tokens=request.thinking_tokens,
            ),
            max_tokens=min(request.max_completion_tokens or request.max_tokens or room, room),
            on_update=on_update,
            active_experts=request.active_experts,
            priority=request.priority or 0,
            ignores_end=bool(request.ignore_eos),
            prompt_logprobs=request.prompt_logprobs,
            is_recorded=self._is_sampled() if request.tierwise_routing is None else request.tierwise_routing,
        )

    def tokens(self, text: str) -> list[int]:
        """Tokens of a rendered prompt, which contains all special tokens already."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _template_variables(self, request: WorkerChatRequest) -> dict[str, Json]:
        variables = dict(request.chat_template_kwargs or {})
        if request.reasoning_effort is not None:
            if "reasoning_effort" not in str(self.tokenizer.chat_template):
                why = "this model's chat template does not use it; remove it, or use `chat_template_kwargs`"
                raise SpecError(f"reasoning_effort: {why}", field="reasoning_effort")
            variables.setdefault("reasoning_effort", request.reasoning_effort)
        return variables

    def _sampling(self, request: WorkerChatRequest) -> SamplingParameters:
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
            raise SpecError(f"logit_bias: keys must be token ids below {self._vocabulary}", field="logit_bias")
        return found


class CompletionEvents:
    """The answer to one request in the OpenAI format."""

    def __init__(self, chat: Chat, request: WorkerChatRequest, model: str) -> None:
        self._chat = chat
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}
        options = request.stream_options or UsageOptions()
        self._counts_always = options.continuous_usage_stats
        self._counts_last = options.include_usage
        self._has_begun = False

    def of(self, update: Update) -> list[dict[str, Any]]:
        """The stream events for one update."""
        if update.fault:
            return [{"error": {"message": update.fault, "type": "server_error", "code": update.status}}]
        count = usage(update)
        counted = {"usage": count} if self._counts_always else {}
        if update.text is None:  # a chunk of the prompt was computed
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
        """The response without streaming; `updates` end with the one that finishes the answer."""
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
            found["prompt_logprobs"] = prompt_logprobs_field(updates[-1].scores, self._chat.tokenizer)
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
        """The token's entry in `logprobs.content`, if requested; empty for the token that ends an answer."""
        chosen = update.sampled
        if chosen is None or chosen.logprob is None or update.text is None or update.ends_here:
            return []
        return [{**_record(update.text.piece, chosen.logprob), "top_logprobs": self._likeliest(chosen)}]

    def _likeliest(self, chosen: SampledToken) -> list[dict[str, Any]]:
        return [_record(self._chat.tokenizer.decode([token]), value) for token, value in chosen.likeliest]


def _record(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def usage(update: Update) -> dict[str, Any]:
    """OpenAI's `usage` object so far."""
    return {
        "prompt_tokens": update.prompt,
        "completion_tokens": update.completion,
        "total_tokens": update.prompt + update.completion,
        "prompt_tokens_details": {"cached_tokens": update.cached},
        "completion_tokens_details": {"reasoning_tokens": update.reasoning},
    }
