"""`tierwise ask`: one question to one tier, from the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tierwise.gateway.endpoint import ApiEndpoint
    from tierwise.plan import Plan


def ask(
    text: Annotated[str, typer.Argument(help="The question; - reads standard input.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The config file.")] = Path("tierwise.yaml"),
    tier: Annotated[
        str, typer.Option("--tier", "-t", help="A tier or route; the file's first tier if not given.")
    ] = "",
    verifier: Annotated[str, typer.Option(help="A verifier for answers, as JSON: '{\"number\": {}}'.")] = "",
    max_tokens: Annotated[int | None, typer.Option(help="Maximum completion tokens of one pass.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed for repeatable draws.")] = None,
    ledger: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL",
            envvar="TIERWISE_LEDGER",
            help="The ledger for the action: a SQLite file, or postgresql://USER@HOST/DATABASE.",
        ),
    ] = "ledger.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print answer and usage as JSON.")] = False,
) -> None:
    """Start the engines of a config file, ask one question, and print the answer and its cost.

    The answer is streamed to standard output, the account is printed to standard error. To query a running endpoint,
    use any OpenAI client.
    """
    import asyncio
    import sys

    from tierwise import plan as planning
    from tierwise.cli.pull import bring, missing

    plan = planning.load(config)
    request: dict[str, object] = {"model": tier or plan.names[0], "stream": not as_json}
    request["messages"] = [{"role": "user", "content": sys.stdin.read() if text == "-" else text}]
    request |= {name: value for name, value in (("max_tokens", max_tokens), ("seed", seed)) if value is not None}
    bring(plan, missing(plan))
    asyncio.run(_ask(plan, request, verifier, ledger, as_json=as_json))


async def _ask(plan: Plan, request: dict[str, object], verifier: str, ledger: str, *, as_json: bool) -> None:
    """Send the request to the endpoint's application in this process, so that it is handled and recorded like any
    other.
    """
    import sys

    import msgspec

    from tierwise.gateway.apis.chat import ChatCompletions
    from tierwise.gateway.endpoint import ApiEndpoint
    from tierwise.gateway.lifecycle import RequestLifecycle
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.server import open_ledger
    from tierwise.service import launched
    from tierwise.spec.errors import SpecError, TierwiseError
    from tierwise.spec.files import json_document
    from tierwise.spec.printable import printable

    if verifier:
        document = json_document(verifier, "--verifier", line=None)
        document.done()
        request["tierwise"] = {"verifier": document.value}
    if not as_json:
        request["stream_options"] = {"include_usage": True}
    metrics = Metrics({})
    with open_ledger(ledger, plan, metrics) as book:
        async with launched(plan, ledger=book, uncertified=True) as service:
            await service.start()
            status, usage = 200, None
            app = ApiEndpoint(ChatCompletions(), RequestLifecycle(service, metrics), service, metrics)
            async for status, data in _posted(app, msgspec.json.encode(request)):
                body = msgspec.json.decode(data)
                if "error" in body:
                    kind = SpecError if status in (400, 404) else TierwiseError
                    raise kind(body["error"]["message"])
                if as_json:
                    print(data.decode())
                    return
                for choice in body["choices"]:
                    text = choice["delta"].get("content") or ""
                    sys.stdout.write(printable(text, lines=True) if sys.stdout.isatty() else text)
                    sys.stdout.flush()
                usage = body.get("usage") or usage
    print()
    print(_account(usage), file=sys.stderr)


async def _posted(endpoint: ApiEndpoint, body: bytes) -> AsyncIterator[tuple[int, bytes]]:
    """The status with each event, or with the single body, of a POST of `body`."""
    import asyncio

    from tierwise.cli.asking import Posted
    from tierwise.engines.openai.events import EventParser

    exchange = Posted(body)
    serving = asyncio.create_task(endpoint(exchange))
    # If the endpoint breaks, nothing is sent, and the error is raised here.
    serving.add_done_callback(lambda _: exchange.sent.put_nowait(None))
    events = EventParser()
    try:
        while (part := await exchange.sent.get()) is not None:
            for data in events.feed(part) if exchange.is_stream else [part]:
                yield exchange.status, data
            if exchange.response_complete and exchange.sent.empty():
                break
        else:
            serving.result()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _account(usage: dict[str, Any] | None) -> str:
    if usage is None:
        return ""
    ours = usage["tierwise"]
    count = len(ours["passes"])
    seconds = max((one["started"] + one["seconds"] for one in ours["passes"]), default=0.0)
    return (
        f"{ours['tier']} · {count} pass{'es'[: 2 * (count != 1)]} · {usage['total_tokens']} tokens · "
        f"${ours['dollars']:.6f} · {seconds:.2f} s · {ours['why'][0] if ours['why'] else ''} · {ours['action']}"
    )
