"""Results of a probe and their consequences; stored in the cache folder by URL and model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tierwise.catalog.cache import cache_folder, short_digest, write_whole
from tierwise.engines.openai.quirks import server_named
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tierwise.engines.settings import Remote
    from tierwise.spec.json import Fields

Verdict = Literal["yes", "no", "unseen"]
"""yes: observed · no: observed not to · unseen: could not be observed; the finding has the reason."""

TRAITS: Mapping[str, str] = {
    "temperature": "supports temperature: draws differ at a high one",
    "seed": "same seed, same text; different seed, different text",
    "greedy": "repeats its text at temperature 0",
    "stop": "stops at `stop`",
    "max_tokens": "stops at `max_tokens` with finish reason `length`",
    "n": "returns n choices and counts all of them",
    "logprobs": "returns logprobs",
    "stream_usage": "sends usage at the end of a stream",
    "cached_tokens": "reports cached tokens",
    "tools": "supports tools",
    "tools_shown": "shows tools to the model",
    "logprobs_with_tools": "returns logprobs together with tools in a stream",
    "json_schema": "follows a JSON schema",
    "unknown_fields": "accepts unknown fields",
    "thinking": "has a thinking switch per request",
    "thinking_tokens": "limits thinking tokens",
    "reasoning": "separates thinking from the answer",
    "side_by_side": "answers several requests concurrently",
    "too_long": "reports that a prompt is too long",
    "abort": "aborts when its client disconnects",
}
"""The traits that are probed, in this order."""

_MEANS: Mapping[str, str] = {
    "temperature": "all draws are equal: so are votes and candidates",
    "seed": "ignores seeds: draws are not reproducible",
    "greedy": "differs at temperature 0: greedy answers are not reproducible",
    "stop": "ignores `stop`",
    "max_tokens": "exceeds `max_tokens`: token budgets are not enforced",
    "logprobs": "returns no logprobs: the confidence of an answer is unknown",
    "stream_usage": "sends no usage in streams: tokens are estimated from chunks and marked as not exact",
    "cached_tokens": "does not report cached tokens: prompts are priced as uncached",
    "tools": "does not support tools",
    "tools_shown": "accepts tools and does not show them to the model: a required tool call is refused",
    "logprobs_with_tools": "returns no logprobs together with tools: best_of_n draws candidates without them",
    "json_schema": "does not follow a JSON schema: only a verifier enforces it",
    "unknown_fields": "rejects unknown fields",
    "thinking_tokens": "does not limit thinking: `thinking_tokens` has no effect, and answers may be lost to it",
    "too_long": "does not report in a known form that a prompt is too long",
    "side_by_side": "answers one request at a time: the passes of a policy run sequentially",
    "abort": "continues when its client disconnects: aborted passes still cost",
}
"""The consequence of a "no" for tiers on this server. `n` has none, because a pass is one completion, nor has a model
without thinking."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one trait."""

    verdict: Verdict
    note: str = ""
    """What was observed."""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """A server's thinking switch, set per request."""

    on: dict[str, Any]
    """Request fields that turn thinking on."""
    off: dict[str, Any]
    """Request fields that turn thinking off."""
    cap: str = ""
    """The request field that limits thinking tokens, as in `thinking.CAPS`; empty if none was found."""
    is_inside: bool = False
    """Whether thinking is part of the answer's text, not a separate field."""


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """One probe of one server."""

    url: str
    model: str
    server: str
    """Its name in `quirks.SERVERS`; empty if unknown."""
    version: str
    date: str
    """The date in ISO format."""
    findings: dict[str, Finding]
    """By trait."""
    models: list[str] = []
    """All models that it lists."""
    context: int | None = None
    """Context window in tokens; None if not reported."""
    slots: int | None = None
    """Requests that it answers concurrently; None if not reported and all that were tried ran concurrently."""
    switch: Switch | None = None
    """Its thinking switch; None if none was found."""
    is_whole: bool = True
    """False if it stopped answering during the probe."""

    def verdict(self, trait: str) -> Verdict:
        """The verdict on a trait."""
        return self.findings.get(trait, _UNSEEN).verdict

    def notes(self) -> Iterator[str]:
        """Consequences for tiers on this server: from its findings, and from the known quirks of its kind."""
        for trait, means in _MEANS.items():
            finding = self.findings.get(trait)
            if finding is not None and finding.verdict == "no":
                yield f"{means} ({finding.note})" if finding.note else means
        server = server_named(self.server)
        for quirk in server.quirks if server is not None else ():
            if quirk.trait in _MEANS and self.findings.get(quirk.trait, _UNSEEN).verdict == "unseen":
                yield f"{quirk.says} [{quirk.source}]"

    @property
    def capabilities(self) -> Capabilities:
        """The observed capabilities, without `thinking_end`, whose field depends on the engine (`Dialect`)."""
        both = self._seen("logprobs_with_tools")
        if both is None and False in (self._seen("logprobs"), self._seen("tools")):
            both = False
        return Capabilities(
            tools=self._seen("tools_shown"), logprobs_with_tools=both, n=self._seen("n"), seed=self._seen("seed")
        )

    def _seen(self, trait: str) -> bool | None:
        return {"yes": True, "no": False}.get(self.findings.get(trait, _UNSEEN).verdict)


_UNSEEN = Finding(verdict="unseen")


def remember(probed: Probed) -> Path:
    """Store the result of a probe, replacing an earlier one. Returns the file."""
    path = _place(probed.url, probed.model)
    write_whole(path, msgspec.json.format(msgspec.json.encode(probed)).decode())
    return path


def remembered(url: str, model: str) -> Probed | None:
    """The last probe of a server; None if there is none or it cannot be read."""
    try:
        return msgspec.json.decode(_place(url, model).read_bytes(), type=Probed)
    except (OSError, msgspec.DecodeError):
        return None


def remembered_capabilities(remote: Remote | None) -> Capabilities:
    """The capabilities that the last probe of a server observed; all unknown if there is none."""
    probed = None if remote is None else remembered(remote.url, remote.model)
    return Capabilities() if probed is None else probed.capabilities


def remembered_thinking_off(remote: Remote | None) -> Fields | None:
    """The request fields that turn thinking off, as the last probe of a server found; None if it found none."""
    probed = None if remote is None else remembered(remote.url, remote.model)
    return None if probed is None or probed.switch is None else probed.switch.off


def _place(url: str, model: str) -> Path:
    return cache_folder() / "servers" / f"{short_digest(url.rstrip('/'), model)}.json"
