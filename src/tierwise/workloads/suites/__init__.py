"""The suites that can make tasks, by name, and what is known about each suite that the field quotes.

A new suite is one module, with its row, and one line in each table. A suite whose data may not be redistributed reads
the user's copy (`data.py`). One whose tasks are containers has a row only (`containers.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import msgspec

from tierwise.spec.choice import OneOf
from tierwise.spec.claims import SuitePart
from tierwise.workloads.suites import containers, human_eval, reasoning_gym
from tierwise.workloads.suites.aime import Aime
from tierwise.workloads.suites.copies import found_in
from tierwise.workloads.suites.data import FromFiles
from tierwise.workloads.suites.gpqa import GpqaDiamond
from tierwise.workloads.suites.gsm8k import Gsm8k
from tierwise.workloads.suites.human_eval import HumanEval
from tierwise.workloads.suites.livecodebench import LiveCodeBenchSuite
from tierwise.workloads.suites.mbpp import Mbpp
from tierwise.workloads.suites.part import part_of
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.suites.shards import copies_in
from tierwise.workloads.suites.suite import MadeTasks, Suite

__all__ = [
    "ROWS",
    "SUITES",
    "Aime",
    "Convention",
    "FromFiles",
    "GpqaDiamond",
    "Gsm8k",
    "HumanEval",
    "LiveCodeBenchSuite",
    "MadeTasks",
    "Mbpp",
    "ReasoningGymSuite",
    "Suite",
    "SuiteChoice",
    "SuitePart",
    "SuiteRow",
    "copies_in",
    "found_in",
]

ROWS: tuple[SuiteRow, ...] = (
    Aime.ROW,
    GpqaDiamond.ROW,
    LiveCodeBenchSuite.ROW,
    containers.SWE_BENCH_VERIFIED,
    containers.SWE_BENCH_PRO,
    containers.TERMINAL_BENCH,
    human_eval.ROW,
    Gsm8k.ROW,
    Mbpp.ROW,
    reasoning_gym.ROW,
)
"""Every suite that is listed."""


class SuiteChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One suite with its settings: `{reasoning_gym: {count: 200}}`."""

    reasoning_gym: ReasoningGymSuite | None = None
    human_eval: HumanEval | None = None
    gsm8k: Gsm8k | None = None
    aime: Aime | None = None
    gpqa_diamond: GpqaDiamond | None = None
    livecodebench: LiveCodeBenchSuite | None = None
    mbpp: Mbpp | None = None

    @property
    def member(self) -> Suite:
        chosen: Suite = getattr(self, self.kind)
        return chosen

    def part(self, tasks: int) -> SuitePart:
        """The part of the suite that so many tasks of these settings are."""
        name = self.kind.replace("_", "-")
        return part_of(name, self.member, next(row for row in ROWS if row.name == name), tasks)


SUITES: Mapping[str, type[Suite]] = {
    one.name.replace("_", "-"): get_args(one.type)[0] for one in msgspec.structs.fields(SuiteChoice)
}
"""The suites that can make tasks, by the names of their rows."""
