"""Adaptive branching tree search (AB-MCTS: Inoue et al., 2025, arXiv 2503.04412), by the package treequest.

Each step either draws a new answer or improves an earlier one, whichever Thompson sampling over the verifier's scores
finds more promising.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import msgspec

from tierwise import verifiers  # the module: its table of verifiers is complete when a file is read
from tierwise.policies.copies import note_copies
from tierwise.policies.drafts import complaint
from tierwise.spec.ask import Answer, Ask, OutOfBudget, Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Pass
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import Prompt, draw_seed
from tierwise.verifiers.answers import spoken

IMPROVE = "Write a better answer, in the form that was first asked for, and nothing else."
STEP = "answer"
"""The only action of the tree: an answer after the prompt, or after an earlier answer."""


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Search for an answer that the verifier accepts with up to `n` passes, one after the other.

    The verifier's scores steer the search, so it helps with verifiers that grade. Without a verifier one pass is drawn.
    Needs `pip install 'tierwise[search]'`.
    """

    n: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8
    """Maximum number of answers."""
    verifier: verifiers.VerifierChoice | None = None
    """Verifier for answers if the request has none."""

    def __post_init__(self) -> None:
        try:
            import_module("treequest")
        except ImportError as error:
            raise ValueError(f"search needs the extra [search]: pip install 'tierwise[search]' ({error})") from None

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=self.n)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed", "messages"})

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        if ask.verifier is None:
            done = await ask(Call(prompt=prompt), shown=True)
            return Answer(completion=done.completion, chosen=done.number, why="one pass: no verifier to search with")
        tree = _Tree(prompt.seed)
        scored: list[tuple[Pass, Verdict]] = []
        for _ in range(self.n):
            try:
                trial, earlier = tree.ask()
                done = await ask(_call(prompt, earlier))
            except (OutOfBudget, EngineError):
                if not scored:
                    raise
                break
            verdict = await ask.verify(done)
            scored.append((done, verdict))
            if verdict.ok:
                break
            tree.tell(trial, scored[-1])
        note_copies(ask, [done for done, _ in scored if not done.call.after])
        best, verdict = max(scored, key=_merit)
        said = "accepted" if verdict.ok else f"none accepted: {verdict.why}"
        why = f"{said}, of {len(scored)} answers, {sum(bool(done.call.after) for done, _ in scored)} of them improved"
        return Answer(completion=best.completion, chosen=best.number, why=why, verdict=verdict)


class _Tree:
    """The search tree of one prompt, with randomness of its own, so that a repetition makes the same search.

    treequest draws from NumPy's global generator; it is seeded for each step and put back after it.
    """

    def __init__(self, seed: int) -> None:
        self._algorithm: Any = import_module("treequest").ABMCTSA()
        self._state = self._algorithm.init_tree()
        self._seed, self._steps = seed, 0

    def ask(self) -> tuple[str, tuple[Pass, Verdict] | None]:
        """The next step, and the answer that it improves; None for a new one."""
        with self._seeded():
            self._state, trial = self._algorithm.ask(self._state, [STEP])
        return trial.trial_id, trial.parent_state

    def tell(self, trial: str, scored: tuple[Pass, Verdict]) -> None:
        self._state = self._algorithm.tell(self._state, trial, (scored, scored[1].score))

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        generator: Any = import_module("numpy.random")
        kept = generator.get_state()
        generator.seed(draw_seed(self._seed, self._steps) % 2**32)
        self._steps += 1
        try:
            yield
        finally:
            generator.set_state(kept)


def _call(prompt: Prompt, earlier: tuple[Pass, Verdict] | None) -> Call:
    if earlier is None or not spoken(earlier[0].completion).strip():
        return Call(prompt=prompt)
    done, verdict = earlier
    task = complaint(verdict) + IMPROVE
    talk = prompt.then({"role": "assistant", "content": done.completion.text}, {"role": "user", "content": task})
    return Call(prompt=talk, role="improve", after=(done.number,))


def _merit(scored: tuple[Pass, Verdict]) -> tuple[bool, bool, float, int]:
    done, verdict = scored
    return verdict.ok, done.outcome == "finished", verdict.score, -done.number
