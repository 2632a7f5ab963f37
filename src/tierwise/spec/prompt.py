"""What the user asked, exactly as it came: opaque, so that no field can be lost on its way to an engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from tierwise.spec.json import Fields, Json

Message = Mapping[str, Json]
"""One OpenAI chat message: role, content (text or parts), tool calls, and whatever else the client put there."""

_NOTHING: Fields = MappingProxyType({})

_BOUNDS = ("max_completion_tokens", "max_tokens")
"""One thing under two names: the most completion tokens of one pass, as OpenAI calls it now and as it did before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation and every other field of the request: sampling, tools, response format, and the unknown ones."""

    messages: tuple[Message, ...]
    fields: Fields = field(default_factory=lambda: _NOTHING)
    """Named as on the OpenAI wire; `messages`, `model`, `stream`, `n` and `seed` are not among them."""
    seed: int = 0
    """Where every draw of this prompt takes its own seed from."""
    filled: frozenset[str] = field(default=frozenset(), compare=False)
    """Names of the fields that a tier set because the client was silent. Another tier sets its own in their place."""

    def then(self, *messages: Message) -> Prompt:
        """The same request with the conversation continued."""
        return replace(self, messages=(*self.messages, *messages))

    def setting(self, **fields: Json) -> Prompt:
        """The same request with these fields set, whatever the client sent."""
        return replace(self, fields={**self.fields, **fields}, filled=self.filled - fields.keys())

    def without(self, *names: str) -> Prompt:
        """The same request with these fields left out."""
        return replace(self, fields={name: value for name, value in self.fields.items() if name not in names})

    def by_default(self, fields: Fields) -> Prompt:
        """The same request with a tier's fields where the client is silent. Null counts as silence.

        Fields that another tier filled in before are dropped first.
        """
        own = {name: value for name, value in self.fields.items() if name not in self.filled}
        said = {name for name, value in own.items() if value is not None}
        if said.intersection(_BOUNDS):
            said.update(_BOUNDS)
        filled = {name: fields[name] for name in fields if name not in said}
        return replace(self, fields={**own, **filled}, filled=frozenset(filled))

    @property
    def bound(self) -> int | None:
        """The most completion tokens that one pass may have; None where the client is silent."""
        return min((bound for name in _BOUNDS if isinstance(bound := self.fields.get(name), int)), default=None)

    def bounded(self, tokens: int) -> Prompt:
        """The same request with that bound, under the names that the client used."""
        names = [name for name in _BOUNDS if name in self.fields] or ["max_tokens"]
        return self.setting(**dict.fromkeys(names, tokens))


def draw_seed(seed: int, draw: int) -> int:
    """The seed of draw number `draw`: the prompt's own for the first, so that one pass behaves as the client asked.

    Returns:
        A number below 2³¹, which every engine accepts; equal inputs give equal seeds on every machine.
    """
    if draw == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & 0x7FFF_FFFF
