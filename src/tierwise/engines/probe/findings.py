"""What a probe found out about a server, and what that means; kept in the cache folder by URL and model."""

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

Verdict = Literal["yes", "no", "unseen"]
"""It does · it does not · that could not be seen, for the reason in the finding."""

TRAITS: Mapping[str, str] = {
    "temperature": "takes a temperature, and draws differ at a high one",
    "seed": "same seed, same text; another seed, another text",
    "greedy": "same text twice at temperature 0",
    "stop": "ends at `stop`",
    "max_tokens": "ends at `max_tokens`, and says `length`",
    "n": "draws n choices, and counts them all",
    "logprobs": "gives logprobs",
    "stream_usage": "ends a stream with its usage",
    "cached_tokens": "tells cached tokens",
    "tools": "takes tools",
    "logprobs_with_tools": "gives logprobs beside tools, in a stream",
    "json_schema": "holds to a JSON schema",
    "unknown_fields": "takes fields that it does not know",
    "thinking": "thinks, or not, as a request says",
    "thinking_tokens": "ends thinking at a number of tokens",
    "reasoning": "tells thinking apart",
    "side_by_side": "answers several requests side by side",
    "too_long": "says that a prompt is too long",
    "abort": "stops when its client leaves",
}
"""What is asked, in this order."""

_MEANS: Mapping[str, str] = {
    "temperature": "draws no different answers: votes and candidates are all alike",
    "seed": "ignores seeds: draws are not reproducible",
    "greedy": "does not repeat itself at temperature 0: greedy answers are not reproducible",
    "stop": "ignores `stop`",
    "max_tokens": "does not keep to `max_tokens`: a budget of tokens does not hold there",
    "logprobs": "gives no logprobs: nothing can be told from an answer's confidence",
    "stream_usage": "sends no usage in streams: tokens are counted by the chunks that arrive, and marked as not exact",
    "cached_tokens": "does not report cached tokens: prompts cost as uncached",
    "tools": "takes no tools",
    "logprobs_with_tools": "gives no logprobs beside tools, and best_of_n asks for them always",
    "json_schema": "does not hold to a JSON schema: only a verifier does",
    "unknown_fields": "refuses fields that it does not know",
    "too_long": "does not say that a prompt is too long in words that we know",
    "side_by_side": "answers one request at a time: the passes of a policy run one after the other",
    "abort": "works on when its client leaves: a pass that is cut goes on costing",
}
"""What a "no" means to who runs a tier there. `n` means nothing, since a pass is one completion; nor does a model
that does not think."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Of one trait."""

    verdict: Verdict
    note: str = ""
    """What was seen."""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is told to think with a request."""

    on: dict[str, Any]
    """Fields of a request that make it think."""
    off: dict[str, Any]
    """Fields that make it answer at once."""
    cap: str = ""
    """The field that ends thinking at a number of tokens; empty where none was found."""
    is_inside: bool = False
    """Whether thinking comes as a part of the answer's text, and not in a field of its own."""


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """One probe of one server."""

    url: str
    model: str
    server: str
    """Its name in `quirks.SERVERS`; empty where it is none of them."""
    version: str
    date: str
    """ISO, of the day."""
    findings: dict[str, Finding]
    """By trait."""
    models: list[str] = []
    """All that it lists."""
    context: int | None = None
    """Tokens that one request may hold; None where it does not say."""
    slots: int | None = None
    """Requests that it answers side by side; None where it does not say, and as many were as were tried."""
    switch: Switch | None = None
    """How it is told to think; None where no way was seen to work."""
    is_whole: bool = True
    """False where it stopped answering in the middle of the probe."""

    def verdict(self, trait: str) -> Verdict:
        """What was seen of a trait."""
        return self.findings.get(trait, _UNSEEN).verdict

    def notes(self) -> Iterator[str]:
        """What to know before a tier runs there: what it was seen not to do, and what its kind is known for."""
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
        """What the server can do with a request, as far as it was seen. Not whether it can end thinking: the field for
        that is the engine's (`Dialect`).
        """
        both = self._seen("logprobs_with_tools")
        if both is None and False in (self._seen("logprobs"), self._seen("tools")):
            both = False
        return Capabilities(logprobs_with_tools=both, n=self._seen("n"), seed=self._seen("seed"))

    def _seen(self, trait: str) -> bool | None:
        return {"yes": True, "no": False}.get(self.findings.get(trait, _UNSEEN).verdict)


_UNSEEN = Finding(verdict="unseen")


def remember(probed: Probed) -> Path:
    """Keep the result of a probe in place of an earlier one; returns the file."""
    path = _place(probed.url, probed.model)
    write_whole(path, msgspec.json.format(msgspec.json.encode(probed)).decode())
    return path


def remembered(url: str, model: str) -> Probed | None:
    """The last probe of a server; None where there was none, or where it can no longer be read."""
    try:
        return msgspec.json.decode(_place(url, model).read_bytes(), type=Probed)
    except (OSError, msgspec.DecodeError):
        return None


def remembered_capabilities(remote: Remote | None) -> Capabilities:
    """What the last probe of a server saw that it can do; nothing where there was none."""
    probed = None if remote is None else remembered(remote.url, remote.model)
    return Capabilities() if probed is None else probed.capabilities


def _place(url: str, model: str) -> Path:
    return cache_folder() / "servers" / f"{short_digest(url.rstrip('/'), model)}.json"
