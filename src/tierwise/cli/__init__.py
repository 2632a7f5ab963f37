"""The command line: one file per verb. Errors become messages and exit codes here.

Exit codes: 0 success · 1 failure at run time (an engine failed, too many errors) · 2 invalid input · 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, NoReturn

import typer

from tierwise.cli import (
    ask,
    bench,
    check,
    compare,
    doctor,
    exporting,
    extras,
    families,
    gate,
    importing,
    init,
    keys,
    ledger,
    levers,
    moe,
    policies,
    pool,
    power,
    probe,
    pull,
    recipe,
    reload,
    replay,
    serve,
    status,
    suites,
    tune,
    watch,
    whatif,
    workload,
)
from tierwise.cli.options import NamingCommand
from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.spec.printable import printable
from tierwise.spec.version import __version__

app = typer.Typer(
    name="tierwise",
    help="Run an open-weight checkpoint at the cheapest tier that is good enough for your workload, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Start here: [bold]tierwise doctor[/bold], then [bold]tierwise init[/bold].",
)
app.command()(init.init)
app.command()(families.families)
app.command(hidden=True)(recipe.recipe)
app.command()(levers.levers)
app.command()(policies.policies)
app.command()(check.check)
app.command()(probe.probe)
app.command()(pull.pull)
app.command()(serve.serve)
app.command()(reload.reload)
app.command()(status.status)
app.command()(ask.ask)
app.add_typer(workload.app, name="workload")
app.command()(suites.suites)
app.command()(power.power)
app.command()(bench.bench)
app.command()(replay.replay)
app.add_typer(pool.app, name="pool")
app.command()(tune.tune)
app.command()(whatif.whatif)
app.command()(compare.compare)
app.command()(gate.gate)
app.command()(watch.watch)
app.command("import", cls=NamingCommand)(importing.import_)
app.command(cls=NamingCommand)(exporting.export)
app.add_typer(moe.app, name="moe")
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tierwise {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the verb."""


def main() -> None:
    """The program `tierwise`."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except TierwiseError as error:
        _fail(error, 2 if isinstance(error, SpecError) else 1)
    except ModuleNotFoundError as error:
        if (missing := extras.missing_extra(error)) is None:
            raise
        _fail(missing, 2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _discard_output()
        _fail(TierwiseError(f"cannot write {error.filename or 'the output'}: {error.strerror}"), 1)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a disk, quota or file that is full."""


def _discard_output() -> None:
    """Discard what is still buffered for standard output, which could not be written."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _fail(error: TierwiseError, code: int) -> NoReturn:
    print(printable(_message(error), lines=True), file=sys.stderr)
    sys.exit(code)


def _message(error: TierwiseError) -> str:
    field = getattr(error, "field", "")
    return f"tierwise: {field}: {error}" if field and field not in str(error) else f"tierwise: {error}"
