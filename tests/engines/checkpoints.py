"""Checkpoint folders that hold a description and no weights to speak of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tierwise.catalog.architecture import Architecture, read

if TYPE_CHECKING:
    from pathlib import Path


def checkpoint(
    folder: Path, *, tokenizer: bool = True, template: bool = True, weights: str = "model.safetensors", **config: Any
) -> Path:
    """A folder with a config.json of these keys; a dense Llama where they say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **config}
    (folder / "config.json").write_text(json.dumps(whole))
    (folder / weights).write_bytes(b"\0" * 8)
    if tokenizer:
        (folder / "tokenizer.json").write_text("{}")
    if template:
        (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def architecture(folder: Path, **config: Any) -> Architecture:
    return read(checkpoint(folder, **config))
