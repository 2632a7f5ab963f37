"""A private PostgreSQL, with a password, on a free port of loopback; it ends with the tests, whatever ends them."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "tierwise"
PASSWORD = "p@ss/wörd"
PATIENCE = 30.0


@dataclass
class Server:
    port: int
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        import psycopg  # noqa: PLC0415 - tests without it are skipped

        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd="/")
        until = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            assert time.monotonic() < until, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as a crash would: connections break."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(PATIENCE)
            self.process = None

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        import psycopg  # noqa: PLC0415

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []


def programs() -> Path | None:
    """The folder of PostgreSQL's own programs, the newest where there are several."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if (found := shutil.which("initdb")) is not None:
        folders.append(Path(found).resolve().parent)
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server with an empty cluster; skips the test where there is no PostgreSQL or no psycopg."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'tierwise[postgresql]'")
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL to test with: its programs are not in /usr/lib/postgresql/*/bin, nor on the PATH")
    with tempfile.TemporaryDirectory(prefix="tierwise-postgresql-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "password").write_text(PASSWORD)
        unprivileged: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = _somebody()
            for path in (home, home / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
            unprivileged = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        form = ["--username", USER, "--pwfile", str(home / "password"), "--auth", "scram-sha-256", "--encoding", "UTF8"]
        subprocess.run(
            [*unprivileged, found / "initdb", "-D", home / "data", *form, "--locale=C.UTF-8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        command = [*(unprivileged or ["setpriv"]), "--pdeathsig", "QUIT", str(found / "postgres")]
        command += ["-D", str(home / "data"), *(f"--{name}={value}" for name, value in settings.items())]
        server = Server(port=port, command=command, log=home / "log")
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _somebody() -> pwd.struct_passwd:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")
