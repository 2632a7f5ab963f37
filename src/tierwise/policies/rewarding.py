"""A reward model as scorer of candidates: it reads the conversation with a candidate as its last message, and says one
number (Cobbe et al., 2021, arXiv 2110.14168; Bradley-Terry models as in RewardBench, arXiv 2403.13787).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from tierwise.policies.drafts import defused
from tierwise.spec.ask import Ask
from tierwise.spec.call import Call, Pass
from tierwise.spec.errors import EngineError
from tierwise.spec.json import Json
from tierwise.spec.prompt import BOUNDS, FORM, Message, Prompt
from tierwise.verifiers.answers import spoken


class RewardModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reward model grades each candidate in a pass of its own; candidates with equal answers are graded once.

    If it fails, or its scores cannot be read, the candidate with the highest mean log-probability is the answer.
    """

    deployment: Annotated[str, msgspec.Meta(min_length=1)]
    """A deployment of this file with `rewards: true`."""
    label: Annotated[int, msgspec.Meta(ge=0, le=9999)] | None = None
    """Of a model with several classes, the index of the class of good answers: a score is the log-odds of that class.
    Without it the model must have one output, which is the score."""

    @property
    def tier(self) -> str:
        return ""

    @property
    def is_absolute(self) -> bool:
        return True

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"messages", *FORM, *BOUNDS})

    def most(self, candidates: int) -> int:
        return candidates

    def share(self, score: float) -> float:
        return 1 / (1 + math.exp(-score)) if score > 0 else math.exp(score) / (1 + math.exp(score))

    async def scores(
        self,
        prompt: Prompt,
        ask: Ask,
        drafts: Sequence[Pass],  # noqa: ARG002 - a reward does not depend on the other candidates
        wanted: Sequence[Pass],
    ) -> Mapping[int, float]:
        grader, bare = ask.on(self.deployment), prompt.without(*FORM, *BOUNDS)
        calls = [
            Call(prompt=bare.then(_message(draft)), role="reward", candidate=False, after=(draft.number,))
            for draft in wanted
        ]
        found: dict[int, float] = {}
        try:
            async with grader.panel(calls) as arrivals:
                async for done in arrivals:
                    draft = wanted[arrivals.position].number
                    if done is None:
                        why = "a pass of the reward model failed, or the budget allowed none"
                        ask.note(f"no verdict: {why}", signal="reward", after=(draft,))
                        continue
                    try:
                        found[draft] = self.read(done.completion.scores)
                    except ValueError as error:
                        ask.note(f"no verdict: {error}", signal="reward", after=(draft, done.number))
        except EngineError as error:
            numbers = tuple(draft.number for draft in wanted)
            ask.note(f"no verdict: the reward model failed: {error}", signal="reward", after=numbers)
        return found

    def read(self, scores: Sequence[float]) -> float:
        """The reward in a model's logits.

        Raises:
            ValueError: there are several and no label says which one counts, or not as many as it says.
        """
        if not scores:
            raise ValueError("the reward model sent no score")
        if len(scores) == 1 and not self.label:
            return scores[0]
        if self.label is None:
            raise ValueError(
                f"the reward model sent {len(scores)} scores; set `label` to the index of the class of good answers"
            )
        if self.label >= len(scores):
            raise ValueError(f"the reward model has {len(scores)} classes, so there is none with `label: {self.label}`")
        others = [score for place, score in enumerate(scores) if place != self.label]
        top = max(others)
        return scores[self.label] - top - math.log(math.fsum(math.exp(score - top) for score in others))


def _message(draft: Pass) -> Message:
    """A candidate as the last message of the conversation, without its thinking."""
    said: Message = {"role": "assistant", "content": defused(spoken(draft.completion).strip())}
    calls: list[Json] = [dict(call) for call in draft.completion.tool_calls]
    return {**said, "tool_calls": calls} if calls else said
