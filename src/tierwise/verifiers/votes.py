"""The answer of a vote in canonical form, so that equal answers are equal texts."""

from __future__ import annotations

from tierwise.spec.ask import Checkable, Equality
from tierwise.spec.call import Pass
from tierwise.verifiers.pooled import key_of, vote_of


async def key_of_vote(vote: Pass, equality: Equality, verifier: Checkable | None) -> str | None:
    """The key of a vote; None without an answer, or if it is too much work to read.

    Args:
        vote: a pass that finished.
        equality: how votes are compared. Tool calls are always compared by name and arguments.
        verifier: whose form of an answer counts where the equality is `auto`; None if there is none.
    """
    completion = vote.completion
    if equality == "auto" and verifier is not None and not completion.tool_calls:
        return await key_of(verifier, completion)
    return await vote_of(completion, equality)
