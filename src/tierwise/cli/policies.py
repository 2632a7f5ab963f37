"""`tierwise policies`: shows policies and stopping rules with their settings and measured curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tierwise.stopping.curves import Curve, Point, Simulated


def policies(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/stopping.md.")] = False,
) -> None:
    """List the policies of a tier and the stopping rules of a vote: settings, and what a rule saves and loses.

    The figures are those that benchmarks/stopping.py measured in simulation, relative to the majority of all draws, or
    to the best of them by score.
    """
    from tierwise.policies import PolicyChoice
    from tierwise.stopping import ScoreStopChoice, StopChoice
    from tierwise.stopping.curves import simulated

    found, of_policies = simulated(), described(PolicyChoice)
    of_rules = described(StopChoice) + described(ScoreStopChoice)
    if as_json:
        import json

        import msgspec

        whole = {"policies": of_policies, "rules": of_rules, "figures": msgspec.to_builtins(found)}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
    elif markdown:
        print(as_markdown(of_rules, found), end="")
    else:
        _print(of_policies, of_rules, found)


def described(table: type[Any]) -> list[dict[str, str]]:
    """Name, settings with their defaults, and first sentence of every member of a table."""
    import msgspec

    found = []
    for field in msgspec.structs.fields(table):
        kind = next(one for one in field.type.__args__ if isinstance(one, type) and issubclass(one, msgspec.Struct))
        settings = [f"{one.encode_name}{_default(one)}" for one in msgspec.structs.fields(kind)]
        does = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        found.append({"name": field.encode_name, "settings": ", ".join(settings), "does": does})
    return found


def _default(field: Any) -> str:
    """`: 5` for a setting with a default that can be written in a few characters; nothing otherwise."""
    from tierwise.spec.choice import OneOf

    value = field.default_factory() if callable(field.default_factory) else field.default
    if isinstance(value, OneOf):
        return f": {value.kind}"
    return f": {value}" if isinstance(value, int | float | str) else ""


def as_markdown(rules: Sequence[dict[str, str]], found: Simulated) -> str:
    """The tables of docs/stopping.md: the rules, their curves, rules on scores, and the order of the votes."""
    lines = ["| rule | settings | stops |", "|---|---|---|"]
    lines += [f"| `{one['name']}` | {_code(one['settings'])} | {one['does']} |" for one in rules]
    for curves in (found.curves, found.scored, found.finish_order):
        lines += ["", "| rule | " + " | ".join(found.workloads) + " |", "|---" * (len(found.workloads) + 1) + "|"]
        lines += [
            f"| {_named(one)} | " + " | ".join(_cell(one.on[name]) for name in found.workloads) + " |" for one in curves
        ]
    return "\n".join(lines) + "\n"


def _named(curve: Curve) -> str:
    return curve.title + (", in the order of finishing" if curve.order == "finish" else "")


def _cell(at: Point) -> str:
    return f"{at.votes:.1%}, {at.points:+.2f} [{at.low:+.2f}, {at.high:+.2f}]"


def _code(settings: str) -> str:
    return f"`{settings}`" if settings else ""


def _print(of_policies: Sequence[dict[str, str]], of_rules: Sequence[dict[str, str]], found: Simulated) -> None:
    from tierwise.cli.console import Console

    console = Console(highlight=False)
    console.print("[bold]Policies[/bold], in a tier's `policy`:\n")
    _print_described(console, of_policies)
    console.print(
        "\n[bold]Stopping rules[/bold], in the setting `stop` of a policy that votes, or scores candidates:\n"
    )
    _print_described(console, of_rules)
    console.print(
        f"\n[bold]Votes drawn, and points against the majority of all {found.draws}[/bold] (simulated, {found.tasks:,} "
        f"tasks, {found.written_by}):\n"
    )
    _print_curves(console, found.curves, found)
    console.print("\n[bold]Best of n by a scorer: candidates drawn, and points against the best of all[/bold]:\n")
    _print_curves(console, found.scored, found)
    console.print()
    for name, words in found.workloads.items():
        console.print(f"{name}: {words}")
    console.print("Intervals and the order of votes: docs/stopping.md, or --json")


def _print_curves(console: Any, curves: Iterable[Curve], found: Simulated) -> None:
    from rich.table import Table

    grid = Table("rule", *found.workloads, box=None, padding=(0, 2, 0, 0))
    for one in curves:
        grid.add_row(one.title, *(_short(one.on[name]) for name in found.workloads))
    console.print(grid)


def _print_described(console: Any, rows: Iterable[dict[str, str]]) -> None:
    for one in rows:
        settings = f" {{{one['settings']}}}" if one["settings"] else ""
        console.print(f"[bold]{one['name']}[/bold]{settings}", soft_wrap=True)
        console.print(f"  {one['does']}", markup=False)


def _short(at: Point) -> str:
    return f"{at.votes:.0%} {at.points:+.2f}"
