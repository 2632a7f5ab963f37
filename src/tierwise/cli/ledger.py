"""`tierwise ledger`: shows recorded actions and their cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.options import AsJson
from tierwise.ledger.by import By
from tierwise.spec.errors import LedgerError, SpecError
from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree as Drawing

    from tierwise.cli.console import Console
    from tierwise.ledger.location import Location
    from tierwise.ledger.read import Node, Reader, Summary, Tree
    from tierwise.ledger.rows import CheckRow, DecisionRow, PassRow
    from tierwise.ledger.totals import Total

_MOST_IN_TABLE = 200
"""Rows that are fitted to the width of the terminal; more are plain lines."""

app = typer.Typer(
    help="Show recorded actions, their passes and their cost.",
    no_args_is_help=True,
)

LedgerPlace = Annotated[
    str,
    typer.Option(
        "--ledger",
        metavar="FILE|URL",
        envvar="TIERWISE_LEDGER",
        help="The ledger that `tierwise serve` writes: a SQLite file, or postgresql://USER@HOST/DATABASE.",
    ),
]


@app.command()
def show(
    action: Annotated[
        str | None,
        typer.Argument(
            help="An action's id, a prefix of it, or the caller's id. Lists the newest actions if not given."
        ),
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="Number of actions to list.")] = 20,
    ledger: LedgerPlace = "ledger.db",
    as_json: AsJson = False,
) -> None:
    """Print one action as a tree of its passes, or list the newest actions."""
    with _reading(ledger) as reader:
        if action is None:
            newest = reader.recent(last)
            _print_json([_summary_fields(one) for one in newest]) if as_json else _print_newest(newest)
        else:
            tree = reader.action(action)
            _print_json(_tree_fields(tree)) if as_json else _print_tree(tree)


@app.command("sum")
def sum_(
    by: Annotated[By, typer.Option(help="What to group by.")] = By.TIER,
    since: Annotated[
        str,
        typer.Option(help="Only actions started since 2026-01-31 or 2026-01-31T12:00 (UTC), or within 90m, 24h, 7d."),
    ] = "",
    ledger: LedgerPlace = "ledger.db",
    as_json: AsJson = False,
) -> None:
    """Sum actions, passes, tokens, seconds and dollars."""
    began = moment(since) if since else None
    with _reading(ledger) as reader:
        groups, total = reader.totals(by, began), reader.total(began)
    if as_json:
        groups_fields = [_total_fields(group, str(by)) for group in groups]
        _print_json({"by": by, "since": began, "groups": groups_fields, "total": _total_fields(total)})
    else:
        _print_totals(by, groups, total)


@app.command()
def bill(
    prices: Annotated[Path, typer.Argument(metavar="FILE", help="A config file, or a file with its `prices`.")],
    since: Annotated[
        str,
        typer.Option(help="Begin of the window: 2026-01-31, 2026-01-31T12:00 (UTC), 7d. Default: the first pass."),
    ] = "",
    until: Annotated[
        str, typer.Option(help="Its end. Default: now if --since is given, else the end of the last pass.")
    ] = "",
    processes: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", help="N processes of this deployment were paid; can be repeated. Default: 1."),
    ] = None,
    ledger: LedgerPlace = "ledger.db",
    as_json: AsJson = False,
) -> None:
    """Bill the hours of deployments that are paid by the hour: what actions used, and what was idle.

    Actions and idle time add up to hours × price, to the cent.
    """
    from tierwise.cli.ledger_bill import show_bill

    window = (moment(since) if since else None, moment(until) if until else None)
    with _reading(ledger) as reader:
        show_bill(reader, prices, window, processes or [], as_json=as_json)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    ledger: LedgerPlace = "ledger.db",
) -> None:
    """Copy a ledger to a file, also while it is written to: whole, checked, and with what still waits in journals."""
    from tierwise.ledger.backup import back_up
    from tierwise.ledger.location import locate

    _store_what_waits(location := locate(ledger))
    done = back_up(location, file)
    typer.echo(f"{file}: {done.actions:,} {'action' if done.actions == 1 else 'actions'}, {done.size / 1e6:,.1f} MB")


def _reading(ledger: str) -> AbstractContextManager[Reader]:
    from tierwise.ledger.location import locate
    from tierwise.ledger.read import Reader

    _store_what_waits(location := locate(ledger))
    return Reader(location)


def _store_what_waits(location: Location) -> None:
    """Store what dead processes left in journals; what cannot be stored is a warning, as the rest can still be read."""
    import os

    from tierwise.ledger.journal import segments

    if location.is_missing or not location.journal.parent.is_dir() or not (left := segments(location.journal)):
        return
    if not os.access(location.journal.parent, os.W_OK):
        _warn(LedgerError(f"{left[0].parent} cannot be written: actions in its {len(left)} journals are not shown"))
        return
    from tierwise.ledger.store import recover

    try:
        recover(location, _warn)
    except LedgerError as error:
        _warn(error)


def _warn(error: LedgerError) -> None:
    typer.echo(f"tierwise: {printable(str(error))}", err=True)


def moment(text: str) -> float:
    """Seconds since 1970 of a date or time (in UTC, like `--by day`, unless it has a zone), or of a duration ago."""
    import time
    from datetime import UTC, datetime

    from tierwise.spec.durations import seconds_in

    if (ago := seconds_in(text)) is not None:
        return time.time() - ago
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SpecError(
            f"{text!r} is not a time; write 2026-01-31, 2026-01-31T12:00, or 90m, 24h, 7d", field="--since"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value)))


def _total_fields(total: Total, key: str = "") -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(total)
    value = fields.pop("key")
    return ({key: value} if key else {}) | fields | {"dollars": total.dollars}


def _summary_fields(summary: Summary) -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(summary.action)
    spent = _total_fields(summary.spent)
    del spent["actions"]
    return fields | {"spent": spent}


def _tree_fields(tree: Tree) -> dict[str, object]:
    """The tree as a list: passes by number, each with its checks and its `parent`."""
    import msgspec

    from tierwise.ledger.read import Summary

    passes = [
        (
            node.done.number,
            msgspec.to_builtins(node.done)
            | {
                "cancelled": node.done.is_cancelled,
                "dollars": node.done.cost.dollars,
                "parent": None if parent is None else parent.done.number,
                "checks": msgspec.to_builtins(node.checks),
            },
        )
        for parent, node in _walk(tree)
    ]
    return _summary_fields(Summary(action=tree.action, spent=tree.spent)) | {
        "passes": [fields for _, fields in sorted(passes)],
        "checks": msgspec.to_builtins(tree.checks),
        "decisions": msgspec.to_builtins(tree.decisions),
    }


def _walk(tree: Tree) -> Iterator[tuple[Node | None, Node]]:
    """Every pass with its parent, top-down. Iterative, because a chain may exceed Python's recursion limit."""
    left: list[tuple[Node | None, Node]] = [(None, root) for root in reversed(tree.roots)]
    while left:
        parent, node = left.pop()
        yield parent, node
        left.extend((node, child) for child in reversed(node.children))


def _console() -> Console:
    from tierwise.cli.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 240)


def _print_newest(newest: list[Summary]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("action", "began (UTC)", "asked → answered", "ending"):
        table.add_column(name, no_wrap=name == "action")
    for name in ("seconds", "first", "passes", "prompt", "cached", "completion", "dollars"):
        table.add_column(name, justify="right")
    for one in newest:
        action, spent = one.action, one.spent
        table.add_row(
            _plain(action.id),
            _when(action.started_at),
            _plain(f"{action.model} → {action.tier or 'no tier'}"),
            _plain(action.ending),
            f"{action.seconds:.2f}",
            "" if action.first_output is None else f"{action.first_output:.2f}",
            f"{spent.passes:,}",
            *_tokens(spent)[:3],
            _dollars(spent.dollars),
        )
    console = _console()
    console.print(table)
    if not newest:
        console.print("no actions yet")


def _print_totals(by: By, groups: list[Total], total: Total) -> None:
    names = ("actions", "passes", "prompt", "cached", "completion", "reasoning", "seconds", "busy", "dollars")
    rows = [(printable(group.key or "(no pass)"), *_total_cells(group)) for group in groups]
    console = _console()
    if len(rows) > _MOST_IN_TABLE:
        _print_lines([(by, *names), *rows, ("all", *_total_cells(total))])
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), show_footer=True)
        table.add_column(by, footer="all")
        for name, sum_of_all in zip(names, _total_cells(total), strict=True):
            table.add_column(name, footer=sum_of_all, justify="right")
        for key, *cells in rows:
            table.add_row(Text(key), *cells)
        console.print(table)
    if total.estimated:
        console.print(f"Tokens of {total.estimated:,} of {total.passes:,} passes were counted from their streams.")


def _print_lines(rows: list[tuple[str, ...]]) -> None:
    """Rows whose first column is text and whose others are numbers. Rich takes a millisecond for each."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *cells]))


def _total_cells(total: Total) -> tuple[str, ...]:
    return (
        f"{total.actions:,}",
        f"{total.passes:,}",
        *_tokens(total),
        f"{total.seconds:,.2f}",
        f"{total.busy_seconds:,.2f}",
        _dollars(total.dollars),
    )


def _tokens(total: Total) -> tuple[str, ...]:
    return tuple(f"{count:,}" for count in (total.prompt, total.cached, total.completion, total.reasoning))


def _print_tree(tree: Tree) -> None:
    from rich.tree import Tree as Drawing

    root = Drawing(_action_label(tree), guide_style="dim")
    branches: dict[int | None, Drawing] = {None: root}
    for parent, node in _walk(tree):
        branch = branches[None if parent is None else parent.done.number].add(_pass_label(node.done))
        branches[node.done.number] = branch
        _add_checks(branch, node.checks)
    _add_checks(root, tree.checks)
    for decision in tree.decisions:
        root.add(_decision_label(decision))
    _console().print(root, soft_wrap=True)


def _add_checks(branch: Drawing, checks: tuple[CheckRow, ...]) -> None:
    from rich.text import Text

    for check in checks:
        score = "" if check.score is None else f" {check.score:.2f}"
        mark = Text("✓ accepted", "green") if check.ok else Text("✗ not accepted", "yellow")
        branch.add(mark.append(f" by {check.kind}{score}{_after(': ', check.why)}  {check.seconds:.2f} s", "default"))


def _decision_label(decision: DecisionRow) -> Text:
    from rich.text import Text

    level = "" if decision.level is None else f" {decision.level:.4g}"
    label = Text(f"decision of {decision.tier}:", "cyan")
    label.append(f" {printable(decision.reason)}{_after(' (', decision.signal + level, ')')}", "default")
    return label.append(f"{_numbers(decision.after)}  {decision.at:.2f} s", "default")


def _action_label(tree: Tree) -> Text:
    from rich.text import Text

    action, spent = tree.action, tree.spent
    label = Text(action.id, "bold")
    label.append(f"  {printable(action.model)} → {action.tier or 'no tier'}{_after(', ', action.reason)}", "default")
    label.append(f"\n{action.ending}", "green" if action.ending == "answered" else "red")
    shown = "" if action.first_output is None else f", first output after {action.first_output:.2f} s"
    label.append(f"{_after(' (', action.finish, ')')} in {action.seconds:.2f} s{shown}, {_when(action.started_at)} UTC")
    ids = (("caller's id", action.caller), ("session", action.session or ""))
    used_up = ("budget used up", (action.limits or "").replace(",", ", "))
    for name, text in (("chosen", action.why), ("error", action.error), used_up, *ids):
        label.append(_after(f"\n{name}: ", text))
    label.append(f"\n{spent.passes} {'pass' if spent.passes == 1 else 'passes'}: {_spent(spent)}")
    return label


def _pass_label(done: PassRow) -> Text:
    from rich.text import Text

    label = Text(f"#{done.number} {done.role}", "bold")
    label.append(f"  {done.tier} on {done.deployment}  ", "default")
    style = {"finished": "green", "failed": "red"}.get(done.outcome, "yellow")
    label.append(f"{done.outcome}{_after(' (', done.finish, ')')}", style)
    first = "" if done.first_token is None else f", first token after {done.first_token:.2f} s"
    label.append(f"  {done.started:.2f} s + {done.seconds:.2f} s{first}  {_spent(done)}  seed {done.seed}", "default")
    if done.retry_of is not None:
        label.append(f"  repeats #{done.retry_of}")
    label.append(_numbers(done.after))
    return label.append(_after("\n", done.error), "red")


def _numbers(after: tuple[int, ...]) -> str:
    return _after("  after ", ", ".join(f"#{number}" for number in after))


def _spent(what: Total | PassRow) -> str:
    counted = "" if what.usage.exact else "about "
    thinking = f" ({what.reasoning:,} thinking)" if what.reasoning else ""
    cached = f" ({what.cached:,} cached)" if what.cached else ""
    dollars = _dollars(what.dollars_tokens + what.dollars_time)
    return f"{counted}{what.prompt:,}{cached} → {what.completion:,}{thinking} tokens  {dollars}"


def _after(before: str, text: str, behind: str = "") -> str:
    """A text of others after ours; empty if there is none."""
    return f"{before}{printable(text)}{behind}" if text else ""


def _plain(text: str) -> Text:
    from rich.text import Text

    return Text(printable(text))


def _when(moment: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"


def _dollars(dollars: float) -> str:
    """Dollars with at least three significant digits."""
    from math import floor, log10

    if dollars == 0:
        return "$0"
    return f"${dollars:,.{max(4, 2 - floor(log10(abs(dollars))))}f}"
