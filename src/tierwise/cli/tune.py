"""`tierwise tune`: finds the cheapest route that keeps a promise, and certifies it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli import bench
from tierwise.cli.options import AsJson, ConfigPath, WorkloadPath

if TYPE_CHECKING:
    from tierwise.cli.again import Resumed
    from tierwise.cli.console import Console
    from tierwise.cli.tuning_pool import Wanted
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.runs.directory import RunDirectory
    from tierwise.tuning.again import Held
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.racing import Raced
    from tierwise.tuning.record import Look
    from tierwise.tuning.split import TaskSplit


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
LabelsBy = Annotated[
    str,
    typer.Option(
        help="What tells a loss. check: every task has one. agreement: tasks need none; an answer that differs from "
        "the reference's is a loss. That bounds harm from above. judge:TIER: a tier judges; tasks that have a check, a "
        "random sample, tell its error, which the promise allows for."
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
Races = Annotated[
    bool,
    typer.Option(
        "--race/--no-race",
        help="With three deployments or more: race them on the tuning tasks first, and record those that dropped out "
        "no further.",
    ),
]
Caps = Annotated[
    bool,
    typer.Option(
        "--caps/--no-caps",
        help="Also search the tiers that think with thinking off, and with caps at the quartile and the median of what "
        "they thought on the tuning tasks. Only draws that thought longer are asked again.",
    ),
]
Earlier = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="DIR",
        help="The --out folder of an earlier run: certify again from what holds of it, and record only the rest. "
        "Promise, reference, orders and seed are those of that run unless they are given.",
    ),
]
ShadowedFile = Annotated[
    Path | None,
    typer.Option(
        help="With --from: traffic that the server has shadowed and kept (ledger.db.shadowed.jsonl). Requests with a "
        "verifier become tasks."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(help="Directory of the results. Default: runs/tune-FILE-WORKLOAD-TIME. One that exists is resumed."),
]


def tune(
    context: typer.Context,
    file: ConfigPath,
    workload: WorkloadPath,
    loss: Loss = 0.02,
    confidence: Confidence = 0.95,
    promise: Kind = PromiseKind.HARM,
    labels: LabelsBy = "check",
    p95: P95 = "",
    dollars: MeanDollars = None,
    reference: Reference = "",
    pool: RecordedPool = None,
    draws: Votes = None,
    orders: Orders = 8,
    seed: SplitSeed = 0,
    budget_dollars: bench.DollarBudget = None,
    budget_minutes: bench.MinuteBudget = None,
    races: Races = True,
    caps: Caps = False,
    from_: Earlier = None,
    shadowed: ShadowedFile = None,
    dry_run: DryRun = False,
    out: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Find the cheapest route that keeps a promise on a workload, certify it, and write it into a copy of the file.

    Draws of every deployment are recorded once, or taken from --pool. Hundreds of routes are replayed on them, and
    tested in an order that tuning tasks fix; the cheapest that passes is confirmed on test tasks, if it is worth it.

    Exit codes: 0 decided, 1 over 2 % of the draws failed, 2 invalid input or a promise beyond proof, 130 interrupted.
    """
    from tierwise import plan as planning
    from tierwise.cli.again import prepare
    from tierwise.cli.extras import need_extra
    from tierwise.cli.output import new_directory
    from tierwise.cli.tuning_pool import Wanted, draws_needed
    from tierwise.cli.tuning_promise import labelled, print_split, promises_of
    from tierwise.tuning.judging import judge_alone

    need_extra("bench", "tierwise tune")
    folder = _writable(out or new_directory(f"tune-{file.stem}-{workload.stem}"))
    resumed = prepare(context, file, from_, shadowed, workload, folder, lambda: draws or draws_needed(file, least=1))
    if resumed is not None:
        workload, promise = resumed.given, PromiseKind(resumed.promise)
        loss, confidence, labels, p95, dollars, reference, orders, seed = resumed.rest
    promises = promises_of(promise.value, loss, confidence, p95, labels)
    tasks, races = labelled(context, workload, promises, folder), races and labels == "check"
    without = judge_alone(planning.load(file), labels, reference)
    console, limits = _console(as_json=as_json), (budget_dollars, budget_minutes)
    if dry_run and pool is None:
        number = draws or draws_needed(file)
        return print_split(console, file, workload, promises, number, seed, races=races, without=without)
    options = _Options(reference, orders, seed, dollars, resumed, workload, without)
    wanted = Wanted(draws=draws, reference=reference, seed=seed, races=races, caps=caps, without=without)
    given, directory, raced = _draws(console, file, tasks, folder, wanted, limits, pool, resumed, as_json=as_json)
    found = replace(_search(console, given, tasks, directory, promises, options), raced=raced)
    return _print_outlook(found, as_json) if dry_run else _decide(found, (file, workload), seed, folder, as_json)


def _draws(
    console: Console,
    file: Path,
    tasks: Path,
    folder: Path,
    wanted: Wanted,
    limits: tuple[float | None, float | None],
    pool: Path | None,
    resumed: Resumed | None,
    *,
    as_json: bool,
) -> tuple[Path, RunDirectory, Raced | None]:
    """The draws that are replayed: of an earlier run, of a pool, or recorded now; with the file that they are of."""
    from tierwise.cli.tuning_pool import recorded_pool
    from tierwise.runs.directory import RunDirectory

    if resumed is not None:
        return file, resumed.recorded(file, folder, limits, as_json=as_json), None
    if pool is not None:
        return file, RunDirectory(pool), None
    return recorded_pool(console, file, tasks, folder, wanted, limits, as_json=as_json)


def _writable(folder: Path) -> Path:
    """The folder of the results; one that cannot be made is refused before anything is recorded or searched."""
    from tierwise.spec.errors import SpecError

    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise SpecError(f"{there} is a file, and --out is a folder; name another", field="--out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SpecError(f"{there} cannot be written into; name another folder", field="--out")
    return folder


def _console(*, as_json: bool) -> Console:
    from tierwise.cli.console import Console

    return Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Options:
    """What the search is told."""

    reference: str
    orders: int
    seed: int
    dollars: float | None
    resumed: Resumed | None
    """The earlier run; with --from."""
    given: Path
    """The workload before a judge took the place of its checks."""
    without: str
    """A tier that only judges; empty if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the search found."""

    pool: Pool
    """Its plan is that of the config file that was searched: the given one, or with tiers that think less."""
    directory: RunDirectory
    parts: TaskSplit
    searched: Searched
    promises: Promises
    looks: tuple[Look, ...]
    held: Held | None
    notes: tuple[str, ...]
    raced: Raced | None = None


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
    from tierwise.pools.replaying import Replayer
    from tierwise.tuning.evaluate import search_space
    from tierwise.tuning.judging import chance_note, of_pool, with_share
    from tierwise.tuning.labels import judge_of
    from tierwise.tuning.looks import look_note
    from tierwise.tuning.spending import require_prices, require_unused, unbounded, with_dollars
    from tierwise.tuning.split import split
    from tierwise.workloads.files import load

    plan = planning.load(file)
    require_prices(plan)
    pool = _usable(file, plan, workload, directory, options.without)
    held = None if options.resumed is None else options.resumed.held
    parts = split([one.task for one in pool.tasks], seed=options.seed, kept=None if held is None else held.kept)
    with Progress(console=console, transient=True) as progress, Replayer(unbounded(pool), plan.file.prices) as replayer:
        shown = progress.add_task("replaying", total=None)
        searched = search_space(
            replayer,
            parts,
            reference=options.reference,
            orders=options.orders,
            seed=options.seed,
            labels=promises.labels,
            checks=of_pool(pool, load(options.given)) if judge_of(promises.labels) else None,
            ended=lambda said: progress.update(shown, description=said),
        )
    require_unused(searched, plan)
    promises = with_dollars(promises, options.dollars, searched, plan)
    promises = with_share(promises, searched, parts) if searched.judge is not None else promises
    promises, looks = _looked(promises, file, pool, directory, parts, searched, options)
    further = [look_note(len(looks), promises.delta)] if len(looks) > 1 else []
    further += chance_note(searched.judge, promises.labels)
    notes = (*pool.notes, *parts.notes, *searched.left_out, *further)
    for note in notes:
        console.print(note, style="yellow")
    return _Found(
        pool=pool,
        directory=directory,
        parts=parts,
        searched=searched,
        promises=promises,
        looks=looks,
        held=held,
        notes=notes,
    )


def _usable(file: Path, plan: Plan, workload: Path, directory: RunDirectory, without: str) -> Pool:
    """The tasks of a pool that have all draws which the file's tiers need."""
    from tierwise.pools.reading import read_pool, used_by
    from tierwise.tuning.complete import with_all_draws
    from tierwise.workloads.files import load

    is_pools_own = workload.resolve() == directory.tasks_path.resolve()
    pool = read_pool(directory, config=file, workload=None if is_pools_own else load(workload), without=without)
    return with_all_draws(used_by(plan, pool))


def _looked(
    promises: Promises,
    file: Path,
    pool: Pool,
    directory: RunDirectory,
    parts: TaskSplit,
    searched: Searched,
    options: _Options,
) -> tuple[Promises, tuple[Look, ...]]:
    """The looks at the calibration tasks, this one included, and the promises at the level that they leave."""
    from tierwise.tuning.looks import about, looks_with
    from tierwise.tuning.writing import source_of

    what = about(
        file.read_text(encoding="utf-8"),
        source_of(pool, directory).pool_sha256,
        promises,
        reference=searched.space.reference,
        orders=options.orders,
        seed=options.seed,
    )
    before = [] if options.resumed is None else options.resumed.held.looks_at(pool, parts)
    looks = looks_with(before, what)
    return replace(promises, looks=len(looks)), tuple(looks)


def _print_outlook(found: _Found, as_json: bool) -> None:
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


def _decide(found: _Found, given: tuple[Path, Path], seed: int, folder: Path, as_json: bool) -> None:
    """Certify, and write everything."""
    import msgspec

    from tierwise.certificate import by_agreement
    from tierwise.cli.output import print_json
    from tierwise.report.duty_text import duty_facts, duty_section
    from tierwise.report.tuning_page import page
    from tierwise.report.tuning_report import facts, markdown, promise_in_words, verdict
    from tierwise.spec.replacing import replace_file
    from tierwise.tuning.decide import decide
    from tierwise.tuning.duty import duties
    from tierwise.tuning.findings import findings
    from tierwise.tuning.measured import Measures
    from tierwise.tuning.record import RECORD, record_of
    from tierwise.tuning.writing import CERTIFICATE, CONFIG, certificate_of, parsed, tiers_lacking, with_route

    console, pool, searched = _console(as_json=as_json), found.pool, found.searched
    file, workload = given
    folder.mkdir(parents=True, exist_ok=True)
    measures = Measures(searched.evaluated, [one.task for one in pool.tasks], found.parts.test)
    decision = decide(searched, found.parts, found.promises, measures, seed=seed)
    certificate, written = None, {}
    if decision.route is not None:
        further = tiers_lacking(file, pool.plan, (*decision.route.ladder, decision.serve, searched.space.reference))
        text = with_route(file.read_text(encoding="utf-8"), file, decision.route, pool.plan, further, folder=folder)
        plan = parsed(text, folder / CONFIG)
        certificate = certificate_of(decision, measures, pool, found.directory, plan, seed=seed)
        written[CONFIG] = text.encode()
    if found.held is not None:
        found.held.remember(found.looks)
    per_hour, seen = duties(decision, pool, seed=seed), findings(decision, measures, pool, found.raced)
    shown = sorted({decision.setting, *(one.setting for one in seen.frontier)})
    record_of(
        decision, measures, pool, found.directory, pool.plan.path, folder, seed=seed, looks=found.looks, shown=shown
    ).write(folder)
    is_labelled = not by_agreement(found.promises.labels)
    report = markdown(decision, seen, certificate, found.notes) + duty_section(per_hour, is_labelled=is_labelled)
    told = facts(decision, seen, certificate, found.notes)
    told["dollars_per_solved" if is_labelled else "dollars_per_action"] = msgspec.to_builtins(duty_facts(per_hour))
    html = page(decision, seen, certificate, found.notes, file=file, workload=workload)
    written |= {"report.html": html.encode(), "report.md": report.encode()}
    written |= {"report.json": msgspec.json.format(msgspec.json.encode(told), indent=2)}
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
    for name in (*((CERTIFICATE,) if certificate is not None else ()), *written, RECORD):
        console.print(f"{name:<18} {folder / name}")
