"""Tasks that ask for a function of a project: its docstring stays, its body goes, and tests that name it decide."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec

from tierwise.mining.context import CHARACTERS, fence_of, imports
from tierwise.mining.history import Candidate
from tierwise.mining.made import OBJECTS, Mined, Tell, Wanted, name_of, write_mined
from tierwise.mining.validate import Settings, Validator, as_written
from tierwise.spec.errors import SpecError
from tierwise.verifiers.repository.answer import Edit
from tierwise.verifiers.repository.check import RepositoryTests
from tierwise.verifiers.repository.environment import interpreter
from tierwise.verifiers.repository.function import Function, definition, emptied, fingerprints, functions, written
from tierwise.verifiers.repository.git import GitError, archive, files_at, git, text
from tierwise.verifiers.repository.running import IS_MODULE, IS_TEST, command_of
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.files.write import check_free
from tierwise.workloads.task import Task

LEAST_LINES = 3
"""Of a body; shorter ones are no task."""
MOST_FILES = 8
"""Of tests that decide on one function."""
_MARKS = ("pyproject.toml", "setup.py", "setup.cfg")
_LEFT = ("build", "dist", "node_modules", "venv", ".venv", ".tox", ".nox")
"""Folders at the top that are not the project's own, unless its .gitignore says that they are."""
_ID = 80
_WORD = re.compile(r"\w+")

_ASK = """Write the function `{name}` of the file {path} in the project {project}. Its body was removed:

{fence}python
{source}
{fence}

Answer with the whole function, from its `def` on, in one block that begins with ```python. Imports and helpers that it
needs may stand before it. The project's tests decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Project:
    """The files of a project, in a repository of their own."""

    repository: Path
    commit: str
    sources: Mapping[str, str]
    """Python files by path."""
    name: str
    part: str
    """The folder whose functions are asked for, with a slash at its end; empty for the whole project."""
    dates: Mapping[str, str]
    """When a file was last changed, where the project is a git repository."""


async def mine_functions(project: Path, settings: Settings, out: Path, tell: Tell, *, limit: int, tokens: int) -> Mined:
    """Mine the functions of a project into a new folder. If it is cancelled, the tasks that there are are written.

    Args:
        project: its folder, or one in it whose functions alone are asked for; what git would ignore is left out.
        settings: how tasks are validated.
        out: the workload.
        tell: told what became of each function.
        limit: functions that are tried at most, evenly spread over all by path and line.
        tokens: of a file that is shown whole; of a longer one, imports and the function are.

    Raises:
        SpecError: the folder or a setting is wrong, or none of its functions is a task. Nothing is written.
        SandboxUnavailable: there is no sandbox, so that nothing can be validated.
        GitError: git is missing, or cannot read the project's files.
    """
    check_free(out)
    command_of(settings.tests, [])
    interpreter(settings.python)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kept = _stored(project, Path(folder) / OBJECTS)
        found = Mined(name=kept.name, what="functions")
        validator = Validator(kept.repository, settings)
        copies = Counter(one for source in kept.sources.values() for one in fingerprints(source))
        with found.kept():
            for path, function, modules in spread(list(_named_by_tests(kept)), limit):
                label = f"{path}::{function.name}"
                check: RepositoryTests | str = "its body stands in another place of the project, too"
                if copies[function.fingerprint] == 1:
                    candidate = _candidate(kept, path, function, modules)
                    check = await validator.validate(candidate) if candidate else "it cannot be taken out of its file"
                tell(label, check)
                _add(found, kept, path, function, check, tokens)
        if not found.tasks:
            raise SpecError(_nothing(kept, found), field="PACKAGE")
        found.seconds = validator.seconds(began)
        write_mined(Wanted(repository=kept.repository, limit=limit, tokens=tokens), settings, found, out)
    return found


_T = TypeVar("_T")
_Row: TypeAlias = tuple[str, Function, list[str]]
"""The path of a function's file, the function, and the test files that name it."""


def spread(rows: Sequence[_T], most: int) -> Sequence[_T]:
    """At most so many, at even distances."""
    return rows if len(rows) <= most else [rows[number * len(rows) // most] for number in range(most)]


def _root(package: Path) -> Path:
    """The project of a folder: the nearest one, from there up, that says how it is installed; else the folder. What is
    above a repository is not its project.
    """
    for folder in (package, *package.parents):
        if any((folder / mark).is_file() for mark in _MARKS):
            return folder
        if (folder / ".git").exists():
            break
    return package


def _stored(package: Path, place: Path) -> _Project:
    """The project's files as they are now, as the one commit of a new repository.

    Raises:
        SpecError: it is no folder.
        GitError: git is missing, or cannot read the files.
    """
    if not package.is_dir():
        raise SpecError(f"{package} is no folder; give the folder of a project with its tests", field="PACKAGE")
    package = package.resolve()
    project = _root(package)
    git(place.parent, "init", "--quiet", "--bare", "--template=", place.name)
    (place / "info").mkdir(exist_ok=True)
    (place / "info" / "exclude").write_text("".join(f"/{name}/\n" for name in _LEFT), encoding="utf-8")
    inside = ["--git-dir", str(place), "--work-tree", str(project), "-c", "core.autocrlf=false"]
    git(project, *inside, "add", "--all")
    commit = _commit(place)
    git(place, "update-ref", "--no-deref", "HEAD", commit)
    paths = [path for path in files_at(place, commit) if path.endswith(".py")]
    with tarfile.open(fileobj=io.BytesIO(archive(place, commit, paths))) as file:
        bodies = {one.name: held.read() for one in file if (held := file.extractfile(one))}
    sources = {path: source for path, body in bodies.items() if (source := _utf8(body)) is not None}
    return _Project(
        repository=place,
        commit=commit,
        sources=sources,
        name=name_of(project),
        part="" if package == project else f"{package.relative_to(project).as_posix()}/",
        dates=_dates(project, sources),
    )


def _utf8(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _commit(place: Path) -> str:
    who = ["-c", "user.name=tierwise", "-c", "user.email=tierwise@localhost"]
    tree = text(place, "write-tree").strip()
    return text(place, *who, "commit-tree", tree, "-m", "x").strip()


def _dates(project: Path, sources: Mapping[str, str]) -> dict[str, str]:
    """When each file was last changed, read from the history in one pass; empty if there is none."""
    try:
        inside = text(project, "rev-parse", "--show-prefix").removesuffix("\n")
        said = text(project, "log", "-c", "-z", "--no-renames", "--name-only", "--format=%x01%cI")
    except GitError:
        return {}
    found: dict[str, str] = {}
    date = ""
    for word in said.split("\0"):
        if word.startswith("\x01"):
            date = word[1:]
        else:
            found.setdefault(word.lstrip("\n"), date)
    return {path: found[inside + path] for path in sources if inside + path in found}


def _named_by_tests(kept: _Project) -> Iterator[_Row]:
    """Functions that are long enough, with the test files that name them.

    Those that import the function's file, else those that import its package, else all; and of them the ones that name
    it most often, so that a common name such as `close` does not run the whole suite.
    """
    modules = {path: source for path, source in kept.sources.items() if re.search(IS_MODULE, path)}
    paths = list(kept.sources)
    imported = {path: set(imports(source, path, paths)) for path, source in modules.items()}
    words = {path: Counter(_WORD.findall(source)) for path, source in modules.items()}
    for path, source in kept.sources.items():
        wanted = path.startswith(kept.part) and not re.search(IS_TEST, path)
        package = f"{path.rpartition('/')[0]}/__init__.py"
        for function in functions(source) if wanted else []:
            owner, _, word = function.name.rpartition(".")
            word = owner if word.startswith("__") and owner else word  # Python calls it, and tests name the class
            naming = [module for module in modules if words[module][word]]
            near = [module for module in naming if path in imported[module]]
            near = near or [module for module in naming if package in imported[module]] or naming
            if naming and function.lines >= LEAST_LINES:
                often = {module: words[module][word] for module in near}
                chosen = sorted(near, key=often.__getitem__, reverse=True)[:MOST_FILES]
                yield path, function, sorted(chosen)


def _candidate(kept: _Project, path: str, function: Function, modules: list[str]) -> Candidate | None:
    """The project without the function's body as the parent of the project as it is; None if it cannot be put back."""
    source = kept.sources[path]
    without = emptied(source, function)
    solution = written(without, function.name, definition(source, function))
    if solution is None:
        return None
    parent = _with_file(kept, path, without)
    return Candidate(
        commit=kept.commit,
        parent=parent,
        date=kept.dates.get(path, ""),
        message=function.name,
        modules=tuple(modules),
        solution=Edit(path=path, content=solution),
    )


def _with_file(kept: _Project, path: str, content: str) -> str:
    """A commit of the project with another content of a file."""
    place = kept.repository
    before = text(place, "ls-files", "--stage", "--", f":(literal){path}").split()
    blob = git(place, "hash-object", "-w", "--stdin", given=content.encode(errors="surrogateescape")).decode().strip()
    git(place, "update-index", "--cacheinfo", f"{before[0]},{blob},{path}")
    try:
        return _commit(place)
    finally:
        git(place, "update-index", "--cacheinfo", f"{before[0]},{before[1]},{path}")


def _add(
    found: Mined, kept: _Project, path: str, function: Function, check: RepositoryTests | str, tokens: int
) -> None:
    label = f"{path}::{function.name}"
    if isinstance(check, str):
        found.leave_out({"function": label}, check)
        return
    check = msgspec.structs.replace(check, function=label)
    name = label if len(label) <= _ID else f"{label[9 - _ID :]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    task = Task(
        id=name,
        messages=[{"role": "user", "content": _prompt(kept, path, function, tokens * CHARACTERS)}],
        check=CheckChoice(repository_tests=as_written(check, OBJECTS)),
        tags=[f"contamination:{check.contamination}"],
        cluster=path[:200],
    )
    found.add({"function": label}, task, check)


def _prompt(kept: _Project, path: str, function: Function, room: int) -> str:
    source = emptied(kept.sources[path], function)
    if len(source) > room:
        lines = source.split("\n")
        wanted = re.compile(r"(?:import|from) |class " + re.escape(function.name.split(".")[0]) + r"\b")
        head = [line for line in lines[: function.first - 1] if wanted.match(line)]
        source = "\n".join([*head, "", *lines[function.first - 1 : function.body]])
    return _ASK.format(name=function.name, path=path, project=kept.name, source=source.rstrip(), fence=fence_of(source))


def _nothing(kept: _Project, found: Mined) -> str:
    """Why there is no task."""
    if found.rows:
        reasons = "; ".join(f"{number}: {why}" for why, number in found.left_out.most_common(5))
        return f"none of {len(found.rows)} functions is a task ({reasons})"
    if not any(re.search(IS_MODULE, path) for path in kept.sources):
        return "the project has no tests: no file test_*.py or *_test.py; only functions with tests can be checked"
    inside = f" in {kept.part}" if kept.part else ""
    return f"no test names a function{inside} that has a docstring and {LEAST_LINES} lines of code"
