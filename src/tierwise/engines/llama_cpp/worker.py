"""The process that runs llama.cpp: `python -m tierwise.engines.llama_cpp.worker SETTINGS`, with the settings as JSON.

A separate process, so that a crash in C++ affects one deployment and not the gateway, and a restart frees all memory.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
import shutil
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from tierwise.spec.paths import FilePath

SpeculationKind = Literal[
    "ngram-simple", "ngram-map-k", "ngram-mod", "draft-simple", "draft-mtp", "draft-eagle3", "draft-dflash"
]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

_BLOCK = 4 << 20


class Speculation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Speculative decoding: draft tokens that the model verifies in batches, without changing the answers."""

    kind: SpeculationKind
    """`ngram-…` drafts from earlier text of the same pass; `draft-…` uses a draft model."""
    model: FilePath | None = None
    """Path of the draft model, for the kinds that use one."""
    tokens: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    """Maximum number of draft tokens at a time; default: llama.cpp's."""
    match: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    """Number of tokens that must match earlier text before its continuation is drafted (`ngram-…`)."""


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A copy of the model with one number changed, for what xllamacpp cannot override."""

    folder: str
    """Folder of the copy, which has the model's file name."""
    offset: int
    """Position of the number in the file, in bytes."""
    format: str
    """Format of the number, as for `struct`."""
    value: int
    beside: list[str] = []
    """Other files of a split model, which are linked."""


class LlamaCppSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The settings of one llama.cpp process."""

    model: str
    """Path of a GGUF file."""
    port: int
    host: str = "127.0.0.1"
    alias: str | None = None
    """The model name in its responses."""
    context: Annotated[int, msgspec.Meta(ge=1, le=2**22)] = 4096
    """Context window in tokens *per slot*; the KV cache has `context` × `slots` tokens."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Maximum number of concurrent passes."""
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Default: all cores but one."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Default: as many as the build and the GPU can hold."""
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    """A quantized type needs flash attention."""
    flash_attention: bool | None = None
    """Default: llama.cpp's choice."""
    prompt_cache_mib: Annotated[int, msgspec.Meta(ge=0)] = 1024
    """Memory in MiB for prompts that are no longer in a slot (llama.cpp's default is 8192)."""
    slot_folder: str | None = None
    """Existing folder in which the states of slots are saved."""
    mmproj: str | None = None
    """Path of the projector of a multimodal model."""
    chat_template: str | None = None
    """Path of a Jinja file that replaces the model's chat template."""
    loras: dict[str, float] = {}
    """LoRA adapters, path → scale."""
    speculative: Speculation | None = None
    """A kind that the embedded llama.cpp supports: `ngram-…` or `draft-simple`."""
    rewrite: Rewrite | None = None
    """Serve a copy of the model with one number changed; the copy is made if it does not exist."""


_LOG_SECONDS = 0.3
"""llama.cpp logs in a separate thread; this lets it write its last lines before ours."""


def command(settings: LlamaCppSettings) -> tuple[str, ...]:
    """The command that starts this worker. By path, because `-m` would first import the whole package."""
    return sys.executable, "-P", __file__, msgspec.json.encode(settings).decode()


def main() -> None:
    """Serve until a signal. On failure, our last line says what failed, and llama.cpp's lines before it say why."""
    # SIGTERM keeps its default action, so that it works even while C++ holds the interpreter; SIGINT gets the same.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Busy-waiting OpenMP threads starve everything else on a busy machine (measured: 3 tokens/s instead of 55).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    began = time.monotonic()
    try:
        settings = msgspec.json.decode(sys.argv[1], type=LlamaCppSettings)
    except msgspec.ValidationError as error:
        sys.exit(f"error: {error}")
    server = _serve(settings)
    seconds = time.monotonic() - began
    sys.stderr.write(f"llama.cpp serves {settings.model} at {server.listening_address} after {seconds:.2f} s\n")
    while True:
        signal.pause()


def _serve(settings: LlamaCppSettings) -> Any:
    draft = settings.speculative.model if settings.speculative else None
    for path in filter(None, (settings.model, settings.mmproj, settings.chat_template, draft, *settings.loras)):
        _require_file(Path(path))
    if settings.rewrite:
        settings = msgspec.structs.replace(settings, model=str(_rewritten(Path(settings.model), settings.rewrite)))
    try:
        import xllamacpp  # noqa: PLC0415 - after the environment is set, and only in this process
    except ImportError as error:
        sys.exit(f"error: {error}; install it with: pip install 'tierwise[llama]'")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_most_data_bytes(hard), hard))
    try:
        return xllamacpp.Server(_parameters(settings, xllamacpp))
    except RuntimeError:  # which only says that it failed
        time.sleep(_LOG_SECONDS)
        sys.exit(f"error: llama.cpp cannot serve {settings.model}")
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _rewritten(model: Path, rewrite: Rewrite) -> Path:
    """The copy with the changed number; a file with that name is always complete."""
    copy = Path(rewrite.folder) / model.name
    if not copy.exists():
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.with_name("lock").open("a") as lock:  # two deployments may need the same copy at once
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not copy.exists():
                    _make_copy(model, copy, rewrite)
        except OSError as error:
            sys.exit(
                f"error: cannot copy {model.name} with {rewrite.value} active experts to {copy.parent}:"
                f" {error.strerror}; set TIERWISE_CACHE to a folder with more space, or `binary` to a llama-server,"
                " which needs no copy"
            )
    return copy


def _make_copy(model: Path, copy: Path, rewrite: Rewrite) -> None:
    size = model.stat().st_size
    sys.stderr.write(f"copying {model} ({size / 1e9:.1f} GB) to {copy} with {rewrite.value} active experts\n")
    if size > shutil.disk_usage(copy.parent).free:
        raise OSError(errno.ENOSPC, f"not enough space for {size / 1e9:.1f} GB")
    unfinished = copy.with_name("unfinished")
    sha256 = _copy_changed(model, unfinished, rewrite)
    for name in rewrite.beside:
        link = copy.with_name(name)
        link.unlink(missing_ok=True)
        link.symlink_to(model.with_name(name).absolute())
    note = {"source": str(model.absolute()), "offset": rewrite.offset, "value": rewrite.value, "sha256": sha256}
    copy.with_name("rewritten.json").write_bytes(msgspec.json.encode(note))
    unfinished.rename(copy)


def _copy_changed(model: Path, target: Path, rewrite: Rewrite) -> str:
    """Copy with the number changed. Returns the copy's SHA-256."""
    changed = struct.pack(rewrite.format, rewrite.value)
    digest = hashlib.sha256()
    with model.open("rb") as source, target.open("wb") as file:

        def put(block: bytes) -> None:
            file.write(block)
            digest.update(block)

        put(source.read(rewrite.offset))  # of the header: a few megabytes at most
        source.seek(len(changed), os.SEEK_CUR)
        put(changed)
        while block := source.read(_BLOCK):
            put(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _require_file(path: Path) -> None:
    if path.is_dir():
        sys.exit(f"error: {path} is a directory; a file is needed")
    try:
        path.open("rb").close()
    except OSError as error:
        sys.exit(f"error: cannot read {path}: {error.strerror}")


def _parameters(settings: LlamaCppSettings, xllamacpp: Any) -> Any:
    """The settings as llama.cpp's parameters. `xllamacpp` is the module, which has no types."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings.model
    parameters.hostnames, parameters.port = [settings.host], settings.port
    parameters.model_alias = {settings.alias} if settings.alias else set()
    parameters.n_ctx, parameters.n_parallel = settings.context * settings.slots, settings.slots
    parameters.fit_params = False  # it may silently shrink the context
    parameters.cpuparams.n_threads = settings.threads or max(1, len(os.sched_getaffinity(0)) - 1)
    parameters.n_gpu_layers = -1 if settings.gpu_layers is None else settings.gpu_layers
    parameters.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.cache_type_k.upper()}")
    parameters.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.cache_type_v.upper()}")
    flash = {None: "AUTO", True: "ENABLED", False: "DISABLED"}[settings.flash_attention]
    parameters.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{flash}")
    parameters.cache_ram_mib = settings.prompt_cache_mib
    if settings.slot_folder:
        parameters.slot_save_path = f"{settings.slot_folder}/"  # llama.cpp appends the file's name
    parameters.mmproj.path = settings.mmproj or ""
    if settings.chat_template:
        parameters.chat_template = Path(settings.chat_template).read_text(encoding="utf-8")
    parameters.lora_adapters = [_adapter(path, scale, xllamacpp) for path, scale in settings.loras.items()]
    if settings.speculative:
        _speculate(parameters.speculative, settings.speculative, xllamacpp)
    parameters.endpoint_metrics, parameters.ui = True, False
    parameters.cors_origins = f"http://{settings.host}"  # by default, any web page may send requests to it
    # Each waiting request occupies a thread: with few threads, 20 requests at 2 slots blocked /health for 6 s.
    parameters.n_threads_http = settings.slots + 64
    parameters.verbosity = 2  # errors and warnings; the next level writes a dozen lines per request
    return parameters


def _speculate(parameters: Any, wanted: Speculation, xllamacpp: Any) -> None:
    kind = wanted.kind.replace("-", "_")
    parameters.types = [getattr(xllamacpp.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{kind.upper()}")]
    if wanted.model:
        parameters.draft.mparams.path = wanted.model
    guessing = parameters.draft if kind.startswith("draft") else getattr(parameters, kind)
    tokens, match = {"ngram_simple": ("size_m", "size_n"), "ngram_map_k": ("size_m", "size_n")}.get(
        kind, ("n_max", "n_match")
    )
    if wanted.tokens is not None:
        setattr(guessing, tokens, wanted.tokens)
        if kind == "ngram_mod":  # its default minimum is 48, which may be more
            guessing.n_min = min(guessing.n_min, wanted.tokens)
    if wanted.match is not None:
        setattr(guessing, match, wanted.match)


def _adapter(path: str, scale: float, xllamacpp: Any) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = path, scale
    return adapter


def _most_data_bytes(hard: int) -> int:
    """Limit of allocations while loading: the available memory.

    A KV cache that does not fit then fails with llama.cpp's error. Without the limit, the kernel would grant the memory
    and kill some process once it is used.
    """
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    free = 1024 * sum(int(memory[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    control_group = Path("/sys/fs/cgroup/memory.max")
    if control_group.exists() and (limit := control_group.read_text(encoding="ascii").strip()) != "max":
        free = min(free, int(limit))
    return free if hard == resource.RLIM_INFINITY else min(free, hard)


if __name__ == "__main__":
    main()
