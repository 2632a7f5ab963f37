"""`tierwise serve`: serves all tiers and routes of a config file at one OpenAI endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    file: Annotated[Path, typer.Argument(help="A config file, such as tierwise.yaml.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on. There is no authentication: keep it private.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 chooses a free one.", min=0, max=65535)] = 8400,
    grpc_port: Annotated[
        int | None, typer.Option(help="Also serve gRPC on this port; 0 chooses a free one.", min=0, max=65535)
    ] = None,
    ledger: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL",
            envvar="TIERWISE_LEDGER",
            help="The ledger for actions and passes: a SQLite file, or postgresql://USER@HOST/DATABASE.",
        ),
    ] = "ledger.db",
    keep_content: Annotated[
        bool, typer.Option("--keep-content", help="Also store requests and answers in the ledger.")
    ] = False,
) -> None:
    """Launch the engines of a config file and serve its tiers and routes as models of one OpenAI endpoint.

    Prints `serving on URL` when it listens; /ready returns 200 when all engines are up. Missing checkpoints are pulled
    first. SIGTERM and Ctrl-C drain: no new connections, running requests are finished, then the engines stop. A second
    signal stops at once.
    """
    from tierwise import plan as planning
    from tierwise.cli.pull import bring, missing
    from tierwise.gateway.server import serve_forever

    plan = planning.load(file)
    bring(plan, missing(plan))
    serve_forever(plan, host=host, port=port, ledger=ledger, content=keep_content, grpc_port=grpc_port)
