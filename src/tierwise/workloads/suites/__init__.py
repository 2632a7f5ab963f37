"""The suites that can make tasks, by name, and what is known about each suite that the field quotes.

A new suite is one module, with its row, and one line in each table. A suite whose data may not be redistributed reads
the user's copy (`data.py`). One whose tasks are containers has a row only (`containers.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tierwise.spec.choice import OneOf
from tierwise.workloads.suites import aime, containers, gpqa, gsm8k, human_eval, livecodebench, mbpp, reasoning_gym
from tierwise.workloads.suites.aime import Aime
from tierwise.workloads.suites.data import found_in
from tierwise.workloads.suites.gpqa import GpqaDiamond
from tierwise.workloads.suites.gsm8k import Gsm8k
from tierwise.workloads.suites.human_eval import HumanEval
from tierwise.workloads.suites.livecodebench import LiveCodeBenchSuite
from tierwise.workloads.suites.mbpp import Mbpp
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.suites.suite import MadeTasks, Suite

__all__ = [
    "PUBLISHED_NAMES",
    "ROWS",
    "Aime",
    "Convention",
    "GpqaDiamond",
    "Gsm8k",
    "HumanEval",
    "LiveCodeBenchSuite",
    "MadeTasks",
    "Mbpp",
    "ReasoningGymSuite",
    "Suite",
    "SuiteChoice",
    "SuiteRow",
    "found_in",
]

ROWS: tuple[SuiteRow, ...] = (
    aime.ROW,
    gpqa.ROW,
    livecodebench.ROW,
    containers.SWE_BENCH_VERIFIED,
    containers.SWE_BENCH_PRO,
    containers.TERMINAL_BENCH,
    human_eval.ROW,
    gsm8k.ROW,
    mbpp.ROW,
    reasoning_gym.ROW,
)
"""Every suite that is listed."""

PUBLISHED_NAMES: Mapping[str, tuple[str, ...]] = {
    aime.ROW.name: Aime.FILES,
    gpqa.ROW.name: GpqaDiamond.FILES,
    gsm8k.ROW.name: Gsm8k.FILES,
    livecodebench.ROW.name: LiveCodeBenchSuite.FILES,
    mbpp.ROW.name: Mbpp.FILES,
}
"""Patterns of the files that the user brings, by suite."""


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
