"""The control socket of a running endpoint: `tierwise reload` finds the process by it, and hears what became of it.

A signal says nothing back, and a path of the HTTP endpoint would be open to all who reach its port. So it is a socket
in the file system, in a folder that only its owner can enter. Its name has the hash of the config file's path and the
id of the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec

from tierwise.ledger.location import state_folder
from tierwise.spec.errors import TierwiseError

_LOG = logging.getLogger("tierwise")
_MOST_BYTES = 1024
_RELOAD = b"reload\n"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a reload."""

    process: int
    """Its id."""
    is_applied: bool
    said: list[str]
    """What is different, or the error."""


def folder() -> Path:
    """Where the control sockets of this user's endpoints are."""
    return state_folder() / "serving"


@asynccontextmanager
async def controlled(config: Path, reload: Callable[[], Awaitable[list[str]]]) -> AsyncGenerator[None]:
    """Answer `tierwise reload` during the block. If that is not possible, the log says why; SIGHUP still reloads.

    Args:
        config: the config file that is served.
        reload: reloads it, and returns what is different.
    """
    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        answering.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            if await reader.readline() == _RELOAD:
                writer.write(msgspec.json.encode(await _outcome(reload)) + b"\n")
                await writer.drain()
        writer.close()
        answering.discard(task)

    path = folder() / f"{_digest(config)}-{os.getpid()}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, sock=_listening(path), limit=_MOST_BYTES)
    except OSError as error:
        _LOG.warning("`tierwise reload` will not find this process: %s: %s; send it SIGHUP", path, error.strerror)
        yield
        return
    try:
        yield
    finally:
        server.close()
        for task in answering:
            task.cancel()
        path.unlink(missing_ok=True)


async def _outcome(reload: Callable[[], Awaitable[list[str]]]) -> Outcome:
    try:
        said = await reload()
    except TierwiseError as error:
        return Outcome(process=os.getpid(), is_applied=False, said=[str(error)])
    return Outcome(process=os.getpid(), is_applied=True, said=said)


def reload_all(config: Path, *, timeout: float) -> list[Outcome]:
    """Have every endpoint of this user that serves a config file reload it, one after the other.

    Args:
        config: the file.
        timeout: seconds to wait for each.

    Raises:
        TierwiseError: one does not answer in time.
    """
    found = []
    for path in sorted(folder().glob(f"{_digest(config)}-*")):
        with socket.socket(socket.AF_UNIX) as line, _reachable(path) as address:
            try:
                line.connect(address)
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)  # of a process that was killed
                continue
            line.settimeout(timeout)
            try:
                line.sendall(_RELOAD)
                with line.makefile("rb") as answers:
                    answer = answers.readline()
            except TimeoutError:
                raise TierwiseError(
                    f"process {path.name.rpartition('-')[2]} has not reloaded within {timeout:g} s: new engines may "
                    "still be loading; its log will say what became of it"
                ) from None
        if answer:
            found.append(msgspec.json.decode(answer, type=Outcome))
        else:
            process = int(path.name.rpartition("-")[2])
            found.append(Outcome(process=process, is_applied=False, said=["the process has ended meanwhile"]))
    return found


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _reachable(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        listener.listen()
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """The address of a socket: a name of at most 107 bytes, however long the path is."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _digest(config: Path) -> str:
    return hashlib.sha256(os.fsencode(config.resolve())).hexdigest()[:16]
