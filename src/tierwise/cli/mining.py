"""`tierwise workload from-git` and `from-tests`: make workloads from a repository's history, and from its functions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tierwise.mining.made import Mined
    from tierwise.verifiers.repository.check import RepositoryTests


class ScopeChoice(StrEnum):
    """Which tests must stay."""

    CHANGED = "changed"
    FOLDER = "folder"
    SUITE = "suite"


Repo = Annotated[Path, typer.Argument(metavar="REPO", help="A clone with its whole history.")]
Tests = Annotated[
    str,
    typer.Option(
        help="The command that runs tests: pytest, or any that writes JUnit XML to {junit} and takes {files}."
    ),
]
Issues = Annotated[Path | None, typer.Option(help="Issues, as `gh issue list --json number,title,body` prints them.")]
Scope = Annotated[
    ScopeChoice,
    typer.Option(help="Tests that must stay: of the changed files, of their folders, or of the whole suite."),
]
Repeats = Annotated[
    int, typer.Option(min=2, max=20, help="Runs of the tests before and after each commit, to find flaky ones.")
]
Python = Annotated[str, typer.Option(help="Interpreter of the environments: 3.12, python3.12 or a path.")]
Install = Annotated[
    str, typer.Option(help="Installs the environment, in place of the rule: 'pip install -e .\\[dev]'.")
]
Seconds = Annotated[float, typer.Option(min=1, max=86_400, help="Longest run of the tests.")]
Context = Annotated[int, typer.Option(min=500, help="Files shown in a prompt, at four characters a token.")]
Released = Annotated[
    str, typer.Option(help="Release date of the checkpoint, 2026-01-31: older commits may be known to it.")
]


def from_git(
    repository: Repo,
    tests: Tests,
    out: Annotated[Path, typer.Option(help="New directory.")],
    since: Annotated[str, typer.Option(help="Only commits since 2026-01-31 (UTC), or 24h, 7d ago.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Try the newest N commits that change code and tests.")] = 100,
    issues: Issues = None,
    pass_to_pass: Scope = ScopeChoice.FOLDER,
    repeats: Repeats = 2,
    python: Python = "python3",
    install: Install = "",
    seconds: Seconds = 600.0,
    context_tokens: Context = 16_000,
    released: Released = "",
) -> None:
    """Make a workload from a repository's history: each task is a commit, checked by its own tests.

    Runs the tests before and after each commit in the sandbox, without a network. Calls no model. Ctrl-C keeps the
    tasks that were validated by then, with exit code 130.
    """
    import asyncio

    from tierwise.mining.history import read_issues
    from tierwise.mining.made import Wanted, mine
    from tierwise.mining.validate import Settings

    wanted = Wanted(
        repository=repository,
        since=_moment(since),
        limit=limit,
        issues={} if issues is None else read_issues(issues),
        tokens=context_tokens,
    )
    settings = Settings(
        tests=tests,
        scope=pass_to_pass.value,
        repeats=repeats,
        python=python,
        install=install,
        seconds=seconds,
        released=_day(released),
    )
    _print_mined(asyncio.run(mine(wanted, settings, _directory(out), _tell)), out)


def from_tests(
    project: Annotated[Path, typer.Argument(metavar="PACKAGE", help="A project with its tests, or a folder in it.")],
    out: Annotated[Path, typer.Option(help="New directory.")],
    tests: Tests = "pytest -q",
    limit: Annotated[int, typer.Option(min=1, help="Try N of the functions that tests name, evenly spread.")] = 100,
    repeats: Repeats = 2,
    python: Python = "python3",
    install: Install = "",
    seconds: Seconds = 600.0,
    context_tokens: Context = 16_000,
    released: Released = "",
) -> None:
    """Make a workload from a project's functions: each task is one to write, checked by the project's own tests.

    Takes functions with a docstring that tests name, and runs these tests with and without the function's body in the
    sandbox, without a network. Calls no model. Of a folder in a project, only the functions there are asked for.
    """
    import asyncio

    from tierwise.mining.functions import mine_functions
    from tierwise.mining.validate import Settings

    settings = Settings(
        tests=tests,
        scope="changed",
        repeats=repeats,
        python=python,
        install=install,
        seconds=seconds,
        released=_day(released),
    )
    found = asyncio.run(mine_functions(project, settings, _directory(out), _tell, limit=limit, tokens=context_tokens))
    _print_mined(found, out)


def _directory(out: Path) -> Path:
    from tierwise.spec.errors import SpecError

    if out.suffix == ".jsonl":
        raise SpecError(f"{out} would be a file, but the tasks need a directory; give another name", field="--out")
    return out


def _moment(since: str) -> str:
    from datetime import UTC, datetime

    from tierwise.cli.ledger import moment

    return datetime.fromtimestamp(moment(since), UTC).isoformat() if since else ""


def _day(released: str) -> str:
    from datetime import date

    from tierwise.spec.errors import SpecError

    try:
        return date.fromisoformat(released).isoformat() if released else ""
    except ValueError as error:
        raise SpecError(f"{released!r} is not a date; write 2026-01-31", field="--released") from error


def _tell(name: str, check: RepositoryTests | str) -> None:
    if isinstance(check, str):
        print(f"- {name}: {check}", flush=True)
        return
    flaky = f", {len(check.validated.flaky)} flaky" if check.validated and check.validated.flaky else ""
    counts = f"{len(check.fail_to_pass)} fail to pass, {len(check.pass_to_pass)} pass to pass{flaky}"
    print(f"+ {name}: {counts}", flush=True)


def _print_mined(found: Mined, out: Path) -> None:
    from tierwise.workloads.files.small_sample import small_sample

    spent = found.seconds
    tried = {
        "commits": f"commits of {found.name} that change code and tests",
        "functions": f"functions of {found.name} that tests name",
    }
    print(f"{out}: {len(found.tasks)} tasks of {len(found.rows)} {tried[found.what]}")
    work = spent["total"] - spent["environments"]
    print(
        f"  {work:.0f} s beside environments ({spent['environments']:.0f} s), of which tests ran {spent['tests']:.0f} s"
        + (f": {work / spent['tests']:.2f} ×" if spent["tests"] else "")
    )
    if note := small_sample(len(found.tasks)):
        print(f"note: {note}")
    if found.is_interrupted:
        print("interrupted: only what was validated until then is there")
        raise typer.Exit(130)
