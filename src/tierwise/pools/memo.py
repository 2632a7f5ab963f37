"""Keys, verdicts and grades of recorded draws: each is found once, by the code that finds it live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from tierwise.spec.errors import TierwiseError
from tierwise.verifiers import pooled
from tierwise.verifiers.votes import key_of_vote, runs_code

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from tierwise.pools.draws import Part
    from tierwise.spec.ask import Checkable, Equality, Verdict
    from tierwise.spec.call import Completion, Pass
    from tierwise.verifiers.verifier import Verifier
    from tierwise.workloads.task import Task

T = TypeVar("T")


class Sought:
    """Something that needs a real event loop. Whoever drives a policy's coroutine finds it, and sends it back."""

    __slots__ = ("find",)

    def __init__(self, find: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.find = find

    def __await__(self) -> Generator[Sought, Any, Any]:
        return (yield self)


class Memo:
    """Finds keys, verdicts and grades once, and remembers them with the part of the draw that they are of."""

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        """By the identity of their completions, which they keep alive."""
        self._settings: dict[int, tuple[object, bytes]] = {}
        self._runner = asyncio.Runner()
        self._context: Context = copy_context()
        """Without this memo, so that what it runs finds nothing here."""
        self._context.run(pooled.known.set, None)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.__exit__(kind, error, trace)

    def remember(self, part: Part) -> Part:
        """Know a part by its completion from now on."""
        self.parts[id(part.completion)] = part
        return part

    def run(self, find: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end, in an event loop of the memo's own if it waits. No other loop may be running."""
        work = find()
        try:
            self._context.run(work.send, None)
        except StopIteration as done:
            found: T = done.value
            return found
        except RuntimeError:  # it wants an event loop
            pass
        self._context.run(work.close)
        return self._runner.run(find(), context=self._context)

    async def key(self, verifier: Checkable, completion: Completion) -> str | None:
        """As `pooled.key_of`."""
        part = self.parts.get(id(completion))
        if part is None:
            return await _sought(lambda: pooled.key_of(verifier, completion))
        name = self.settings(verifier)
        if name not in part.votes:
            part.votes[name] = await _sought(lambda: pooled.key_of(verifier, completion))
        return part.votes[name]

    async def vote(self, completion: Completion, equality: Equality) -> str | None:
        """As `pooled.vote_of`."""
        part = self.parts.get(id(completion))
        if part is None:
            return await _sought(lambda: pooled.vote_of(completion, equality))
        if equality not in part.votes:
            part.votes[equality] = await _sought(lambda: pooled.vote_of(completion, equality))
        return part.votes[equality]

    async def ballot(self, vote: Pass, equality: Equality, verifier: Checkable | None) -> str | None:
        """As `votes.key_of_vote`."""
        part = self.parts.get(id(vote.completion))
        name = "ballot", equality, None if verifier is None else self.settings(verifier)
        if part is not None and name in part.votes:
            return part.votes[name]
        if runs_code(vote, equality, verifier):
            found = await _sought(lambda: key_of_vote(vote, equality, verifier))
        else:
            found = await key_of_vote(vote, equality, verifier)
        if part is not None:
            part.votes[name] = found
        return found

    async def verdict(self, verifier: Verifier, completion: Completion) -> Verdict:
        """As `pooled.judge`."""
        part = self.parts.get(id(completion))
        if part is None:
            return await _sought(lambda: pooled.judge(verifier, completion))
        name = self.settings(verifier)
        found = part.verdicts.get(name)
        if found is None:
            found = part.verdicts[name] = await _sought(lambda: pooled.judge(verifier, completion))
        return found

    def is_correct(self, task: Task, completion: Completion) -> bool | None:
        """Whether a task's check accepts an answer; None if it has no check, or one that cannot run here."""
        part = self.parts.get(id(completion))
        if part is not None and part.is_graded:
            return part.correct
        correct: bool | None = None
        if (check := task.check) is not None and check.judge is None:
            try:
                correct = self.run(lambda: pooled.judge(check.member, completion)).ok
            except TierwiseError:
                correct = None
        if part is not None:
            part.correct, part.is_graded = correct, True
        return correct

    def settings(self, verifier: Checkable) -> bytes:
        """What identifies a verifier: equal ones give equal keys and verdicts."""
        known = self._settings.get(id(verifier))
        if known is None:
            known = self._settings[id(verifier)] = verifier, msgspec.json.encode((verifier.kind, verifier))
        return known[1]


async def _sought(find: Callable[[], Coroutine[Any, Any, T]]) -> T:
    found: T = await Sought(find)
    return found
