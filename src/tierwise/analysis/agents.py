"""What agents did in a row: turns, actions, escalations, and how long and expensive an action was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.analysis.rows import Times, times_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.runs.records import Mode, TierVariant, TrialRecord
    from tierwise.stats.design import Design
    from tierwise.stats.estimates import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """Agents that worked on tasks with one tier. Graded tasks only, as in the row's other figures."""

    tier: str
    mode: Mode
    tasks: int
    """Tasks, a repeat counted for itself."""
    turns: Estimate | None
    """Answered actions per task: a mean over tasks."""
    actions: int
    """All actions, also failed and aborted ones."""
    action: Times
    """Seconds of an action. Actions of a task are not independent: the interval is for new tasks."""
    dollars: Estimate | None
    """Dollars per action: total over total."""
    escalations: Estimate | None
    """How often a route went on to another tier, per task."""
    tiers: dict[str, int]
    """Actions by the tier that answered."""
    timed_out: int
    """Tasks whose agent was ended by the time limit."""
    estimated: int
    """Actions whose tokens the endpoint counted itself, because an engine did not report them."""


def agent_row(variant: TierVariant, records: Sequence[TrialRecord], design: Design) -> AgentRow | None:
    """The figures of one row; None if no agent worked in it."""
    worked = [(record, record.agent) for record in records if record.is_graded and record.agent is not None]
    if not worked:
        return None
    sample = design.sample([record.task for record, _ in worked])
    actions = [(record.task, action) for record, agent in worked for action in agent.actions]
    tiers: dict[str, int] = {}
    for _, action in actions:
        tiers[action.tier] = tiers.get(action.tier, 0) + 1
    return AgentRow(
        tier=variant.tier,
        mode=variant.mode,
        tasks=len(worked),
        turns=sample.mean([float(agent.turns) for _, agent in worked], least=0.0),
        actions=len(actions),
        action=times_of([(task, action.seconds) for task, action in actions], design),
        dollars=sample.ratio(
            [math.fsum(action.dollars for action in agent.actions) for _, agent in worked],
            [float(len(agent.actions)) for _, agent in worked],
        ),
        escalations=sample.mean([float(agent.escalations) for _, agent in worked], least=0.0),
        tiers=dict(sorted(tiers.items())),
        timed_out=sum(agent.timed_out for _, agent in worked),
        estimated=sum(not action.exact for _, action in actions),
    )
