"""The tiers fast, standard and max and the route auto, as far as an engine supports them, with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tierwise.setup.draft import comment
from tierwise.spec.flow import inline

VOTES = 3
"""Votes of `standard` if the model cannot think."""
MOST_VOTES, CANDIDATES = 5, 4
"""Draws of `max`, with `majority` or `best_of_n`."""
_THINKING_TOKENS = 1024
"""Thinking cap of `standard`, if supported and the context has room for it."""

_WARM = 0.7
_SECONDS, _THINKING_SECONDS = 600, 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """The features that tiers can use; each missing one with the observation, for a comment."""

    takes_temperature: bool = True
    alike: str = ""
    """Why draws are considered identical; empty if they differ."""
    unrepeatable: bool = False
    """Whether greedy answers differed."""
    no_logprobs: str = ""
    """Why there are no log-probabilities; empty if there are."""
    on: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `sampling` that enable thinking; empty if unknown."""
    off: Mapping[str, Any] = field(default_factory=dict)
    """Fields that disable thinking."""
    cap: Mapping[str, Any] = field(default_factory=dict)
    """Fields that cap thinking."""
    thinking_tokens: int = 0
    """The cap, in tokens."""
    thinks_anyway: bool = False
    """Whether it always thinks, without a known switch."""
    is_serial: bool = False
    """Whether it answers one request at a time."""

    def sampling(self, temperature: float | None, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The `sampling` of a tier."""
        heat = {"temperature": temperature} if self.takes_temperature and temperature is not None else {}
        return {**heat, **fields}


def thinking_tokens(context: int | None) -> int:
    """The thinking cap of `standard`: at most a quarter of the context."""
    return min(_THINKING_TOKENS, (context or 4 * _THINKING_TOKENS) // 4)


def tier_lines(can: Abilities, deployment: str) -> Iterator[str]:
    """The sections `tiers` and `routes` of a config file."""
    yield "tiers:"
    yield from _fast(can, deployment)
    yield from _standard(can, deployment)
    yield from _max(can, deployment)
    yield ""
    yield "routes:"
    yield from comment(
        "A request with a verifier tries these in order until an answer is accepted; one without goes to max.", "  "
    )
    yield "  auto: {cascade: [fast, standard, max]}"


def _fast(can: Abilities, deployment: str) -> Iterator[str]:
    said = "One pass, streamed as it comes."
    if can.off:
        said += " It does not think."
    elif can.thinks_anyway:
        said += " The model still thinks: no known switch disables that."
    if can.unrepeatable:
        said += " This server gave different answers to the same request, even at temperature 0."
    yield from _tier("fast", said, deployment, "single", can.sampling(0, can.off))


def _standard(can: Abilities, deployment: str) -> Iterator[str]:
    if can.on:
        said = f"One pass that thinks{f', for {can.thinking_tokens} tokens at most' if can.cap else ''}."
        yield from _tier("standard", said, deployment, "single", can.sampling(_WARM, {**can.on, **can.cap}))
    elif can.alike:
        said = f"One pass with the server's default sampling. Votes would be identical: {can.alike}."
        yield from _tier("standard", said, deployment, "single", {})
    else:
        said = f"Up to {VOTES} answers, of which the most frequent wins; drawing stops once the result is settled."
        yield from _tier("standard", said, deployment, {"majority": {"n": VOTES}}, can.sampling(_WARM, {}))


def _max(can: Abilities, deployment: str) -> Iterator[str]:
    thinking = " Each pass thinks" + (" as long as it wants." if can.cap else ".") if can.on else ""
    serial = " This server runs the passes sequentially, so it takes that many times as long." if can.is_serial else ""
    policy: str | dict[str, Any]
    if can.alike:
        passes, policy = 3, "refine"
        said = f"A draft, a critique of it and a new answer: several draws would be identical here ({can.alike})."
    elif can.no_logprobs:
        passes, policy = MOST_VOTES, {"majority": {"n": MOST_VOTES}}
        said = (
            f"Up to {MOST_VOTES} answers, of which the most frequent wins. Not best_of_n, which needs"
            f" log-probabilities to pick if a request has no verifier ({can.no_logprobs})."
        )
    else:
        passes, policy = CANDIDATES, {"best_of_n": {"n": CANDIDATES}}
        said = (
            f"Up to {CANDIDATES} answers, of which the request's verifier picks one; without a verifier, the"
            " most likely by log-probability."
        )
    seconds = _THINKING_SECONDS if can.on or can.thinks_anyway else _SECONDS
    heat = None if can.alike else _WARM
    yield from _tier("max", said + thinking + serial, deployment, policy, can.sampling(heat, can.on))
    yield f"    budget: {inline({'passes': passes, 'seconds': seconds})}"


def _tier(
    name: str, said: str, deployment: str, policy: str | dict[str, Any], sampling: Mapping[str, Any]
) -> Iterator[str]:
    yield f"  {name}:"
    yield from comment(said, "    ")
    yield f"    deployment: {deployment}"
    yield f"    policy: {policy if isinstance(policy, str) else inline(policy)}"
    if sampling:
        yield f"    sampling: {inline(dict(sampling))}"
