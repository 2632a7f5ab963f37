"""Generate, critique, refine (Madaan et al., 2023, arXiv 2303.17651), gated by a verifier if the request has one.

Without an external check, self-critique lowers accuracy on reasoning tasks (Huang et al., 2024, arXiv 2310.01798):
measure it on your workload first.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tierwise import verifiers  # the module: its table of verifiers is complete when a file is read
from tierwise.policies.drafts import complaint
from tierwise.policies.reserve import leaving_one_like
from tierwise.spec.ask import Answer, Ask, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Completion, Pass
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import FORM, Message, Prompt

CRITIQUE = (
    "Look at your answer again. List what is wrong or missing in it, one short point per line. "
    "If nothing is, say so. Do not write the new answer yet."
)
REFINE = "Now write the final answer with these points mended, in the form that was first asked for, and nothing else."


class Refine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write a draft, critique it, and rewrite it. After a cheaper tier, its answer is the draft.

    With a verifier, an accepted draft is returned at once, and a rejected refinement is discarded in favour of the
    draft. Without one, the refinement is the answer and is streamed. As much of the budget as the draft took is kept
    for the refinement; where less than that and a critique is left, the draft is the answer.
    """

    verifier: verifiers.VerifierChoice | None = None
    """Verifier for draft and refinement if the request has none."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=3)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed", "messages", *FORM})

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        draft = _last_draft(ask) or await ask(Call(prompt=prompt))
        verdict = None if ask.verifier is None else await ask.verify(draft)
        is_accepted = verdict is not None and verdict.ok and verdict.judged
        if is_accepted or draft.completion.tool_calls:
            why = "draft accepted" if is_accepted else "draft calls a tool"
            return Answer(completion=draft.completion, chosen=draft.number, why=why, verdict=verdict)
        kept = Answer(completion=draft.completion, chosen=draft.number, why="draft kept", verdict=verdict)
        try:
            talk = prompt.then(
                _said(draft.completion), _user(CRITIQUE if verdict is None else complaint(verdict) + CRITIQUE)
            )
            if (critic := leaving_one_like(ask, [draft])) is None:
                ask.note("the rest of the budget is too small for a critique and another answer like the draft")
                return kept
            critique = await critic(
                Call(prompt=_as_prose(talk), role="critique", candidate=False, after=(draft.number,))
            )
        except (OutOfBudget, EngineError):
            return kept
        call = Call(
            prompt=talk.then(_said(critique.completion), _user(REFINE)),
            role="refine",
            after=(draft.number, critique.number),
        )
        if ask.verifier is None:
            try:
                refined = await ask(call, shown=True)
            except OutOfBudget:
                return kept
            except EngineError as error:
                if error.was_shown:
                    raise
                return kept
            if refined.outcome != "finished" and draft.outcome == "finished" and not ask.is_shown:
                return kept
            return Answer(completion=refined.completion, chosen=refined.number, why="refined, no verifier")
        try:
            refined = await ask(call)
        except (OutOfBudget, EngineError):
            return kept
        verdict = await ask.verify(refined)
        if not verdict.ok:
            return kept
        return Answer(completion=refined.completion, chosen=refined.number, why="refinement accepted", verdict=verdict)


def _last_draft(ask: Ask) -> Pass | None:
    """The last draft of a cheaper tier, which is then not drawn again; None without one, or if it calls a tool."""
    number = ask.drafts[-1].chosen if ask.drafts else None
    draft = next((one for one in ask.drawn if one.number == number), None)
    return None if draft is None or draft.completion.tool_calls else draft


def _said(completion: Completion) -> Message:
    return {"role": "assistant", "content": completion.text}


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _as_prose(prompt: Prompt) -> Prompt:
    """The prompt without the fields in `FORM`: a critique is prose."""
    return prompt.without(*FORM)
