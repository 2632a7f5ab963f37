"""`tierwise keys`: who may use an endpoint, and how much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierwise.cli.ledger import LedgerPlace
from tierwise.cli.options import AsJson
from tierwise.spec.errors import SpecError
from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from tierwise.keys.changes import LimitChanges
    from tierwise.keys.records import Key, Limits
    from tierwise.keys.store import KeyStore

app = typer.Typer(
    help="Create, list, change and revoke keys, which are kept in the ledger's database.", no_args_is_help=True
)

Named = Annotated[str, typer.Argument(metavar="KEY", help="A key's id, or its name.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", metavar="NAME", help="Only this tier or route; may be given again.")
]
MaxBudget = Annotated[float | None, typer.Option(metavar="DOLLARS", help="Dollars per period; 0 allows what is free.")]
Duration = Annotated[
    str, typer.Option(metavar="30d", help="Period of the budgets: 90m, 24h, 30d. Without it they are given once.")
]
Rpm = Annotated[int | None, typer.Option("--rpm-limit", help="Requests per minute.")]
Tpm = Annotated[int | None, typer.Option("--tpm-limit", help="Tokens per minute.")]
Parallel = Annotated[int | None, typer.Option("--max-parallel-requests", help="Actions that may run at the same time.")]
ModelBudgets = Annotated[
    list[str] | None,
    typer.Option("--model-max-budget", metavar="NAME=DOLLARS", help="Dollars of one model; may be given again."),
]
Removed = Annotated[
    list[str] | None,
    typer.Option("--remove", metavar="LIMIT", help="A limit to remove, such as max_budget; may be given again."),
]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    team: Annotated[str, typer.Option(help="The team whose limits it shares.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Recorded with its actions; may be given again.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may see metrics and everybody's usage.")] = False,
    model: Models = None,
    max_budget: MaxBudget = None,
    budget_duration: Duration = "",
    rpm_limit: Rpm = None,
    tpm_limit: Tpm = None,
    max_parallel_requests: Parallel = None,
    model_max_budget: ModelBudgets = None,
    expires: Annotated[str, typer.Option(metavar="90d", help="How long it is accepted; for ever if not given.")] = "",
    ledger: LedgerPlace = "ledger.db",
    as_json: AsJson = False,
) -> None:
    """Create a key, and print its secret, which cannot be shown again. From then on every request needs a key."""
    limits = _limits(model, max_budget, budget_duration, rpm_limit, tpm_limit, max_parallel_requests, model_max_budget)
    until = time.time() + _seconds(expires) if expires else None
    with _store(ledger, is_new=True) as store:
        key, secret = store.create(
            name=name, team=team, tags=tuple(tag or ()), is_admin=admin, limits=limits, expires_at=until
        )
    _show_secret(key, secret, as_json=as_json)


@app.command("list")
def list_(ledger: LedgerPlace = "ledger.db", as_json: AsJson = False) -> None:
    """List keys and teams, with their limits and what counts as spent of their budgets in the present period."""
    from tierwise.keys.describing import key_fields, team_fields

    with _store(ledger) as store:
        stored, charged = store.read(), store.charged()
    rows = [key_fields(key, charged) for key in stored.keys.values()]
    teams = [team_fields(team, charged) for team in stored.teams.values()]
    if as_json:
        _print_json({"keys": rows, "teams": teams})
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("id", "name", "team", "state", "limits", "spent"):
        table.add_column(column, no_wrap=column == "id")
    for row, key in zip(rows, stored.keys.values(), strict=True):
        table.add_row(key.id, key.name, key.team, str(row["state"]), key.limits.words() or "none", _spent(row))
    for row, team in zip(teams, stored.teams.values(), strict=True):
        table.add_row("", "", team.name, "team", team.limits.words() or "none", _spent(row))
    _console().print(table)


@app.command()
def revoke(key: Named, ledger: LedgerPlace = "ledger.db") -> None:
    """Accept a key no longer. A running endpoint knows within seconds; what runs is finished."""
    with _store(ledger) as store:
        done = store.revoke(key)
    typer.echo(f"revoked {done.id}")


@app.command()
def rotate(
    key: Named,
    grace: Annotated[str, typer.Option(metavar="24h", help="How long the old secret is accepted too.")] = "",
    ledger: LedgerPlace = "ledger.db",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret; its limits, spending and usage stay."""
    with _store(ledger) as store:
        changed, secret = store.rotate(key, grace=_seconds(grace) if grace else 0.0)
    _show_secret(changed, secret, as_json=as_json)


@app.command()
def update(
    key: Named,
    model: Models = None,
    max_budget: MaxBudget = None,
    budget_duration: Duration = "",
    rpm_limit: Rpm = None,
    tpm_limit: Tpm = None,
    max_parallel_requests: Parallel = None,
    model_max_budget: ModelBudgets = None,
    remove: Removed = None,
    ledger: LedgerPlace = "ledger.db",
) -> None:
    """Change limits of a key; those that are not named stay. What runs goes on within what it has reserved."""
    changes = _changes(
        remove, model, max_budget, budget_duration, rpm_limit, tpm_limit, max_parallel_requests, model_max_budget
    )
    with _store(ledger) as store:
        done = store.update(key, changes)
    typer.echo(f"{done.id}: {done.limits.words() or 'no limits'}")


@app.command()
def team(
    name: Annotated[str, typer.Argument(help="The team's name.")],
    model: Models = None,
    max_budget: MaxBudget = None,
    budget_duration: Duration = "",
    rpm_limit: Rpm = None,
    tpm_limit: Tpm = None,
    max_parallel_requests: Parallel = None,
    model_max_budget: ModelBudgets = None,
    remove: Removed = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the team and revoke its keys.")] = False,
    ledger: LedgerPlace = "ledger.db",
) -> None:
    """Create a team, or change its limits, which all of its keys share; those that are not named stay."""
    changes = _changes(
        remove, model, max_budget, budget_duration, rpm_limit, tpm_limit, max_parallel_requests, model_max_budget
    )
    if delete:
        if changes != type(changes)():
            raise typer.BadParameter("a team that is deleted has no limits; leave the other options out")
        with _store(ledger) as store:
            [(_, revoked)] = store.delete_teams([name])
        typer.echo(f"deleted team {name}; revoked: {', '.join(key.id for key in revoked) or 'no key'}")
        return
    with _store(ledger, is_new=True) as store:
        done = store.put_team(name, changes)
    typer.echo(f"team {name}: {done.limits.words() or 'no limits'}")


@app.command()
def audit(
    last: Annotated[int, typer.Option(min=1, help="Number of lines.")] = 50,
    ledger: LedgerPlace = "ledger.db",
    as_json: AsJson = False,
) -> None:
    """Show who created, changed, rotated and revoked keys, and which were denied."""
    from tierwise.cli.ledger import _when

    with _store(ledger) as store:
        lines = store.audit(last)
    if as_json:
        _print_json(
            [{"at": one.at, "what": one.what, "key": one.key, "who": one.who, "detail": one.detail} for one in lines]
        )
        return
    for one in lines:
        typer.echo(printable(f"{_when(one.at)}  {one.what:<7} {one.key or '-':<14} {one.who}  {one.detail}"))


@contextmanager
def _store(ledger: str, *, is_new: bool = False) -> Iterator[KeyStore]:
    """The keys of a ledger; `is_new` creates or upgrades it first."""
    from tierwise.keys.database import prepare
    from tierwise.keys.store import KeyStore
    from tierwise.ledger.location import locate
    from tierwise.spec.errors import NotFound

    location = locate(ledger)
    if is_new:
        prepare(location)
    elif location.is_missing:
        raise NotFound(f"no ledger at {location.name}; `tierwise keys create` begins one", field="ledger")
    store = KeyStore(location)
    try:
        yield store
    finally:
        store.close()


def _limits(*options: Any) -> Limits:
    """The limits that options give, in the order of `_NAMES`."""
    from tierwise.keys.records import Limits

    return _changes(None, *options).of(Limits())


_NAMES = (
    "models",
    "max_budget",
    "budget_duration",
    "rpm_limit",
    "tpm_limit",
    "max_parallel_requests",
    "model_max_budget",
)


def _changes(removed: list[str] | None, *options: Any) -> LimitChanges:
    """The changes that options mean, in the order of `_NAMES`; what is not given stays."""
    from tierwise.keys.changes import LimitChanges
    from tierwise.spec.reading import allowed

    given = {name: value for name, value in zip(_NAMES, options, strict=True) if value not in (None, "", [])}
    if "models" in given:
        given["models"] = tuple(given["models"])
    if "model_max_budget" in given:
        given["model_max_budget"] = _budgets_in(given["model_max_budget"])
    for name in removed or ():
        if name not in _NAMES:
            raise SpecError(f"there is no limit {name!r}; {allowed(name, _NAMES)}", field="--remove")
        if name in given:
            raise SpecError(f"{name} is both set and removed; choose one", field="--remove")
        given[name] = None
    return LimitChanges(**given)


def _budgets_in(of_models: list[str]) -> dict[str, float]:
    budgets: dict[str, float] = {}
    for one in of_models:
        name, _, text = one.rpartition("=")
        try:
            budgets[name] = float(text)
        except ValueError:
            budgets[""] = 0.0
        if "" in budgets:
            raise SpecError(f"{one!r}: write NAME=DOLLARS, such as max=2.50", field="--model-max-budget")
    return budgets


def _seconds(text: str) -> float:
    from tierwise.keys.records import seconds_of

    return float(seconds_of(text))


def _show_secret(key: Key, secret: str, *, as_json: bool) -> None:
    from tierwise.keys.describing import key_fields

    if as_json:
        _print_json({"key": secret, **key_fields(key, {})})
        return
    typer.echo(secret)
    typer.echo(f"This is the secret of key {key.id}. It is not stored and cannot be shown again.", err=True)


def _spent(row: dict[str, Any]) -> str:
    return "; ".join(f"${one['charged']:.4g} of ${one['limit']:.4g}" for one in row["budgets"])


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value)))


def _console() -> Any:
    import sys

    from tierwise.cli.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 240)
