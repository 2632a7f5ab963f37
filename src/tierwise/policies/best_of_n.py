"""Best of n: draw several candidates and let a verifier pick (Cobbe et al., 2021, arXiv 2110.14168)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from typing import Annotated

import msgspec

from tierwise import verifiers  # the module: its table of verifiers is complete when a file is read
from tierwise.policies.copies import note_copies
from tierwise.spec.ask import Answer, Ask, OutOfBudget, Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Pass
from tierwise.spec.prompt import Prompt


class BestOfN(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draw up to `n` candidates. The verifier picks one; ties go to the highest mean log-probability.

    A decisive verifier (tests, a known answer) ends the search at the first accepted candidate. With a verifier that
    checks only the form (a schema, a pattern), or without one, all `n` candidates are drawn.
    """

    n: Annotated[int, msgspec.Meta(ge=2, le=64)] = 4
    """Maximum number of candidates."""
    verifier: verifiers.VerifierChoice | None = None
    """Verifier for candidates if the request has none."""
    temperatures: Annotated[tuple[Annotated[float, msgspec.Meta(ge=0, le=2)], ...], msgspec.Meta(max_length=64)] = ()
    """Temperatures that are spread over the draws: draw i has number i, and the list repeats. They replace the
    temperature of the request and the tier. Empty: every draw has that one."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=self.n)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed", "logprobs", *(("temperature",) if self.temperatures else ())})

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        drawn: list[tuple[Pass, Verdict | None]] = []
        asked = prompt.preferring(logprobs=True)
        spread = islice(cycle(self.temperatures), self.n)
        calls = [Call(prompt=asked.setting(temperature=warmth)) for warmth in spread] or [Call(prompt=asked)] * self.n
        async with ask.panel(calls, order="finish") as arrivals:
            async for candidate in arrivals:
                if candidate is None:
                    continue
                verdict = None if ask.verifier is None else await ask.verify(candidate)
                drawn.append((candidate, verdict))
                if verdict is not None and verdict.ok and verdict.judged and ask.verifier and ask.verifier.decisive:
                    break
        if not drawn:
            raise OutOfBudget
        note_copies(ask, [candidate for candidate, _ in drawn])
        best, verdict = max(drawn, key=_merit)
        return Answer(completion=best.completion, chosen=best.number, why=_reason(verdict, len(drawn)), verdict=verdict)


def _merit(candidate: tuple[Pass, Verdict | None]) -> tuple[bool, bool, float, float, int]:
    done, verdict = candidate
    likelihood = done.completion.mean_logprob
    return (
        verdict is not None and verdict.ok,
        done.outcome == "finished",
        0.0 if verdict is None else verdict.score,
        float("-inf") if likelihood is None else likelihood,
        -done.call.draw,
    )


def _reason(verdict: Verdict | None, candidates: int) -> str:
    if verdict is None:
        return f"most likely of {candidates}: no verifier"
    if not verdict.judged:
        return f"calls a tool, of {candidates} drawn"
    return f"accepted, of {candidates} drawn" if verdict.ok else f"none of {candidates} accepted: {verdict.why}"
