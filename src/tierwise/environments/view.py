"""What an agent in a sandbox sees of this machine: programs, libraries and certificates, and nothing of its users."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from tierwise.verifiers.sandbox.view import Mount, interpreter, programs

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin"
"""Where commands are looked for; `/opt/bin` has a `python3` where this machine has none in `/usr/bin`."""

DEVICES = ("full", "null", "random", "tty", "urandom", "zero")

FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "/etc/hostname": "sandbox\n",
}
"""Files that are made instead of shown."""


@functools.cache
def view(*, network: bool) -> tuple[Mount, ...]:
    """The mounts, read-only; names that this machine lacks are left out."""
    rows = [*programs(*(["resolv.conf"] if network else []))]
    rows += [("device", f"/dev/{name}", f"/dev/{name}") for name in DEVICES]
    if not Path("/usr/bin/python3").exists():
        rows += _python()
    return tuple(rows)


def _python() -> list[Mount]:
    prefix = os.path.realpath(sys.base_prefix)
    shown: list[Mount] = [] if Path(prefix).is_relative_to("/usr") else [("files", prefix, prefix)]
    return [*shown, ("link", interpreter(), "/opt/bin/python3")]
