"""`tierwise serve`: every tier and route of a config file behind one OpenAI endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    file: Annotated[Path, typer.Argument(help="A config file, such as tierwise.yaml.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on. There is no authentication: think before you open it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8400,
    grpc_port: Annotated[
        int | None, typer.Option(help="Serve gRPC too, on this port; 0 takes a free one.", min=0, max=65535)
    ] = None,
    ledger: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL",
            envvar="TIERWISE_LEDGER",
            help="Where actions and their passes are recorded: a SQLite file, or postgresql://USER@HOST/DATABASE.",
        ),
    ] = "ledger.db",
    keep_content: Annotated[
        bool, typer.Option("--keep-content", help="Record what was asked and answered too, not only what it took.")
    ] = False,
) -> None:
    """Launch the engines of a config file and serve its tiers and routes as models of one OpenAI endpoint.

    Prints one line, `serving on URL`, when it listens; /ready answers 200 when every engine is up. Checkpoints that
    are missing are pulled first. SIGTERM and Ctrl-C drain: no new connections, answers under way are finished, then
    the engines stop. A second one stops at once.
    """
    from tierwise import plan as planning
    from tierwise.cli.pull import bring, missing
    from tierwise.gateway.server import serve_forever

    plan = planning.load(file)
    bring(plan, missing(plan))
    serve_forever(plan, host=host, port=port, ledger=ledger, content=keep_content, grpc_port=grpc_port)
