"""Suites that tasks can be made from, by name: the table of sources. A new one is a file here and a line in it.

Suites that run agents in containers, and those whose data must not be passed on, will stand here too: what they need
beyond this is a check of their own, and `file` with `sha256` for data that only the user may have.
"""

from __future__ import annotations

from tierwise.spec.choice import OneOf
from tierwise.workloads.suites.gsm8k import Gsm8k
from tierwise.workloads.suites.human_eval import HumanEval
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite
from tierwise.workloads.suites.suite import MadeTasks, Suite

__all__ = ["Gsm8k", "HumanEval", "MadeTasks", "ReasoningGymSuite", "Suite", "SuiteChoice"]


class SuiteChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One source with its settings: `{reasoning_gym: {count: 200}}`."""

    reasoning_gym: ReasoningGymSuite | None = None
    human_eval: HumanEval | None = None
    gsm8k: Gsm8k | None = None

    @property
    def member(self) -> Suite:
        chosen: Suite = getattr(self, self.kind)
        return chosen
