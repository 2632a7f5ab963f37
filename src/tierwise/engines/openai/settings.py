"""How a deployment on a server that runs already is written in the config file."""

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
        "servers differ in it; set the field that this one has under `extra`",
    ),
)


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="http", tag_field="engine"):
    """Any OpenAI-compatible server that runs already: vLLM, SGLang, llama-server, TGI, Ollama, a hosted one."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$")]
    """Where it answers, with its `/v1`. HTTPS_PROXY, HTTP_PROXY and NO_PROXY hold for a remote one."""
    model: str = "default"
    """What it calls the model."""
    api_key_env: str | None = None
    """The environment variable that holds its key; keys never stand in the file."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    """At most so many passes of one action run there side by side."""
    silent_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """A pass is given up after that long without a byte from it."""
    extra: dict[str, Any] = {}
    """Fields to send with every request, whatever the client sends: what this server wants to be told."""

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
            yield "extra", f"{name} would start passes that nobody counts; draw several by a policy"

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        return DIALECT.unsupported(sampling, knows_checkpoint=False)


def validate_url(url: str) -> Iterable[Problem]:
    """What is wrong with the base URL of a server."""
    if url.rstrip("/").endswith("/chat/completions"):
        yield "url", f"{url!r} names one endpoint; give the base that ends in /v1"
    if "@" in urlsplit(url).netloc:
        yield "url", "it holds a user name or password; name the variable that holds the key under `api_key_env`"
