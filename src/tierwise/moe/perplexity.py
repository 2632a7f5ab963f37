"""How well a deployment predicts texts, through the engine as it serves: perplexity, paired between tiers.

Task quality is the measure that decides; this one is steadier, since every token of a text counts and not every task.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.engines.engine import AnswersWhole
from tierwise.service import launched
from tierwise.spec.call import Call
from tierwise.spec.errors import EngineError, Garbled, Refused, SpecError
from tierwise.spec.files import read_text
from tierwise.spec.prompt import Prompt
from tierwise.stats import estimates
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tierwise.plan import Plan
    from tierwise.run import Tier
    from tierwise.workloads.files import Workload

WINDOW = 2000
"""Characters of a text that are read at a time: some 500 tokens, which fits any context and is one observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """Something to predict."""

    name: str
    cluster: str
    """What it shares with other texts; its name where it stands alone."""
    messages: Sequence[dict[str, Any]]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a tier thought of one text."""

    tier: str
    text: str
    cluster: str
    tokens: int
    """Of the prompt as the chat template writes it, but the first, which nothing stands before."""
    nats: float
    """Their surprise, -ln p, added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """One tier's."""

    tier: str
    value: Estimate
    """The exponential of the mean surprise of a token; the interval is over texts, or over clusters of them."""
    times: Estimate | None
    """Over that of the tier that all are held against, on the same texts; None for that tier itself."""


def windows(path: Path) -> list[PromptText]:
    """A file in pieces of `WINDOW` characters, each as the words of a user.

    Raises:
        SpecError: it cannot be read, or has less than two pieces.
    """
    whole = read_text(path, "text", field="--text")
    pieces = [whole[begin : begin + WINDOW] for begin in range(0, len(whole), WINDOW)]
    if len(pieces) < 2:
        raise SpecError(
            f"{path} has {len(whole)} characters; from {WINDOW + 1} on there are two windows, and an interval",
            field="--text",
        )
    return [
        PromptText(name=f"{number}", cluster=f"{number}", messages=[{"role": "user", "content": piece}])
        for number, piece in enumerate(pieces)
    ]


def prompts(workload: Workload) -> list[PromptText]:
    """The conversations of a workload's tasks, examples and all, without the answers."""
    return [
        PromptText(name=task.id, cluster=task.cluster or task.id, messages=task.messages) for task in workload.tasks
    ]


async def read(
    tiers: Sequence[Tier], texts: Sequence[PromptText], *, concurrency: int, told: Callable[[int], None]
) -> list[Seen] | None:
    """What every tier thinks of every text, on engines that run.

    Args:
        tiers: their request levers count, their policies do not.
        texts: what is read.
        concurrency: passes under way at any moment.
        told: hears how many are done.

    Returns:
        None where an engine does not tell log-probabilities of prompts.

    Raises:
        EngineError: a pass failed.
    """
    engines = {tier.name: tier.deployment.engine for tier in tiers}
    gate, done = asyncio.Semaphore(concurrency), 0

    async def one(tier: Tier, text: PromptText) -> Seen | None:
        nonlocal done
        engine = engines[tier.name]
        if not isinstance(engine, AnswersWhole):
            return None
        prompt = Prompt(messages=tuple(text.messages), fields=tier.sampling)
        async with gate:
            body = await engine.whole(
                Call(prompt=prompt.setting(max_tokens=1, prompt_logprobs=0), role="probe", candidate=False)
            )
        done += 1
        told(done)
        surprises = _surprises(body, tier.deployment.name)
        if surprises is None:
            return None
        return Seen(
            tier=tier.name, text=text.name, cluster=text.cluster, tokens=len(surprises), nats=math.fsum(surprises)
        )

    try:
        tells = await one(tiers[0], texts[0]) is not None  # before all others are paid for
    except Refused:  # a field that it does not know
        tells = False
    if not tells:
        return None
    done = 0
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(one(tier, text)) for text in texts for tier in tiers]
    except* EngineError as failures:
        raise failures.exceptions[0] from None
    found = [task.result() for task in asked]
    return None if None in found else [seen for seen in found if seen is not None]


async def read_tiers(
    plan: Plan, texts: Sequence[PromptText], *, concurrency: int, told: Callable[[int], None]
) -> list[Seen] | None:
    """Launch all tiers of a plan and read every text with each; arguments and errors as of `read`."""
    async with launched(plan) as service:
        await service.start()
        tiers = [service.router.tiers[name] for name in plan.file.tiers]
        return await read(tiers, texts, concurrency=concurrency, told=told)


class _Place(msgspec.Struct):
    logprob: float


class _PromptLogprobs(msgspec.Struct):
    prompt_logprobs: list[Annotated[dict[str, _Place], msgspec.Meta(min_length=1)] | None] | None = None


def _surprises(body: bytes, deployment: str) -> list[float] | None:
    """Of each token of the prompt that something stands before; None where the engine does not tell."""
    try:
        told = msgspec.json.decode(body, type=_PromptLogprobs).prompt_logprobs
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Garbled(f"deployment {deployment!r} gave no chat completion: {error}", engine=deployment) from error
    if told is None:
        return None
    return [-next(iter(place.values())).logprob for place in told if place]


def perplexities(seen: Sequence[Seen]) -> list[Perplexity]:
    """Of every tier, held against the first one that was read."""
    tiers = list(dict.fromkeys(one.tier for one in seen))
    by_tier = {tier: [one for one in seen if one.tier == tier] for tier in tiers}
    first = {one.text: one.nats for one in by_tier[tiers[0]]}
    return [
        Perplexity(
            tier=tier,
            value=_powered([one.nats for one in of], of),
            times=None if tier == tiers[0] else _powered([one.nats - first[one.text] for one in of], of),
        )
        for tier, of in by_tier.items()
    ]


def _powered(nats: Sequence[float], seen: Sequence[Seen]) -> Estimate:
    """The exponential of a mean over tokens, with an interval over clusters of texts."""
    sums: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for value, one in zip(nats, seen, strict=True):
        sums[one.cluster] = sums.get(one.cluster, 0.0) + value
        sizes[one.cluster] = sizes.get(one.cluster, 0.0) + one.tokens
    found = estimates.mean(list(sums.values()), list(sizes.values()), population="clusters")
    assert found is not None, "there are texts"  # noqa: S101
    interval = found.interval
    if interval is not None:
        interval = Interval(math.exp(interval.low), None if interval.high is None else math.exp(interval.high))
    return Estimate(value=math.exp(found.value), interval=interval, n=found.n, population=found.population)
