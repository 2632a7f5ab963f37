"""Policies decide how a tier spends passes on one prompt. This is their table: a new policy is a file and a line
here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tierwise.policies.best_of_n import BestOfN
from tierwise.policies.cascade import Cascade
from tierwise.policies.diverse_experts import DiverseExperts
from tierwise.policies.fusion import Fusion
from tierwise.policies.majority import Majority
from tierwise.policies.policy import Policy
from tierwise.policies.refine import Refine
from tierwise.policies.search import Search
from tierwise.policies.single import Single
from tierwise.policies.thinking import Thinking
from tierwise.spec.choice import OneOf, with_plugins
from tierwise.spec.plugins import lacking, on_first_use

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.verifiers import Verifier, VerifierChoice

__all__ = [
    "BestOfN",
    "Cascade",
    "DiverseExperts",
    "Fusion",
    "Majority",
    "Policy",
    "PolicyChoice",
    "Refine",
    "Search",
    "Single",
    "Thinking",
]


class PolicyChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One policy, as a tier names it: `majority: {n: 5}`, or just `single`."""

    GROUP: ClassVar[str] = "tierwise.policies"

    single: Single | None = None
    majority: Majority | None = None
    best_of_n: BestOfN | None = None
    refine: Refine | None = None
    fusion: Fusion | None = None
    cascade: Cascade | None = None
    thinking: Thinking | None = None
    diverse_experts: DiverseExperts | None = None
    search: Search | None = None

    @property
    def member(self) -> Policy:
        chosen: Policy = getattr(self, self.kind)
        return chosen

    @property
    def verifier(self) -> Verifier | None:
        """The policy's own verifier for requests without one, if it is ready to use."""
        named: VerifierChoice | None = getattr(self.member, "verifier", None)
        return named.member if named is not None and named.member.is_ready else None

    @property
    def graders(self) -> Mapping[str, int]:
        """The reward models that the policy asks, by deployment, and the maximum of passes of each."""
        found: Mapping[str, int] = getattr(self.member, "graders", {})
        return found


def _problem(member: type[Any]) -> str:
    return lacking(member, ("most", "tiers", "sets", "solve"))


if not TYPE_CHECKING:
    __getattr__ = on_first_use(globals(), PolicyChoice=partial(with_plugins, PolicyChoice, _problem))
    del PolicyChoice
