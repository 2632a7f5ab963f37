"""Compares a route's answer with the reference tier's on the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.certificate import PromiseKind
from tierwise.spec.ask import Answer, Verdict
from tierwise.spec.call import Pass
from tierwise.verifiers.pooled import judge
from tierwise.verifiers.votes import are_different, key_of_vote

if TYPE_CHECKING:
    from tierwise.verifiers.verifier import Verifier


async def differ(
    first: Answer,
    first_passes: Sequence[Pass],
    second: Answer,
    second_passes: Sequence[Pass],
    verifier: Verifier | None,
) -> bool:
    """Whether two answers to one prompt differ, compared as the votes of `majority` are with `equality: auto`."""
    one, other = [
        (await key_of_vote(chosen(answer, passes), "auto", verifier), answer.completion.text)
        for answer, passes in ((first, first_passes), (second, second_passes))
    ]
    return are_different(one, other)


async def loss_of(
    first: Answer, second: Answer, verifier: Verifier | None, kind: PromiseKind, *, is_kept: bool
) -> float | None:
    """The promised loss of a route's answer by its label, from 0 to 1. Where agreement was promised, it is `differ`.

    Args:
        first: the route's answer.
        second: the reference's.
        verifier: the request's.
        kind: the promise. Of `net`, the loss is (1 + harm - gain)/2.
        is_kept: whether a cheaper tier's answer was kept, so that a `selective` promise is about it.

    Returns:
        None if the verifier does not tell right from wrong, or the promise is not about this action.
    """
    if verifier is None or not verifier.decisive or (kind == "selective" and not is_kept):
        return None
    route, reference = await _verdict(first, verifier), await _verdict(second, verifier)
    if not (route.judged and reference.judged):
        return None
    match kind:
        case "harm":
            return float(not route.ok and reference.ok)
        case "net":
            return (1 + reference.ok - route.ok) / 2
        case "selective":
            return float(not route.ok)


async def _verdict(answer: Answer, verifier: Verifier) -> Verdict:
    if answer.verdict is not None and answer.verdict.judged:
        return answer.verdict
    if not verifier.judges(answer.completion):
        return Verdict(ok=True, score=0.5, judged=False)
    return await judge(verifier, answer.completion)


def chosen(answer: Answer, passes: Sequence[Pass]) -> Pass:
    """The pass of an answer, with what the user was shown."""
    found = next((one for one in passes if one.number == answer.chosen), passes[-1])
    return replace(found, completion=answer.completion)
