"""How a server is told to think or not with a request: the switches of the families that we know, tried one by one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tierwise.catalog.families import families
from tierwise.engines.probe.findings import Finding, Switch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.spec.json import Fields, Json

CAPS = ("thinking_token_budget", "thinking_budget_tokens", "thinking_tokens")
"""Fields that end thinking at a number of tokens: vLLM's, llama.cpp's, and that of our own worker and endpoint."""

_SHORT, _LONG = 32, 96
"""Completion tokens in which thinking must have begun, and in which it must have ended under a cap."""
_CAP = 8
_INSIDE = re.compile(r"\s*(<think|<\|channel>thought|◁think▷|\[THINK\])")
"""How thinking begins that a server leaves in the answer's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What an answer brought."""

    thought: str
    """Thinking that came in a field of its own."""
    answer: str
    prompt_tokens: int | None

    @property
    def is_inside(self) -> bool:
        """Whether it thinks in the answer's text."""
        return _INSIDE.match(self.answer) is not None

    @property
    def thinks(self) -> bool:
        return bool(self.thought) or self.is_inside


class Hear(Protocol):
    async def __call__(self, most: int, **fields: Json) -> Heard | None:
        """The answer to a plain question in `most` tokens, with more fields; None where that is refused."""


async def find_switch(hear: Hear) -> tuple[Finding, Switch | None]:
    """Try every switch until one makes it think with one setting, and not with the other."""
    thinks_always = False
    read = ""
    for on, off in _switches():
        if (told := await hear(_SHORT, **on)) is None:
            continue
        if not told.thinks:
            read = read or await _read_by_template(hear, told, off)
            continue
        other = await hear(_SHORT, **off)
        if other is not None and not other.thinks:
            cap = "" if told.is_inside else await _cap(hear, on)
            switch = Switch(on=dict(on), off=dict(off), cap=cap, is_inside=told.is_inside)
            note = f"by {_shown(on)}" + (", and its thinking is part of the answer's text" if told.is_inside else "")
            return Finding(verdict="yes", note=note), switch
        thinks_always = True
    if thinks_always:
        return Finding(verdict="no", note="it thinks, and no switch that we know ends that"), None
    if read:
        return Finding(verdict="unseen", note=read), None
    return Finding(verdict="no", note="no switch that we know makes it think"), None


def _switches() -> Iterator[tuple[Fields, Fields]]:
    """Fields of a request that make some family think, and that make it answer at once; each pair once."""
    seen: list[Fields] = []
    for family in families().values():
        on, off = family.thinking.on, family.thinking.off
        if on and off and off not in seen:
            seen.append(off)
            yield (
                {"chat_template_kwargs": {name: value for name, value in on.items() if name in off}},
                {"chat_template_kwargs": off},
            )
    yield {"reasoning_effort": "high"}, {"reasoning_effort": "none"}


async def _read_by_template(hear: Hear, on: Heard, off: Fields) -> str:
    """What to say of a template that reads the switch, where no thinking came; empty where it does not read it."""
    other = await hear(1, **off)
    if other is None or None in (on.prompt_tokens, other.prompt_tokens) or on.prompt_tokens == other.prompt_tokens:
        return ""
    return (
        f"its chat template reads {_shown(off)}, but no thinking was told apart; launch it with the reasoning parser of"
        " its family"
    )


async def _cap(hear: Hear, on: Fields) -> str:
    """The field that ends thinking; empty where none does."""
    free = await hear(_LONG, **on)
    if free is None:
        return ""
    for name in CAPS:
        capped = await hear(_LONG, **on, **{name: _CAP})
        if capped is not None and capped.answer and len(capped.thought) < len(free.thought) / 2:
            return name
    return ""


def _shown(fields: Fields) -> str:
    """A switch as a dotted path."""
    (name, value), *_ = fields.items()
    return f"`{name}.{next(iter(value))}`" if isinstance(value, dict) else f"`{name}`"
