"""What a deployment that is paid by the hour costs while nothing runs on it.

An action is billed for its share of the time in which anything ran (`engines/occupancy.py`): passes side by side share
each second, so a second is billed once. The machine is paid for the whole window. The rest is idle: kept warm.
Σ actions + idle = hours × price, to the cent, because idle is computed as what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from tierwise.ledger.prices import Price
from tierwise.spec.errors import SpecError

_CENT = Decimal("0.01")
_MOST_EXCESS = 0.001
"""Share of the window by which busy time may exceed it: passes that cross an edge are divided evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What ran on a deployment in a window."""

    seconds: float = 0.0
    """In which anything ran: the sum of the shares of its passes."""
    passes: int = 0
    dollars_tokens: float = 0.0
    """Recorded with these passes."""
    dollars_time: float = 0.0
    """The same for their shares of busy time, at the prices of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HourBill:
    """The bill of one deployment for a window."""

    deployment: str
    dollars_per_hour: float
    processes: int
    hours: float
    """Paid: those of the window × processes."""
    busy_hours: float
    passes: int
    busy: Decimal
    """Dollars of the actions, to the cent; the same for the next two."""
    idle: Decimal
    total: Decimal
    """busy + idle, exactly."""

    @property
    def duty(self) -> float:
        """Share of the hours in which anything ran."""
        return self.busy_hours / self.hours if self.hours else 0.0


def hour_bill(deployment: str, price: Price, window: float, busy: Busy, processes: int = 1) -> HourBill:
    """The bill of a deployment.

    Args:
        deployment: its name.
        price: with dollars per hour.
        window: seconds that are paid for.
        busy: what ran in them.
        processes: how many machines ran it, each of them paid.

    Raises:
        SpecError: more ran than fits into the window, so several processes wrote this ledger.
    """
    paid = window * processes
    if busy.seconds > paid * (1 + _MOST_EXCESS):
        least = int(-(-busy.seconds // window)) if window > 0 else 1
        raise SpecError(
            f"deployment {deployment!r} was busy for {busy.seconds:,.0f} s in a window of {window:,.0f} s × "
            f"{processes}: at least {least} processes of it wrote this ledger. Say how many are paid: --processes "
            f"{deployment}={least}",
            field="--processes",
        )
    ran = min(busy.seconds, paid)
    total, used = (_cents(seconds, price.dollars_per_hour) for seconds in (paid, ran))
    return HourBill(
        deployment=deployment,
        dollars_per_hour=price.dollars_per_hour,
        processes=processes,
        hours=paid / 3600,
        busy_hours=ran / 3600,
        passes=busy.passes,
        busy=used,
        idle=total - used,
        total=total,
    )


def hour_bills(
    prices: Mapping[str, Price], busy: Mapping[str, Busy], window: float, processes: Mapping[str, int]
) -> list[HourBill]:
    """The bills of all deployments with a price by the hour, also of those on which nothing ran.

    Raises:
        SpecError: as of `hour_bill`; or `processes` names a deployment that has no price by the hour.
    """
    paid = {name: one for name, one in prices.items() if one.dollars_per_hour}
    if unknown := sorted(processes.keys() - paid.keys()):
        raise SpecError(
            f"deployment {unknown[0]!r} has no price by the hour; those that have one: {', '.join(paid) or 'none'}",
            field="--processes",
        )
    return [hour_bill(name, one, window, busy.get(name, Busy()), processes.get(name, 1)) for name, one in paid.items()]


def _cents(seconds: float, dollars_per_hour: float) -> Decimal:
    exact = Decimal(seconds) * Decimal(dollars_per_hour) / 3600
    return exact.quantize(_CENT, rounding=ROUND_HALF_EVEN)
