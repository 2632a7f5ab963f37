"""Newcomers are accepted while the event loop is busy, and wait while there are no file descriptors."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from contextlib import ExitStack, suppress

import pytest
import uvloop

from tierwise.gateway import accepting
from tierwise.gateway.accepting import Acceptor

NEWCOMERS = 500
TURN_SECONDS = 0.02


class Greeter(asyncio.Protocol):
    """Says hello, and closes nothing."""

    def connection_made(self, transport):
        transport.write(b"hello")


def newcomers(stack, listener, count):
    """Connections that wait in the kernel's queue."""
    lines = []
    for _ in range(count):
        line = stack.enter_context(socket.create_connection(listener.getsockname()))
        line.setblocking(False)
        lines.append(line)
    return lines


def greeted(lines):
    count = 0
    for line in lines:
        with suppress(BlockingIOError):
            count += line.recv(9, socket.MSG_PEEK) == b"hello"
    return count


async def until(condition, turns):
    """Let the loop turn, slowly, until a condition holds. Returns the number of turns."""
    for turn in range(turns):
        if condition():
            return turn
        time.sleep(TURN_SECONDS)  # noqa: ASYNC251 - a busy loop
        await asyncio.sleep(0)
    raise AssertionError(f"not within {turns} turns")


def test_500_newcomers_are_accepted_in_a_few_turns_of_a_busy_loop():
    async def run():
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
            lines = newcomers(stack, listener, NEWCOMERS)
            acceptor = Acceptor(listener, Greeter)
            turns = await until(lambda: greeted(lines) == NEWCOMERS, 60)
            await acceptor.close()
            return turns

    assert uvloop.run(run()) < 30, "uvloop's own server takes one turn for each"


def test_newcomers_wait_while_there_are_no_file_descriptors(monkeypatch):
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.05)

    class Exhausted:
        """A listener without file descriptors for its next connections."""

        def __init__(self, listener, failures):
            self._listener, self.failures = listener, failures

        def accept(self):
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self._listener.accept()

        def __getattr__(self, name):
            return getattr(self._listener, name)

    async def run():
        with ExitStack() as stack:
            listener = Exhausted(stack.enter_context(socket.create_server(("127.0.0.1", 0))), failures=2)
            lines = newcomers(stack, listener, 3)
            acceptor = Acceptor(listener, Greeter)
            began = time.monotonic()
            await until(lambda: greeted(lines) == 3, 200)
            await acceptor.close()
            return time.monotonic() - began, listener.failures

    seconds, failures = uvloop.run(run())
    assert failures == 0
    assert seconds >= 0.08, "it pauses, rather than ask in every turn"


@pytest.mark.parametrize("is_paused", [False, True])
def test_after_its_end_nobody_is_accepted(is_paused, monkeypatch):
    async def run():
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            acceptor = Acceptor(listener, Greeter)
            if is_paused:
                acceptor._wait(OSError(errno.EMFILE, "Too many open files"))
            await acceptor.close()
            lines = newcomers(stack, listener, 2)
            await asyncio.sleep(0.1)
            return greeted(lines)

    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.01)
    assert uvloop.run(run()) == 0


def test_who_is_accepted_as_it_ends_hears_of_the_end_of_its_connection():
    open_now = set()

    class Member(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            open_now.add(self)

        def connection_lost(self, exc):
            open_now.discard(self)

    async def run():
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            acceptor = Acceptor(listener, Member)
            newcomers(stack, listener, 5)
            await until(lambda: acceptor._opening, 20)
            await acceptor.close()
            met = len(open_now)
            for member in open_now:
                member.transport.close()
            await until(lambda: not open_now, 20)
            return met

    assert uvloop.run(run()) == 5


def test_a_small_answer_leaves_at_once():
    async def run():
        found = asyncio.get_running_loop().create_future()

        class Looks(asyncio.Protocol):
            def connection_made(self, transport):
                line = transport.get_extra_info("socket")
                found.set_result(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            acceptor = Acceptor(listener, Looks)
            with socket.create_connection(listener.getsockname()):
                option = await found
            await acceptor.close()
        return option

    assert uvloop.run(run()) == 1
