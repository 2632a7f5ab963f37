"""The suites that can make tasks, by name. A new suite is one module and one line in the table.

A suite that runs agents in containers needs a check of its own; one whose data may not be redistributed takes `file`
and `sha256` for the user's copy.
"""

from __future__ import annotations

from tierwise.spec.choice import OneOf
from tierwise.workloads.suites.gsm8k import Gsm8k
from tierwise.workloads.suites.human_eval import HumanEval
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite
from tierwise.workloads.suites.suite import MadeTasks, Suite

__all__ = ["Gsm8k", "HumanEval", "MadeTasks", "ReasoningGymSuite", "Suite", "SuiteChoice"]


class SuiteChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One suite with its settings: `{reasoning_gym: {count: 200}}`."""

    reasoning_gym: ReasoningGymSuite | None = None
    human_eval: HumanEval | None = None
    gsm8k: Gsm8k | None = None

    @property
    def member(self) -> Suite:
        chosen: Suite = getattr(self, self.kind)
        return chosen
