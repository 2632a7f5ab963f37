"""`tierwise check`: validates a config file and shows what it would run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tierwise.cli.console import Console
    from tierwise.plan import Plan
    from tierwise.spec.errors import SpecError

_REACH_SECONDS = 3.0  # for a server's list of models


def check(
    file: Annotated[Path | None, typer.Argument(help="A config file, such as tierwise.yaml.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the file.")] = False,
) -> None:
    """Validate a config file, and print the plan: which processes run, with which levers, for which tiers.

    Shows all errors at once, each with its path in the file. Starts nothing; of the servers that run
    already, only one whose URL lacks `/v1` is asked where its API is. Says what the certificates of routes
    promise, and what differs from the certified conditions as far as the file shows it; `tierwise serve`
    compares the running engines too. Exit code 2 if the file is invalid, a certificate does not hold, or the
    file cannot work with the checkpoints and programs of this machine.
    """
    import json

    from tierwise import plan as planning
    from tierwise.service import preflight
    from tierwise.spec.errors import ConfigErrors

    if schema:
        print(json.dumps(planning.schema(), indent=2))
        return
    if file is None:
        raise typer.BadParameter("name a config file: tierwise check tierwise.yaml")
    plan = planning.load(file)
    if as_json:
        print(json.dumps(described(plan), indent=2))
    else:
        _print(plan)
    if found := [*_void(plan), *preflight(plan), *_misplaced(plan)]:
        raise ConfigErrors(found)


def _void(plan: Plan) -> list[SpecError]:
    """Certificates that do not hold, as far as the file shows it."""
    from tierwise.certificate import certificates_of, mismatches, refusals

    certificates = certificates_of(plan)
    return refusals(plan, certificates, mismatches(plan, certificates))


def _certificates(plan: Plan) -> dict[str, Any]:
    """The certificates of routes as plain values, with their meaning in words and with what differs now."""
    import msgspec

    from tierwise.certificate import certificates_of, mismatches
    from tierwise.report.certificate_text import certificate_text

    certificates = certificates_of(plan)
    differences = mismatches(plan, certificates)
    return {
        route: {
            "file": plan.file.routes[route].certificate,
            "certificate": msgspec.to_builtins(certificate),
            "text": certificate_text(certificate),
            "differences": differences[route],
        }
        for route, certificate in certificates.items()
    }


def _repriced(plan: Plan) -> list[str]:
    """Which certificates hold, with dollars of other prices."""
    from tierwise.certificate import certificates_of, notices

    return [f"certificate of {route}: {said}" for route, said in notices(plan, certificates_of(plan)).items()]


def described(plan: Plan) -> dict[str, Any]:
    """The plan as plain values."""
    from dataclasses import asdict

    from tierwise.cli.pull import missing
    from tierwise.service import launch_context

    return {
        "file": str(plan.path),
        "processes": [
            {
                "name": process.name,
                "engine": process.engine,
                "checkpoint": process.settings.loads,
                "levers": process.levers,
                "command": process.row.command(process.settings, launch_context(plan, process)),
                "deployments": list(process.deployments),
                "tiers": list(process.tiers),
                "shared_because": process.why_shared,
            }
            for process in plan.processes
        ],
        "tiers": {
            name: {
                "deployment": plan.deployment_of(name),
                "policy": tier.policy.kind,
                "most_passes": plan.most_passes(name),
                "amplification": asdict(plan.amplification(name)),
                "sampling": tier.sampling.fields(),
            }
            for name, tier in plan.file.tiers.items()
        },
        "routes": {name: route.cascade for name, route in plan.file.routes.items()},
        "amplification_of_routes": {name: asdict(plan.amplification(name)) for name in plan.file.routes},
        "certificates": _certificates(plan),
        "to_pull": missing(plan),
        "notes": [*plan.notes, *_repriced(plan), *_probed(plan), *_engine_notes(plan)],
    }


def _probed(plan: Plan) -> Iterator[str]:
    """Results of `tierwise probe` for the servers of a plan."""
    from tierwise.engines.probe.findings import remembered

    for process in plan.processes:
        if (remote := process.settings.remote) is None or (probed := remembered(*remote)) is None:
            continue
        for note in probed.notes():
            yield f"deployments.{process.name}: {remote.url} {note}; probed {probed.date}"


def _engine_notes(plan: Plan) -> Iterator[str]:
    """What checkpoints lack, from their engines."""
    from tierwise.service import launch_context

    for process in plan.processes:
        for note in process.row.notes(process.settings, launch_context(plan, process)):
            yield f"deployments.{process.name}: {note}"


def _misplaced(plan: Plan) -> Iterator[SpecError]:
    """URLs without `/v1` whose server has its API elsewhere. One that is down is not judged."""
    import asyncio
    from urllib.parse import urlsplit

    from tierwise.spec.errors import SpecError

    for process in plan.processes:
        if (remote := process.settings.remote) is None or urlsplit(remote.url).path.rstrip("/").endswith("/v1"):
            continue
        base = asyncio.run(_base_of(remote.url, getattr(process.settings, "api_key_env", None)))
        if base is not None and base != remote.url.rstrip("/"):
            yield SpecError(f"the API is at {base}; set url to that", field=f"deployments.{process.name}.url")


async def _base_of(url: str, variable: str | None) -> str | None:
    import aiohttp

    from tierwise.engines.openai.proxy import proxy_to
    from tierwise.engines.probe.reach import find_base

    key = os.environ.get(variable, "").strip() if variable else ""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"} if key else {}) as session:
        return await find_base(session, url, proxy=proxy_to(url), seconds=_REACH_SECONDS)


def _amplified(most: dict[str, int | None]) -> tuple[str, str, str]:
    """The cells of an amplification: passes, prompts, tokens."""
    passes, prefills = most["passes"], most["prefills"]
    if passes is None:
        return "no bound", "no bound", _tokens(most["completion_tokens"])
    more = f" + {prefills} prefill{'s'[: prefills > 1]}" if prefills else ""
    prompts = f"{most['prompts_computed']} + {most['prompts_cached']}"
    return f"≤ {passes}{more}", f"≤ {prompts}", _tokens(most["completion_tokens"])


def _tokens(count: int | None) -> str:
    return "no bound" if count is None else f"≤ {count:,}"


def _print(plan: Plan) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tierwise.cli.console import Console

    facts = described(plan)
    console = Console(highlight=False, soft_wrap=True)
    count = len(facts["processes"])
    tiers = f"{len(plan.file.tiers)} tiers on {count} process{'es'[: 2 * (count != 1)]}"
    console.print(f"[green]ok[/green] {escape(str(plan.path))}: {tiers}")
    for process in facts["processes"]:
        serves = f"{process['engine']}  serves {', '.join(process['tiers'])}"
        console.print(f"\n[bold]{escape(process['name'])}[/bold]  {escape(serves)}")
        if process["shared_because"]:
            console.print(f"  shared: {process['shared_because']}", markup=False)
        levers = "  ".join(f"{name}={value}" for name, value in process["levers"].items())
        console.print(f"  checkpoint: {process['checkpoint'] or '(loaded elsewhere)'}", markup=False)
        console.print(f"  levers: {levers or '(defaults)'}", markup=False)
        console.print(f"  runs: {process['command']}", markup=False)
    columns = ("tier", "deployment", "policy", "passes", "prompts", "answer tokens", "sampling")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for name, tier in facts["tiers"].items():
        sampling = ", ".join(f"{key} {value}" for key, value in tier["sampling"].items())
        table.add_row(name, tier["deployment"], tier["policy"], *_amplified(tier["amplification"]), sampling)
    console.print()
    console.print(table)
    for name, cascade in facts["routes"].items():
        passes, prompts, tokens = _amplified(facts["amplification_of_routes"][name])
        worst = f"{passes} passes, prompts {prompts}, {tokens} answer tokens"
        console.print(f"route {name}: {' → '.join(cascade)}  {worst}", markup=False)
    console.print("the worst case of one user action: passes, how often its prompt is computed + read from a cache")
    for name, one in facts["certificates"].items():
        _print_certificate(console, name, one)
    missing = [f"checkpoint {name} is not on this machine yet: tierwise pull {plan.path}" for name in facts["to_pull"]]
    for note in [*missing, *facts["notes"]]:
        console.print(f"[yellow]note[/yellow] {escape(note)}")


def _print_certificate(console: Console, route: str, one: dict[str, Any]) -> None:
    certificate = one["certificate"]
    head = f"{one['file']}, {certificate['sha256'][:12]}, made {certificate['made']}"
    console.print(f"\ncertificate of {route}: {head}", markup=False)
    for sentence in one["text"]:
        console.print(f"  {sentence}", markup=False)
    for difference in one["differences"]:
        console.print(f"  does not hold: {difference}", markup=False)
    if not one["differences"]:
        console.print("  the file is as certified; `tierwise serve` compares the running engines", markup=False)
