"""The tiers fast, standard and max and the route auto, as far as an engine can carry them, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tierwise.setup.draft import comment
from tierwise.spec.flow import inline

VOTES = 3
"""Of `standard`, where it cannot think."""
MOST_VOTES, CANDIDATES = 5, 4
"""Of `max`, by `majority` or by `best_of_n`."""
_THINKING_TOKENS = 1024
"""After which `standard` ends thinking, where that can be told and the context leaves room for it."""

_WARM = 0.7
_SECONDS, _THINKING_SECONDS = 600, 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a tier can stand on; each "no" with what was seen, for the comment beside it."""

    takes_temperature: bool = True
    alike: str = ""
    """Why draws are taken to be all alike; empty where they differ."""
    unrepeatable: bool = False
    """Whether greedy answers were seen to differ."""
    no_logprobs: str = ""
    """Why there are none; empty where there are."""
    no_logprobs_with_tools: str = ""
    """Why there are none beside tools, where it takes tools; empty where there are."""
    on: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `sampling` that make it think; none where no way is known."""
    off: Mapping[str, Any] = field(default_factory=dict)
    """Fields that make it answer at once."""
    cap: Mapping[str, Any] = field(default_factory=dict)
    """Fields that end thinking early."""
    thinking_tokens: int = 0
    """After how many tokens those do."""
    thinks_anyway: bool = False
    """Whether it thinks, and nothing that is known ends that."""
    is_serial: bool = False
    """Whether it answers one request at a time."""

    def sampling(self, temperature: float | None, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What a tier sets."""
        heat = {"temperature": temperature} if self.takes_temperature and temperature is not None else {}
        return {**heat, **fields}


def thinking_tokens(context: int | None) -> int:
    """How long `standard` may think: at most a quarter of the context."""
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
        "A request that brings a verifier climbs these until an answer is accepted; one without goes to max.", "  "
    )
    yield "  auto: {cascade: [fast, standard, max]}"


def _fast(can: Abilities, deployment: str) -> Iterator[str]:
    said = "One pass, streamed as it comes."
    if can.off:
        said += " It does not think."
    elif can.thinks_anyway:
        said += " The model thinks all the same: no switch that we know ends that."
    if can.unrepeatable:
        said += " Asked twice the same, this server gave two answers, even at temperature 0."
    yield from _tier("fast", said, deployment, "single", can.sampling(0, can.off))


def _standard(can: Abilities, deployment: str) -> Iterator[str]:
    if can.on:
        said = f"One pass that thinks{f', for {can.thinking_tokens} tokens at most' if can.cap else ''}."
        yield from _tier("standard", said, deployment, "single", can.sampling(_WARM, {**can.on, **can.cap}))
    elif can.alike:
        said = f"One pass as the server samples by itself. Votes would decide nothing: {can.alike}."
        yield from _tier("standard", said, deployment, "single", {})
    else:
        said = f"Up to {VOTES} answers, of which the most frequent wins; drawing stops once it is settled."
        yield from _tier("standard", said, deployment, {"majority": {"n": VOTES}}, can.sampling(_WARM, {}))


def _max(can: Abilities, deployment: str) -> Iterator[str]:
    thinking = " Each pass thinks" + (" as long as it wants." if can.cap else ".") if can.on else ""
    serial = (
        " This server runs the passes one after the other, so it takes as many times as long." if can.is_serial else ""
    )
    policy: str | dict[str, Any]
    if can.alike:
        passes, policy = 3, "refine"
        said = f"A draft, a critique of it and a new answer: several draws would be all alike here ({can.alike})."
    elif can.no_logprobs:
        passes, policy = MOST_VOTES, {"majority": {"n": MOST_VOTES}}
        said = (
            f"Up to {MOST_VOTES} answers, of which the most frequent wins. Not best_of_n, which asks for"
            f" log-probabilities and picks by them where a request brings no verifier ({can.no_logprobs})."
        )
    else:
        passes, policy = CANDIDATES, {"best_of_n": {"n": CANDIDATES}}
        said = (
            f"Up to {CANDIDATES} answers, of which the request's verifier picks one; where it brings none, the"
            " likeliest by log-probability."
        )
        if can.no_logprobs_with_tools:
            said += (
                " Requests that offer tools fail here, since log-probabilities are not to be had beside them"
                f" ({can.no_logprobs_with_tools}): send those to standard."
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
