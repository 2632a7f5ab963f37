"""Finds a server's thinking switch by trying the switches of all known families."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tierwise.catalog.families import families
from tierwise.engines.probe.findings import Finding, Switch
from tierwise.engines.thinking_switch import as_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.spec.json import Fields, Json

CAPS = ("thinking_token_budget", "thinking_budget_tokens", "thinking_tokens", "custom_params.thinking_budget")
"""Fields that limit thinking tokens: vLLM's, llama.cpp's, Tierwise's (worker and endpoint), and SGLang's."""

_SHORT, _LONG = 32, 96
"""Completion tokens within which thinking must have begun, and within which it must have ended under a limit."""
_CAP = 8
_INSIDE = re.compile(r"\s*(<think|<\|channel>thought|◁think▷|\[THINK\])")
"""The beginning of thinking in the text of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingSample:
    """The thinking and text of an answer."""

    thought: str
    """Thinking in a separate field."""
    answer: str
    prompt_tokens: int | None

    @property
    def is_inside(self) -> bool:
        """Whether thinking is in the answer's text."""
        return _INSIDE.match(self.answer) is not None

    @property
    def thinks(self) -> bool:
        return bool(self.thought) or self.is_inside


class SampleThinking(Protocol):
    async def __call__(self, most: int, **fields: Json) -> ThinkingSample | None:
        """Answer a simple question in at most `most` tokens, with these fields; None if the request is rejected."""


async def find_switch(sample: SampleThinking) -> tuple[Finding, Switch | None]:
    """Try all switches until thinking occurs with one setting and not with the other."""
    thinks_always = False
    read = ""
    for on, off in _switches():
        if (told := await sample(_SHORT, **on)) is None:
            continue
        if not told.thinks:
            read = read or await _read_by_template(sample, told, off)
            continue
        other = await sample(_SHORT, **off)
        if other is not None and not other.thinks:
            cap = "" if told.is_inside else await _cap(sample, on)
            switch = Switch(on=dict(on), off=dict(off), cap=cap, is_inside=told.is_inside)
            note = f"by {_shown(on)}" + (", and its thinking is part of the answer's text" if told.is_inside else "")
            return Finding(verdict="yes", note=note), switch
        thinks_always = True
    if thinks_always:
        return Finding(verdict="no", note="it thinks, and no known switch turns that off"), None
    if read:
        return Finding(verdict="unseen", note=read), None
    return Finding(verdict="no", note="no known switch turns thinking on"), None


def _switches() -> Iterator[tuple[Fields, Fields]]:
    """The distinct pairs of request fields that turn the thinking of a family on and off."""
    seen: list[Fields] = []
    for family in families().values():
        on, off = family.thinking.on, family.thinking.off
        if on and off and off not in seen:
            seen.append(off)
            yield (
                as_fields({name: value for name, value in on.items() if name in off}),
                as_fields(off),
            )
    yield {"reasoning_effort": "high"}, {"reasoning_effort": "none"}


async def _read_by_template(sample: SampleThinking, on: ThinkingSample, off: Fields) -> str:
    """A note if the template uses the switch but no thinking was returned; empty if it does not use it."""
    other = await sample(1, **off)
    if other is None or None in (on.prompt_tokens, other.prompt_tokens) or on.prompt_tokens == other.prompt_tokens:
        return ""
    return (
        f"its chat template reads {_shown(off)}, but thinking is not separated; launch it with the reasoning parser of"
        " its family"
    )


async def _cap(sample: SampleThinking, on: Fields) -> str:
    """The field that limits thinking; empty if none does."""
    free = await sample(_LONG, **on)
    if free is None:
        return ""
    for name in CAPS:
        capped = await sample(_LONG, **on, **cap_fields(name, _CAP))
        if capped is not None and capped.answer and len(capped.thought) < len(free.thought) / 2:
            return name
    return ""


def cap_fields(cap: str, tokens: int) -> dict[str, Json]:
    """The request fields that limit thinking to so many tokens, by one of `CAPS`; a dot leads into an object."""
    outer, _, inner = cap.partition(".")
    return {outer: {inner: tokens} if inner else tokens}


def _shown(fields: Fields) -> str:
    """A switch as a dotted path."""
    (name, value), *_ = fields.items()
    return f"`{name}.{next(iter(value))}`" if isinstance(value, dict) else f"`{name}`"
