"""A deployment on a server that is already running, in the config file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec

from tierwise.engines.openai.client import MULTIPLIERS
from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.settings import Remote

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.engines.settings import Problem
    from tierwise.spec.sampling import Sampling

DIALECT = Dialect(
    engine="http",
    advice=dict.fromkeys(
        ("thinking_tokens", "active_experts", "priority"),
        "differs between servers; set this server's field under `extra`",
    ),
)


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="http", tag_field="engine"):
    """Any OpenAI-compatible server that is already running: vLLM, SGLang, llama-server, TGI, Ollama, a hosted one."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$")]
    """Base URL, including `/v1`. HTTPS_PROXY, HTTP_PROXY and NO_PROXY apply to remote servers."""
    model: str = "default"
    """The server's name for the model."""
    api_key_env: str | None = None
    """Environment variable with the API key. The config file never contains keys."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    """Maximum number of concurrent passes of one action."""
    silent_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """A pass is aborted after this many seconds without a byte from the server."""
    extra: dict[str, Any] = {}
    """Fields to send with every request; they override the client's."""

    @property
    def context(self) -> None:
        return None

    @property
    def loads(self) -> None:
        return None

    @property
    def remote(self) -> Remote:
        return Remote(self.url, self.model)

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:  # noqa: ARG002 - it loads none
        yield from validate_url(self.url)
        for name in MULTIPLIERS & self.extra.keys():
            yield "extra", f"{name} would start passes that are not counted; use a policy that draws several"

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        return DIALECT.unsupported(sampling, knows_checkpoint=False)


def validate_url(url: str) -> Iterable[Problem]:
    """What is wrong with the base URL of a server."""
    if url.rstrip("/").endswith("/chat/completions"):
        yield "url", f"{url!r} is the URL of an endpoint; give the base URL that ends in /v1"
    if "@" in urlsplit(url).netloc:
        yield "url", "contains a user name or password; set `api_key_env` to the environment variable with the key"
