"""The environments of the other systems: pinned packages from PyPI, each set in a virtual environment of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PEERS = ("optillm", "its-hub", "firstpass")
"""Each has a file of pinned packages here."""


def default_folder() -> Path:
    """Where the environments are kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tierwise" / "peers"


def pins(name: str) -> Path:
    return HERE / f"{name}.txt"


def version(name: str) -> str:
    """The pinned version of a peer."""
    for line in pins(name).read_text(encoding="utf-8").splitlines():
        package, _, number = line.partition("==")
        if package.replace("_", "-") == name:
            return number
    raise ValueError(f"{pins(name)} does not pin {name}")


def installed(name: str, folder: Path) -> Path:
    """The folder with a peer's programs. Makes its environment unless it is there with these very pins."""
    wanted = pins(name).read_bytes()
    home = folder / f"{name}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    stamp = home / "complete"
    if not stamp.exists():
        print(f"installing {name} {version(name)} into {home}", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = (home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        subprocess.run([*pip, "--requirement", pins(name)], check=True)
        stamp.touch()
    return home / "bin"
