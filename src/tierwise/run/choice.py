"""What the passes of one choice of an action share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Trace
from tierwise.run.budget import BudgetTracker
from tierwise.run.code_runs import CodeRuns
from tierwise.run.output import DraftSink, OutputStream
from tierwise.run.prefill import SharedPrompts
from tierwise.run.recovery import Recoveries
from tierwise.run.slots import SharedSlots
from tierwise.run.tier import Tier
from tierwise.spec.call import Pass

if TYPE_CHECKING:
    from tierwise.keys.purse import Purse
    from tierwise.verifiers.verifier import Verifier


@dataclass(slots=True, kw_only=True)
class ChoiceState:
    """State shared by all tiers while one choice of an action is answered."""

    tiers: Mapping[str, Tier]
    """Every tier that may be asked, by name."""
    trace: Trace
    output: OutputStream
    slots: SharedSlots
    verifier: Verifier | None
    """The request's verifier."""
    judges: bool
    """Whether it judges another action's answer, so that none of its passes is a candidate."""
    number: int = 0
    """Index of the choice within the action."""
    drafts: DraftSink | None = None
    """Shows drafts; None to show none."""
    group: str = ""
    """The action's id if other choices run side by side with this one."""
    prompts: SharedPrompts = field(default_factory=SharedPrompts)
    recoveries: Recoveries = field(default_factory=Recoveries)
    prices: PriceBook = field(default_factory=lambda: PriceBook({}))
    """What passes cost, for budgets of dollars."""
    purse: Purse | None = None
    """What the action may spend of its caller's budgets; None without one."""
    code_runs: CodeRuns = field(default_factory=CodeRuns)
    """The action's ceiling of code that is run for its candidates."""
    task: asyncio.Task[object] | None = field(default_factory=asyncio.current_task)
    """The task that is cancelled when the user disconnects."""
    draws: Counter[str] = field(default_factory=Counter)
    """Number of draws per deployment."""
    passes: list[Pass] = field(default_factory=list)
    """Ended passes, in the order in which they ended."""
    reached: str = ""
    """The last tier that was asked."""
    adaptations: set[str] = field(default_factory=set)
    """What the trace says already about requests that a deployment does not accept."""
    refused_by: BudgetTracker | None = None
    """The budget that last refused or cut a pass, for the error message."""
    _cancelled: int = field(init=False)

    def __post_init__(self) -> None:
        self._cancelled = 0 if self.task is None else self.task.cancelling()

    def next_number(self) -> int:
        """The number of a pass that starts now. Raises once the action is cancelled, because its other tasks learn of
        that later.

        Raises:
            CancelledError: the action is cancelled.
        """
        if self.task is not None and self.task.cancelling() > self._cancelled:
            raise asyncio.CancelledError
        self.trace.started += 1
        return self.trace.started - 1

    def tier_of(self, number: int | None) -> str:
        """The tier of an ended pass; empty if there is no pass of that number."""
        return next((done.tier for done in self.passes if done.number == number), "")
