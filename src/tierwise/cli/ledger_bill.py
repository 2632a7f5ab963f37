"""The output of `tierwise ledger bill`."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from tierwise import plan as planning
from tierwise.cli.output import print_json, wide_console
from tierwise.ledger.idle import hour_bills
from tierwise.ledger.price_file import read_prices
from tierwise.report.grid import Grid
from tierwise.report.numbers import percent
from tierwise.spec.errors import SpecError
from tierwise.spec.files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tierwise.ledger.idle import HourBill
    from tierwise.ledger.prices import Price
    from tierwise.ledger.read import Reader


def show_bill(
    reader: Reader, prices: Path, window: tuple[float | None, float | None], processes: Iterable[str], *, as_json: bool
) -> None:
    """Print the bill of a window.

    Args:
        reader: of the ledger.
        prices: a config file, or a file with its `prices`.
        window: its begin and end in seconds since 1970. Without a begin, that of the first pass; without an end, now,
            or the end of the last pass where there is no begin either.
        processes: `NAME=N`.
        as_json: print JSON.

    Raises:
        SpecError: the window is empty, or something ran longer than it.
    """
    since, until = window
    first, last = reader.window() or (time.time(), time.time())
    end = until if until is not None else last if since is None else time.time()
    begin = first if since is None else since
    if not begin < end:
        raise SpecError("the window ends before it begins, or the ledger has no pass; give --since and --until")
    busy = reader.busy(begin, end)
    bills = hour_bills(_book(prices), busy, end - begin, dict(map(_number, processes)))
    if not bills:
        raise SpecError(
            f"{prices} has no price by the hour, so nothing is idle at a cost; `tierwise ledger sum` sums actions"
        )
    tokens = sum(one.dollars_tokens for one in busy.values())
    if as_json:
        print_json(
            {
                "since": begin,
                "until": end,
                "deployments": [{**msgspec.to_builtins(one), "duty": one.duty} for one in bills],
                "busy": _sum(one.busy for one in bills),
                "idle": _sum(one.idle for one in bills),
                "total": _sum(one.total for one in bills),
                "dollars_tokens": tokens,
            }
        )
        return
    console = wide_console()
    console.print(_table(bills).for_terminal())
    console.print(
        f"{(end - begin) / 3600:,.2f} hours. Actions and idle time add up to hours × price. By token, actions cost "
        f"${tokens:,.4f} more.",
        soft_wrap=True,
    )
    for one in bills:
        recorded = busy[one.deployment].dollars_time if one.deployment in busy else 0.0
        if abs(recorded - float(one.busy)) > 0.01 + 0.001 * recorded:
            console.print(f"{one.deployment}: its actions were recorded at other prices, with ${recorded:,.2f}")


def _book(path: Path) -> dict[str, Price]:
    """Prices of what is paid: of a config file, those of its processes. Deployments that share one are paid once."""
    found = read_prices(path, {})
    document = read_yaml(path, "price book").value
    if not isinstance(document, dict) or "deployments" not in document:
        return found
    return {name: found[name] for name in dict.fromkeys(planning.load(path).runs_as.values()) if name in found}


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdigit() or int(number) < 1:
        raise SpecError(f"{text!r} is not the name of a deployment and a number, such as large=2", field="--processes")
    return name, int(number)


def _table(bills: Sequence[HourBill]) -> Grid:
    titles = (
        "deployment",
        "$ per hour",
        "processes",
        "hours",
        "busy hours",
        "duty",
        "passes",
        "actions",
        "idle",
        "total",
    )
    rows = [
        (
            one.deployment,
            f"${one.dollars_per_hour:g}",
            f"{one.processes}",
            f"{one.hours:,.2f}",
            f"{one.busy_hours:,.2f}",
            percent(one.duty),
            f"{one.passes:,}",
            f"${one.busy:,}",
            f"${one.idle:,}",
            f"${one.total:,}",
        )
        for one in bills
    ]
    sums = [f"${_sum(getattr(one, name) for one in bills):,}" for name in ("busy", "idle", "total")]
    return Grid(titles, (*rows, ("all", "", "", "", "", "", "", *sums)))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal("0.00"))
