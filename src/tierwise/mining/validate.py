"""Finds out what a commit's tests say: they run in the sandbox before and after the commit, more than once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from tierwise.mining import kept
from tierwise.mining.history import Candidate
from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.verifiers.repository.check import RepositoryTests, Validation, gold, materials
from tierwise.verifiers.repository.environment import Environment, EnvironmentFailed, environment, interpreter, key_of
from tierwise.verifiers.repository.git import archive, elsewhere, text
from tierwise.verifiers.repository.running import Ran, State, command_of, is_pytest, reason, run_tests
from tierwise.verifiers.sandbox import SandboxUnavailable, backend

Scope = Literal["changed", "folder", "suite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How tasks are mined.

    Args:
        tests: the command that runs tests.
        scope: which tests must stay: those in changed files, in their folders too, or all.
        repeats: runs on each side.
        python: interpreter of the environments.
        install: command that installs, in place of the rule.
        seconds: of one run of the tests at most.
        released: the checkpoint's release date, ISO 8601; empty if unknown.
    """

    tests: str
    scope: Scope = "folder"
    repeats: int = 2
    python: str = "python3"
    install: str = ""
    seconds: float = 600.0
    released: str = ""


@dataclass(slots=True)
class Spent:
    """Seconds of elapsed time."""

    tests: float = 0.0
    """While tests ran."""
    environments: float = 0.0
    """While environments were built or looked up."""


@dataclass(slots=True)
class Validator:
    """Validates candidates of one repository, one after the other.

    Args:
        repository: with the commits.
        settings: how.
    """

    repository: Path
    settings: Settings
    spent: Spent = field(default_factory=Spent)
    _failed: dict[str, str] = field(default_factory=dict)
    _whole: dict[tuple[str, ...], Ran] = field(default_factory=dict)

    def seconds(self, began: float) -> dict[str, float]:
        """Elapsed time since `began`, a moment of `time.monotonic()`, and the parts of it that are known."""
        spent = {
            "total": time.monotonic() - began,
            "tests": self.spent.tests,
            "environments": self.spent.environments,
        }
        return {name: round(value, 2) for name, value in spent.items()}

    async def validate(self, candidate: Candidate) -> RepositoryTests | str:
        """The check of a task, or the reason why the commit is none.

        Raises:
            SpecError: the settings are wrong.
            SandboxUnavailable: there is no sandbox, so that nothing can be validated.
        """
        try:
            ready = await asyncio.to_thread(self._environment, candidate)
            if isinstance(ready, str):
                return ready
            place = kept.place_of(self._facts(candidate, ready))
            if (held := kept.read(place)) is not None:
                return self._with_commits(held, candidate)
            found = await self._validated(candidate, ready)
            if not isinstance(found, str):
                kept.write(place, found)
        except SpecError as error:
            # One that works here may still not have started in time.
            if not isinstance(error, SandboxUnavailable) or backend().name == "none":
                raise
            return str(error)
        except TierwiseError as error:
            return str(error)
        return found

    def _facts(self, candidate: Candidate, ready: Environment) -> list[Any]:
        """What the validation of a candidate depends on: files of both sides, not their commits."""
        one = self.settings
        trees = text(self.repository, "rev-parse", f"{candidate.parent}^{{tree}}", f"{candidate.commit}^{{tree}}")
        files = scope_of(candidate, one.scope)
        return [
            ready.folder.name,
            trees.split(),
            files,
            msgspec.to_builtins(candidate.solution),
            one.tests,
            one.repeats,
            one.seconds,
        ]

    def _with_commits(self, check: RepositoryTests, candidate: Candidate) -> RepositoryTests:
        """A check that was kept, for this candidate of this repository."""
        return msgspec.structs.replace(
            check,
            repository=str(self.repository),
            base=candidate.parent,
            commit=candidate.commit,
            date=candidate.date,
            contamination=contamination(candidate.date, self.settings.released),
            python=self.settings.python,
        )

    def _environment(self, candidate: Candidate) -> Environment | str:
        """The environment of a commit; why there is none, which is found out once per key."""
        one, began = self.settings, time.monotonic()
        runner = one.tests.split()[0]
        key = key_of(self.repository, candidate.commit, interpreter(one.python), one.install, runner)
        try:
            if key not in self._failed:
                return environment(
                    self.repository, candidate.commit, python=one.python, install=one.install, runner=runner
                )
        except EnvironmentFailed as error:
            self._failed[key] = str(error)
        finally:
            self.spent.environments += time.monotonic() - began
        return self._failed[key]

    async def _validated(self, candidate: Candidate, ready: Environment) -> RepositoryTests | str:
        one = self.settings
        files = scope_of(candidate, one.scope)
        command = command_of(one.tests, files)
        base, tests, removed = materials(self.repository, candidate.parent, candidate.commit)
        empty = State(base=base, tests=tests, removed=removed)
        whole = State(base=archive(self.repository, candidate.commit))
        solved = State(
            base=base,
            edits=[candidate.solution or gold(self.repository, candidate.parent, candidate.commit)],
            tests=tests,
            removed=removed,
        )
        after = [await self._finished(candidate, whole, command, ready)]
        if not after[0].passed:
            return _with_reason("no test passes after the commit", after[0]) + self._elsewhere(candidate)
        before = [await self._run(empty, command, ready)]
        turned = after[0].passed - before[0].passed
        if not turned:
            return _nothing_turned(after[0]) + (self._elsewhere(candidate) if after[0].ended("failed") else "")
        for _ in range(one.repeats - 1):  # the gold answer must do what the commit does
            after.append(await self._run(solved, command, ready))
            if after[-1].refused:
                return f"the commit's own change cannot be applied as an answer: {after[-1].refused}"
            before.append(await self._again(empty, before[0], turned, command, ready))
        return self._check(candidate, files, before, after)

    def _elsewhere(self, candidate: Candidate) -> str:
        """What the commit's tests may lack."""
        lacks = elsewhere(self.repository, candidate.commit)
        more = f" and {len(lacks) - 3} more" if len(lacks) > 3 else ""
        return f"; git does not hold what the commit needs of {', '.join(lacks[:3])}{more}" if lacks else ""

    async def _finished(self, candidate: Candidate, state: State, command: list[str], ready: Environment) -> Ran:
        """The first run on the commit itself, which many functions of one project share."""
        key = (candidate.commit, *command)
        if key not in self._whole:
            self._whole[key] = await self._run(state, command, ready)
        return self._whole[key]

    async def _again(self, state: State, first: Ran, turned: set[str], command: list[str], ready: Environment) -> Ran:
        """Another run of the tests that failed before the commit; of those that passed, the runs after it say more."""
        chosen = chosen_again(self.settings.tests, first, turned)
        if chosen:
            ran = await self._run(state, command_of(self.settings.tests, chosen), ready)
            if turned & first.outcomes.keys() <= ran.outcomes.keys():  # the runner knew their names
                return msgspec.structs.replace(ran, outcomes={**first.outcomes, **ran.outcomes})
        return await self._run(state, command, ready)

    async def _run(self, state: State, command: list[str], ready: Environment) -> Ran:
        ran = await run_tests(state, command, ready, self.settings.seconds)
        self.spent.tests += ran.seconds
        return ran

    def _check(
        self, candidate: Candidate, files: list[str], before: list[Ran], after: list[Ran]
    ) -> RepositoryTests | str:
        one = self.settings
        names = set().union(*(ran.outcomes for ran in before + after))
        flaky = sorted(
            name for name in names for side in (before, after) if len({name in ran.passed for ran in side}) > 1
        )
        steady = [name for name in sorted(set.intersection(*(ran.passed for ran in after))) if name not in flaky]
        fail_to_pass = [name for name in steady if name not in before[0].passed]
        if not fail_to_pass:
            return _with_reason(
                f"no test fails before and passes after the commit in all of {one.repeats} runs: "
                f"{len(flaky)} tests are flaky",
                after[-1],
            )
        check = RepositoryTests(
            repository=str(self.repository),
            base=candidate.parent,
            commit=candidate.commit,
            date=candidate.date,
            contamination=contamination(candidate.date, one.released),
            tests=one.tests,
            files=tuple(files),
            fail_to_pass=tuple(fail_to_pass),
            pass_to_pass=tuple(name for name in steady if name in before[0].passed),
            python=one.python,
            install=one.install,
            seconds=one.seconds,
            validated=Validation(
                runs=one.repeats, flaky=list(dict.fromkeys(flaky)), seconds=round(max(ran.seconds for ran in after), 2)
            ),
        )
        if not check.judged(after[-1]).ok or check.judged(before[-1]).ok:
            raise AssertionError(candidate.commit)  # both follow from how the lists are made
        return check


def chosen_again(tests: str, first: Ran, turned: set[str]) -> list[str]:
    """What pytest is given to run tests again: tests that failed by name, and files whose tests were not there.

    Empty if the runner is not pytest, or has no names of files.
    """
    by_file: dict[str, list[str]] = {}
    for name in sorted(turned):
        by_file.setdefault(name.partition("::")[0], []).append(name)
    if not is_pytest(tests) or not all(file.endswith(".py") for file in by_file):
        return []
    return [one for file, names in by_file.items() for one in (names if first.outcomes.keys() >= {*names} else [file])]


def _nothing_turned(after: Ran) -> str:
    """Why a commit is no task whose tests end alike before and after it."""
    words = "no test fails before the commit and passes after it"
    failed, skipped = len(after.ended("failed")), len(after.ended("skipped"))
    if failed or skipped:
        parts = [f"{failed} fail after it"] * bool(failed) + [f"{skipped} are skipped"] * bool(skipped)
        return _with_reason(f"{words}; {' and '.join(parts)}", after)
    return f"{words}; all {len(after.passed)} pass before it, too"


def _with_reason(words: str, ran: Ran) -> str:
    why = reason(ran)
    return f"{words}: it {why}" if why else words


def scope_of(candidate: Candidate, scope: Scope) -> list[str]:
    """What the runner is given: changed test files, their folders, or nothing, which is the whole suite."""
    if scope == "suite":
        return []
    if scope == "changed":
        return list(candidate.modules)
    folders = sorted({path.rpartition("/")[0] or "." for path in candidate.modules})
    return [one for one in folders if not any(one.startswith(f"{other}/") for other in folders if other != one)]


def contamination(date: str, released: str) -> Literal["unknown", "possible", "after_release"]:
    """Whether a checkpoint may have been trained on a commit: it was there before the release."""
    if not released or not date:
        return "unknown"
    return "after_release" if date[:10] > released[:10] else "possible"


def as_written(check: RepositoryTests, place: str) -> RepositoryTests:
    """A check with the place of its repository in the workload."""
    return msgspec.structs.replace(check, repository=place)
