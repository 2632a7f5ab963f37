"""What a GGUF file means for llama.cpp, read from its head before anything is launched: what cannot work with it, and
how it is told to think.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, overload

from tierwise.catalog import architecture
from tierwise.catalog.families import family_of
from tierwise.catalog.gguf import read_head
from tierwise.engines.llama_cpp.active_experts import rewriting
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.llama_cpp.settings import LlamaCpp
    from tierwise.engines.openai.dialect import ThinkingSwitch


_NO_FOLDERS = (
    "and llama.cpp runs GGUF files; convert it (convert_hf_to_gguf.py of llama.cpp) and name the file,"
    " or use the engine vllm or transformers"
)


def misfits_of_checkpoint(settings: LlamaCpp, site: Site) -> Iterable[tuple[str, str]]:
    """Every setting that cannot work with the files as they lie here, as its name and what to do instead."""
    yield from _files_missing(settings, site)
    if site.model is None or not site.model.exists():
        return
    if site.model.is_dir():
        yield "checkpoint", f"{site.model} is a folder, {_NO_FOLDERS}"
        return
    try:
        found = architecture.read(site.model)
    except SpecError as error:
        yield "checkpoint", str(error)
        return
    yield from _of_this_file(settings, found)
    yield from _of_its_experts(settings, found, site.model)


def _files_missing(settings: LlamaCpp, site: Site) -> Iterable[tuple[str, str]]:
    draft = settings.speculative.model if settings.speculative else None
    named = {"mmproj": settings.mmproj, "chat_template": settings.chat_template, "speculative": draft}
    for name, path in (*named.items(), *(("loras", path) for path in settings.loras)):
        if path is not None and not Path(place(site, path)).is_file():
            yield name, f"there is no file {place(site, path)}"


def _of_this_file(settings: LlamaCpp, found: Architecture) -> Iterable[tuple[str, str]]:
    if found.model_type == "clip":
        yield "checkpoint", "it is a projector; name it as `mmproj`, beside the checkpoint of the model that it is for"
        return
    if not found.has_tokenizer:
        yield "checkpoint", "it has no tokenizer; convert the model again with its tokenizer beside it"
    if not found.has_chat_template and settings.chat_template is None:
        yield (
            "chat_template",
            "the checkpoint has none, and llama.cpp would take ChatML, whatever it was trained with; name a Jinja file",
        )
    if found.context is not None and settings.context > found.context:
        yield (
            "context",
            f"{settings.context}: llama.cpp cuts it to the {found.context} that the model was made for; give those",
        )


def _of_its_experts(settings: LlamaCpp, found: Architecture, model: Path) -> Iterable[tuple[str, str]]:
    if found.experts is None:
        for name in ("cpu_expert_layers", "moe_cache_mib"):
            if getattr(settings, name):
                yield name, f"this checkpoint ({found.model_type}) is dense, it has no experts; take it out"
    if settings.active_experts is None:
        return
    if why := found.why_not_active(settings.active_experts):
        yield "active_experts", why
        return
    try:
        rewriting(model, settings.active_experts)
    except SpecError as error:
        yield "active_experts", f"{error}; leave it out"


def thinking_switch(model: Path, template: str | None = None) -> ThinkingSwitch | None:
    """What the chat template is told to think, and not to; None where that is not known.

    The checkpoint's family knows; of a file of no known family, or with another template, a template that asks for
    `enable_thinking` tells.

    Args:
        model: the GGUF file.
        template: the file of a template that is used in place of the model's own.
    """
    if not model.is_file():
        return None
    if template is not None:
        return _switch_in(Path(template).read_text(encoding="utf-8"))
    found = architecture.read(model)
    family = family_of(found.model_type, layers=found.layers, hidden=found.hidden, experts=found.experts)
    if family is not None:
        return family.thinking.switch
    return _switch_in(str(read_head(model).values.get("tokenizer.chat_template", "")))


def _switch_in(template: str) -> ThinkingSwitch | None:
    return ({"enable_thinking": True}, {"enable_thinking": False}) if "enable_thinking" in template else None


@overload
def place(site: Site, path: str) -> str: ...
@overload
def place(site: Site, path: None) -> None: ...
def place(site: Site, path: str | None) -> str | None:
    """A path of the config file, from the folder that it lies in."""
    return None if path is None else str(site.base / Path(path).expanduser())
