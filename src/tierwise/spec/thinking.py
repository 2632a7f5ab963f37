"""The marks around a model's thinking in its text, and the text without it.

A server that is started without a reasoning parser leaves thinking in the answer. The marks of each family are facts
of the catalog (`thinking.marks`); this table is their union, with those of families that the catalog does not have. A
test keeps the two in step.
"""

from __future__ import annotations

import re

MARKS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # Qwen, GLM, DeepSeek, Kimi K2
    ("<|channel>", "<channel|>"),  # Gemma 4
    ("[THINK]", "[/THINK]"),  # Magistral, Mistral
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("◁think▷", "◁/think▷"),  # Kimi-VL, Kimi 1.5
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<longcat_think>", "</longcat_think>"),  # LongCat
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1
)
"""What opens and closes thinking."""

_BEGINS = {begin.lower(): place for place, (begin, _) in enumerate(MARKS)}
_ENDS = {end.lower(): place for place, (_, end) in enumerate(MARKS)}
_MARK = re.compile(
    "|".join(["```", *(re.escape(mark) for pair in MARKS for mark in sorted(pair, key=len, reverse=True))]),
    re.IGNORECASE,
)
_QUOTES = "`\"'“‘"

_HARMONY = re.compile(r"<\|channel\|>\s*+(\w*+)[^<\n]{0,200}(?:<\|constrain\|>[^<\n]{0,100})?<\|message\|>")
_HARMONY_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_HARMONY_OPEN = re.compile(r"^\s*(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?!final)\w*\s*(?:<\|message\|>)?")
_SKIPPED_SPECIAL = re.compile(r"^\s*analysis(?=[\sA-Z\"'(]).*assistant\s*final", re.DOTALL)


def begins_with_thinking(text: str) -> bool:
    """Whether a text opens with a mark of thinking, as from a server without a reasoning parser."""
    begun = text.lstrip()[:40].lower()
    return begun.startswith((*_BEGINS, "<|channel|>analysis"))


def closing_mark(text: str) -> str:
    """The mark that closes the thinking with which a text opens; empty if it opens with none, or none that is known."""
    begun = text.lstrip()[:40].lower()
    return next((MARKS[place][1] for begin, place in _BEGINS.items() if begun.startswith(begin)), "")


def without_thinking(text: str) -> str:
    """What a model said, without its thinking.

    Thinking that was never closed goes on to the end of the text; a closing mark without an opening one ends thinking
    that the chat template opened. Marks in code blocks, and marks that are quoted, are text. In the harmony format
    only the channel `final` is kept. Takes time linear in the text.
    """
    if "<|channel|>" in text:
        text = _final_channel(text)
    elif text.lstrip().startswith("analysis") and (skipped := _SKIPPED_SPECIAL.match(text)):
        text = text[skipped.end() :]  # a server that drops special tokens leaves `analysis…assistantfinal…`
    kept: list[str] = []
    place, fenced, thinking = 0, False, -1
    for mark in _MARK.finditer(text):
        name = mark[0].lower()
        if thinking >= 0:
            if _ENDS.get(name) == thinking:
                place, thinking = mark.end(), -1
        elif name == "```":
            fenced = not fenced
        elif fenced or text[mark.start() - 1 : mark.start()] in tuple(_QUOTES):
            continue
        elif name in _BEGINS:
            kept.append(text[place : mark.start()])
            thinking = _BEGINS[name]
        else:
            kept.clear()
            place = mark.end()
    if thinking < 0:
        kept.append(text[place:])
    return "".join(kept).strip()


def _final_channel(text: str) -> str:
    """The last message of the channel `final`; with none, what stands before the first channel."""
    said = ""
    for channel in _HARMONY.finditer(text):
        if channel[1].lower() == "final":
            ended = _HARMONY_END.search(text, channel.end())
            said = text[channel.end() : ended.start() if ended else len(text)]
    if said:
        return said
    before = text[: text.index("<|channel|>")]
    return "" if _HARMONY_OPEN.match(text) else before.replace("<|start|>assistant", "")
