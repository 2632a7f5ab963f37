"""Self-consistency: draw several answers and keep the most common (Wang et al., 2023, arXiv 2203.11171)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Annotated

import msgspec

from tierwise.spec.ask import Answer, Ask, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Pass
from tierwise.spec.prompt import Prompt
from tierwise.verifiers.answers import Equality
from tierwise.verifiers.pooled import key_of, vote_of


class Majority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draw up to `n` votes and keep the most common answer, stopping once no other answer can catch up.

    Early stopping never changes the answer, because the leader is ahead by more than the remaining votes. In a tie the
    answer that was drawn first wins. Votes without an answer and failed passes do not count.
    """

    n: Annotated[int, msgspec.Meta(ge=2, le=64)] = 5
    """Maximum number of votes."""
    equality: Equality = "auto"
    """How votes are compared; `auto` uses the request's verifier, else the form of the answer."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=self.n)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed"})

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        votes: Counter[str] = Counter()
        ballots: dict[str, Pass] = {}
        spoilt: list[Pass] = []
        # Once settled, no later vote can change the answer, so the order of the votes cannot bias it.
        calls = [Call(prompt=prompt, role="vote")] * self.n
        async with ask.panel(calls, order="finish") as arrivals:
            async for vote in arrivals:
                if vote is not None and (key := await self._key(vote, ask)) is not None:
                    votes[key] += 1
                    ballots[key] = min(ballots.get(key, vote), vote, key=_draw)
                elif vote is not None:
                    spoilt.append(vote)
                if is_settled(votes, left=arrivals.left):
                    break
        if votes:
            key = min(votes, key=lambda name: (-votes[name], _draw(ballots[name])))
            chosen, cast = ballots[key], votes.total() + len(spoilt)
            why, agreement = f"{votes[key]} of {cast} votes", votes[key] / cast
        elif spoilt:
            chosen = min(spoilt, key=lambda one: (one.outcome != "finished", _draw(one)))
            why, agreement = f"none of {len(spoilt)} votes contained an answer", 0.0
        else:
            raise OutOfBudget
        return Answer(completion=chosen.completion, chosen=chosen.number, why=why, agreement=agreement)

    async def _key(self, vote: Pass, ask: Ask) -> str | None:
        if vote.outcome == "cut":
            return None  # the last value in a truncated answer is not its answer
        try:
            async with asyncio.timeout(ask.left.seconds):
                if self.equality == "auto" and ask.verifier is not None and not vote.completion.tool_calls:
                    return await key_of(ask.verifier, vote.completion)
                return await vote_of(vote.completion, self.equality)
        except TimeoutError:
            return None


def _draw(vote: Pass) -> int:
    return vote.call.draw


def is_settled(votes: Counter[str], *, left: int) -> bool:
    """Whether the leader stays ahead even if every remaining vote goes to the runner-up."""
    lead, second = sorted((*votes.values(), 0, 0), reverse=True)[:2]
    return lead > second + left
