"""The tier that every harness is run against, with the environment of a harness."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from processes import HERE, running, tierwise

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

TIERS = ("fast", "max")
Fixture = tuple["Path", str]
"""A file that a harness wrote, and where it belongs among the fixtures."""


@contextmanager
def tier(folder: Path) -> Generator[str]:
    """Run a server of two tiers that answers `answers.QUESTIONS`. Yields its URL, which ends in /v1."""
    with running(HERE / "harnesses" / "answers.py", log=folder / "answers.log") as (_, url):
        config = {
            "deployments": {"answers": {"engine": "http", "url": url, "model": "answers"}},
            "tiers": {
                "fast": {"deployment": "answers", "policy": "single"},
                "max": {"deployment": "answers", "policy": {"majority": {"n": 3}}},
            },
            "prices": {"answers": {"prompt": 1.0, "completion": 4.0}},
        }
        with tierwise(config, folder) as (_, served):
            yield served


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a harness runs."""

    url: str
    """Of the endpoint with the tiers, which ends in /v1."""
    folder: Path
    """An empty folder for what it writes."""
    home: Path
    """Where environments are kept."""
    python: str
    """A Python of version 3.12 or later, for the harnesses that need one."""


def environment(folder: Path, *packages: str, python: str = sys.executable) -> Path:
    """The folder with the programs of pinned packages. Makes their virtual environment once."""
    if not (folder / "complete").exists():
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([*pip, *packages], check=True)
        (folder / "complete").touch()
    return folder / "bin"


def run(command: Sequence[str | Path], folder: Path, keys: Mapping[str, str]) -> str:
    """Run a harness in a folder. Returns what it prints; its exit status is no error, because tasks may fail."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout + done.stderr
