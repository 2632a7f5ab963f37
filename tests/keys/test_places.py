"""Actions that run at the same time are counted over all processes, and a process that dies gives its places back."""

from __future__ import annotations

import asyncio
import math
import random

import pytest

from key_office import BOOKS
from tierwise.keys.account import Bound
from tierwise.keys.accounts import LINGER_SECONDS, Accounts
from tierwise.keys.database import KeyDatabase
from tierwise.keys.leases import LeaseBook
from tierwise.ledger.key_tables import holders
from tierwise.ledger.location import Location
from tierwise.spec.errors import KeysUnavailable

LIMIT = 3
PLACES = Bound("key:a|parallel", "places", LIMIT, 0, 0.0, "the key a")


class Process:
    """One process of several that share a limit."""

    def __init__(self, location: Location, number: int) -> None:
        self.book = LeaseBook(location, f"holder{number}")
        BOOKS.append(self.book)
        self.accounts = Accounts(self.book)

    async def begin(self) -> bool:
        return await self.accounts.reserve(self.accounts.of(PLACES), 1)

    def end(self) -> None:
        self.accounts.free(self.accounts.of(PLACES))


def time_passes(location: Location, holder: str) -> None:
    """The lease of a process ends, which nobody hears of any more."""
    database = KeyDatabase(location)
    with database.writing() as connection:
        connection.execute(holders.update().where(holders.c.holder == holder).values(until=1.0))
    database.close()


def run(scene):
    asyncio.run(scene())


def test_all_processes_together_begin_as_many_as_are_allowed(location):
    async def scene():
        one, two = Process(location, 1), Process(location, 2)
        assert [await one.begin(), await two.begin(), await one.begin(), await two.begin()] == [True, True, True, False]
        one.end()
        await asyncio.sleep(LINGER_SECONDS * 3)
        assert [await two.begin(), await one.begin()] == [True, False]

    run(scene)


def test_a_process_alone_keeps_its_places_for_a_while_and_gives_them_back(location):
    async def scene():
        one = Process(location, 1)
        for _ in range(5):
            assert await one.begin()
            one.end()
        account = one.accounts.of(PLACES)
        assert (account.held, account.reserved) == (1, 0)
        await asyncio.to_thread(one.accounts.flush, everything=True)
        two = Process(location, 2)
        assert [await two.begin() for _ in range(4)] == [True, True, True, False]

    run(scene)


def test_a_process_that_was_killed_gives_its_places_back_when_its_lease_ends(location):
    async def scene():
        killed, other = Process(location, 1), Process(location, 2)
        assert [await killed.begin(), await killed.begin(), await other.begin()] == [True] * 3
        assert not await other.begin()
        time_passes(location, "holder1")
        assert [await other.begin(), await other.begin(), await other.begin()] == [True, True, False]

    run(scene)


def test_a_process_that_says_it_lives_keeps_what_runs(location):
    async def scene():
        one, two = Process(location, 1), Process(location, 2)
        assert [await one.begin(), await one.begin(), await two.begin()] == [True] * 3
        time_passes(location, "holder1")
        await asyncio.to_thread(one.accounts.flush)  # every 2 s
        assert not await two.begin()

    run(scene)


def test_one_that_was_silent_for_too_long_may_begin_nothing_that_it_held(location):
    """It was stopped, or cut off, and others have its free places."""

    async def scene():
        silent, other = Process(location, 1), Process(location, 2)
        assert [await silent.begin(), await silent.begin(), await other.begin()] == [True] * 3
        silent.end()
        time_passes(location, "holder1")
        silent.book._renewed_at = -math.inf
        assert [await other.begin(), await other.begin()] == [True, True]
        assert not await silent.begin()
        await asyncio.to_thread(other.accounts.flush)  # it hears of the other again
        other.end()
        other.end()
        await asyncio.sleep(LINGER_SECONDS * 3)
        assert [await silent.begin(), await other.begin()] == [True, False]  # what still runs of it counts again

    run(scene)


def test_who_waits_is_not_refused_because_others_are_quicker(location):
    """Whenever an action has waited for the database, others have reserved what was free then."""

    async def scene():
        one = Process(location, 1)
        many = Bound(PLACES.account, "places", 1000, 0, 0.0, PLACES.words)
        account = one.accounts.of(many)
        assert await one.accounts.reserve(account, 1)
        take, others = one.accounts._take, 0

        def is_overtaken(*asked):
            nonlocal others
            if others:  # one of them has just ended
                account.settle(1, 0)
                others -= 1
            was_there = take(*asked)
            if others < 4 and account.try_reserve(1):
                others += 1
            return was_there

        one.accounts._take = is_overtaken
        assert await one.accounts.reserve(account, 1)

    run(scene)


def test_without_the_database_nothing_begins_that_is_not_held(location, monkeypatch):
    async def scene():
        one = Process(location, 1)
        assert await one.begin()
        one.end()

        def away(*_: object, **__: object) -> None:
            raise KeysUnavailable("away")

        monkeypatch.setattr(one.book, "take", away)
        assert await one.begin()  # within its lease
        with pytest.raises(KeysUnavailable):
            await one.begin()
        one.end()
        one.book._renewed_at = -math.inf
        with pytest.raises(KeysUnavailable):
            await one.begin()

    run(scene)


def test_a_lowered_limit_lets_nothing_begin_until_enough_has_ended(location):
    async def scene():
        one = Process(location, 1)
        assert [await one.begin(), await one.begin(), await one.begin()] == [True] * 3
        low = Bound(PLACES.account, "places", 1, 0, 0.0, PLACES.words)
        for left in (2, 1):
            assert not await one.accounts.reserve(one.accounts.of(low), 1)
            one.accounts.free(one.accounts.of(low))
            assert one.accounts.of(low).reserved == left
        assert not await one.accounts.reserve(one.accounts.of(low), 1)
        one.accounts.free(one.accounts.of(low))
        assert await one.accounts.reserve(one.accounts.of(low), 1)

    run(scene)


def test_many_at_once_in_one_process_begin_as_many_as_are_allowed(location):
    async def scene():
        one = Process(location, 1)
        assert sum(await asyncio.gather(*(one.begin() for _ in range(20)))) == LIMIT

    run(scene)


def test_no_order_of_beginnings_ends_and_kills_runs_too_many(location):
    rng = random.Random(0)

    async def scene():
        processes = {number: Process(location, number) for number in range(3)}
        running = dict.fromkeys(processes, 0)
        number, begun = 3, 0
        for _ in range(80):
            own = rng.choice(list(processes))
            if running[own] and rng.random() < 0.5:
                processes[own].end()
                running[own] -= 1
            elif await processes[own].begin():
                running[own] += 1
                begun += 1
            assert sum(running.values()) <= LIMIT
            if rng.random() < 0.05:  # it dies with what ran, and its lease ends
                time_passes(location, f"holder{own}")
                del processes[own], running[own]
                processes[number], running[number] = Process(location, number), 0
                number += 1
            if rng.random() < 0.2:
                await asyncio.to_thread(rng.choice(list(processes.values())).accounts.flush, everything=True)
        assert begun > 10

    run(scene)
