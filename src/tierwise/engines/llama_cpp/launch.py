"""Launches llama.cpp for a deployment: its command line and its engine."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.engines.llama_cpp import worker
from tierwise.engines.llama_cpp.active_experts import active_experts_key, rewriting
from tierwise.engines.llama_cpp.capabilities import loaded_capabilities
from tierwise.engines.llama_cpp.client import SlotClient
from tierwise.engines.llama_cpp.engine import LlamaCppEngine
from tierwise.engines.llama_cpp.facts import facts
from tierwise.engines.llama_cpp.prompting import thinking_switch
from tierwise.engines.llama_cpp.saved_prompts import make_folder
from tierwise.engines.llama_cpp.settings import DIALECT
from tierwise.engines.process.environment import given
from tierwise.engines.process.supervisor import Launch
from tierwise.engines.thinking_switch import thinking_off
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.engines.llama_cpp.settings import LlamaCpp
    from tierwise.engines.llama_cpp.worker import Rewrite, Speculation
    from tierwise.engines.settings import LaunchContext

_SPECULATION_FLAGS = {
    "ngram-simple": ("--spec-ngram-simple-size-m", "--spec-ngram-simple-size-n"),
    "ngram-map-k": ("--spec-ngram-map-k-size-m", "--spec-ngram-map-k-size-n"),
    "ngram-mod": ("--spec-ngram-mod-n-max", "--spec-ngram-mod-n-match"),
}
"""Flags for the number of draft tokens and of tokens to match."""


def command(settings: LlamaCpp, context: LaunchContext) -> str:
    """The command line. If the checkpoint is not downloaded, its name stands for its path."""
    model = context.model or Path(f"<{settings.checkpoint}>")
    folder = Path("<folder in memory>") if settings.shared_prompt_mib else None
    return shlex.join(launch(settings, "llama.cpp", model, 0, context, folder).command)


def build(settings: LlamaCpp, name: str, context: LaunchContext) -> LlamaCppEngine:
    """The engine, not started.

    Raises:
        SpecError: its checkpoint is not on this machine.
    """
    if context.model is None:
        raise SpecError(f"checkpoint {settings.checkpoint!r} is not downloaded; run `tierwise pull` first")
    model = context.model
    template = None if settings.chat_template is None else Path(context.file(settings.chat_template))
    switch = thinking_switch(model, template)
    most_bytes = settings.shared_prompt_mib << 20
    client = SlotClient(
        name,
        slots=settings.launched_slots,
        spare=settings.launched_slots - settings.slots,
        most_bytes=most_bytes,
        translate=partial(DIALECT.translate, switch=switch),
        thinking_off=thinking_off(switch),
    )

    def started(port: int) -> Launch:
        folder = make_folder(most_bytes) if most_bytes else None
        made = launch(settings, name, model, port, context, folder)
        client.begin(f"{made.url}/v1", folder)
        return made

    return LlamaCppEngine(
        name,
        started,
        logs=context.logs,
        client=client,
        facts=lambda _: facts(settings, context),
        capabilities=loaded_capabilities,
    )


def launch(
    settings: LlamaCpp, name: str, model: Path, port: int, context: LaunchContext, folder: Path | None = None
) -> Launch:
    """The launch of the named deployment on a port (0: a free port), which saves its slots in a folder."""
    if settings.binary is None:
        command = worker.command(_worker_settings(settings, name, model, port, context, folder))
    else:
        command = (context.program(settings.binary), *_flags(settings, name, model, port, context, folder))
    return Launch(
        command=command,
        scratch=folder,
        # Threads that busy-wait slow down everything else on the machine.
        environment={"OMP_WAIT_POLICY": "passive", "PYTHONWARNINGS": "", **given(settings.environment)},
        url=f"http://127.0.0.1:{port}",
    )


def _worker_settings(
    settings: LlamaCpp, name: str, model: Path, port: int, context: LaunchContext, folder: Path | None
) -> worker.LlamaCppSettings:
    return worker.LlamaCppSettings(
        model=str(model),
        port=port,
        alias=name,
        context=settings.context,
        slots=settings.launched_slots,
        threads=settings.used_threads,
        cache_type_k=settings.cache_type_k,
        cache_type_v=settings.cache_type_v,
        flash_attention=settings.flash_attention,
        prompt_cache_mib=_cache_mib(settings, folder),
        slot_folder=None if folder is None else str(folder),
        mmproj=settings.mmproj and context.file(settings.mmproj),
        chat_template=settings.chat_template and context.file(settings.chat_template),
        loras={context.file(path): scale for path, scale in settings.loras.items()},
        speculative=_speculation(settings, context),
        rewrite=_rewrite(settings, model),
    )


def _cache_mib(settings: LlamaCpp, folder: Path | None) -> int:
    """Size of the prompts that llama.cpp keeps itself: all of it if it has no folder for those that passes share."""
    return settings.prompt_cache_mib - (settings.shared_prompt_mib if folder is not None else 0)


def _speculation(settings: LlamaCpp, context: LaunchContext) -> Speculation | None:
    wanted = settings.speculative
    return wanted and msgspec.structs.replace(wanted, model=wanted.model and context.file(wanted.model))


def _rewrite(settings: LlamaCpp, model: Path) -> Rewrite | None:
    return rewriting(model, settings.active_experts) if settings.active_experts and model.is_file() else None


def _flags(
    settings: LlamaCpp, name: str, model: Path, port: int, context: LaunchContext, folder: Path | None
) -> list[str]:
    """The flags of an external `llama-server`."""
    flags = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--alias", name]
    slots = settings.launched_slots
    flags += ["--ctx-size", str(settings.context * slots), "--parallel", str(slots)]
    flags += ["--threads", str(settings.used_threads), "--metrics", "--fit", "off", "--no-webui"]
    flags += ["--cache-type-k", settings.cache_type_k, "--cache-type-v", settings.cache_type_v]
    flags += ["--cache-ram", str(_cache_mib(settings, folder))]
    flags += _flag("--slot-save-path", folder)
    if settings.flash_attention is not None:
        flags += ["--flash-attn", "on" if settings.flash_attention else "off"]
    flags += _flag("--n-gpu-layers", settings.gpu_layers)
    flags += _flag("--n-cpu-moe", settings.cpu_expert_layers)
    if settings.moe_cache_mib is not None:
        # At this level, it logs the hit rate of the expert cache when it exits.
        flags += ["--moe-cache-mib", str(settings.moe_cache_mib), "--log-verbosity", "4"]
    if settings.active_experts is not None:
        key = active_experts_key(model) if model.is_file() else "<architecture>.expert_used_count"
        flags += ["--override-kv", f"{key}=int:{settings.active_experts}"]
    for flag, path in (("--mmproj", settings.mmproj), ("--chat-template-file", settings.chat_template)):
        flags += _flag(flag, path and context.file(path))
    for path, scale in settings.loras.items():
        flags += ["--lora-scaled", f"{context.file(path)}:{scale:g}"]
    if (guessing := _speculation(settings, context)) is not None:
        flags += ["--spec-type", guessing.kind, *_flag("--spec-draft-model", guessing.model)]
        tokens, match = _SPECULATION_FLAGS.get(guessing.kind, ("--spec-draft-n-max", ""))
        flags += _flag(tokens, guessing.tokens) + _flag(match, guessing.match)
    return flags


def _flag(name: str, value: object) -> list[str]:
    return [] if value is None else [name, str(value)]
