"""What scores the candidates of `best_of_n` where no verifier decides. This is the table: a scorer is a file and a line
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tierwise.policies.judging import LetterJudge
from tierwise.policies.rewarding import RewardModel
from tierwise.spec.ask import Ask
from tierwise.spec.call import Pass
from tierwise.spec.choice import OneOf
from tierwise.spec.prompt import Prompt


class Scorer(Protocol):
    """Scores candidates by passes of its own. Holds settings, never state."""

    @property
    def tier(self) -> str:
        """The tier that runs its passes; empty for the tier of the candidates."""

    @property
    def deployment(self) -> str:
        """The reward model that runs its passes, instead of a tier's deployment; empty if there is none."""

    @property
    def is_absolute(self) -> bool:
        """Whether a score says how good a candidate is, and not only whether it is better than others of the call."""

    @property
    def sets(self) -> frozenset[str]:
        """The request fields that its passes do not have from the client."""

    def most(self, candidates: int) -> int:
        """The maximum number of passes for so many different candidates."""

    async def scores(
        self, prompt: Prompt, ask: Ask, drafts: Sequence[Pass], wanted: Sequence[Pass]
    ) -> Mapping[int, float]:
        """Scores by the number of the pass, the highest for the best. One that got no verdict is missing, and the trace
        says why.

        Args:
            prompt: the user's request.
            ask: of the tier that runs its passes.
            drafts: the different candidates so far, in an order to which later calls only add.
            wanted: those to score.
        """

    def share(self, score: float) -> float:
        """A score from 0 to 1, for a rule that stops."""


class ScorerChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scorer, as a policy names it: `judge: {tier: strong}` or `reward: {deployment: grader}`."""

    judge: LetterJudge | None = None
    reward: RewardModel | None = None

    @property
    def member(self) -> Scorer:
        chosen: Scorer = getattr(self, self.kind)
        return chosen
