"""A budget shared by several processes is given once: whatever crashes, and whatever clocks say."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from key_office import BOOKS
from tierwise.keys.account import Bound
from tierwise.keys.accounts import Accounts
from tierwise.keys.leases import LeaseBook
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import Location

HOUR = 3600
LIMIT = 1000
BUDGET = Bound("key:a:1h", "dollars", LIMIT, HOUR, 0.0, "the key a")


class Process:
    """The accounts of one process, with a clock of its own."""

    def __init__(self, location: Location, number: int) -> None:
        self.moment = 10.0
        BOOKS.append(LeaseBook(location, f"holder{number}"))
        self.accounts = Accounts(BOOKS[-1], clock=lambda: self.moment)

    async def reserve(self, amount: int) -> bool:
        return await self.accounts.reserve(self.accounts.of(BUDGET), amount)

    def settle(self, reserved: int, spent: int) -> None:
        self.accounts.of(BUDGET).settle(reserved, spent)


def held(location: Location) -> dict[int, int]:
    store = KeyStore(location, who="test")
    try:
        return {period: amounts[0] for (_, period), amounts in store.charged().items()}
    finally:
        store.close()


def test_what_one_process_holds_another_cannot_spend_and_what_it_gives_back_it_can(location):
    one, two = Process(location, 1), Process(location, 2)
    assert asyncio.run(one.reserve(900))
    assert not asyncio.run(two.reserve(200))
    one.settle(900, 100)
    one.accounts.flush(everything=True)
    assert held(location) == {0: 100}
    assert asyncio.run(two.reserve(900))
    assert not asyncio.run(one.reserve(1))
    one.accounts.close()
    two.accounts.close()


def test_what_a_process_held_that_was_killed_counts_as_spent_for_the_period(location):
    killed, other = Process(location, 1), Process(location, 2)
    assert asyncio.run(killed.reserve(400))
    assert not asyncio.run(other.reserve(700))
    other.moment += HOUR
    assert asyncio.run(other.reserve(700))
    other.accounts.close()
    assert held(location)[0] >= 400


def test_a_clock_that_jumps_gives_no_budget_twice(location):
    process = Process(location, 1)
    for moment in (10.0, 10.0 + HOUR, 10.0, 10.0 + HOUR, 10.0 - HOUR, 10.0):
        process.moment = moment
        if asyncio.run(process.reserve(LIMIT)):
            process.settle(LIMIT, LIMIT)
        process.accounts.flush(everything=True)
    again = Process(location, 2)
    for moment in (10.0, 10.0 + HOUR, 10.0 - HOUR):
        again.moment = moment
        assert not asyncio.run(again.reserve(1))
    assert held(location) == {-1: LIMIT, 0: LIMIT, 1: LIMIT}


def test_no_order_of_reservations_crashes_and_jumps_overspends(location):
    rng = random.Random(0)
    processes = [Process(location, number) for number in range(4)]
    spent = dict.fromkeys((0, 1), 0)
    number = len(processes)

    async def attack() -> None:
        nonlocal number
        for _ in range(60):
            place = rng.randrange(4)
            process = processes[place]
            process.moment = 10.0 + HOUR * rng.randrange(2)
            account = process.accounts.of(BUDGET)
            amount = rng.randint(1, 120)
            if not await process.accounts.reserve(account, amount):
                continue
            used = rng.randint(0, amount)
            spent[account.period] += used
            if rng.random() < 0.1:  # it dies with what it holds
                processes[place] = Process(location, number)
                number += 1
            else:
                account.settle(amount, used)
                if rng.random() < 0.3:
                    process.accounts.flush(everything=rng.random() < 0.5)

    asyncio.run(attack())
    for process in processes:
        process.accounts.close()
    charged = held(location)
    assert sum(spent.values()) > LIMIT // 2
    for period, amount in spent.items():
        assert amount <= charged[period] <= LIMIT


def test_what_a_large_reservation_leaves_is_not_spent_after_the_limit_was_lowered(location):
    one, two = Process(location, 1), Process(location, 2)
    assert asyncio.run(one.reserve(400))
    assert asyncio.run(two.reserve(400))
    low = replace(BUDGET, limit=500)
    for process in (one, two):
        process.accounts.rebind([low])
        process.accounts.of(low).settle(400, 50)

    async def take(process: Process) -> bool:
        return await process.accounts.reserve(process.accounts.of(low), 300)

    one.accounts.flush()
    two.accounts.flush()
    assert [asyncio.run(take(one)), asyncio.run(take(two))] == [True, False]
    assert held(location)[0] <= 500
