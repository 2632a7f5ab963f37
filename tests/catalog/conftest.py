"""A shelf of files on the loopback that breaks on demand, and a package index on it; no test here needs a network."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import tierwise
from tierwise.catalog import Checkpoint, parse_source, pull

SOURCE_FOLDER = Path(tierwise.__file__).parents[1]


@dataclass
class Fault:
    """How one answer goes wrong."""

    dies_after: int | None = None
    """Bytes of the body before the connection is cut."""
    seconds_per_block: float = 0
    """Between blocks of 4 KiB."""
    status: int = 200
    claims: int | None = None
    """A Content-Length that is a lie."""
    nameless: bool = False
    """No ETag and no Content-Length: the body ends when the connection does."""
    garbles: bool = False


@dataclass
class Request:
    path: str
    range: str | None
    authorization: str | None
    method: str = "GET"
    sent: int = 0


@dataclass
class Shelf:
    """Files by path, with Range; `faults` are used up one per request for a path that ends in `faulty`."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    faulty: str = ""
    ranges: bool = True
    password: str | None = None
    """What Basic authorization must carry, encoded, where it is asked for."""
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def of(self, ending: str) -> list[Request]:
        """The GETs of paths that end so."""
        return [request for request in self.requests if request.method == "GET" and request.path.endswith(ending)]

    def wait_until_sent(self, ending: str, count: int) -> None:
        deadline = time.monotonic() + 20
        while sum(request.sent for request in self.of(ending)) < count:
            assert time.monotonic() < deadline, f"nobody fetched {count} bytes of {ending}"
            time.sleep(0.01)

    def add_package(self, name: str, members: dict[str, bytes], version: str = "1.0", *, base: str = "../../") -> str:
        """Put a wheel and its index page on the shelf; returns the wheel's file name."""
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        return self.add_archive(name, file, build_wheel(name, members, version), base=base)

    def add_archive(self, name: str, file: str, content: bytes, *, base: str = "../../") -> str:
        self.files[f"/files/{file}"] = content
        link = f'<a href="{base}files/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>\n'
        page = self.files.get(f"/simple/{name}/", b"<!DOCTYPE html>\n") + link.encode()
        self.files[f"/simple/{name}/"] = page
        return file


def build_wheel(
    name: str, members: dict[str, bytes], version: str = "1.0", *, method: int = zipfile.ZIP_STORED
) -> bytes:
    module = name.replace("-", "_")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(f"{module}/{member}", content)
        info = f"{module}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return out.getvalue()


def handler_of(shelf: Shelf) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            request = Request(self.path, self.headers["Range"], self.headers["Authorization"], self.command)
            shelf.requests.append(request)
            is_faulty = bool(shelf.faults) and self.path.endswith(shelf.faulty)
            if self.command == "HEAD":  # the faults of a body are kept for the GET
                is_faulty = is_faulty and shelf.faults[0].status != 200
            fault = shelf.faults.popleft() if is_faulty else Fault()
            if shelf.password and request.authorization != f"Basic {shelf.password}":
                return self.refuse(401, {"WWW-Authenticate": 'Basic realm="shelf"'})
            if fault.status != 200:
                return self.refuse(fault.status)
            if self.path in shelf.redirects:
                location, headers = shelf.redirects[self.path]
                return self.refuse(302, {"Location": location, **headers})
            if self.path not in shelf.files:
                return self.refuse(404)
            return self.deliver(shelf.files[self.path], fault, request)

        def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.name_commit()
            self.send_header("Content-Length", "0")
            self.end_headers()

        def name_commit(self) -> None:
            """As the Hub does on all that it says of a file."""
            if found := re.search(r"/resolve/([^/]+)/", self.path):
                self.send_header("X-Repo-Commit", found[1])

        def deliver(self, content: bytes, fault: Fault, request: Request) -> None:
            first = 0
            if shelf.ranges and (asked := re.fullmatch(r"bytes=(\d+)-", request.range or "")):
                first = int(asked[1])
                self.send_response(206 if first < len(content) else 416)
                extent = f"{first}-{len(content) - 1}" if first < len(content) else "*"
                self.send_header("Content-Range", f"bytes {extent}/{len(content)}")
            else:
                self.send_response(200)
            body = content[first:]
            if fault.garbles:
                body = bytes(byte ^ 1 for byte in body)
            if not fault.nameless:
                self.send_header("Content-Length", str(fault.claims or len(body)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:8]}"')
            self.name_commit()
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                for start in range(0, len(body), 4096):
                    block = body[start : start + 4096]
                    if fault.dies_after is not None:
                        block = block[: max(0, fault.dies_after - start)]
                    self.wfile.write(block)
                    request.sent += len(block)
                    time.sleep(fault.seconds_per_block)
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.close_connection = True

    return Handler


@pytest.fixture
def shelf():
    shelf = Shelf()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(shelf))
    shelf.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield shelf
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def index(shelf, monkeypatch):
    """The shelf as the only index that pip knows."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", f"{shelf.url}/simple")
    return shelf


@dataclass
class Bench:
    """One folder to keep checkpoints in, and pulls into it."""

    base: Path
    cache: Path
    told: list[tuple[int, int | None, str]] = field(default_factory=list)

    def checkpoint(self, *sources: str, sha256: str | None = None, name: str = "tiny") -> Checkpoint:
        return Checkpoint(name=name, parts=tuple(map(parse_source, sources)), sha256=sha256, base=self.base)

    def pull(self, checkpoint: Checkpoint) -> Path:
        self.told.clear()
        return asyncio.run(pull(checkpoint, cache=self.cache, progress=lambda *news: self.told.append(news)))

    @property
    def steps(self) -> list[str]:
        """What progress spoke of, each once, in order."""
        return list(dict.fromkeys(what for _, _, what in self.told))

    def start_elsewhere(
        self,
        checkpoint: Checkpoint,
        *,
        dies_at: tuple[str, int] | None = None,
        first: str = "",
        python: tuple[str | Path, ...] = (sys.executable, "-W", "error"),
        **variables: str,
    ) -> subprocess.Popen[str]:
        """Pull in a process of its own; it prints one line of JSON: the path or the error.

        Args:
            dies_at: words and bytes of the progress at which the process kills itself, as `kill -9` would.
            first: Python to run before.
        """
        given = [list(map(str, checkpoint.parts)), checkpoint.sha256, str(self.base), str(self.cache), dies_at]
        return subprocess.Popen(
            [*python, "-c", first + "\n" + ELSEWHERE, json.dumps(given)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE_FOLDER), **variables},
        )

    def pull_elsewhere(self, checkpoint: Checkpoint, **how: Any) -> dict[str, Any]:
        with self.start_elsewhere(checkpoint, **how) as process:
            out, _ = process.communicate(timeout=60)
        answer: dict[str, Any] = json.loads(out)
        return answer

    def pull_and_die(self, checkpoint: Checkpoint, words: str, count: int) -> None:
        with self.start_elsewhere(checkpoint, dies_at=(words, count)) as process:
            assert process.wait(60) == -signal.SIGKILL


ELSEWHERE = """
import asyncio, json, os, signal, sys
from pathlib import Path
from tierwise.catalog import Checkpoint, CheckpointError, parse_source, pull
parts, sha256, base, cache, dies_at = json.loads(sys.argv[1])
checkpoint = Checkpoint(name="tiny", parts=tuple(map(parse_source, parts)), sha256=sha256, base=Path(base))
def progress(done, total, what):
    if dies_at and dies_at[0] in what and done >= dies_at[1]:
        os.kill(os.getpid(), signal.SIGKILL)
try:
    print(json.dumps({"path": str(asyncio.run(pull(checkpoint, cache=Path(cache), progress=progress)))}))
except CheckpointError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def bench(tmp_path):
    base = tmp_path / "config"
    base.mkdir()
    return Bench(base, tmp_path / "cache")


@pytest.fixture
def wheel_bytes():
    return build_wheel


@pytest.fixture
def fault():
    return Fault
