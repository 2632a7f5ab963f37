"""A vote over draws with different numbers of active experts of one mixture, whose errors may differ more than those of
draws with one number. Each tier sets its number of experts per token, for all layers alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from tierwise.policies.ballots import Ballots
from tierwise.spec.ask import Answer, Ask, Equality
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.spec.prompt import Prompt
from tierwise.stopping import Curtailment


class DiverseExperts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draw `draws` votes from each tier and keep the most common answer, stopping once no other can catch up.

    The tiers run one checkpoint with different numbers of active experts, and take turns. In a tie the answer that was
    drawn first wins.
    """

    of: Annotated[tuple[str, ...], msgspec.Meta(min_length=2, max_length=16)] = msgspec.field(name="tiers")
    """Tiers of this file, each with another number of active experts."""
    draws: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    """Votes from each tier: single passes with its sampling, whatever its own policy is."""
    equality: Equality = "auto"
    """How votes are compared, as for `majority`."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - each pass is one of this policy
        return Budget(passes=self.draws * len(self.of))

    def tiers(self) -> tuple[str, ...]:
        return self.of

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed"})

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        ask.note(f"votes of {', '.join(self.of)}")
        tiers = [ask.at(name) for name in self.of] * self.draws
        ballots = Ballots(len(tiers), Curtailment())
        call = Call(prompt=prompt, role="vote")
        async with ask.panel([(tier, call) for tier in tiers], order="finish") as arrivals:
            async for vote in arrivals:
                key = None if vote is None else await ask.key(vote, self.equality)
                ballots.add(arrivals.position, vote, key)
                if ballots.is_settled:
                    break
        answer = ballots.elect()
        if ballots.copied:
            ask.note(answer.why, signal="copies")
        return answer
