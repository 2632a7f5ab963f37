"""Fusion: several candidates, then one answer written from all of them (GSA, 2025, arXiv 2503.04104), or the candidate
that most comparisons pick (GenSelect: Moshkov et al., 2025, arXiv 2504.16891).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec

from tierwise.policies.copies import note_copies
from tierwise.policies.drafts import MATERIAL, about, is_usable, quoted
from tierwise.policies.reserve import arrivals_leaving_one, cut_leaving_one
from tierwise.spec.ask import Answer, Ask, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Pass
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import FORM, Prompt
from tierwise.verifiers.answers import spoken

FUSE = (
    f"{MATERIAL} Now write one final answer to my request. Keep what is right, correct what is wrong, use the form "
    "that was first asked for, and do not mention the drafts."
)
SELECT = (
    f"{MATERIAL} Compare them briefly and do not write a new answer. End with one line: `BEST: ` and the number of the "
    "best draft."
)

_PICK = re.compile(r"\bBEST\b[\s*_`:#]*(?:draft\s*)?[\s*_`#]*(\d{1,3})\b", re.IGNORECASE)


class Fusion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draw `n` candidates, then write a new answer from all of them and stream it.

    Candidates that are empty or truncated are left out. If fewer than two different ones remain, there is nothing to
    fuse, and the first is the answer. If the last stage fails, or the budget ends it unseen, the first usable candidate
    is the answer. As much of the budget as the longest candidate took is kept for it once two are usable.
    """

    n: Annotated[int, msgspec.Meta(ge=2, le=16)] = 4
    """Number of candidates."""
    select: bool = False
    """Pick one of the candidates by comparison instead of writing a new answer."""
    groups: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3
    """With `select`: number of comparisons, each in an order of its own; most picks win."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=self.n + self._last)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed", "messages", *(FORM if self.select else ())})

    @property
    def _last(self) -> int:
        """Passes of the last stage."""
        return self.groups if self.select else 1

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        n = self._candidates(ask.left.passes)
        drawn = await self._drawn(prompt, ask, n)
        if not drawn:
            raise OutOfBudget
        note_copies(ask, drawn)
        usable = [done for done in drawn if is_usable(done)]
        drafts = list({quoted(done): done for done in reversed(usable)}.values())[::-1]
        first = drafts[0] if drafts else max(drawn, key=lambda done: (not done.completion.is_empty, -done.call.draw))
        if len(drafts) < 2:
            return _chosen(first, f"nothing to fuse: {len(usable)} of {n} usable, {len(drafts)} different")
        if self.select:
            return await self._selected(prompt, ask, drafts)
        after = tuple(done.number for done in drafts)
        call = Call(prompt=about(prompt, drafts, FUSE), role="fuse", after=after)
        try:
            fused = await ask(call, shown=True)
        except OutOfBudget:
            return _chosen(first, "first candidate: no budget to fuse")
        except EngineError as error:
            if error.was_shown:
                raise
            return _chosen(first, "first candidate: the fusing pass failed")
        if fused.outcome != "finished" and not ask.is_shown:
            why = "no budget to finish the fusion" if fused.outcome == "cut" else "the fusion has no answer"
            return _chosen(first, f"first candidate: {why}")
        return _chosen(fused, f"fused from {len(drafts)}")

    def _candidates(self, left: int | None) -> int:
        """How many candidates are drawn with so many passes left: two rather than all comparisons, one of which stays.
        One where a second one would leave no pass for the last stage.
        """
        if left is None:
            return self.n
        return 1 if left < 3 else max(2, min(self.n, left - self._last))

    async def _drawn(self, prompt: Prompt, ask: Ask, n: int) -> list[Pass]:
        """The candidates in draw order. Those that are still running are given up once two are usable and the last
        stage needs the rest of the budget.
        """
        drawn: dict[int, Pass] = {}
        usable: list[Pass] = []
        watched = cut_leaving_one(ask, usable, least=2)
        async with watched.panel([Call(prompt=prompt)] * n, order="finish") as arrivals:
            while arrivals.left:
                try:
                    done = await arrivals_leaving_one(ask, arrivals, usable, least=2)
                except TimeoutError:
                    ask.note(f"the last stage starts with {len(usable)} candidates: it needs the rest of the budget")
                    break
                if done is None:
                    continue
                drawn[arrivals.position] = done
                if is_usable(done):
                    usable.append(done)
            else:
                if not drawn:
                    await anext(arrivals, None)  # raises the error of the last call, if they failed
        return [drawn[position] for position in sorted(drawn)]

    async def _selected(self, prompt: Prompt, ask: Ask, drafts: Sequence[Pass]) -> Answer:
        """The draft that most comparisons pick; ties go to the earlier one."""
        prose = prompt.without(*FORM)
        left = ask.left.passes
        groups = self.groups if left is None else max(1, min(self.groups, left))
        orders = [_shuffled(drafts, f"{prompt.seed}/{group}") for group in range(groups)]
        after = tuple(done.number for done in drafts)
        calls = [
            Call(prompt=about(prose, order, SELECT), role="select", candidate=False, after=after) for order in orders
        ]
        picks: Counter[int] = Counter()
        try:
            async with ask.panel(calls) as arrivals:
                for order in orders:
                    done = await anext(arrivals)
                    picked = None if done is None else _pick(spoken(done.completion), order)
                    if done is not None and picked is None:
                        ask.note("a comparison named no candidate", signal="select", after=(done.number,))
                    picks.update([] if picked is None else [picked.number])
        except EngineError as error:
            ask.note(f"the comparison failed: {error}", signal="select", after=after)
        if not picks:
            return _chosen(drafts[0], f"first of {len(drafts)}: no comparison named a candidate")
        best = max(drafts, key=lambda done: (picks[done.number], -done.call.draw))
        return _chosen(best, f"selected by {picks[best.number]} of {groups} comparisons")


def _shuffled(drafts: Sequence[Pass], seed: str) -> list[Pass]:
    return random.Random(seed).sample(drafts, len(drafts))  # noqa: S311 - an order, not a secret


def _pick(said: str, order: Sequence[Pass]) -> Pass | None:
    """The draft that a comparison names last; None if it names none that exists."""
    named = _PICK.findall(said)
    place = int(named[-1]) if named else 0
    return order[place - 1] if 1 <= place <= len(order) else None


def _chosen(done: Pass, why: str) -> Answer:
    return Answer(completion=done.completion, chosen=done.number, why=why)
