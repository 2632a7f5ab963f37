"""The bill of hours: what actions used and what was idle add up to hours × price, to the cent."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from scenes import a_pass, a_record
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.engines.occupancy import Occupancy
from tierwise.ledger.idle import Busy, hour_bill, hour_bills
from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.spec.call import Pass
from tierwise.spec.errors import ConfigErrors, SpecError

START = 1_800_000_000.0
WEEK = 7 * 86_400


def ran(place: Path, passes: list[Pass], *, hour: float = 1.0) -> Path:
    """A ledger with one action per pass, which began `started` seconds after `START`."""
    path = place / "ledger.db"
    with Ledger.open(path, PriceBook({"small": Price(dollars_per_hour=hour)}), print) as ledger:
        for done in passes:
            ledger.write(a_record(done, started_at=START))
    return path


def shared(times: list[tuple[float, float]]) -> list[Pass]:
    """Passes with these begins and ends, and with the shares of busy time that an engine's occupancy gives them."""
    occupancy, marks, shares = Occupancy(), {}, {}
    events = sorted(
        [(begin, 0, at) for at, (begin, _) in enumerate(times)] + [(end, 1, at) for at, (_, end) in enumerate(times)]
    )
    for moment, is_end, at in events:
        if is_end:
            shares[at] = occupancy.leave(marks[at], moment)
        else:
            marks[at] = occupancy.enter(moment)
    return [
        a_pass(started=begin, seconds=end - begin, busy_seconds=shares[at]) for at, (begin, end) in enumerate(times)
    ]


def union(times: list[tuple[float, float]]) -> float:
    total, last = 0.0, float("-inf")
    for begin, end in sorted(times):
        total += max(0.0, end - max(begin, last))
        last = max(last, end)
    return total


def bill(file: Path, prices: str, *more: object, as_json: bool = True) -> Any:
    book = file.parent / "prices.yaml"
    book.write_text(prices)
    arguments = ["ledger", "bill", str(book), "--ledger", str(file), *map(str, more), *(["--json"] if as_json else [])]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("seed", range(30))
def test_actions_and_idle_time_add_up_to_hours_times_price(seed):
    rng = random.Random(seed)
    window = rng.choice([1e-3, 1.0, 59.9, 3600.0, WEEK, rng.uniform(1, WEEK)])
    price = rng.choice([0.01, 0.1, 1 / 3, 4.8, 98.32, rng.uniform(1e-4, 1e3)])
    used = rng.choice([0.0, window, rng.uniform(0, window)])
    processes = rng.randint(1, 4)
    found = hour_bill("a", Price(dollars_per_hour=price), window, Busy(seconds=used, passes=3), processes)
    assert found.busy + found.idle == found.total
    assert abs(found.total - Decimal(window) * processes * Decimal(price) / 3600) <= Decimal("0.005")
    assert abs(found.busy - Decimal(used) * Decimal(price) / 3600) <= Decimal("0.005")
    assert found.idle >= 0
    assert found.duty == pytest.approx(used / (window * processes))


@pytest.mark.parametrize("seed", range(6))
def test_passes_side_by_side_are_billed_once(tmp_path, seed):
    rng = random.Random(seed)
    begins = [round(rng.uniform(0, 400), 3) for _ in range(40)]
    times = [(begin, begin + round(rng.uniform(0.01, 40), 3)) for begin in begins]
    file = ran(tmp_path, shared(times), hour=36.0)
    first, last = min(begin for begin, _ in times), max(end for _, end in times)
    found = json.loads(bill(file, "small: {dollars_per_hour: 36}\n").stdout)
    (one,) = found["deployments"]
    assert found["until"] - found["since"] == pytest.approx(last - first, abs=1e-4)
    assert one["busy_hours"] * 3600 == pytest.approx(union(times), abs=1e-3)
    assert sum(end - begin for begin, end in times) > 1.5 * union(times)
    total, busy, idle = (Decimal(one[name]) for name in ("total", "busy", "idle"))
    assert busy + idle == total
    assert total == pytest.approx(Decimal((last - first) / 100), abs=Decimal("0.006"))
    with Reader(file) as reader:
        recorded = reader.total().dollars_time
    assert busy == pytest.approx(Decimal(recorded), abs=Decimal("0.006"))


def test_a_week_of_keeping_warm_is_on_the_bill(tmp_path):
    file = ran(tmp_path, [a_pass(started=3600.0, seconds=1800.0, busy_seconds=1800.0)])
    window = ("--since", "2027-01-15T08:00", "--until", "2027-01-22T08:00")  # START and a week later
    found = json.loads(bill(file, "small: {dollars_per_hour: 2}\nspare: {dollars_per_hour: 0.5}\n", *window).stdout)
    small, spare = found["deployments"]
    assert (small["busy"], small["idle"], small["total"]) == ("1.00", "335.00", "336.00")
    assert (spare["busy"], spare["idle"], spare["total"], spare["passes"]) == ("0.00", "84.00", "84.00", 0)
    assert (found["busy"], found["idle"], found["total"]) == ("1.00", "419.00", "420.00")
    shown = bill(file, "small: {dollars_per_hour: 2}\n", *window, as_json=False).stdout
    assert "$335.00" in shown
    assert "Actions and idle time add up to hours × price" in shown


def test_a_pass_that_crosses_an_edge_of_the_window_counts_for_what_is_inside(tmp_path):
    file = ran(tmp_path, [a_pass(started=-1800.0, seconds=3600.0, busy_seconds=3600.0)])
    window = ("--since", "2027-01-15T08:00", "--until", "2027-01-15T09:00")
    (one,) = json.loads(bill(file, "small: {dollars_per_hour: 10}\n", *window).stdout)["deployments"]
    assert (one["busy"], one["idle"]) == ("5.00", "5.00")


def test_two_processes_that_wrote_one_ledger_are_noticed_and_can_be_paid(tmp_path):
    both = [a_pass(started=0.0, seconds=3600.0, busy_seconds=3600.0)] * 2
    file = ran(tmp_path, both)
    refused = bill(file, "small: {dollars_per_hour: 1}\n").exception
    assert isinstance(refused, SpecError)
    assert "--processes small=2" in str(refused)
    found = json.loads(bill(file, "small: {dollars_per_hour: 1}\n", "--processes", "small=2").stdout)
    assert (found["busy"], found["idle"], found["total"]) == ("2.00", "0.00", "2.00")


def test_deployments_that_share_a_process_are_paid_once(tmp_path):
    file = ran(tmp_path, [a_pass(started=0.0, seconds=1800.0, busy_seconds=1800.0)])
    config = """
deployments:
  small: {engine: http, url: "http://127.0.0.1:1/v1", model: m, slots: 4}
  again: {engine: http, url: "http://127.0.0.1:1/v1", model: m, slots: 4}
tiers:
  fast: {deployment: small, policy: single}
  also: {deployment: again, policy: single}
prices:
  small: {dollars_per_hour: 1}
  again: {dollars_per_hour: 1}
"""
    window = ("--since", "2027-01-15T08:00", "--until", "2027-01-15T09:00")
    found = json.loads(bill(file, config, *window).stdout)
    assert [one["deployment"] for one in found["deployments"]] == ["small"]
    assert (found["busy"], found["total"]) == ("0.50", "1.00")


@pytest.mark.parametrize(
    ("prices", "more", "says"),
    [
        ("small: {prompt: 1}\n", (), "no price by the hour"),
        ("small: {dollars_per_hour: 1}\n", ("--processes", "small=0"), "not the name of a deployment and a number"),
        ("small: {dollars_per_hour: 1}\n", ("--processes", "other=2"), "has no price by the hour"),
        ("small: {dollars_per_hour: 1}\n", ("--since", "2027-02-01", "--until", "2027-01-01"), "ends before it begins"),
    ],
)
def test_what_cannot_be_billed_is_refused(tmp_path, prices, more, says):
    file = ran(tmp_path, [a_pass(started=0.0, seconds=10.0, busy_seconds=10.0)])
    found = bill(file, prices, *more).exception
    assert isinstance(found, SpecError | ConfigErrors)
    assert says in str(found)


def test_idle_hours_need_no_action():
    (one,) = hour_bills({"a": Price(dollars_per_hour=2), "b": Price(prompt=1)}, {}, 1800.0, {})
    assert (one.deployment, one.idle) == ("a", Decimal("1.00"))
