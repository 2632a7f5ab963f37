"""The check of a task that was mined from a repository: its tests, on the parent commit with the answer's changes."""

from __future__ import annotations

import asyncio
import functools
import re
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.verifiers.answers import spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.check_pool import CheckLimitExceeded
from tierwise.verifiers.code.blocks import code_in
from tierwise.verifiers.code.python_tests import read_code
from tierwise.verifiers.repository.answer import Edit, edits_in
from tierwise.verifiers.repository.environment import Environment, environment
from tierwise.verifiers.repository.function import written
from tierwise.verifiers.repository.git import archive, changed, git, text
from tierwise.verifiers.repository.running import IS_TEST, Ran, State, command_of, reason, run_tests

Commit = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}([0-9a-f]{24})?$")]


class Validation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a task was validated when it was mined."""

    runs: int
    """How often the tests ran on each of both sides."""
    gold: Literal["passes"] = "passes"
    """The commit's own change, applied as an answer is."""
    empty: Literal["fails"] = "fails"
    """An answer that changes nothing."""
    flaky: list[str] = []
    """Tests that were left out, because their outcome differed between runs of the same code."""
    seconds: float = 0.0
    """Of the tests, after the change."""


class RepositoryTests(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    """The answer's patch makes the commit's tests pass."""

    kind = "repository_tests"
    decisive = True
    runs_code = True
    brought = "repository"

    repository: str
    """A folder with the git objects of both commits, relative to the workload."""
    base: Commit
    """The parent commit, which the answer changes."""
    commit: Commit
    """The commit whose tests decide."""
    date: str = ""
    """Of the commit, ISO 8601."""
    contamination: Literal["unknown", "possible", "after_release"] = "unknown"
    """Whether the commit is from before the checkpoint's release, so that it may have been trained on."""
    tests: str
    """The command that runs tests, as `--tests` of `tierwise workload from-git`."""
    files: tuple[str, ...] = ()
    """Test files and folders that it is given; none is the whole suite."""
    fail_to_pass: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Tests that fail before the commit and pass after it."""
    pass_to_pass: tuple[str, ...] = ()
    """Tests that pass before and after."""
    function: str = ""
    """`path::name` of the function that the answer writes; empty if the answer is a patch."""
    python: str = "python3"
    """The interpreter of the environment: name, version or path."""
    install: str = ""
    """The command that installs, in place of the rule."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """Elapsed time of the tests at most; four times as much CPU time."""
    validated: Validation | None = None

    def placed(self, folder: Path) -> Self:
        place = (folder / self.repository).resolve()
        if not (place / "objects").is_dir():
            raise SpecError(f"{place} is no git repository; keep it beside the tasks", field="repository")
        return msgspec.structs.replace(self, repository=str(place))

    def key(self, completion: Completion) -> str | None:
        if self.function:
            return code_in(spoken(completion), frozenset({self._name})) or None
        edits = edits_in(spoken(completion))
        return msgspec.json.encode(edits).decode() if edits else None

    async def verify(self, completion: Completion) -> Verdict:
        """Raises `TierwiseError` if the tests could not be run, so that nothing is known about the answer."""
        if self.function:
            try:
                edits = await self._written(spoken(completion))
            except CheckLimitExceeded as error:
                return rejected(f"the code could not be read: {error}")
            missing = f"the answer does not define {self._name}, or is no Python"
        else:
            edits = edits_in(spoken(completion))
            missing = "no change in the answer: neither a diff nor a file under its path"
        return self.judged(await self.run(edits)) if edits else rejected(missing)

    @property
    def _name(self) -> str:
        """The function's, without its class."""
        return self.function.rpartition("::")[2].rpartition(".")[2]

    async def _written(self, said: str) -> list[Edit]:
        """The file of the function with the answer's; none if the answer has none."""
        path, _, name = self.function.rpartition("::")
        code = await read_code(said, [self._name])
        before = await asyncio.to_thread(text, Path(self.repository), "show", f"{self.base}:{path}")
        after = written(before, name, code)
        return [] if after is None else [Edit(path=path, content=after)]

    async def run(self, edits: list[Edit]) -> Ran:
        """Run the tests on the parent commit with these changes and the commit's tests.

        Raises:
            TierwiseError: they could not be run here.
        """
        place = Path(self.repository)
        ready = await asyncio.to_thread(self._environment)
        base, tests, removed = await asyncio.to_thread(materials, place, self.base, self.commit)
        state = State(base=base, edits=edits, tests=tests, removed=removed)
        return await run_tests(state, command_of(self.tests, self.files), ready, self.seconds)

    def _environment(self) -> Environment:
        return environment(
            Path(self.repository), self.commit, python=self.python, install=self.install, runner=self.tests.split()[0]
        )

    def judged(self, ran: Ran) -> Verdict:
        """The verdict on a run."""
        if ran.refused:
            return rejected(ran.refused)
        passed = ran.passed
        lost = [name for name in self.fail_to_pass if name not in passed]
        broken = [name for name in self.pass_to_pass if name not in passed]
        if not lost and not broken:
            return accepted(f"{len(self.fail_to_pass)} tests pass now, {len(self.pass_to_pass)} still pass")
        parts = []
        if lost:
            parts.append(f"{len(lost)} of {len(self.fail_to_pass)} tests still fail, such as {lost[0]}")
        if broken:
            parts.append(f"{len(broken)} of {len(self.pass_to_pass)} no longer pass, such as {broken[0]}")
        score = 1 - (len(lost) + len(broken)) / (len(self.fail_to_pass) + len(self.pass_to_pass))
        why = reason(ran)
        return rejected("; ".join(parts) + (f" ({why})" if why else ""), min(score, 0.99))


@functools.lru_cache(maxsize=8)
def materials(repository: Path, base: str, commit: str) -> tuple[bytes, bytes, list[str]]:
    """The parent as a tar file, the test files that the commit changes as another, and those that have to go before:
    what it removes, and links that it makes files of, which would be written through.

    Raises:
        TierwiseError: the repository lacks a commit.
    """
    tests = {path: kind for path, kind in changed(repository, base, commit).items() if re.search(IS_TEST, path)}
    there = [path for path, kind in tests.items() if kind != "D"]
    gone = [path for path, kind in tests.items() if kind in "DT"]
    return archive(repository, base), archive(repository, commit, there), gone


def gold(repository: Path, base: str, commit: str) -> Edit:
    """The commit's own change without its tests. What is no UTF-8 in it is kept as Python's `surrogateescape` does."""
    paths = [path for path in sorted(changed(repository, base, commit)) if not re.search(IS_TEST, path)]
    if not paths:
        raise TierwiseError(f"{commit[:12]} changes nothing but tests")
    chosen = [f":(literal){path}" for path in paths]
    words = ["diff", "--binary", "--no-renames", "--no-color", "--no-ext-diff", "--ignore-submodules=all"]
    diff = git(repository, *words, base, commit, "--", *chosen)
    return Edit(diff=diff.decode(errors="surrogateescape"))
