"""Servers with OpenAI's API, as data: how to recognise each, and where it deviates from what clients expect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.engines.openai.wire import LLAMA_CPP_COUNTS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """One deviation of a server."""

    trait: str
    """A key of `probe.findings.TRAITS`."""
    says: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One kind of server."""

    name: str
    owned_by: str = ""
    """The value of `owned_by` in `/v1/models`."""
    header: str = ""
    """A response header that only this server sends."""
    served_by: str = ""
    """Prefix of its header `server`."""
    page: str = ""
    """Path of a page, from the root …"""
    page_says: str = ""
    """… and text on that page."""
    version: tuple[str, str] = ("", "")
    """Path of the page with its version, and the key on it."""
    engine: str = ""
    """The engine that launches such a server, by its name in the config file; empty if none does."""
    at_url: str = "http"
    """The engine of a deployment that connects to a running one."""
    extra: Mapping[str, bool] = field(default_factory=dict)
    """Fields to send with every request, so that it reports the counts that the ledger needs."""
    quirks: tuple[Quirk, ...] = field(default=())


SERVERS: tuple[Server, ...] = (
    # Proxies come first, because they forward the names of other servers.
    Server(
        name="LiteLLM",
        header="x-litellm-call-id",
        quirks=(
            Quirk(
                trait="abort",
                says="retries and falls back by itself, so one pass here may be several there",
                source="LiteLLM 1.106.2, header x-litellm-attempted-retries",
            ),
        ),
    ),
    Server(name="Tierwise", owned_by="tierwise"),
    Server(
        name="vLLM",
        owned_by="vllm",
        version=("/version", "version"),
        engine="vllm",
        at_url="vllm",
        quirks=(
            Quirk(
                trait="cached_tokens",
                says="reports cached tokens only with --enable-prompt-tokens-details",
                source="vLLM 0.32.0, entrypoints/openai/cli_args.py",
            ),
            Quirk(
                trait="n",
                says="refuses n above 1 at temperature 0",
                source="vLLM 0.32.0, sampling_params.py",
            ),
            Quirk(
                trait="reasoning",
                says="calls thinking `reasoning`, not `reasoning_content`",
                source="vLLM 0.32.0, entrypoints/openai/chat_completion/protocol.py",
            ),
        ),
    ),
    Server(
        name="SGLang",
        owned_by="sglang",
        version=("/server_info", "version"),
        engine="sglang",
        at_url="sglang",
        quirks=(
            Quirk(
                trait="cached_tokens",
                says="reports cached tokens only with --enable-cache-report",
                source="SGLang 0.5.23, srt/arg_groups/fields/serving.py",
            ),
        ),
    ),
    Server(
        name="llama.cpp",
        owned_by="llamacpp",
        served_by="llama.cpp",
        page="/props",
        page_says="default_generation_settings",
        version=("/props", "build_info"),
        engine="llama.cpp",
        extra=LLAMA_CPP_COUNTS,
        quirks=(
            Quirk(
                trait="n",
                says="counts the tokens of one choice only, and returns at most as many choices as it has slots",
                source="ggml-org/llama.cpp#27318; b11549",
            ),
            Quirk(
                trait="unknown_fields",
                says="ignores `priority` and other fields that it does not know",
                source="llama.cpp b11549",
            ),
        ),
    ),
    Server(
        name="TGI",
        page="/info",
        page_says="max_total_tokens",
        version=("/info", "version"),
        quirks=(
            Quirk(
                trait="too_long",
                says="refuses prompt and max_tokens together when they do not fit (422), not the prompt alone",
                source="text-generation-inference, router/src/validation.rs (`inputs` tokens + `max_new_tokens`)",
            ),
        ),
    ),
    Server(
        name="Ollama",
        owned_by="library",
        page="/",
        page_says="Ollama is running",
        version=("/api/version", "version"),
        quirks=(
            Quirk(
                trait="too_long",
                says="cuts a prompt that is longer than `num_ctx` (default: 4,096 tokens) at its beginning, and "
                "answers the rest with a 200; its OpenAI endpoint cannot change `num_ctx`",
                source="ollama/ollama#3839, #14259; docs/api/openai-compatibility.mdx",
            ),
            Quirk(
                trait="n",
                says="ignores `n`",
                source="ollama, docs/api/openai-compatibility.mdx",
            ),
        ),
    ),
    Server(
        name="Triton",
        owned_by="Triton Inference Server",
        quirks=(
            Quirk(
                trait="max_tokens",
                says="ends a stream that max_tokens cut with `stop` instead of `length`, so it looks complete",
                source="triton-inference-server/server, python/openai/openai_frontend/engine/triton_engine.py",
            ),
            Quirk(
                trait="n",
                says="refuses n above 1",
                source="triton-inference-server/server, python/openai/openai_frontend/engine/triton_engine.py",
            ),
            Quirk(
                trait="logprobs",
                says="refuses logprobs on every backend but vLLM's",
                source="triton-inference-server/server, python/openai/openai_frontend/engine/triton_engine.py",
            ),
        ),
    ),
)
"""In the order in which they are checked."""


def known_as(*, owned_by: str, headers: Mapping[str, str], pages: Mapping[str, str]) -> Server | None:
    """The kind of server with these responses; None if it is unknown.

    Args:
        owned_by: of its first model.
        headers: of a response, with lower-case names.
        pages: texts of those identifying pages that it has.
    """
    for server in SERVERS:
        if server.header and server.header in headers:
            return server
        if server.owned_by and server.owned_by == owned_by:
            return server
        if server.served_by and headers.get("server", "").startswith(server.served_by):
            return server
        if server.page_says and server.page_says in pages.get(server.page, ""):
            return server
    return None


def server_named(name: str) -> Server | None:
    """The kind of server with this name; None if there is none."""
    return next((server for server in SERVERS if server.name == name), None)
