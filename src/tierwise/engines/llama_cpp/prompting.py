"""How a GGUF file is told to think: by its family, or by what its chat template asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog import architecture
from tierwise.catalog.gguf import read_head
from tierwise.engines.prompting import family_of_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.engines.openai.dialect import ThinkingSwitch


def thinking_switch(model: Path, template: Path | None = None) -> ThinkingSwitch | None:
    """The variables of the chat template for thinking, and for not thinking; None where they are not known.

    The checkpoint's family has them. For a file of no known family, or with another template, a template that uses
    `enable_thinking` shows it.

    Args:
        model: the GGUF file.
        template: the file of a template that is used in place of the model's own.
    """
    if not model.is_file():
        return None
    if template is not None:
        return _switch_in(template.read_text(encoding="utf-8"))
    family = family_of_checkpoint(architecture.read(model))
    if family is not None:
        return family.thinking.switch
    return _switch_in(str(read_head(model).values.get("tokenizer.chat_template", "")))


def _switch_in(template: str) -> ThinkingSwitch | None:
    return ({"enable_thinking": True}, {"enable_thinking": False}) if "enable_thinking" in template else None
