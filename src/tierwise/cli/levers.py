"""`tierwise levers`: shows what can be set on each engine, with allowed values and sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tierwise.cli.console import Console
    from tierwise.engines.lever import Lever

    Table = Mapping[str, tuple[Lever, ...]]
    """Levers by engine."""


def levers(
    engine: Annotated[str | None, typer.Argument(help="An engine, such as vllm; all if not given.")] = None,
    lever: Annotated[str | None, typer.Option("--lever", metavar="NAME", help="One lever on every engine.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/levers.md.")] = False,
) -> None:
    """Show which engine has which levers; with ENGINE or --lever, show them in detail.

    A launch lever is a setting of a deployment; a request lever is set in a tier's `sampling`.
    """
    import dataclasses
    import json

    from tierwise.cli.console import Console

    found = chosen(table(), engine, lever)
    if as_json:
        rows = [{"engine": name, **dataclasses.asdict(row)} for name, rows in found.items() for row in rows]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif markdown:
        print(as_markdown(found), end="")
    elif engine is None and lever is None:
        _print_matrix(found, Console(highlight=False))
    else:
        _print_rows(found, Console(highlight=False, soft_wrap=True))


def table() -> Table:
    """The levers of every engine, by its name in the config file."""
    from tierwise.engines import ENGINES

    return {name: row.levers for name, row in sorted(ENGINES.items())}


def chosen(whole: Table, engine: str | None, lever: str | None) -> Table:
    """The rows of one engine, or of one lever, or both.

    Raises:
        NotFound: the engine or lever does not exist; lists those that do.
    """
    from tierwise.spec.errors import NotFound
    from tierwise.spec.reading import allowed

    names = {row.name for rows in whole.values() for row in rows}
    if engine is not None and engine not in whole:
        raise NotFound(f"there is no engine {engine!r}; {allowed(engine, whole)}")
    if lever is not None and lever not in names:
        raise NotFound(f"there is no lever {lever!r}; {allowed(lever, names)}")
    return {
        name: tuple(row for row in rows if lever in (None, row.name))
        for name, rows in whole.items()
        if engine in (None, name)
    }


def names_in_order(found: Table) -> list[str]:
    """Each lever once: levers of most engines first, then by name, launch levers before request levers."""
    scopes: dict[str, list[str]] = {}
    for rows in found.values():
        for name, scope in dict.fromkeys((row.name, row.scope) for row in rows):
            scopes.setdefault(name, []).append(scope)
    return sorted(scopes, key=lambda name: ("launch" not in scopes[name], -len(scopes[name]), name))


def scope_of(name: str, rows: Iterable[Lever]) -> str:
    """When a lever of an engine is set: "launch", "request", both, or empty."""
    return ", ".join(dict.fromkeys(row.scope for row in rows if row.name == name))


_HEADING = "| lever | sets | when | values | needs | changes | source |"


def as_markdown(found: Table) -> str:
    """The matrix, followed by a section per engine."""
    engines = [name for name, rows in found.items() if rows]
    lines = ["| lever | " + " | ".join(engines) + " |", "|---" * (len(engines) + 1) + "|"]
    lines += [
        f"| `{name}` | " + " | ".join(scope_of(name, found[engine]) for engine in engines) + " |"
        for name in names_in_order(found)
    ]
    for engine in engines:
        lines += [
            "",
            f"### {engine}",
            "",
            _HEADING,
            "|---" * 7 + "|",
        ]
        for row in found[engine]:
            cells = (f"`{row.name}`", row.sets, row.scope, row.values, row.needs, row.changes, row.source)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _print_matrix(found: Table, console: Console) -> None:
    from rich.table import Table as Grid

    engines = [name for name, rows in found.items() if rows]
    grid = Grid("lever", *engines, box=None, padding=(0, 2, 0, 0))
    for name in names_in_order(found):
        grid.add_row(name, *(scope_of(name, found[engine]) for engine in engines))
    console.print(grid)
    console.print(
        "\nlaunch: a setting of a deployment. request: in a tier's sampling.\n"
        "Details of an engine's levers: tierwise levers ENGINE; of one lever: --lever NAME"
    )


def _print_rows(found: Table, console: Console) -> None:
    for engine, rows in found.items():
        for row in rows:
            console.print(f"[bold]{row.name}[/bold]  {engine}, {row.scope}")
            facts = {"sets": row.sets, "values": row.values, "needs": row.needs, "changes": row.changes}
            for what, words in {**facts, "source": row.source}.items():
                if words:
                    console.print(f"  {what:<8}{words}", markup=False)
