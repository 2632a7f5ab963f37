"""Preflight checks of llama.cpp: installed programs and the header of the GGUF file."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.catalog import architecture
from tierwise.catalog.gguf import read_head
from tierwise.engines.llama_cpp.active_experts import rewriting
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.llama_cpp.settings import LlamaCpp
    from tierwise.engines.settings import LaunchContext, Problem

_NO_FOLDERS = (
    "and llama.cpp needs a GGUF file; convert it with llama.cpp's convert_hf_to_gguf.py and set the file,"
    " or use the engine vllm or transformers"
)


def preflight(settings: LlamaCpp, context: LaunchContext) -> Iterable[Problem]:
    """All settings that cannot work here."""
    if settings.binary is not None and shutil.which(context.program(settings.binary)) is None:
        yield (
            "binary",
            f"there is no program {settings.binary!r}; install llama.cpp, set its path, or remove `binary`",
        )
    if settings.binary is None and importlib.util.find_spec("xllamacpp") is None:
        yield "engine", "llama.cpp is not installed in this environment; pip install 'tierwise[llama]'"
    yield from _missing_files(settings, context)
    if context.model is None or not context.model.exists():
        return
    if context.model.is_dir():
        yield "checkpoint", f"{context.model} is a folder, {_NO_FOLDERS}"
        return
    try:
        found = architecture.read(context.model)
    except SpecError as error:
        yield "checkpoint", str(error)
        return
    yield from _check_file(settings, found)
    yield from _check_experts(settings, found, context.model)


def notes(settings: LlamaCpp, context: LaunchContext) -> Iterable[str]:
    """What the chat template lacks. llama.cpp drops tools that it does not render, without an error."""
    if context.model is None or not context.model.is_file():
        return
    if settings.chat_template is not None:
        path = Path(context.file(settings.chat_template))
        template = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    else:
        template = str(read_head(context.model).values.get("tokenizer.chat_template", ""))
    if template and "tools" not in template:
        yield (
            "the chat template has no tools, so the model does not see those of a request and calls none; requests "
            "that require a tool call are refused"
        )


def _missing_files(settings: LlamaCpp, context: LaunchContext) -> Iterable[Problem]:
    draft = settings.speculative.model if settings.speculative else None
    named = {"mmproj": settings.mmproj, "chat_template": settings.chat_template, "speculative": draft}
    for name, path in (*named.items(), *(("loras", path) for path in settings.loras)):
        if path is not None and not Path(context.file(path)).is_file():
            yield name, f"there is no file {context.file(path)}"


def _check_file(settings: LlamaCpp, found: Architecture) -> Iterable[Problem]:
    if found.model_type == "clip":
        yield "checkpoint", "it is a projector; set it as `mmproj`, and `checkpoint` to its model"
        return
    if not found.has_tokenizer:
        yield "checkpoint", "it has no tokenizer; convert the model again with its tokenizer in the same folder"
    if not found.has_chat_template and settings.chat_template is None:
        yield (
            "chat_template",
            "the checkpoint has none, and llama.cpp would use ChatML, which may differ from training; set a Jinja file",
        )
    if found.context is not None and settings.context > found.context:
        yield (
            "context",
            f"{settings.context} is more than the model's {found.context}, to which llama.cpp cuts it; set that",
        )


def _check_experts(settings: LlamaCpp, found: Architecture, model: Path) -> Iterable[Problem]:
    if found.experts is None:
        for name in ("cpu_expert_layers", "moe_cache_mib"):
            if getattr(settings, name):
                yield name, f"this checkpoint ({found.model_type}) is dense and has no experts; remove this"
    if settings.active_experts is None:
        return
    if why := found.why_not_active(settings.active_experts):
        yield "active_experts", why
        return
    try:
        rewriting(model, settings.active_experts)
    except SpecError as error:
        yield "active_experts", f"{error}; remove this"
