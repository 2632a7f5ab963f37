"""Finds the thinking switch of a GGUF file, from its family or its chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog import architecture
from tierwise.catalog.gguf import read_head
from tierwise.engines.prompting import family_of_checkpoint
from tierwise.engines.thinking_switch import switch_in

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.engines.thinking_switch import ThinkingSwitch


def thinking_switch(model: Path, template: Path | None = None) -> ThinkingSwitch | None:
    """The chat-template variables that turn thinking on and off; None if unknown.

    They come from the checkpoint's family. For an unknown family or another template, they are known if the
    template uses `enable_thinking`.

    Args:
        model: the GGUF file.
        template: a template file that replaces the model's.
    """
    if not model.is_file():
        return None
    if template is not None:
        return switch_in(template.read_text(encoding="utf-8"))
    family = family_of_checkpoint(architecture.read(model))
    if family is not None:
        return family.thinking.switch
    return switch_in(str(read_head(model).values.get("tokenizer.chat_template", "")))
