"""Translates Tierwise's request levers to an engine's request fields.

Separate from the client, which sends fields unchanged, and from the table of levers, which only describes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tierwise.engines.thinking_switch import turned
from tierwise.spec.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tierwise.engines.thinking_switch import ThinkingSwitch
    from tierwise.spec.json import Json
    from tierwise.spec.sampling import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How `thinking`, `thinking_tokens`, `active_experts` and `priority` are sent to one engine."""

    engine: str
    """Its name in error messages."""
    priority: Literal["higher first", "lower first"] | None = None
    """Its order of `priority` values; None if it has no such field."""
    thinking_tokens: str | None = None
    """Its field for the maximum number of thinking tokens; None if it has none."""
    active_experts: str | None = None
    """Its field for experts per token; None if they are set at launch."""
    advice: Mapping[str, str] | None = None
    """What to do instead of an unsupported lever, by the lever's name; follows the engine's name in a message."""

    def unsupported(self, sampling: Sampling, *, knows_checkpoint: bool = True) -> Iterable[tuple[str, str]]:
        """The request levers of a tier that this engine does not support, each with what to do instead."""
        if sampling.thinking is not None and not knows_checkpoint:
            yield "thinking", _NO_SWITCH
        for name in ("thinking_tokens", "active_experts", "priority"):
            if getattr(sampling, name) is not None and getattr(self, name) is None:
                yield name, self._advice(name)

    def translate(self, fields: Mapping[str, Json], switch: ThinkingSwitch | None = None) -> Mapping[str, Json]:
        """A request's fields under the engine's names. Fields that are not levers stay unchanged.

        Args:
            fields: the prompt's fields.
            switch: the thinking switch of the checkpoint's family; None if unknown.

        Raises:
            Refused: the engine does not support a lever; the message says what to do instead.
        """
        ours = _OURS & fields.keys()
        if not ours:
            return fields
        sent = {name: value for name, value in fields.items() if name not in ours}
        if isinstance(thinking := fields.get("thinking"), bool):
            if switch is None:
                raise Refused(f"thinking: {_NO_SWITCH}", engine=self.engine)
            sent = dict(turned(sent, switch, on=thinking))
        elif "thinking" in fields:  # a hosted server's own object of this name
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


_NO_SWITCH = "the thinking switch of this checkpoint is unknown; set `chat_template_kwargs` instead"

_OURS = frozenset({"thinking", "thinking_tokens", "active_experts", "priority"})
