"""`tierwise tune`: finds the cheapest route that keeps a promise, and certifies it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli import bench
from tierwise.cli.options import AsJson, ConfigPath, WorkloadPath

if TYPE_CHECKING:
    from tierwise.cli.console import Console
    from tierwise.pools.reading import Pool
    from tierwise.runs.directory import RunDirectory
    from tierwise.stats.promises import Method
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.split import TaskSplit
    from tierwise.workloads.files import Workload

_LEAST_DRAWS = 4
_SPARE = 2
"""Draws in place of those that a vote cannot use."""
_ROUNDS = 3
"""Sessions of a recording: the later ones ask again for draws that ended in infrastructure errors."""


class PromiseKind(StrEnum):
    """What a route promises."""

    HARM = "harm"
    NET = "net"
    SELECTIVE = "selective"


Loss = Annotated[
    float,
    typer.Option(help="Share of new tasks on which the promise may fail; 0.02 is 2 %.", min=0.0001, max=0.5),
]
Confidence = Annotated[float, typer.Option(help="Of the promise.", min=0.5, max=0.9999)]
Kind = Annotated[
    PromiseKind,
    typer.Option(
        help="harm: the route is wrong where the reference is right. net: harm minus the tasks where only the route is "
        "right; needs more tasks. selective: errors among the answers that the route keeps; needs many more."
    ),
]
P95 = Annotated[
    str, typer.Option(metavar="SECONDS", help="Also promise that at most 5 % of actions take longer, such as 8s.")
]
MeanDollars = Annotated[
    float | None,
    typer.Option(help="Also promise this mean cost of an action. Tiers then need a budget in dollars.", min=0.0),
]
Reference = Annotated[
    str,
    typer.Option(help="The tier to compare with. Default: the last tier of the first route, else the dearest tier."),
]
RecordedPool = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A recorded pool. Default: one is recorded into --out, or resumed.")
]
Votes = Annotated[
    int | None,
    typer.Option(
        help="Draws of each task and deployment to record. Default: the most that a tier's policy takes, at least 4, "
        "and 2 more if a cheaper tier draws from the same deployment; 1 if every tier asks once at temperature 0.",
        min=1,
        max=1000,
    ),
]
Orders = Annotated[int, typer.Option(help="Orders of each task's draws.", min=1, max=1000)]
SplitSeed = Annotated[int, typer.Option(help="Determines the split, the orders, and the order of the tests' bets.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what can be proved, and decide nothing. Without --pool, without a model: the split alone.",
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(help="Directory of the results. Default: runs/tune-FILE-WORKLOAD-TIME. One that exists is resumed."),
]


def tune(
    file: ConfigPath,
    workload: WorkloadPath,
    loss: Loss = 0.02,
    confidence: Confidence = 0.95,
    promise: Kind = PromiseKind.HARM,
    p95: P95 = "",
    dollars: MeanDollars = None,
    reference: Reference = "",
    pool: RecordedPool = None,
    draws: Votes = None,
    orders: Orders = 8,
    seed: SplitSeed = 0,
    budget_dollars: bench.DollarBudget = None,
    budget_minutes: bench.MinuteBudget = None,
    dry_run: DryRun = False,
    out: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Find the cheapest route that keeps a promise on a workload, certify it, and write it into a copy of the file.

    Tasks are split into tuning, calibration and test. Draws of every deployment are recorded once, or taken from
    --pool. Hundreds of routes are replayed on them, tested in an order that the tuning tasks fix, and the cheapest one
    that passes is confirmed on the test tasks. "Not worth it: serve the fixed tier X" is an answer.

    Exit codes: 0 decided, 1 over 2 % of the draws failed, 2 invalid input or a promise that cannot be proved,
    130 interrupted.
    """
    from tierwise.cli.console import Console
    from tierwise.cli.extras import need_extra
    from tierwise.cli.output import new_directory
    from tierwise.workloads.files import load

    need_extra("bench", "tierwise tune")
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)
    promises = _promises(promise, loss, confidence, p95)
    if dry_run and pool is None:
        _print_split(console, file, load(workload), promises, draws or _draws_needed(file), seed)
        return
    folder = out or new_directory(f"tune-{file.stem}-{workload.stem}")
    directory = _recorded(file, workload, pool, folder, draws, seed, (budget_dollars, budget_minutes), as_json=as_json)
    options = _Options(reference=reference, orders=orders, seed=seed, dollars=dollars)
    found = _search(console, file, workload, directory, promises, options)
    if dry_run:
        _print_outlook(found, as_json=as_json)
        return
    _decide(console, found, file, folder, seed, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What the search is told."""

    reference: str
    orders: int
    seed: int
    dollars: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the search found."""

    pool: Pool
    directory: RunDirectory
    parts: TaskSplit
    searched: Searched
    promises: Promises
    notes: tuple[str, ...]


def _promises(kind: PromiseKind, loss: float, confidence: float, p95: str) -> Promises:
    from tierwise.spec.errors import SpecError
    from tierwise.tuning.certify import Promises

    seconds = None
    if p95:
        try:
            seconds = float(p95.strip().removesuffix("s"))
        except ValueError:
            raise SpecError(f"{p95!r} is not a number of seconds, such as 8s", field="--p95") from None
        if not 0 < seconds < float("inf"):
            raise SpecError(f"{p95!r} is not a positive number of seconds", field="--p95")
    return Promises(kind=kind.value, limit=loss, confidence=confidence, p95=seconds)


def _print_split(console: Console, file: Path, tasks: Workload, promises: Promises, draws: int, seed: int) -> None:
    """What the sizes of the parts can prove, before anything is recorded."""
    from tierwise import plan as planning
    from tierwise.pools.sources import sources_of
    from tierwise.stats.promises import labels_needed
    from tierwise.tuning.split import split

    plan = planning.load(file)
    listed = tasks.tasks
    parts = split(listed, seed=seed)
    units = len(set(parts.units[parts.calibration].tolist()))
    is_plain = units == len(parts.calibration) and len({task.weight for task in listed}) == 1
    method: Method = "exact" if is_plain and promises.kind != "net" else "betting"
    for line in parts.notes:
        console.print(line, style="yellow")
    recorded = f"{len(sources_of(plan))} deployments × {draws} draws × {len(listed)} tasks"
    sizes = f"{len(parts.tuning)} tuning, {len(parts.calibration)} calibration, {len(parts.test)} test"
    console.print(f"tasks              {sizes}")
    console.print(f"to record          {recorded}")
    for limit in sorted({promises.limit, 0.01, 0.02, 0.05}):
        needed = labels_needed(limit, promises.delta, method=method)
        enough = "enough" if units >= needed else f"{units} here: too few"
        console.print(f"labels needed      {needed} calibration tasks for {limit:.2%} with no loss seen ({enough})")
    console.print("record a pool, or give one with --pool, to see the expected losses and the largest saving in reach")


def _recorded(
    file: Path,
    workload: Path,
    pool: Path | None,
    folder: Path,
    draws: int | None,
    seed: int,
    limits: tuple[float | None, float | None],
    *,
    as_json: bool,
) -> RunDirectory:
    """The given pool, or one that is recorded now, or was in part."""
    from tierwise.cli.execution import run
    from tierwise.cli.pool import recording
    from tierwise.runs.directory import RunDirectory

    if pool is not None:
        return RunDirectory(pool)
    path = folder / "pool"
    directory = RunDirectory(path)
    for _ in range(_ROUNDS):
        if directory.has_manifest and not directory.is_unfinished and not directory.errors():
            break
        job = recording(
            file,
            workload,
            draws=draws or _draws_needed(file),
            directory=lambda: RunDirectory.resume(path) if directory.has_manifest else RunDirectory.create(path),
            seed=seed,
            dollars=limits[0],
            minutes=limits[1],
        )
        if code := run(job, as_json=as_json):
            raise typer.Exit(code)
    return directory


def _draws_needed(file: Path) -> int:
    """As many as the tier with the most votes draws, and at least as many as agreement and chance need. At temperature
    0 there is no chance, and a second draw would be a copy. Where a cheaper tier draws from the same deployment, a vote
    uses its draws, but not those that are truncated or empty, so a few more are recorded.
    """
    from tierwise import plan as planning
    from tierwise.pools.sources import recorded_sources, sources_of

    plan = planning.load(file)
    votes = {name: getattr(plan.tiers[name].policy.member, "n", 1) for name in plan.file.tiers}
    most = max(n for n in (1, *votes.values()) if isinstance(n, int))
    is_greedy = most == 1 and all(source.sampling.get("temperature") == 0 for source in sources_of(plan))
    if is_greedy:
        return 1
    asking = [name for name in plan.file.tiers if not plan.tiers[name].policy.member.tiers()]
    is_shared = most > 1 and len(recorded_sources(plan, asking)) < len(asking)
    return max(_LEAST_DRAWS, most + _SPARE * is_shared)


def _search(
    console: Console,
    file: Path,
    workload: Path,
    directory: RunDirectory,
    promises: Promises,
    options: _Options,
) -> _Found:
    """Replay the space on the pool."""
    from rich.progress import Progress

    from tierwise import plan as planning
    from tierwise.pools.reading import read_pool
    from tierwise.pools.replaying import Replayer
    from tierwise.tuning.complete import with_all_draws
    from tierwise.tuning.evaluate import search_space
    from tierwise.tuning.spending import require_prices, require_unused, unbounded, with_dollars
    from tierwise.tuning.split import split
    from tierwise.workloads.files import load

    plan = planning.load(file)
    require_prices(plan)
    is_pools_own = workload.resolve() == directory.tasks_path.resolve()
    pool = read_pool(directory, config=file, workload=None if is_pools_own else load(workload))
    pool = replace(with_all_draws(pool), plan=plan)
    parts = split([one.task for one in pool.tasks], seed=options.seed)
    with Progress(console=console, transient=True) as progress, Replayer(unbounded(pool), plan.file.prices) as replayer:
        shown = progress.add_task("replaying", total=None)
        searched = search_space(
            replayer,
            parts,
            reference=options.reference,
            orders=options.orders,
            seed=options.seed,
            ended=lambda said: progress.update(shown, description=said),
        )
    require_unused(searched, plan)
    promises = with_dollars(promises, options.dollars, searched, plan)
    notes = (*pool.notes, *parts.notes, *searched.left_out)
    for note in notes:
        console.print(note, style="yellow")
    return _Found(pool=pool, directory=directory, parts=parts, searched=searched, promises=promises, notes=notes)


def _print_outlook(found: _Found, *, as_json: bool) -> None:
    import msgspec

    from tierwise.cli.output import print_json
    from tierwise.report.tuning_report import outlook_lines
    from tierwise.tuning.decide import outlook

    seen = outlook(found.searched, found.parts, found.promises)
    if as_json:
        print_json(msgspec.to_builtins(seen))
        return
    for line in outlook_lines(seen, found.searched, found.promises):
        print(line)


def _decide(console: Console, found: _Found, file: Path, folder: Path, seed: int, *, as_json: bool) -> None:
    """Certify, and write everything."""
    import msgspec

    from tierwise.cli.output import print_json
    from tierwise.report.tuning_report import facts, markdown, promise_in_words, verdict
    from tierwise.spec.replacing import replace_file
    from tierwise.tuning.decide import decide
    from tierwise.tuning.measured import Measures
    from tierwise.tuning.writing import CERTIFICATE, CONFIG, certificate_of, parsed, with_route

    pool, searched = found.pool, found.searched
    measures = Measures(searched.evaluated, [one.task for one in pool.tasks], found.parts.test)
    decision = decide(searched, found.parts, found.promises, measures, seed=seed)
    certificate, written = None, {}
    if decision.route is not None:
        text = with_route(file.read_text(encoding="utf-8"), file, decision.route, pool.plan)
        plan = parsed(text, folder / CONFIG)
        certificate = certificate_of(decision, measures, pool, found.directory, plan, seed=seed)
        written[CONFIG] = text.encode()
    report = markdown(decision, measures, certificate, found.notes)
    told = facts(decision, measures, certificate, found.notes)
    written |= {"report.md": report.encode(), "report.json": msgspec.json.format(msgspec.json.encode(told), indent=2)}
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CERTIFICATE, CONFIG):
        if name not in written:
            (folder / name).unlink(missing_ok=True)  # of an earlier decision
    if certificate is not None:
        certificate.write(folder / CERTIFICATE)
    for name, content in written.items():
        replace_file(folder / name, content)
    if as_json:
        print_json(told)
        return
    console.print(verdict(decision))
    if decision.route is not None:
        console.print(promise_in_words(found.promises, "the route", f"tier {searched.space.reference}"))
    for name in (*((CERTIFICATE,) if certificate is not None else ()), *written):
        console.print(f"{name:<18} {folder / name}")
