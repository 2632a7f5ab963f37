"""Draws that were lost to thinking (`run.recovery`), as a recording has them: the lost pass, and what recovered it.

The record of such an action has the answer that was served, and the counts of every pass. The texts of the passes
follow: the thinking is that of the lost one, and the answer that of the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tierwise.pools.chains import chained_draw
from tierwise.run.recovery import LOST
from tierwise.runs.draws import TokenTrace
from tierwise.runs.records import TrialOutcome
from tierwise.spec.thinking import closing_mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.pools.draws import Draw
    from tierwise.runs.records import PassSpend, TrialRecord

_RAN = ("finished", "cut", LOST)
"""How a pass ends whose output counts. One that failed was tried again."""
_ASKED_ONCE = re.compile(r"/average(/[0-9]+)?$")
"""The end of the id of an action whose budget was one pass (`bench.trial.action_id`)."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A draw that was lost to thinking.

    Attributes:
        spent: the lost pass.
        recoveries: those that tried to answer in its place, as of `Draw.recoveries`.
    """

    spent: PassSpend
    recoveries: Sequence[PassSpend] | None

    def draw(self, served: Draw) -> Draw:
        """The draw.

        Args:
            served: the answer of the action with the thinking before it, as if one pass had given both.
        """
        spent, recoveries = self.spent, self.recoveries
        lost = chained_draw(served.index, spent, served.bound, recoveries)
        if spent.message is not None:  # a whole action, whose passes have their texts
            return lost
        text, mark = served.completion.text, closing_mark(served.completion.text)
        thought, closed, answer = text.partition(f"\n{mark}\n\n") if mark and recoveries else ("", "", text)
        if mark and not closed:
            thought, answer = text, ""
        before, after = _split(served.tokens, spent.completion_tokens, has_answer=bool(recoveries and answer))
        lost = replace(
            lost,
            completion=replace(
                served.completion,
                text=thought,
                tool_calls=(),
                extra={},
                finish=spent.finish or served.completion.finish,
            ),
            tokens=before,
        )
        if not recoveries:
            return replace(lost, has_facts=served.has_facts, vote=served.vote, verdict=served.verdict)
        *tried, last = lost.recoveries or ()
        answered = replace(
            served,
            completion=replace(served.completion, text=answer, reasoning=""),
            usage=last.usage,
            tokens=after,
            bound=last.bound,
            first_token=last.first_token,
            seconds=last.seconds,
        )
        return replace(lost, recoveries=(*tried, answered))


def ran_of(record: TrialRecord) -> list[PassSpend]:
    """The passes of an action whose output counts, in the order of their starts."""
    return sorted((one for one in record.passes or () if one.outcome in _RAN), key=lambda one: one.number)


def lost_of(record: TrialRecord) -> Lost | None:
    """The pass of a draw that was lost to thinking; None if the first that ran was not."""
    passes = ran_of(record)
    if not passes or passes[0].outcome != LOST:
        return None
    others = [one for one in passes[1:] if one.role == "recovery"]
    if any(one.outcome == LOST and one.role != "recovery" for one in passes[1:]):
        return Lost(passes[0], None)  # which of them was recovered is not recorded
    was_tried = any(one.role == "recovery" for one in record.passes or ())
    is_known = bool(others) or not (was_tried or len(passes) > 1 or _ASKED_ONCE.search(record.action))
    return Lost(passes[0], others if is_known else None)


def is_lost(record: TrialRecord) -> bool:
    """Whether the draw is nothing but thinking, also where another pass then gave the action an answer."""
    return record.outcome == TrialOutcome.LOST_TO_THINKING or lost_of(record) is not None


def _split(trace: TokenTrace | None, lost: int, *, has_answer: bool) -> tuple[TokenTrace | None, TokenTrace | None]:
    """The tokens of a lost pass, and those of the answer of its recovery, of both as a stream shows them."""
    if trace is None:
        return None, None
    begins = trace.answer if has_answer else None
    before = _part(trace, 0, lost if begins is None else min(lost, begins))
    return before, None if begins is None else _part(trace, begins, None)


def _part(trace: TokenTrace, begins: int, ends: int | None) -> TokenTrace:
    return TokenTrace(
        chosen=trace.chosen[begins:ends], top=trace.top[begins:ends], lengths=trace.lengths[begins:ends], answer=0
    )
