"""What our request levers are called on an engine: its words, its signs, and what it has no word for.

Separate from the client, which sends fields as they stand, and from the levers' table, which only describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tierwise.spec.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tierwise.spec.json import Fields, Json
    from tierwise.spec.sampling import Sampling

ThinkingSwitch = tuple["Fields", "Fields"]
"""What the chat template of a family is told to think, and not to think (`catalog.families`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one engine is told `thinking`, `thinking_tokens`, `active_experts` and `priority`."""

    engine: str
    """For blame."""
    priority: Literal["higher first", "lower first"] | None = None
    """How it reads `priority`; None where it has no such field."""
    thinking_tokens: str | None = None
    """Its field for the bound on thinking; None where it has none."""
    active_experts: str | None = None
    """Its field for experts per token; None where they are set at launch."""
    advice: Mapping[str, str] | None = None
    """What to do instead, by the lever's name, where this engine has no word for it."""

    def refuses(self, sampling: Sampling, *, knows_checkpoint: bool = True) -> Iterable[tuple[str, str]]:
        """Request levers of a tier that this engine cannot be told, each with what to do instead."""
        if sampling.thinking is not None and not knows_checkpoint:
            yield "thinking", _NO_SWITCH
        for name in ("thinking_tokens", "active_experts", "priority"):
            if getattr(sampling, name) is not None and getattr(self, name) is None:
                yield name, self._no_word(name)

    def translate(self, fields: Mapping[str, Json], switch: ThinkingSwitch | None = None) -> Mapping[str, Json]:
        """A request's fields in the engine's words. Whatever is no lever of ours passes as it stands.

        Args:
            fields: of the prompt.
            switch: of the checkpoint's family; None where it is not known.

        Raises:
            Refused: the engine cannot be told; its words say what to do instead.
        """
        ours = _OURS & fields.keys()
        if not ours:
            return fields
        said = {name: value for name, value in fields.items() if name not in ours}
        if isinstance(thinking := fields.get("thinking"), bool):
            if switch is None:
                raise Refused(f"thinking: {_NO_SWITCH}", engine=self.engine)
            given = said.get("chat_template_kwargs")
            said["chat_template_kwargs"] = {**switch[not thinking], **(given if isinstance(given, dict) else {})}
        elif "thinking" in fields:  # a hosted server's own object of that name
            said["thinking"] = thinking
        for name, word in (("thinking_tokens", self.thinking_tokens), ("active_experts", self.active_experts)):
            if fields.get(name) is not None:
                said[self._word(name, word)] = fields[name]
        if isinstance(priority := fields.get("priority"), int):
            said[self._word("priority", self.priority and "priority")] = (
                -priority if self.priority == "lower first" else priority
            )
        return said

    def _word(self, name: str, word: str | None) -> str:
        if word is None:
            raise Refused(f"{name}: {self._no_word(name)}", engine=self.engine)
        return word

    def _no_word(self, name: str) -> str:
        return f"{self.engine} {(self.advice or {}).get(name, 'cannot be told that with a request; leave it out')}"


_NO_SWITCH = "it is not known how this checkpoint is told to think; set `chat_template_kwargs` yourself"

_OURS = frozenset({"thinking", "thinking_tokens", "active_experts", "priority"})
