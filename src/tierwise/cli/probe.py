"""`tierwise probe`: what does this server do with the fields that tiers and ledgers stand on?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tierwise.engines.probe.findings import Probed

_SIGNS = {"yes": "[green]yes[/green]", "no": "[red]no[/red]", "unseen": "[yellow]?[/yellow]"}


def probe(
    url: Annotated[str, typer.Argument(help="Its base, with /v1.")],
    model: Annotated[str | None, typer.Option(help="What it calls the model; its first one if not given.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds its key.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="For one answer.", min=0.1, max=3600)] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask an OpenAI-compatible server some twenty small requests, and say which fields it honours.

    The result is remembered in the cache folder by URL and model; `tierwise check` shows it beside the deployments
    that use the server.
    """
    import asyncio
    import json
    import os
    import sys

    import msgspec

    from tierwise.engines.probe.findings import remember
    from tierwise.engines.probe.probe import Probe
    from tierwise.spec.errors import SpecError

    if not url.startswith(("http://", "https://")):
        raise SpecError(f"{url!r} is no URL; give the server's base, such as http://127.0.0.1:8000/v1")
    key = None
    if api_key_env is not None and not (key := os.environ.get(api_key_env, "").strip()):
        raise SpecError(f"the environment variable {api_key_env} is empty; it must hold the key of {url}")

    def tell(trait: str) -> None:
        print(f"\r\033[Kasking: {trait}", end="", file=sys.stderr, flush=True)

    is_watched = sys.stderr.isatty()
    asking = Probe(url, model=model, api_key=key, tell=tell if is_watched else lambda _: None, seconds=seconds)
    try:
        probed = asyncio.run(asking.run())
    finally:
        if is_watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
    remember(probed)
    if as_json:
        print(json.dumps({**msgspec.to_builtins(probed), "notes": list(probed.notes())}, indent=2, ensure_ascii=False))
    else:
        _print(probed)


def _print(probed: Probed) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tierwise.engines.probe.findings import TRAITS

    console = Console(highlight=False, soft_wrap=True)
    who = f"{probed.server} {probed.version}".strip() or "a server that we do not know"
    console.print(f"{escape(probed.url)}: {escape(who)}, model {escape(probed.model)}, {probed.date}\n")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for trait, about in TRAITS.items():
        finding = probed.findings[trait]
        table.add_row(trait, _SIGNS[finding.verdict], about, escape(finding.note))
    console.print(table)
    notes = list(probed.notes())
    if notes:
        console.print("\nSo a tier there")
    for note in notes:
        console.print(f"- {escape(note)}")
