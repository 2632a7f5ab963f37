"""What a pass and an action cost at most, before they start: counts of tokens that cannot be exceeded, times prices.

A prompt has at most as many tokens as bytes, because every tokenizer that engines use ends at bytes; what a chat
template adds is allowed for. An image may have as many tokens as the context holds. A completion has at most the tokens
that the engine is told to stop at: by the client, by a budget, else by the context, else by `MOST_TOKENS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tierwise.keys.account import nano
from tierwise.spec.json import Json

if TYPE_CHECKING:
    from tierwise.ledger.prices import PriceBook
    from tierwise.spec.prompt import Prompt

MOST_TOKENS = 32_768
"""Completion tokens of a pass that nothing else limits: it is stopped there."""
TEMPLATE_TOKENS = 1024
"""For the words that a chat template adds to a conversation."""
MESSAGE_TOKENS = 32
"""For those that it adds to each message."""
IMAGE_TOKENS = 32_768
"""For each part of a message that is no text, on a deployment whose context is not known."""
LONGEST_SECONDS = 3600.0
"""An action on a deployment that is paid by the hour is stopped after this, if no budget bounds its seconds."""
_ABORT_SECONDS = 5.0
"""For ending a pass at its limit."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is known of a prompt before it is tokenized."""

    tokens: int
    """At most, without media."""
    media: int
    """Parts of messages that are no text."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """Worst cases under the price book."""

    prices: PriceBook

    def of_pass(self, prompt: Prompt, deployment: str, context: int | None, cap: int | None) -> tuple[int, int | None]:
        """The worst case of a pass in billionths of a dollar, and the limit that its engine must be sent.

        Args:
            prompt: what it is asked.
            deployment: where it runs.
            context: that deployment's context in tokens; None if it is not known.
            cap: its limit of completion tokens within budgets; None if these have none.
        """
        if not self.prices.counts_tokens(deployment):
            return 0, cap
        known = [bound for bound in (cap, prompt.bound, context) if bound is not None]
        if not known:
            cap = MOST_TOKENS
        asked = tokens_of(size_of(prompt), context)
        answered = min(known, default=MOST_TOKENS)
        return nano(self.prices.worst(deployment, asked, answered)), cap

    def of_prompt(self, prompt: Prompt, deployment: str, context: int | None) -> int:
        """The worst case of a prompt alone, in billionths of a dollar."""
        return nano(self.prices.worst(deployment, tokens_of(size_of(prompt), context), 0))

    def of_action(
        self, size: Size, deployment: str, context: int | None, cap: int | None, *, passes: int, tokens: int | None
    ) -> int:
        """The worst case of so many passes of a prompt, in billionths of a dollar.

        Args:
            size: of the prompt that each is asked. One that sees others is longer, and puts more aside when it starts.
            deployment: where they run.
            context: that deployment's context in tokens; None if it is not known.
            cap: the limit of completion tokens of each, of the client or of budgets; None if there is none.
            passes: how many.
            tokens: the limit of completion tokens of all together; None if there is none.
        """
        if not self.prices.counts_tokens(deployment):
            return 0
        answered = passes * min((bound for bound in (cap, context) if bound is not None), default=MOST_TOKENS)
        asked = passes * tokens_of(size, context)
        return nano(self.prices.worst(deployment, asked, answered if tokens is None else min(answered, tokens)))

    def of_time(self, deployments: Iterable[str], seconds: float) -> int:
        """The worst case of an action on deployments that are paid by the hour: passes side by side share them."""
        return nano(sum(self.prices.per_second(name) for name in deployments) * (seconds + _ABORT_SECONDS))


def tokens_of(size: Size, context: int | None) -> int:
    """The most tokens of a prompt."""
    if context is not None:
        return context if size.media else min(size.tokens, context)
    return size.tokens + size.media * IMAGE_TOKENS


def size_of(prompt: Prompt) -> Size:
    """The size of a prompt: its messages or raw text, tools and all other fields as JSON, each byte a token at most."""
    fields = {name: value for name, value in prompt.fields.items() if not isinstance(value, int | float | bool)}
    messages = [dict(message) for message in prompt.messages]
    written = len(msgspec.json.encode([messages, fields, prompt.raw]))
    added = TEMPLATE_TOKENS + MESSAGE_TOKENS * len(messages)
    return Size(written + added, sum(_media(message.get("content")) for message in messages))


def _media(content: Json) -> int:
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, dict) and part.get("type") not in ("text", "refusal", "thinking") for part in content)
