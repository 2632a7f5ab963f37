"""Perplexity of texts on a deployment, measured through its engine and paired between tiers.

Task quality decides. Perplexity is less noisy, because it averages over tokens and not over tasks.
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
"""Characters per window of a text: about 500 tokens, which fits any context. A window is one observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """A prompt whose tokens are predicted."""

    name: str
    cluster: str
    """The cluster that it belongs to; its own name if none."""
    messages: Sequence[dict[str, Any]]


class TextLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The negative log-likelihood of one text on one tier."""

    tier: str
    text: str
    cluster: str
    tokens: int
    """Tokens of the prompt after the chat template, without the first, which is not predicted."""
    nats: float
    """The sum of -ln p over these tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """The perplexity of one tier."""

    tier: str
    value: Estimate
    """The exponential of the mean -ln p per token; the interval is over texts, or over clusters of texts."""
    ratio: Estimate | None
    """Relative to the base tier, paired by text; None for the base tier."""


def windows(path: Path) -> list[PromptText]:
    """A file in windows of `WINDOW` characters, each as a user message.

    Raises:
        SpecError: it cannot be read, or has fewer than two windows.
    """
    whole = read_text(path, "text", field="--text")
    pieces = [whole[begin : begin + WINDOW] for begin in range(0, len(whole), WINDOW)]
    if len(pieces) < 2:
        raise SpecError(
            f"{path} has {len(whole)} characters; an interval needs two windows, so at least {WINDOW + 1} characters",
            field="--text",
        )
    return [
        PromptText(name=f"{number}", cluster=f"{number}", messages=[{"role": "user", "content": piece}])
        for number, piece in enumerate(pieces)
    ]


def prompts(workload: Workload) -> list[PromptText]:
    """The messages of a workload's tasks, including their examples, without answers."""
    return [
        PromptText(name=task.id, cluster=task.cluster or task.id, messages=task.messages) for task in workload.tasks
    ]


async def read(
    tiers: Sequence[Tier], texts: Sequence[PromptText], *, concurrency: int, on_progress: Callable[[int], None]
) -> list[TextLoss] | None:
    """The loss of each text on each tier; the engines must be running.

    Args:
        tiers: their sampling parameters are used, and their policies are not.
        texts: the prompts.
        concurrency: passes in flight at any moment.
        on_progress: called with the number of completed passes.

    Returns:
        None where an engine does not report log-probabilities of prompts.

    Raises:
        EngineError: a pass failed.
    """
    engines = {tier.name: tier.deployment.engine for tier in tiers}
    gate, done = asyncio.Semaphore(concurrency), 0

    async def one(tier: Tier, text: PromptText) -> TextLoss | None:
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
        on_progress(done)
        losses = _losses(body, tier.deployment.name)
        if losses is None:
            return None
        return TextLoss(
            tier=tier.name, text=text.name, cluster=text.cluster, tokens=len(losses), nats=math.fsum(losses)
        )

    try:
        is_supported = await one(tiers[0], texts[0]) is not None  # before paying for all the others
    except Refused:  # the engine does not know the field
        is_supported = False
    if not is_supported:
        return None
    done = 0
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(one(tier, text)) for text in texts for tier in tiers]
    except* EngineError as failures:
        raise failures.exceptions[0] from None
    found = [task.result() for task in asked]
    return None if None in found else [loss for loss in found if loss is not None]


async def read_tiers(
    plan: Plan, texts: Sequence[PromptText], *, concurrency: int, on_progress: Callable[[int], None]
) -> list[TextLoss] | None:
    """Launch all tiers of a plan, and read each text with each tier. Arguments and errors as for `read`."""
    async with launched(plan, uncertified=True) as service:
        await service.start()
        tiers = [service.router.tiers[name] for name in plan.file.tiers]
        return await read(tiers, texts, concurrency=concurrency, on_progress=on_progress)


class _TokenLogprob(msgspec.Struct):
    logprob: float


class _PromptLogprobs(msgspec.Struct):
    prompt_logprobs: list[Annotated[dict[str, _TokenLogprob], msgspec.Meta(min_length=1)] | None] | None = None


def _losses(body: bytes, deployment: str) -> list[float] | None:
    """-ln p of each prompt token but the first; None where the engine does not report them."""
    try:
        reported = msgspec.json.decode(body, type=_PromptLogprobs).prompt_logprobs
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Garbled(
            f"deployment {deployment!r} did not return a chat completion: {error}", engine=deployment
        ) from error
    if reported is None:
        return None
    return [-next(iter(token.values())).logprob for token in reported if token]


def perplexities(losses: Sequence[TextLoss]) -> list[Perplexity]:
    """The perplexity of each tier, and its ratio to the first tier's."""
    tiers = list(dict.fromkeys(one.tier for one in losses))
    by_tier = {tier: [one for one in losses if one.tier == tier] for tier in tiers}
    first = {one.text: one.nats for one in by_tier[tiers[0]]}
    return [
        Perplexity(
            tier=tier,
            value=_exponential([one.nats for one in of], of),
            ratio=None if tier == tiers[0] else _exponential([one.nats - first[one.text] for one in of], of),
        )
        for tier, of in by_tier.items()
    ]


def _exponential(nats: Sequence[float], losses: Sequence[TextLoss]) -> Estimate:
    """The exponential of a mean over tokens, with an interval over clusters of texts."""
    sums: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for value, one in zip(nats, losses, strict=True):
        sums[one.cluster] = sums.get(one.cluster, 0.0) + value
        sizes[one.cluster] = sizes.get(one.cluster, 0.0) + one.tokens
    found = estimates.mean(list(sums.values()), list(sizes.values()), population="clusters")
    assert found is not None, "there are texts"  # noqa: S101
    interval = found.interval
    if interval is not None:
        interval = Interval(math.exp(interval.low), None if interval.high is None else math.exp(interval.high))
    return Estimate(value=math.exp(found.value), interval=interval, n=found.n, population=found.population)
