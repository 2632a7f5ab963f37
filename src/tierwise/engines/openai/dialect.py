"""What our request levers are called on an engine: its fields, its signs, and which of them it lacks.

Separate from the client, which sends fields unchanged, and from the levers' table, which only describes.
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
"""The variables of a family's chat template for thinking, and for not thinking (`catalog.families`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How `thinking`, `thinking_tokens`, `active_experts` and `priority` are sent to one engine."""

    engine: str
    """Its name in error messages."""
    priority: Literal["higher first", "lower first"] | None = None
    """How it reads `priority`; None where it has no such field."""
    thinking_tokens: str | None = None
    """Its field for the limit on thinking; None where it has none."""
    active_experts: str | None = None
    """Its field for experts per token; None where they are set at launch."""
    advice: Mapping[str, str] | None = None
    """What to do instead, by the lever's name, where this engine has no field for it."""

    def unsupported(self, sampling: Sampling, *, knows_checkpoint: bool = True) -> Iterable[tuple[str, str]]:
        """Request levers of a tier that this engine has no field for, each with what to do instead."""
        if sampling.thinking is not None and not knows_checkpoint:
            yield "thinking", _NO_SWITCH
        for name in ("thinking_tokens", "active_experts", "priority"):
            if getattr(sampling, name) is not None and getattr(self, name) is None:
                yield name, self._advice(name)

    def translate(self, fields: Mapping[str, Json], switch: ThinkingSwitch | None = None) -> Mapping[str, Json]:
        """A request's fields as the engine names them. What is not a lever of ours passes unchanged.

        Args:
            fields: of the prompt.
            switch: of the checkpoint's family; None where it is not known.

        Raises:
            Refused: the engine has no field for a lever; the message says what to do instead.
        """
        ours = _OURS & fields.keys()
        if not ours:
            return fields
        sent = {name: value for name, value in fields.items() if name not in ours}
        if isinstance(thinking := fields.get("thinking"), bool):
            if switch is None:
                raise Refused(f"thinking: {_NO_SWITCH}", engine=self.engine)
            given = sent.get("chat_template_kwargs")
            sent["chat_template_kwargs"] = {**switch[not thinking], **(given if isinstance(given, dict) else {})}
        elif "thinking" in fields:  # a hosted server's own object of that name
            sent["thinking"] = thinking
        for name, field in (("thinking_tokens", self.thinking_tokens), ("active_experts", self.active_experts)):
            if fields.get(name) is not None:
                sent[self._field(name, field)] = fields[name]
        if isinstance(priority := fields.get("priority"), int):
            sent[self._field("priority", self.priority and "priority")] = (
                -priority if self.priority == "lower first" else priority
            )
        return sent

    def _field(self, name: str, field: str | None) -> str:
        if field is None:
            raise Refused(f"{name}: {self._advice(name)}", engine=self.engine)
        return field

    def _advice(self, name: str) -> str:
        return f"{self.engine} {(self.advice or {}).get(name, 'has no request field for it; leave it out')}"


_NO_SWITCH = "how this checkpoint is told to think is not known; set `chat_template_kwargs` yourself"

_OURS = frozenset({"thinking", "thinking_tokens", "active_experts", "priority"})
