"""Pools on which a route pays: a cheap tier that is often wrong where it is unsure, and a strong one that rarely is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from made_pools import Said, make, question

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.runs.directory import RunDirectory

CONFIG = """
# what we serve
deployments:
  small: {engine: http, url: "http://127.0.0.1:1/v1", model: small, slots: 4}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: large, slots: 4}  # the dear one
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0.7}}
  best: {deployment: large, policy: single, sampling: {temperature: 0}}
routes:
  auto: {cascade: [fast, best]}
prices:
  small: {prompt: 1, completion: 1}
  large: {prompt: 20, completion: 20}
"""
VOTES = CONFIG.replace(
    "policy: single, sampling: {temperature: 0}", "policy: {majority: {n: 4}}, sampling: {temperature: 1}"
)
LADDER = CONFIG.replace(
    "tiers:\n",
    '  medium: {engine: http, url: "http://127.0.0.1:3/v1", model: medium, slots: 4}\n'
    "tiers:\n  middle: {deployment: medium, policy: single, sampling: {temperature: 0.7}}\n",
).replace("prices:\n", "prices:\n  medium: {prompt: 4, completion: 4}\n")
"""A cheap, a middle and a strong tier."""
LADDER_TIERS = {"fast": 1, "middle": 1, "best": 1}
SERVED = """
deployments:
  small: {{engine: http, url: "{url}", model: small, slots: 8}}
  large: {{engine: http, url: "{url}", model: large, slots: 8}}
tiers:
  fast: {{deployment: small, policy: single, sampling: {{temperature: 0.7}}}}
  best: {{deployment: large, policy: single, sampling: {{temperature: 0}}}}
prices:
  small: {{prompt: 1, completion: 1}}
  large: {{prompt: 20, completion: 20}}
"""
"""Of a scripted server at `url`."""
SURE = (-0.05, -4.0, -5.0, -6.0, -7.0)


def alternatives(sure: float) -> tuple[float, ...]:
    """Five alternatives: the higher, the surer, from 0 to 1."""
    return (-0.05 - 1.5 * (1 - sure), -4.0 + 2 * (1 - sure), -5.0, -6.0, -7.0)


def said(
    *, cheap_wrong: float = 0.3, best_wrong: float = 0.1, is_random: bool = False, informative: bool = True
) -> Any:
    """What draws say: a cheap answer is wrong for the tasks on which it is least sure."""

    def draw(task: int, tier: str, number: int) -> Said:
        rng = random.Random(f"{task}/{tier}/{number if is_random or tier != 'best' else 0}")
        hard = random.Random(f"{task}").random()
        often = {"fast": cheap_wrong, "middle": (cheap_wrong + best_wrong) / 2}
        wrong = hard < often.get(tier, best_wrong)
        if is_random and rng.random() < 0.15:
            wrong = not wrong
        sure = hard if informative else random.Random(f"sure {task}").random()
        sure = min(1.0, max(0.0, sure + 0.02 * rng.random()))
        return Said(
            text="7" if wrong else "4",
            outcome="incorrect" if wrong else "correct",
            tokens=3 + task % 4,
            first=0.1,
            seconds=0.2 if tier == "fast" else 0.6,
            prompt=20,
            logprob=-0.05 - 1.5 * (1 - sure),
            alternatives=alternatives(sure),
            began=100.0 * task + 10 * number + (50 if tier == "best" else 0),
        )

    return draw


def recording(path: Path, tasks: int = 300, *, config: str = CONFIG, draws: int = 4, **more: Any) -> RunDirectory:
    """The directory of such a pool."""
    questions = more.pop("questions", None) or [question(number) for number in range(tasks)]
    tiers = more.pop("tiers", None) or {"fast": 1, "best": 1}
    says = more.pop("says", None) or said(**more)
    return make(path, questions, says, draws=draws, config=config, tiers=tiers, top_logprobs=5)
