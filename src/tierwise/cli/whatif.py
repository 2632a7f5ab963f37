"""`tierwise whatif`: what other prices mean for a tuned route, or for recorded actions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.options import AsJson
from tierwise.ledger.by import By

if TYPE_CHECKING:
    from tierwise.cli.console import Console
    from tierwise.tuning.repricing import Repriced


def whatif(
    tuned: Annotated[Path | None, typer.Argument(help="The --out folder of `tierwise tune`.")] = None,
    prices: Annotated[
        Path | None,
        typer.Option(help="The other prices: a config file, or a file with what stands under its `prices`."),
    ] = None,
    ledger: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL", help="Price the actions of this ledger, in place of a tuned route: of `tierwise serve`."
        ),
    ] = "",
    by: Annotated[By, typer.Option(help="What to group the ledger's actions by.")] = By.MODEL,
    since: Annotated[
        str, typer.Option(help="Only the ledger's actions since 2026-01-31 or 2026-01-31T12:00 (UTC), or within 7d.")
    ] = "",
    pool: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the tuned route's pool is now.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the config file with these prices, and the certificate of what is to be served."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Price a tuned route and its alternatives, or recorded actions, anew. Asks no model, and tests nothing again.

    Settings that passed the tests of `tierwise tune` keep their promise at any prices, so the cheapest of them may be
    served. What did not pass is shown, and never chosen. Nothing is written without --out.

    Exit codes: 0 priced, 2 invalid input.
    """
    from tierwise.cli.extras import need_extra
    from tierwise.spec.errors import SpecError

    if prices is None:
        raise SpecError("give the other prices: a config file, or its `prices` in another file", field="--prices")
    if (tuned is None) == (not ledger):
        raise SpecError("give either the --out folder of `tierwise tune`, or a ledger with --ledger")
    if tuned is None:
        _of_ledger(ledger, prices, by, since, as_json=as_json)
        return
    need_extra("bench", "tierwise whatif")
    _of_tuned(tuned, prices, pool, out, as_json=as_json)


def _of_tuned(tuned: Path, prices: Path, pool: Path | None, out: Path | None, *, as_json: bool) -> None:
    from tierwise.cli.output import print_json, wide_console
    from tierwise.ledger.price_file import read_prices
    from tierwise.report.whatif_text import answer, facts, prices_table
    from tierwise.tuning.record import read_record
    from tierwise.tuning.repricing import open_pool, plan_of, reprice

    record = read_record(tuned)
    book = read_prices(prices, plan_of(record).file.deployments)
    directory, recorded = open_pool(record, tuned, pool)
    found = reprice(record, recorded, book)
    written = [] if out is None else write(found, directory.path, out, record.config.text, tuned / record.config.path)
    if as_json:
        print_json(facts(found))
        return
    console = wide_console()
    console.print(prices_table(found).for_terminal())
    console.print()
    for line in (*answer(found), *found.notes):
        console.print(line, soft_wrap=True)
    _print_written(console, written)


def write(found: Repriced, pool: Path, out: Path, text: str, file: Path) -> list[Path]:
    """Write the decision: record, and the config file; with the certificate if there is a route. Returns the files.

    Args:
        found: the decision.
        pool: directory of the pool.
        out: where to.
        text: of the config file; the prices are written into it.
        file: where it is.
    """
    from tierwise.runs.directory import RunDirectory
    from tierwise.spec.replacing import replace_file
    from tierwise.tuning.record import RECORD
    from tierwise.tuning.repricing import certificate_at, plan_of, record_at
    from tierwise.tuning.writing import CERTIFICATE, CONFIG, parsed, with_prices, with_route

    out.mkdir(parents=True, exist_ok=True)
    path, plan = out / CONFIG, plan_of(found.record)
    text = with_prices(text, file, found.prices, out)
    record_at(found, text, path, pool).write(out)
    written = [out / RECORD, path]
    (out / CERTIFICATE).unlink(missing_ok=True)  # of an earlier decision
    if found.route is not None:
        text = with_route(text, path, found.route, plan)
        certificate_at(found, RunDirectory(pool), parsed(text, path)).write(out / CERTIFICATE)
        written.append(out / CERTIFICATE)
    replace_file(path, text.encode())
    return written


def _print_written(console: Console, written: list[Path]) -> None:
    for path in written:
        console.print(f"{path.name:<18} {path}", soft_wrap=True)


def _of_ledger(ledger: str, prices: Path, by: By, since: str, *, as_json: bool) -> None:
    from dataclasses import replace

    from tierwise.cli.ledger import moment
    from tierwise.cli.output import print_json, wide_console
    from tierwise.ledger.price_file import read_prices
    from tierwise.ledger.prices import PriceBook
    from tierwise.ledger.read import Reader
    from tierwise.report.repriced_ledger import ledger_table
    from tierwise.spec.errors import SpecError

    book, began = read_prices(prices, {}), moment(since) if since else None
    with Reader(ledger) as reader:
        spent = {one.key: one.dollars for one in reader.totals(By.DEPLOYMENT, began)}
        before = [*reader.totals(by, began), reader.total(began)]
    if lacking := sorted(name for name, dollars in spent.items() if dollars and name not in book):
        raise SpecError(
            f"the ledger has paid passes of deployment {', '.join(map(repr, lacking))}, and {prices} has no price of "
            "it; add it",
            field="--prices",
        )
    with Reader(ledger, PriceBook(book)) as reader:
        after = [*reader.totals(by, began), reader.total(began)]
    if as_json:
        *groups, total = [
            {
                str(by): other.key,
                "actions": other.actions,
                "passes": other.passes,
                "dollars": other.dollars,
                "dollars_recorded": one.dollars,
            }
            for one, other in zip(before, after, strict=True)
        ]
        print_json({"by": by, "since": began, "groups": groups, "total": total})
        return
    before[-1], after[-1] = (replace(one, key="all") for one in (before[-1], after[-1]))
    wide_console().print(ledger_table(by, before, after).for_terminal())
