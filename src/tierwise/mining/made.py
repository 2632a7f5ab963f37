"""Mines a repository and writes the workload: tasks, the git objects that their checks need, and what was left out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tierwise.mining.context import prompt
from tierwise.mining.history import Candidate, Issue, Seen, candidates, check_repository, linked
from tierwise.mining.validate import Settings, Validator, as_written
from tierwise.spec.errors import SpecError
from tierwise.verifiers.repository.check import RepositoryTests
from tierwise.verifiers.repository.environment import interpreter
from tierwise.verifiers.repository.git import files_at, git, text
from tierwise.verifiers.repository.running import IS_MODULE, command_of
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.files.header import WorkloadHeader
from tierwise.workloads.files.write import check_free, write
from tierwise.workloads.task import Task

OBJECTS = "repository.git"
REPORT = "mining.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is mined.

    Args:
        repository: its folder.
        since: only later commits; empty for all.
        limit: candidates that are tried at most, newest first.
        issues: by number.
        tokens: of context in a prompt at most.
    """

    repository: Path
    since: str = ""
    limit: int = 100
    issues: Mapping[int, Issue] = field(default_factory=dict)
    tokens: int = 16_000


@dataclass(slots=True, kw_only=True)
class Mined:
    """What was mined."""

    name: str
    what: str = "commits"
    tasks: list[Task] = field(default_factory=list)
    checks: list[RepositoryTests] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One per candidate."""
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    is_interrupted: bool = False
    """It was stopped early, and what had been validated was written."""

    def leave_out(self, row: dict[str, Any], reason: str) -> None:
        """Note a candidate that is no task."""
        self.rows.append({**row, "task": None, "reason": reason})
        self.left_out[reason] += 1

    def add(self, row: dict[str, Any], task: Task, check: RepositoryTests) -> None:
        """Keep the task of a candidate."""
        self.tasks.append(task)
        self.checks.append(check)
        self.rows.append(
            {
                **row,
                "task": task.id,
                "contamination": check.contamination,
                "fail_to_pass": len(check.fail_to_pass),
                "pass_to_pass": len(check.pass_to_pass),
                "validated": msgspec.to_builtins(check.validated),
            }
        )

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Let an interruption end only the work inside, if there are tasks to keep."""
        try:
            yield
        except asyncio.CancelledError:
            if not self.tasks:
                raise
            self.is_interrupted = True


Tell = Callable[[str, "RepositoryTests | str"], None]
"""Told what became of each candidate, by its name."""


async def mine(wanted: Wanted, settings: Settings, out: Path, tell: Tell) -> Mined:
    """Mine a repository into a new folder. If it is cancelled, the tasks that there are by then are written.

    Raises:
        SpecError: the repository cannot be mined, a setting is wrong, or none of its commits is a task. Nothing is
            written.
        SandboxUnavailable: there is no sandbox, so that nothing can be validated.
    """
    check_free(out)
    began = time.monotonic()
    command_of(settings.tests, [])
    interpreter(settings.python)
    check_repository(wanted.repository)
    seen = Seen()
    found = Mined(name=name_of(wanted.repository))
    validator = Validator(wanted.repository.resolve(), settings)
    with found.kept():
        for candidate in itertools.islice(candidates(wanted.repository, wanted.since, seen), wanted.limit):
            check = await validator.validate(candidate)
            tell(f"{candidate.commit[:12]} {candidate.message.splitlines()[0][:60]}", check)
            _add(found, wanted, candidate, check)
    if not found.tasks:
        raise SpecError(_nothing(wanted, seen, found), field="REPO")
    found.seconds = validator.seconds(began)
    write_mined(wanted, settings, found, out)
    return found


def name_of(repository: Path) -> str:
    return re.sub(r"[^\w.-]", "-", repository.resolve().name.removesuffix(".git"))[:60] or "repository"


def _add(found: Mined, wanted: Wanted, candidate: Candidate, check: RepositoryTests | str) -> None:
    row: dict[str, Any] = {
        "commit": candidate.commit,
        "date": candidate.date,
        "subject": candidate.message.split("\n")[0],
    }
    if isinstance(check, str):
        found.leave_out(row, check)
        return
    issues = linked(candidate.message, wanted.issues)
    task = Task(
        id=f"{found.name}-{candidate.commit[:12]}",
        messages=[{"role": "user", "content": prompt(wanted.repository, found.name, candidate, issues, wanted.tokens)}],
        check=CheckChoice(repository_tests=as_written(check, OBJECTS)),
        tags=[f"contamination:{check.contamination}"],
    )
    found.add({**row, "issues": [one.number for one in issues]}, task, check)


def _nothing(wanted: Wanted, seen: Seen, found: Mined) -> str:
    """Why there is no task."""
    if found.rows:
        reasons = "; ".join(f"{number}: {why}" for why, number in found.left_out.most_common(5))
        return f"none of {len(found.rows)} commits that change code and tests is a task ({reasons})"
    after = f" since {wanted.since}" if wanted.since else ""
    if not seen.commits:
        return f"there is no commit{after}; give an earlier --since"
    if seen.merges and not seen.single:
        return f"the history{after} has merges only ({seen.merges}), which are not mined; fetch what they merged"
    if not any(re.search(IS_MODULE, path) for path in files_at(wanted.repository, "HEAD")):
        return "the repository has no tests: no file test_*.py or *_test.py; only commits with tests can be checked"
    return f"none of {seen.commits} commits{after} changes both code and a test file (test_*.py, *_test.py)"


def write_mined(wanted: Wanted, settings: Settings, found: Mined, out: Path) -> None:
    """Write the workload, with what became of each candidate.

    Raises:
        SpecError: it cannot be written. Nothing is.
    """
    about = {
        "repository": found.name,
        "head": text(wanted.repository, "rev-parse", "HEAD").strip(),
        "settings": {name: getattr(settings, name) for name in settings.__slots__},
        "limit": wanted.limit,
        "since": wanted.since,
        "seconds": found.seconds,
        "interrupted": found.is_interrupted,
        "candidates": found.rows,
    }
    header = WorkloadHeader(
        name=found.name,
        description=f"{len(found.tasks)} {found.what} of {found.name}, checked by their own tests ({settings.tests})",
    )
    draft = out.with_name(f".{out.name}.{os.getpid()}.mined")
    report = msgspec.json.format(msgspec.json.encode(about)).decode() + "\n"
    try:
        write(draft, found.tasks, header, {REPORT: report})
        _pack(wanted.repository, draft / OBJECTS, found.checks)
        draft.rename(out)
    except OSError as error:
        raise SpecError(f"cannot write a workload to {out}: {error.strerror or error}", field="--out") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _pack(repository: Path, place: Path, checks: list[RepositoryTests]) -> None:
    """A repository with the files of these commits and their parents, and nothing of the history between them."""
    kind = text(repository, "rev-parse", "--show-object-format").strip()
    git(place.parent, "init", "--quiet", "--bare", "--template=", f"--object-format={kind}", place.name)
    commits = sorted({one for check in checks for one in (check.base, check.commit)})
    objects = git(repository, "rev-list", "--objects", "--no-walk", *commits)
    names = b"".join(row.split(b" ")[0] + b"\n" for row in objects.splitlines())
    pack = place.resolve() / "objects" / "pack" / "pack"
    pack.parent.mkdir(parents=True, exist_ok=True)
    git(repository, "pack-objects", "--quiet", str(pack), given=names)
