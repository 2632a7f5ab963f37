"""What a program in the sandbox sees of this machine."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from pathlib import Path
from typing import Literal, TypeAlias

Mount: TypeAlias = tuple[Literal["files", "device", "link", "empty", "processes"], str, str]
"""Kind of mount, path on this machine, and path in the sandbox. `processes`: a /proc of the sandbox's own processes."""

PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates.conf",
    "gai.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
"""In /etc: what programs read, and nothing of this machine's users."""


@functools.cache
def interpreter() -> str:
    """The base interpreter of a virtual environment, which finds its library without configuration."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return os.path.realpath(Path(sys.base_exec_prefix, "bin", version))


@functools.cache
def view() -> tuple[Mount, ...]:
    """What the program sees of this machine: interpreter, shared libraries and time zones, but no installed
    packages.
    """
    rows: list[Mount] = []
    shown: list[Path] = []
    prefixes = [Path(os.path.realpath(prefix)) for prefix in (sys.base_prefix, sys.base_exec_prefix)]
    multiarch = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "")  # Debian's; a plain /usr/lib elsewhere
    wanted = [multiarch if multiarch.exists() else Path("/usr/lib"), Path("/usr/lib64"), Path("/lib"), Path("/lib64")]
    wanted += [Path(prefix, lib) for prefix in prefixes for lib in ("lib", "lib64") if prefix != Path("/usr")]
    wanted += [Path(os.__file__).resolve().parent]
    for path in (*wanted, Path(interpreter()), Path("/usr/share/zoneinfo"), Path("/etc/ld.so.cache")):
        if any(path.is_relative_to(other) for other in shown) or not path.exists():
            continue
        if path.is_symlink():
            rows.append(("link", str(path.readlink()), str(path)))
        else:
            rows.append(("files", str(path), str(path)))
        shown.append(path)
    for path in shown:
        for pattern in ("site-packages", "dist-packages", "python*/site-packages", "python*/dist-packages"):
            rows += [("empty", "", str(packages)) for packages in path.glob(pattern) if not path.is_symlink()]
    rows += [("device", f"/dev/{name}", f"/dev/{name}") for name in ("null", "random", "urandom")]
    rows.append(("link", "/tmp", "/dev/shm"))  # noqa: S108 -- semaphores and shared memory count as scratch
    return tuple(rows)


@functools.cache
def programs(*settings: str) -> tuple[Mount, ...]:
    """The programs of this machine, their libraries and their settings; names that this machine lacks are left out.

    Args:
        settings: more names in /etc.
    """
    rows: list[Mount] = []
    for name in (*PROGRAMS, *(f"/etc/{name}" for name in (*SETTINGS, *settings))):
        path = Path(name)
        if path.is_symlink() and path.parent == Path("/"):
            rows.append(("link", str(path.readlink()), name))
        elif path.exists():
            rows.append(("files", os.path.realpath(path), name))
    return tuple(rows)
