"""The published scores that a run can be compared with, as its manifest stores them."""

from __future__ import annotations

import msgspec

from tierwise.spec.claims import Claim


class ClaimedTier(msgspec.Struct, frozen=True, kw_only=True):
    """A tier whose passes run on the checkpoint that a claim is about."""

    tier: str
    thinks: bool | None
    """Whether its passes think, by its sampling and the checkpoint's family; None if that is not known."""
    effort: str = ""
    """The effort of thinking that it asks for; empty for the model's own."""
    greedy: bool = False
    """Whether its passes take the most likely token every time, on all tasks of the run."""


class RunClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim about the checkpoint of a deployment, on the suite of the run."""

    claim: Claim
    """Its source is written out."""
    deployment: str
    stands_in: str
    """`family gemma-4`, or the name of the config file."""
    tiers: list[ClaimedTier]
    """The measured tiers on that deployment; no route, which would ask others."""
