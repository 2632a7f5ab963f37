"""`tierwise reload`: has the endpoint that serves a config file read it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(help="The config file that is served, such as tierwise.yaml.")]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long to wait: new engines are loaded meanwhile.", min=1.0)
]


def reload(file: ConfigFile, timeout: Timeout = 600.0) -> None:
    """Have `tierwise serve` read its config file and its TLS certificates again, without dropping a request.

    If anything fails, the config before is served on; the error is printed, and the exit code is 1. SIGHUP does the
    same, without an answer.
    """
    from tierwise.gateway.control import folder, reload_all
    from tierwise.spec.errors import NotFound, TierwiseError
    from tierwise.spec.printable import printable

    found = reload_all(file, timeout=timeout)
    if not found:
        raise NotFound(
            f"no process of this user serves {file}; start `tierwise serve {file}`, or send SIGHUP to its process "
            f"(control sockets are in {folder()}; set TIERWISE_STATE as it is set there)"
        )
    failed = [one for one in found if not one.is_applied]
    for one in found:
        if one.is_applied:
            typer.echo(f"process {one.process} serves {file} as it is now")
            for line in one.said:
                typer.echo(f"  {printable(line)}")
    if failed:
        raise TierwiseError(
            "\n".join(f"process {one.process} serves the config before: {'; '.join(one.said)}" for one in failed)
        )
