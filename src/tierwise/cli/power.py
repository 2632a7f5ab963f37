"""`tierwise power`: what a workload can detect, before money is spent."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierwise.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.analysis.pilot import Pilot
    from tierwise.stats.power import PairedDesign, TaskCost

_DISAGREEMENT = 0.15
_STEADY = 0.5
_MORE_REPEATS = (1, 2, 4, 8, 16)


def power(
    tasks: Annotated[
        int | None, typer.Option(help="Tasks of the workload; if not given, the pilot run's.", min=1)
    ] = None,
    discordant: Annotated[
        float | None,
        typer.Option(help="Share of tasks on which the two disagree; the pilot run's, or 0.15.", min=0, max=1),
    ] = None,
    difference: Annotated[
        float | None, typer.Option(help="The difference to detect, as a share: 0.03 for 3 points.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="How often each task is asked of each tier.", min=1)] = 1,
    steady: Annotated[
        float | None,
        typer.Option(help="Share of the disagreement that recurs with repeats; the pilot run's, or 0.5.", min=0, max=1),
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(help="Clusters that the tasks come from, such as repositories or documents.", min=2)
    ] = None,
    icc: Annotated[float, typer.Option(help="Correlation of differences within a cluster.", min=0, max=1)] = 0.0,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a pilot run, for disagreement, dollars and seconds.")
    ] = None,
    dollars: Annotated[float | None, typer.Option(help="Dollars per action, summed over both tiers.", min=0)] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds per action, summed over both tiers.", min=0)] = None,
    concurrency: Annotated[int, typer.Option(help="Number of concurrent actions.", min=1)] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the difference between two tiers that a workload can detect, and what a given difference needs.

    At 80 % power and two-sided 5 %, for tiers that are asked the same tasks. Exit codes: 0 success, 2 invalid input.
    """
    from tierwise.analysis import pilot
    from tierwise.spec.errors import SpecError
    from tierwise.stats.power import PairedDesign

    pilots: list[Pilot | None] = [*pilot.read(run)] if run else [None]
    if not pilots:
        raise SpecError(
            f"{run} does not have two rows to compare; a pilot run measures two tiers, or both modes of one"
        )
    answers = []
    for known in pilots:
        count = tasks or (known.tasks if known else 0)
        if not count:
            raise SpecError("the number of tasks is missing; give --tasks, or a pilot run with --run", field="--tasks")
        if clusters is not None and clusters > count:
            raise SpecError(f"{count} tasks cannot come from {clusters} clusters", field="--clusters")
        design = PairedDesign(
            discordance=discordant if discordant is not None else _disagreement(known),
            repeats=repeats,
            steady=steady if steady is not None else _or_else(known.steady if known else None, _STEADY),
            members=count / clusters if clusters else 1.0,
            icc=icc if clusters else 0.0,
        )
        answers.append(_answer(count, design, difference, _cost(dollars, seconds, concurrency, known), known))
    if as_json:
        print_json(answers)
    else:
        print("\n".join(line for answer in answers for line in _lines(answer)))


def _cost(dollars: float | None, seconds: float | None, concurrency: int, known: Pilot | None) -> TaskCost | None:
    """The cost of a task, from the options or else from the pilot run; None if neither has it."""
    from tierwise.stats.power import TaskCost

    price = dollars if dollars is not None else known.dollars if known else None
    time = seconds if seconds is not None else known.seconds if known else None
    return None if time is None and price is None else TaskCost(dollars=price, seconds=time, concurrency=concurrency)


def _or_else(value: float | None, default: float) -> float:
    return default if value is None else value


def _disagreement(known: Pilot | None) -> float:
    """The discordance; if the two never disagreed in the pilot run, its upper bound."""
    if known is None:
        return _DISAGREEMENT
    return known.discordance.value or (known.discordance.interval and known.discordance.interval.high) or 1.0


def _answer(
    tasks: int, design: PairedDesign, difference: float | None, cost: TaskCost | None, known: Pilot | None
) -> dict[str, Any]:
    from dataclasses import asdict, replace

    from tierwise.stats import power

    shown: dict[str, Any] = {
        "pair": [known.first, known.second] if known else None,
        "tasks": tasks,
        **asdict(design),
        "detectable": power.detectable(tasks, design),
        "detectable_exact_test": power.exactly_detectable(tasks, design.discordance) if design.is_plain else None,
        **_spend(cost, tasks, design.repeats),
        "wanted": difference,
        "needs": [],
    }
    if difference is not None:
        for repeats in sorted({design.repeats, *_MORE_REPEATS}):
            count = power.tasks_needed(difference, replace(design, repeats=repeats))
            spend = {} if count is None else _spend(cost, count, repeats)
            inside = math.ceil(count / design.members) if count and design.members > 1 else None
            shown["needs"].append({"repeats": repeats, "tasks": count, "clusters": inside, **spend})
    return shown


def _spend(cost: TaskCost | None, tasks: int, repeats: int) -> dict[str, float | None]:
    if cost is None:
        return {"dollars": None, "minutes": None}
    return {"dollars": cost.bill(tasks, repeats), "minutes": cost.minutes(tasks, repeats)}


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    if answer["pair"]:
        yield "{} and {}".format(*answer["pair"])
    times = "once" if answer["repeats"] == 1 else f"{answer['repeats']} times"
    yield f"{answer['tasks']:,} tasks, each asked {times} of both, which disagree on {answer['discordance']:.1%}"
    smallest = answer["detectable"]
    if smallest is None:
        yield "  no difference can be detected: power is below 80 % even if one tier wins every disagreement"
    else:
        exact = answer["detectable_exact_test"]
        also = f" ({100 * exact:.1f} by the exact test of `tierwise bench`)" if exact is not None else ""
        yield f"  differences of {100 * smallest:.1f} points or more are detected with 80 % power{also}{_price(answer)}"
    for need in answer["needs"]:
        what = "no number of tasks is enough" if need["tasks"] is None else _size(need)
        repeats = "asked once" if need["repeats"] == 1 else f"asked {need['repeats']} times"
        yield f"  {100 * answer['wanted']:g} points, {repeats}: {what}"
    if answer["needs"] and answer["steady"] > 0:
        yield f"  assuming that {answer['steady']:.0%} of the disagreement recurs with every repeat"


def _size(need: dict[str, Any]) -> str:
    inside = f" in {need['clusters']:,} clusters" if need["clusters"] else ""
    return f"{need['tasks']:,} tasks{inside}{_price(need)}"


def _price(of: dict[str, Any]) -> str:
    from tierwise.report.numbers import dollars

    parts = [] if of.get("dollars") is None else [dollars(of["dollars"])]
    parts += [] if of.get("minutes") is None else [f"{of['minutes']:,.0f} minutes"]
    return "".join(f", {part}" for part in parts)
