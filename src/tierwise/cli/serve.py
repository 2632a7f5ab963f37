"""`tierwise serve`: serves all tiers and routes of a config file at one OpenAI endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(help="A config file, such as tierwise.yaml.")]
Host = Annotated[
    str, typer.Option(help="Address to listen on. One that other machines reach needs --api-key-env or --no-auth.")
]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 chooses a free one.", min=0, max=65535)]
GrpcPort = Annotated[
    int | None, typer.Option(help="Also serve gRPC on this port; 0 chooses a free one.", min=0, max=65535)
]
KeyVariable = Annotated[
    str,
    typer.Option(metavar="NAME", help="Environment variable with a key that every request must carry: Bearer KEY."),
]
NoAuth = Annotated[
    bool,
    typer.Option("--no-auth", help="Let everybody in who reaches --host: something in front of it checks who."),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="FILE", help="Serve with TLS: the certificate and its chain, in PEM format."),
]
TlsKey = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="FILE", help="The private key of --tls-cert, in PEM format, not encrypted."),
]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-client-ca",
        metavar="FILE",
        help="Let in only clients with a certificate of one of these authorities, in PEM format.",
    ),
]
CorsOrigins = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ORIGIN",
        help="Allow web pages of this origin (https://app.example, or * for all); may be given again. None are "
        "allowed if not given.",
    ),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A name by which the endpoint is called (* for any), besides localhost and addresses; may be given "
        "again. Not needed with a key.",
    ),
]
FirstBytes = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        help="How long the headers of a stream may wait for its first content, so that an error before it has a "
        "status; at most 0.15 while a policy has nothing to show.",
        min=0.0,
        max=600.0,
    ),
]
LedgerPlace = Annotated[
    str,
    typer.Option(
        metavar="FILE|URL",
        envvar="TIERWISE_LEDGER",
        help="The ledger for actions and passes: a SQLite file, or postgresql://USER@HOST/DATABASE.",
    ),
]
Uncertified = Annotated[
    bool,
    typer.Option(
        "--uncertified",
        help="Answer a route whose certificate does not hold by its safe tier, with a label on every answer, instead "
        "of refusing to start.",
    ),
]
KeepContent = Annotated[bool, typer.Option("--keep-content", help="Also store requests and answers in the ledger.")]


Workers = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Number of processes that accept connections of the port, each on a core of its own; they share engines, "
        "ledger and limits.",
        min=1,
        max=256,
    ),
]
NoShadow = Annotated[
    bool, typer.Option("--no-shadow", help="Do not ask again for a share of the actions of certified routes.")
]


def serve(
    file: ConfigFile,
    host: Host = "127.0.0.1",
    port: Port = 8400,
    grpc_port: GrpcPort = None,
    api_key_env: KeyVariable = "",
    no_auth: NoAuth = False,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    cors_origin: CorsOrigins = None,
    allowed_host: AllowedHosts = None,
    first_bytes: FirstBytes = 10.0,
    ledger: LedgerPlace = "ledger.db",
    keep_content: KeepContent = False,
    uncertified: Uncertified = False,
    no_shadow: NoShadow = False,
    workers: Workers = 1,
) -> None:
    """Launch the engines of a config file and serve its tiers and routes as models of one OpenAI endpoint.

    Prints `serving on URL` when it listens; /ready returns 200 when all engines are up. Missing checkpoints are pulled
    first. SIGTERM and Ctrl-C drain: no new connections, running requests are finished, then the engines stop. A second
    signal stops at once. A route whose certificate does not hold is refused: certify it again with `tierwise tune`, or
    see --uncertified.
    """
    from tierwise import plan as planning
    from tierwise.cli.pull import bring, missing
    from tierwise.gateway.access import access_of
    from tierwise.gateway.server import serve_forever
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.tls import tls_of

    access = access_of(
        listens=[host],
        key_variable=api_key_env,
        is_open=no_auth,
        origins=cors_origin or (),
        hosts=allowed_host or (),
    )
    tls = tls_of(tls_cert, tls_key, tls_client_ca)
    plan = planning.load(file)
    bring(plan, missing(plan))
    settings = ServerSettings(
        host=host,
        port=port,
        grpc_port=grpc_port,
        access=access,
        tls=tls,
        first_bytes=first_bytes,
        uncertified=uncertified,
        shadow=not no_shadow,
    )
    if workers == 1:
        serve_forever(plan, settings, ledger=ledger, content=keep_content)
        return
    from tierwise.workers.supervisor import serve_workers

    serve_workers(plan, settings, workers=workers, ledger=ledger, content=keep_content)
