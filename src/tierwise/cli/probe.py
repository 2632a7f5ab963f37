"""`tierwise probe`: tests which fields that tiers and ledgers need a server supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tierwise.engines.probe.findings import Probed

_SIGNS = {"yes": "[green]yes[/green]", "no": "[red]no[/red]", "unseen": "[yellow]?[/yellow]"}


def probe(
    url: Annotated[str, typer.Argument(help="Base URL of the server, with /v1.")],
    model: Annotated[
        str | None, typer.Option(help="The server's name of the model; the first listed if not given.")
    ] = None,
    key_env: Annotated[
        str,
        typer.Option("--key-env", "--api-key-env", metavar="NAME", help="Environment variable with the server's key."),
    ] = "",
    seconds: Annotated[float, typer.Option(help="Time limit per answer, in seconds.", min=0.1, max=3600)] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send an OpenAI-compatible server about thirty small requests, and report which fields it supports.

    The result is stored in the cache folder by URL and model; `tierwise check` shows it for deployments that use the
    server. `tierwise init --url` runs the same probe and writes suitable tiers.
    """
    import asyncio
    import json

    import msgspec

    from tierwise.engines.probe.findings import remember
    from tierwise.engines.probe.probe import Probe

    key = key_in(key_env)
    with telling() as tell:
        probed = asyncio.run(Probe(url, model=model, api_key=key, tell=tell, seconds=seconds).run())
    remember(probed)
    if as_json:
        print(json.dumps({**msgspec.to_builtins(probed), "notes": list(probed.notes())}, indent=2, ensure_ascii=False))
    else:
        _print(probed)


def key_in(variable: str) -> str | None:
    """The key in an environment variable; None if no variable is named."""
    import os
    import re

    from tierwise.spec.errors import SpecError

    if not variable:
        return None
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):  # not quoted: it may be the key itself
        raise SpecError("--key-env takes the name of an environment variable, such as SERVER_KEY, not the key")
    if not (key := os.environ.get(variable, "").strip()):
        raise SpecError(f"the environment variable {variable} is empty; set it to the server's key")
    return key


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Shows the current request on a terminal line that is cleared afterwards."""
    import sys

    is_watched = sys.stderr.isatty()

    def tell(trait: str) -> None:
        if is_watched:
            print(f"\r\033[Kasking: {trait}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if is_watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _print(probed: Probed) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tierwise.cli.console import Console
    from tierwise.engines.probe.findings import TRAITS

    console = Console(highlight=False, soft_wrap=True)
    who = f"{probed.server} {probed.version}".strip() or "unknown server"
    console.print(f"{escape(probed.url)}: {escape(who)}, model {escape(probed.model)}, {probed.date}\n")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for trait, about in TRAITS.items():
        finding = probed.findings[trait]
        table.add_row(trait, _SIGNS[finding.verdict], about, escape(finding.note))
    console.print(table)
    notes = list(probed.notes())
    if notes:
        console.print("\nConsequences for tiers")
    for note in notes:
        console.print(f"- {escape(note)}")
