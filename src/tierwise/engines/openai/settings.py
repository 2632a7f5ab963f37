"""A deployment on a server that is already running, in the config file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec

from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.openai.request import MULTIPLIERS
from tierwise.engines.settings import BaseSettings, Remote

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


_DROP_COSTS = {
    "seed": "answers cannot be repeated, and passes of a policy differ by chance alone",
    "stream": "the server does not stream: users see no words before the answer is complete, and a pass that is aborted"
    " or cut has no token counts (exact: false)",
    "stream_options": "streams end without usage: completion tokens are estimated from the chunks, prompt tokens are"
    " unknown, and answers have exact: false",
    "logprobs": "best_of_n cannot score by log-probabilities, and clients that request them get none",
    "top_logprobs": "clients that request alternatives of tokens get none",
    "temperature": "the server's own temperature applies to every tier, and votes may all be alike",
    "top_p": "the server's own top_p applies to every tier",
    "stop": "answers do not stop at the client's stop strings",
    "max_tokens": "the server does not limit answers; a tier's token budget is kept by closing the stream",
    "max_completion_tokens": "the server does not limit answers; a tier's token budget is kept by closing the stream",
    "response_format": "the server does not constrain answers to JSON; a verifier still checks the schema",
    "tools": "no answer calls a tool, and clients that offer tools are not told",
    "tool_choice": "the server decides whether a tool is called",
    "parallel_tool_calls": "the server decides how many tools are called at once",
}
"""By name of a field: the consequence of never sending it."""


class Http(BaseSettings, frozen=True, kw_only=True, tag="http", tag_field="engine"):
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
    extra: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it
    """Fields to send with every request; they override the client's."""
    drop: tuple[str, ...] = ()
    """Names of fields never sent, whoever sets them, because the server refuses them. `check` says what each costs."""

    @property
    def remote(self) -> Remote:
        return Remote(self.url, self.model)

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:  # noqa: ARG002 - it loads none
        yield from validate_url(self.url)
        for name in MULTIPLIERS & self.extra.keys():
            yield "extra", f"{name} would start passes that are not counted; use a policy that draws several"
        for name in self.drop:
            if name in ("model", "messages"):
                yield "drop", f"a request needs {name}; remove it from the list"
            elif name in self.extra:
                yield "drop", f"{name} is also set under `extra`; remove one of the two"

    def notes(self) -> Iterable[str]:
        """What `drop` costs, one sentence for each field."""
        for name in self.drop:
            yield f"drop {name}: {_DROP_COSTS.get(name, 'requests that set it are answered without it')}"

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        return DIALECT.unsupported(sampling, knows_checkpoint=False)


def validate_url(url: str) -> Iterable[Problem]:
    """What is wrong with the base URL of a server."""
    if url.rstrip("/").endswith("/chat/completions"):
        yield "url", f"{url!r} is the URL of an endpoint; give the base URL that ends in /v1"
    if "@" in urlsplit(url).netloc:
        yield "url", "contains a user name or password; set `api_key_env` to the environment variable with the key"
