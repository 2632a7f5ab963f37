"""Records the draws of a pool: in which order they are asked, and what is kept of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tierwise.bench.loops import closed_loop
from tierwise.runs.draws import DrawFacts, trace_of
from tierwise.spec.clock import now
from tierwise.spec.errors import TierwiseError
from tierwise.verifiers.pooled import judge, key_of, vote_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from tierwise.bench.schedule import Trial
    from tierwise.runs.draws import PoolSettings
    from tierwise.spec.call import Completion
    from tierwise.workloads.task import Task

Chain = list["Trial"]
"""The draws of one task, which are asked one after the other."""

_LEAST_CHAINS = 4


def asked(settings: PoolSettings | None) -> dict[str, Any]:
    """The request fields that the recording of a draw adds; none outside of a pool."""
    if settings is None or not settings.top_logprobs:
        return {}
    return {"logprobs": True, "top_logprobs": settings.top_logprobs}


async def facts_of(task: Task, completion: Completion) -> DrawFacts:
    """What a pool keeps of a draw. A verifier that cannot run here leaves no verdict: a replay runs it again."""
    facts: dict[str, Any] = {
        "reasoning": completion.reasoning,
        "tokens": trace_of(completion),
        "extra": dict(completion.extra),
    }
    if task.verifier is None:
        return DrawFacts(**facts, vote=await vote_of(completion, "auto"))
    verifier = task.verifier.member
    facts["vote"] = await (vote_of(completion, "auto") if completion.tool_calls else key_of(verifier, completion))
    if not verifier.judges(completion):
        return DrawFacts(**facts)
    try:
        verdict = await judge(verifier, completion)
    except TierwiseError:
        return DrawFacts(**facts)
    return DrawFacts(**facts, ok=verdict.ok, score=verdict.score, why=verdict.why, judged=verdict.judged)


def rising(chains: Sequence[Chain], concurrency: int) -> Iterator[tuple[int, Sequence[Chain]]]:
    """The chains in groups that run at once: 1, then 2, 4, 8 … and the rest at full concurrency.

    So a pool shows how fast its engine is at each load, and not only at one. Each load has a few chains, because only
    the first draw of a chain shows how fast a prompt is computed.
    """
    level, position = 1, 0
    while level < concurrency and position < len(chains):
        group = chains[position : position + max(level, _LEAST_CHAINS)]
        yield level, group
        position += len(group)
        level *= 2
    if position < len(chains):
        yield concurrency, chains[position:]


async def run_chains(
    chains: Sequence[Chain],
    concurrency: int,
    handle: Callable[[Trial, float], Awaitable[None]],
    hand_out: Callable[[Sequence[Trial]], Iterator[Trial]],
    lacks: Callable[[Trial], bool],
) -> None:
    """Run the chains of one deployment.

    Args:
        chains: of all draws, those of earlier sessions included, so that a resumed recording has the same groups.
        concurrency: the largest number of chains at once.
        handle: runs a trial, which is due at a time.
        hand_out: yields trials while the budget lasts.
        lacks: whether a trial has no record yet.
    """

    async def run(chain: Chain, due: float) -> None:
        for trial in hand_out([trial for trial in chain if lacks(trial)]):
            await handle(trial, due)
            due = now()

    for level, group in rising(chains, concurrency):
        await closed_loop([chain for chain in group if any(map(lacks, chain))], level, run)
