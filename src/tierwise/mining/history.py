"""The commits of a repository that may become tasks: they change both code and tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tierwise.spec.errors import SpecError
from tierwise.verifiers.repository.answer import Edit
from tierwise.verifiers.repository.git import GitError, changed, text
from tierwise.verifiers.repository.running import IS_MODULE, IS_TEST

_SUFFIXES = (
    "py pyi pyx pxd c h cc cpp hpp cu rs go java kt js jsx ts tsx rb php sh sql jinja j2 toml cfg ini json yaml yml"
)
CODE = frozenset(_SUFFIXES.split(" "))
"""Suffixes of code and of what configures it."""
_TRAILER = re.compile(r"^[A-Za-z][\w-]*: \S")
_NUMBER = re.compile(r"(?:\bGH-|#)(\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A commit with one parent that changes code and tests."""

    commit: str
    parent: str
    date: str
    """The committer's, ISO 8601."""
    message: str
    """Without trailers."""
    modules: tuple[str, ...]
    """The test files that a runner is given, as they are after the commit."""
    solution: Edit | None = None
    """The right answer; None if it is the commit's own change as a patch."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the history had."""

    commits: int = 0
    merges: int = 0
    single: int = 0
    """Commits with one parent."""


def check_repository(repository: Path) -> None:
    """Refuse what cannot be mined, before any work.

    Raises:
        SpecError: it is no repository, a shallow clone, or without commits.
    """
    if not repository.is_dir():
        raise SpecError(f"{repository} is no folder; give the folder of a git repository", field="REPO")
    try:
        shallow = text(repository, "rev-parse", "--is-shallow-repository").strip()
    except GitError as error:
        raise SpecError(f"{repository} is no git repository: {error}", field="REPO") from error
    if shallow == "true":
        raise SpecError(
            f"{repository} is a shallow clone, which lacks the parents of commits; run `git fetch --unshallow` in it",
            field="REPO",
        )
    try:
        text(repository, "rev-parse", "--verify", "HEAD^{commit}")
    except GitError as error:
        raise SpecError(f"{repository} has no commit yet", field="REPO") from error


def candidates(repository: Path, since: str, seen: Seen) -> Iterator[Candidate]:
    """The candidates, newest first. What was seen is counted in `seen`.

    Args:
        repository: that `check_repository` accepted.
        since: as git understands it; empty for all.
        seen: counts.
    """
    line = ["log", "-z", "--format=%H%x00%P%x00%cI%x00%B", *([f"--since={since}"] if since else [])]
    said = iter(text(repository, *line).split("\0"))
    for commit, parents, date, message in zip(said, said, said, said, strict=False):
        seen.commits += 1
        if len(parents.split()) != 1:
            seen.merges += " " in parents
            continue
        seen.single += 1
        asked = without_trailers(message)
        found = changed(repository, parents, commit)
        code = [path for path in found if not re.search(IS_TEST, path) and path.rpartition(".")[2] in CODE]
        modules = [path for path in found if re.search(IS_MODULE, path) and found[path] != "D"]
        if code and modules and asked:
            yield Candidate(
                commit=commit,
                parent=parents,
                date=date,
                message=asked,
                modules=tuple(modules),
            )


def without_trailers(message: str) -> str:
    """A commit message without its trailers, and without a diff that `git commit -v` may have left in it."""
    kept = re.split(r"^(?:# -+ >8 -+|diff --git )", message, maxsplit=1, flags=re.MULTILINE)[0]
    paragraphs = re.split(r"\n\s*\n", kept.strip())
    while len(paragraphs) > 1 and all(_TRAILER.match(line) for line in paragraphs[-1].splitlines()):
        paragraphs.pop()
    return "\n\n".join(paragraphs).strip()


class Issue(msgspec.Struct, frozen=True):
    """An issue, as `gh issue list --state all --json number,title,body` prints it."""

    number: int
    title: str = ""
    body: str | None = ""


def read_issues(path: Path) -> dict[int, Issue]:
    """The issues of a file by number.

    Raises:
        SpecError: it cannot be read.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[Issue])
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", field="--issues") from error
    except msgspec.DecodeError as error:
        raise SpecError(
            f"{path} is no list of issues: {error}; write it with `gh issue list --state all --json number,title,body`",
            field="--issues",
        ) from error
    return {one.number: one for one in found}


def linked(message: str, issues: Mapping[int, Issue]) -> list[Issue]:
    """The issues that a message names as `#12` or `GH-12`."""
    numbers = dict.fromkeys(int(number) for number in _NUMBER.findall(message))
    return [issues[number] for number in numbers if number in issues]
