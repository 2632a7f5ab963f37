"""`tierwise suites`: the suites that the field quotes, and what a difference on each can mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierwise.cli.options import AsJson
from tierwise.cli.output import print_json, wide_console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tierwise.workloads.suites import SuiteRow

SHARES = (0.05, 0.15, 0.25)
"""Shares of tasks on which two tiers disagree; `tierwise power --run` finds that of two tiers of yours."""
STEADY = 0.5
"""The share of the disagreement that returns with every repeat, as `tierwise power` assumes it."""


def suites(
    name: Annotated[str | None, typer.Argument(help="A suite, such as gpqa-diamond; all if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the suites that the field quotes: size, modes, the smallest difference that each can show, and who runs it.

    Differences are those of two tiers on the same tasks, at 80 % power and two-sided 5 %, by the test that bench
    reports.
    """
    from tierwise.spec.errors import NotFound
    from tierwise.spec.reading import allowed
    from tierwise.workloads.suites import ROWS

    names = [row.name for row in ROWS]
    if name is not None and name not in names:
        raise NotFound(f"there is no suite {name!r}; {allowed(name, names)}")
    facts = [_facts(row) for row in ROWS if name in (None, row.name)]
    if as_json:
        print_json(facts)
    elif name is not None:
        print("\n".join(_detail(facts[0])))
    else:
        _print_table(facts)


def smallest(tasks: int, samples: int = 1) -> dict[str, float | None]:
    """The smallest true paired difference that this many tasks show at 80 % power, by share of disagreement.

    Asked once, by the exact McNemar test; as the mean of several samples, by Connor's formula with `STEADY`. None where
    no difference is shown.
    """
    from tierwise.stats.power import PairedDesign, detectable, exactly_detectable

    if samples == 1:
        found = [exactly_detectable(tasks, share) for share in SHARES]
    else:
        designs = [PairedDesign(discordance=share, repeats=samples, steady=STEADY) for share in SHARES]
        found = [detectable(tasks, design) for design in designs]
    return {f"{share:g}": None if one is None else round(one, 4) for share, one in zip(SHARES, found, strict=True)}


def _facts(row: SuiteRow) -> dict[str, Any]:
    import dataclasses

    samples = row.average.samples
    return {
        **dataclasses.asdict(row),
        "smallest_difference": {
            "asked_once": smallest(row.tasks),
            "as_average": smallest(row.tasks, samples) if samples > 1 else None,
        },
    }


def points(found: dict[str, float | None]) -> str:
    """`4.5 · 8.0 · 10.2`; a dash where nothing is shown."""
    return " · ".join("–" if one is None else f"{100 * one:.1f}" for one in found.values())


COLUMNS = ("suite", "tasks", "average", "max", "shows, points", "run by")


def cells(fact: dict[str, Any]) -> tuple[str, ...]:
    """The table row of a suite, with `COLUMNS`."""
    shown = points(fact["smallest_difference"]["asked_once"])
    modes = (fact["average"]["how"], fact["maximum"]["how"])
    return (fact["name"], f"{fact['tasks']:,}", *modes, shown, fact["runner"])


def _print_table(facts: Iterable[dict[str, Any]]) -> None:
    from rich.table import Table

    console = wide_console()
    table = Table(*COLUMNS, box=None, padding=(0, 2, 0, 0))
    for column in (0, 1, 4, 5):
        table.columns[column].no_wrap = True
    for fact in facts:
        table.add_row(*cells(fact))
    console.print(table)
    shares = ", ".join(f"{100 * share:g}" for share in SHARES)
    console.print(
        f"\nshows: the smallest paired difference found with 80 % power if two tiers disagree on {shares} % of the "
        "tasks, each asked once; –: none.\nCaveats, licence and command of one: tierwise suites NAME"
    )


def _detail(fact: dict[str, Any]) -> Iterator[str]:
    yield f"{fact['title']}: {fact['size']}"
    for mode in ("average", "maximum"):
        yield f"  {'max' if mode == 'maximum' else mode}: {_convention(fact[mode])}"
    shares = ", ".join(f"{100 * share:g}" for share in SHARES)
    found = fact["smallest_difference"]
    yield f"  smallest difference in points, where two tiers disagree on {shares} % of the tasks:"
    yield f"    asked once: {points(found['asked_once'])}  (exact McNemar test)"
    if found["as_average"] is not None:
        how = f"mean of {fact['average']['samples']} samples"
        yield f"    {how}: {points(found['as_average'])}  (half of the disagreement recurs)"
    yield f"  run by: {fact['runner']}: {fact['how']}"
    yield f"  licence: {fact['licence']}"
    for caveat in fact["caveats"]:
        yield f"  caveat: {caveat}"


def _convention(mode: dict[str, Any]) -> str:
    heat = "" if mode["temperature"] is None else f", temperature {mode['temperature']:g}"
    return f"{mode['how']}{heat}  [{mode['source']}]"
