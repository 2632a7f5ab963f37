"""What Harbor says of a trial, its `result.json`: how it ended, whether its reward counts, and how long the agent took.

The one reading of it: for Harbor as a runner, and for the import of its jobs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

REWARD = "reward"
"""The name of a reward that has none of its own."""

TIMEOUT = "AgentTimeoutError"

_BY_THE_AGENT = frozenset(
    {
        TIMEOUT,
        "AgentSafetyRefusalError",
        "ContentPolicyViolationError",
        "ContextLengthExceededError",
        "ContextWindowExceededError",
        "NonZeroAgentExitCodeError",
        "OutputLengthExceededError",
        "OutputTokenExceededError",
    }
)
"""Exceptions after which a reward is valid by Harbor 0.26's own table, `harbor/models/trial/error_policy.py`."""


class Override(msgspec.Struct):
    """What the user of Harbor says about an exception."""

    has_valid_reward: bool | None = None


class TrialException(msgspec.Struct):
    """An exception that ended a trial, or a step of it."""

    exception_type: str
    exception_message: str = ""
    policy_override: Override | None = None

    @property
    def is_of_the_agent(self) -> bool:
        """Whether it says something about the agent, so that a reward after it counts. One that Harbor's table lacks is
        of the infrastructure.
        """
        said = None if self.policy_override is None else self.policy_override.has_valid_reward
        return self.exception_type in _BY_THE_AGENT if said is None else said

    @property
    def why(self) -> str:
        return f"{self.exception_type}: {self.exception_message.strip()}".partition("\n")[0]


class Spent(msgspec.Struct):
    """What an agent, or one step of it, spent."""

    n_input_tokens: int | None = None
    n_cache_tokens: int | None = None
    n_output_tokens: int | None = None
    cost_usd: float | None = None


class Verified(msgspec.Struct):
    """What the tests left."""

    rewards: dict[str, Any] | None = None


class Timing(msgspec.Struct):
    """When something ran."""

    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def seconds(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at.timestamp() - self.started_at.timestamp()


class Step(msgspec.Struct):
    """One step of a trial that has several."""

    agent_result: Spent | None = None
    exception_info: TrialException | None = None
    agent_execution: Timing | None = None


class TrialResult(msgspec.Struct, kw_only=True):
    """A trial's `result.json`, as far as it is used."""

    agent_result: Spent | None = None
    verifier_result: Verified | None = None
    exception_info: TrialException | None = None
    started_at: datetime | None = None
    agent_execution: Timing | None = None
    step_results: list[Step] | None = None

    @property
    def exceptions(self) -> list[TrialException]:
        found = [self.exception_info, *(step.exception_info for step in self.step_results or ())]
        return [one for one in found if one is not None]

    @property
    def broke(self) -> TrialException | None:
        """The first exception that is not of the agent: nothing is known about the model. None without one."""
        return next((one for one in self.exceptions if not one.is_of_the_agent), None)

    @property
    def timed_out(self) -> bool:
        """Whether the time limit ended the agent."""
        return any(one.exception_type == TIMEOUT for one in self.exceptions)

    @property
    def rewards(self) -> dict[str, Any]:
        return (self.verifier_result.rewards if self.verifier_result else None) or {}

    @property
    def seconds(self) -> float | None:
        """Seconds of the agent, without environment, installation and verifier; None if a part of them is not known."""
        times = [self.agent_execution] if self.agent_execution else [step.agent_execution for step in self._steps]
        found = [None if one is None else one.seconds for one in times]
        known = [one for one in found if one is not None]
        return math.fsum(known) if known and len(known) == len(found) else None

    @property
    def spent(self) -> list[Spent]:
        """What the agent spent, or each of its steps."""
        found = [self.agent_result] if self.agent_result is not None else [one.agent_result for one in self._steps]
        return [one for one in found if one is not None]

    @property
    def _steps(self) -> Iterable[Step]:
        return self.step_results or ()


def reward_of(rewards: Mapping[str, Any], metric: str = "") -> float | None:
    """The reward that counts: that of a name, if one is given; else `reward`, or else the mean. A task is solved where
    it is at least 1. None if there is none.

    Raises:
        ValueError: it is no finite number.
    """
    name = metric or (REWARD if REWARD in rewards else "")
    values = [rewards[name]] if name in rewards else [] if name else [*rewards.values()]
    for value in values:
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{value!r} is no reward")
    return math.fsum(values) / len(values) if values else None
