"""The environment in which a repository's tests run: a virtual environment made from the repository's own files.

It is built once for all commits whose files agree (`files_of`), with the network, and used offline afterwards. Its
folder `environments/KEY` of the cache is complete when it has the file `ready.json`; the key is a hash of those files,
of the interpreter and of the command that installs.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierwise.catalog.cache import cache_folder
from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.verifiers.repository.git import archive, files_at

REPOSITORY = "/tmp/repo"  # noqa: S108 -- where the sandbox has the repository
PLACE = "/environment"
"""Where the sandbox has the environment."""
READY = "ready.json"
INSTALL_SECONDS = 1800
_KINDS = r"(?:dev|test|tests|testing|develop|development|ci)"
_TESTING = re.compile(rf"^(?:requirements/{_KINDS}|requirements[-_]{_KINDS}|{_KINDS}[-_]requirements)\.txt$")
_FILES = re.compile(
    r"^(?:pyproject\.toml|setup\.(?:py|cfg)|(?:uv|poetry|pdm|pylock[\w.]*)\.(?:lock|toml)|Pipfile(?:\.lock)?"
    r"|[\w.-]*requirements[\w.-]*\.(?:txt|in)|requirements/[\w.-]+\.(?:txt|in)|constraints[\w.-]*\.txt)$"
)
PYTEST = re.compile(r"(?:^|/)(?:py\.?test|python[\d.]*)$")
"""First words of commands that run pytest, or may."""
GROUPS = ("test", "tests", "testing", "dev")
"""Extras and dependency groups that are installed."""


class EnvironmentFailed(TierwiseError):
    """The environment could not be built; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python on this machine."""

    path: str
    version: str
    prefix: Path
    """Where its library is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment that is ready."""

    folder: Path
    prefix: Path


@functools.cache
def interpreter(name: str) -> Interpreter:
    """The interpreter of a name (`python3.12`), version (`3.12`) or path.

    Raises:
        SpecError: there is none, or it cannot run.
    """
    word = f"python{name}" if re.fullmatch(r"\d+(\.\d+)*", name) else name
    place = shutil.which(word)
    if place is None:
        raise SpecError(f"there is no {word!r} on PATH; give a name such as python3.12, or a path", field="--python")
    ask = "import platform, sys; print(platform.python_version()); print(sys.base_prefix)"
    done = subprocess.run([place, "-I", "-c", ask], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SpecError(f"{place} does not run: {done.stderr.strip()[-200:]}", field="--python")
    version, prefix = done.stdout.split("\n")[:2]
    return Interpreter(path=place, version=version, prefix=Path(prefix).resolve())


def files_of(repository: Path, commit: str, install: str) -> dict[str, str]:
    """The files of a commit that decide what is installed, with their hashes.

    For a command of the user's, those of the folders that it names count too, as packages of a monorepo, and what it
    runs.

    Raises:
        SpecError: `install` is no command.
    """
    named = {word.partition("[")[0].removeprefix("./").rstrip("/") for word in _words_of(install)}

    def counts(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return bool(_FILES.match(path)) or path in named or (folder in named and bool(_FILES.match(name)))

    return {path: found for path, found in files_at(repository, commit).items() if counts(path)}


def _words_of(install: str) -> list[str]:
    try:
        return shlex.split(install)
    except ValueError as error:
        raise SpecError(f"{install!r} is not a command: {error}", field="--install") from error


def key_of(repository: Path, commit: str, python: Interpreter, install: str, runner: str) -> str:
    """The key of a commit's environment in the cache."""
    files = files_of(repository, commit, install)
    facts = [python.version, str(python.prefix), platform.machine(), install, runner, files]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def environment(repository: Path, commit: str, *, python: str, install: str, runner: str) -> Environment:
    """The environment of a commit: found in the cache, or built; blocks until it is ready.

    Args:
        repository: with the commit.
        commit: whose files decide.
        python: name, version or path of the interpreter.
        install: a command that installs, in place of the rule; empty for the rule.
        runner: first word of the command that runs the tests; pytest is installed if the files do not name it.

    Raises:
        SpecError: there is no such interpreter, or `install` is no command.
        EnvironmentFailed: it cannot be built. Nothing is left behind.
    """
    found = interpreter(python)
    folder = cache_folder() / "environments" / key_of(repository, commit, found, install, runner)
    ready = Environment(folder=folder, prefix=found.prefix)
    with _locked(folder.with_suffix(".lock")):
        if (folder / READY).exists():
            return ready
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _build(folder, archive(repository, commit), found, install, runner)
            about = {
                "python": found.version,
                "commit": commit,
                "install": install,
                "files": files_of(repository, commit, install),
            }
            (folder / READY).write_text(json.dumps(about), encoding="utf-8")
        except OSError as error:
            raise EnvironmentFailed(
                f"the environment cannot be written: {error.strerror} ({error.filename})"
            ) from error
        finally:
            if not (folder / READY).exists():
                shutil.rmtree(folder, ignore_errors=True)
    return ready


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, packed: bytes, python: Interpreter, install: str, runner: str) -> None:
    folder.mkdir(parents=True)
    source = folder / "source"
    with tarfile.open(fileobj=io.BytesIO(packed)) as file:
        file.extractall(source, filter="tar")
    _call([python.path, "-m", "venv", str(folder)], folder, source)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-q"]
    if install:
        _call(_words_of(install), folder, source)
    else:
        for words in steps(source):
            _call([*pip, *words], folder, source)
    has_pytest = any(folder.glob("lib/python*/site-packages/pytest"))
    if PYTEST.search(runner) and not has_pytest:
        _call([*pip, "pytest"], folder, source)
    _move(folder, source)
    shutil.rmtree(source)


def steps(source: Path) -> list[list[str]]:
    """What the rule installs: words after `pip install`, one list per call.

    `requirements.txt` and the requirements of tests (`requirements/test.txt`, `requirements-dev.txt`, …); without the
    latter, the extras and groups `GROUPS`. Then the package itself, in place.
    """
    names = sorted(
        one.relative_to(source).as_posix() for one in [*source.glob("*.txt"), *source.glob("requirements/*.txt")]
    )
    requirements = [name for name in ("requirements.txt",) if name in names]
    testing = [name for name in names if _TESTING.match(name)]
    found = [["-r", name] for name in requirements + testing]
    project = _project(source)
    extras, groups = ("", []) if testing else _optional(project)
    if groups:
        found.append(groups)
    if (source / "setup.py").exists() or "project" in project or "build-system" in project:
        found.append([*(["--no-deps"] if testing else []), "-e", f".{extras}"])
    return found


def _project(source: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFailed(f"pyproject.toml cannot be read: {error}") from error


def _optional(project: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The extras in brackets, and the requirements of the dependency groups (PEP 735)."""
    extras = [name for name in GROUPS if name in project.get("project", {}).get("optional-dependencies", {})]
    groups = project.get("dependency-groups", {})
    wanted: list[str] = []
    open_groups = [name for name in GROUPS if name in groups]
    for name in open_groups:
        for one in groups.get(name, []):
            if isinstance(one, str):
                wanted.append(one)
            elif one.get("include-group") not in open_groups:
                open_groups.append(one.get("include-group"))
    return f"[{','.join(extras)}]" if extras else "", wanted


def _call(line: Sequence[str], folder: Path, source: Path) -> None:
    commands = f"{folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    own = {"PATH": commands, "VIRTUAL_ENV": str(folder), "SETUPTOOLS_SCM_PRETEND_VERSION": "0.0.0"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    word = shutil.which(line[0], path=commands) or line[0]
    try:
        done = subprocess.run(
            [word, *line[1:]],
            cwd=source,
            env={**kept, **own},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            umask=0o022,
            timeout=INSTALL_SECONDS,
        )
    except OSError as error:
        raise EnvironmentFailed(f"{line[0]} could not be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailed(f"`{shlex.join(line[-3:])}` took more than {INSTALL_SECONDS} s") from error
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        errors = [one.strip() for one in said if re.search(r"error", one, re.IGNORECASE)] or said
        raise EnvironmentFailed(
            f"the environment cannot be built: `{shlex.join(['pip', *line[3:]] if 'pip' in line else line)}` says "
            f"{' / '.join(errors[:2])[:400]!r}; give --install COMMAND, or --python, if the repository needs another"
        )


def _move(folder: Path, source: Path) -> None:
    """Let the environment's programs, and what was installed in place, point to where the sandbox has them."""
    programs = [one for one in folder.glob("bin/*") if one.is_file() and not one.is_symlink()]
    patterns = ("*.pth", "__editable__*.py", "*.egg-link", "*.dist-info/direct_url.json")
    places = [one for pattern in patterns for one in folder.glob(f"lib/python*/site-packages/{pattern}")]
    for place in programs + places:
        body = place.read_bytes()
        moved = body.replace(os.fsencode(source), os.fsencode(REPOSITORY))
        if place in programs and body.startswith(b"#!"):
            moved = moved.replace(os.fsencode(folder), os.fsencode(PLACE))
        if moved != body:
            mode = place.stat().st_mode
            place.unlink()  # it may be a hard link into the cache of the installer, as uv makes them
            place.write_bytes(moved)
            place.chmod(mode)
