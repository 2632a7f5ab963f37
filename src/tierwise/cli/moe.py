"""`tierwise moe`: the inside of a mixture of experts on your own tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.options import AsJson, Concurrency, ConfigPath, Limit, Seed, WorkloadPath
from tierwise.cli.output import wide_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.moe.perplexity import Perplexity, PromptText, Seen
    from tierwise.moe.routed import RecordingDirectory
    from tierwise.moe.routing_findings import DriftComparison, Findings
    from tierwise.plan import Plan

app = typer.Typer(
    help="See which experts a workload goes through, and what more or fewer of them are worth.", no_args_is_help=True
)

Active = Annotated[
    list[int] | None,
    typer.Option(help="A number of active experts; may be given again. From two below to four above the trained."),
]
TextFile = Annotated[
    Path | None, typer.Option(help="Measure perplexity on this text; on the prompts of the tasks when not given.")
]


@app.command()
def record(
    file: ConfigPath,
    workload: WorkloadPath,
    tier: Annotated[str, typer.Option(help="The tier to ask; the first one when not given.")] = "",
    out: Annotated[Path | None, typer.Option(help="A new folder; runs/moe-FILE-TIME when not given.")] = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Of the tasks' own seeds.")] = 0,
    concurrency: Concurrency = 4,
) -> None:
    """Ask every task of one tier, and write down where each pass's tokens went: recording.json and passes.jsonl.

    Every pass is recorded here; in production, `experts_sampled` of a deployment says how many are. Engines that tell:
    vllm, sglang, transformers. Exit code 1 when more than 2 % of the tasks failed, or no pass was told.
    """
    import uvloop
    from rich.console import Console
    from rich.progress import Progress

    from tierwise import plan as planning
    from tierwise.cli.output import new_directory
    from tierwise.cli.pull import bring, missing
    from tierwise.moe.routed import RecordingDirectory, record_workload, sampling_all
    from tierwise.runs.records import MOST_ERRORS
    from tierwise.workloads.files import load

    plan, tasks = planning.load(file), load(workload).first(limit)
    plan = sampling_all(plan, tier or next(iter(plan.file.tiers)))
    bring(plan, missing(plan))
    directory = RecordingDirectory.create(out or new_directory(f"moe-{file.stem}"))
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("recording", total=len(tasks.tasks))

        def told(done: int, failed: int) -> None:
            bars.update(bar, completed=done, description=f"recording, {failed} failed")

        recording = uvloop.run(record_workload(plan, tasks, directory, seed=seed, concurrency=concurrency, told=told))
    _, passes = directory.read()
    if passes:
        _report(directory)
    print(f"{len(passes)} passes of {recording.tasks - recording.failed} tasks in {directory.path}")
    if recording.failed:
        print(f"{recording.failed} tasks failed; their engine's words are in its log")
    if recording.untold:
        print(f"of {recording.untold} passes the engine did not tell: cut, aborted, or not able to")
    if not passes or recording.failed > MOST_ERRORS * recording.tasks:
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `tierwise moe record` made.")],
    against: Annotated[
        Path | None, typer.Option(help="Another recording of the same model: another workload, another month.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Balance, hot experts, drift, slow passes beside uneven ones: on the terminal, and as moe.html in the folder."""
    from tierwise.moe.routed import RecordingDirectory

    found = _report(RecordingDirectory(folder), None if against is None else RecordingDirectory(against))
    if as_json:
        _print_json(found)
    else:
        _print(found, RecordingDirectory(folder).page_path)


def _report(folder: RecordingDirectory, other: RecordingDirectory | None = None) -> Findings:
    from tierwise.moe.routing_findings import findings
    from tierwise.report.routing_page import page

    recording, passes = folder.read()
    found = findings(passes, () if other is None else other.read()[1])
    folder.page_path.write_text(page(recording, found), encoding="utf-8")
    return found


def _print(found: Findings, page: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    load = found.load
    console.print(f"{load.passes} passes, {load.tokens:,} routed tokens, {len(load.layers)} mixture layers")
    table = Table("over layers", "mean", "least", "most", box=None, padding=(0, 2, 0, 0))
    for name, values in (
        ("balancedness (1 is even)", found.over_layers(lambda layer: layer.balancedness)),
        ("entropy of the choices (1 is even)", found.over_layers(lambda layer: layer.entropy)),
        ("entropy of the gate, nats", found.over_layers(lambda layer: layer.router_entropy)),
    ):
        table.add_row(name, *(["–"] * 3 if values is None else [f"{value:.3f}" for value in values]))
    console.print(table)
    hot = ", ".join(f"layer {one.layer} expert {one.expert} × {one.times:.2f}" for one in load.hottest(5))
    console.print(f"hottest: {hot}")
    for one in [*found.strata, *filter(None, (found.over_time, found.other))]:
        console.print(_sentence(one), markup=False)
    if found.tail.correlation is not None:
        console.print(
            f"balance and pauses between tokens: rank correlation {found.tail.correlation:+.2f} "
            f"[{found.tail.low:+.2f}, {found.tail.high:+.2f}]",
            markup=False,
        )
    console.print(f"page    {page}", markup=False, soft_wrap=True)


def _sentence(one: DriftComparison) -> str:
    shown = "" if one.adjusted is None else f", p = {one.adjusted:.2g}"
    return (
        f"{one.name}: {one.drift.bits:.4f} bits from the others, {one.drift.by_chance:.4f} by chance alone{shown}: "
        f"{one.verdict}"
    )


def _print_json(found: Findings) -> None:
    import json
    from dataclasses import asdict

    shown = {
        "passes": found.load.passes,
        "tokens": found.load.tokens,
        "layers": [
            {
                "layer": layer.number,
                "balancedness": layer.balancedness,
                "entropy": layer.entropy,
                "variation": layer.variation,
                "active": layer.active,
                "experts": len(layer.counts),
                "dead": layer.dead,
                "router_entropy": layer.router_entropy,
            }
            for layer in found.load.layers
        ],
        "hottest": [asdict(one) for one in found.load.hottest(20)],
        "strata": [asdict(one) | {"verdict": one.verdict} for one in found.strata],
        "over_time": found.over_time and asdict(found.over_time),
        "other": found.other and asdict(found.other),
        "tail": asdict(found.tail),
    }
    print(json.dumps(shown, indent=2))


@app.command()
def whatif(
    file: ConfigPath,
    workload: WorkloadPath,
    tier: Annotated[str, typer.Option(help="The tier to vary; the first one when not given.")] = "",
    active: Active = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/whatif-FILE-TIME when not given.")] = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 4,
    text: TextFile = None,
) -> None:
    """Measure a tier with fewer and more active experts on your tasks: quality, speed and tokens, with intervals.

    Writes a config file with a tier for each number, the trained one first, and benches it: every other number is held
    against the trained one on the same tasks. Perplexity stands beside quality where the engine tells log-probabilities
    of prompts: vllm and transformers. Exit codes are those of `tierwise bench`.
    """
    from tierwise import plan as planning
    from tierwise.bench.bench_job import BenchJob, chosen_tiers, require_sandbox, settings_for
    from tierwise.cli.execution import need_extra, run
    from tierwise.cli.output import new_directory
    from tierwise.cli.pull import bring, missing, unhashed
    from tierwise.moe import perplexity
    from tierwise.moe.whatif import numbers, write_varied
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import load

    need_extra()
    plan = planning.load(file)
    name = _tier(plan, tier)
    tasks = load(workload).first(limit)
    require_sandbox(tasks)
    bring(plan, missing(plan))
    tried, left_out = numbers(plan, name, active or [])
    for why in left_out:
        print(why)
    texts = perplexity.prompts(tasks) if text is None else perplexity.windows(text)
    directory = RunDirectory.create(out or new_directory(f"whatif-{file.stem}"))
    config = directory.path / "whatif.yaml"
    plan = write_varied(plan, name, tried, config)
    seen = _perplexity(plan, texts, directory.path, name, concurrency=concurrency)
    bring(plan, unhashed(plan))
    job = BenchJob(
        config=config,
        workload=tasks,
        tiers=chosen_tiers(plan, []),
        mode="max",
        settings=settings_for(tasks, seed=seed, concurrency=concurrency),
        directory=directory,
        ledger=directory.path / "ledger.db",
    )
    code = run(job)
    if code == 0:
        about = "the prompts of the tasks" if text is None else str(text)
        _print_worth(directory.path, perplexity.perplexities(seen), about)
    raise typer.Exit(code)


def _tier(plan: Plan, name: str) -> str:
    """The tier that is named, or the first one."""
    from tierwise.spec.errors import SpecError

    if name and name not in plan.file.tiers:
        raise SpecError(f"there is no tier {name!r}; tiers: {', '.join(plan.file.tiers)}", field="--tier")
    return name or next(iter(plan.file.tiers))


def _perplexity(
    plan: Plan, texts: Sequence[PromptText], folder: Path, tier: str, *, concurrency: int
) -> Sequence[Seen]:
    """What every tier of the plan thinks of the texts, kept in perplexity.jsonl; nothing where engines do not tell."""
    import msgspec
    import uvloop
    from rich.console import Console
    from rich.progress import Progress

    from tierwise.moe.perplexity import read_tiers

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("reading for perplexity", total=len(plan.file.tiers) * len(texts))
        seen = uvloop.run(
            read_tiers(plan, texts, concurrency=concurrency, told=lambda done: bars.update(bar, completed=done))
        )
    if seen is None:
        print(f"tier {tier!r} runs on an engine that tells no log-probabilities of prompts: no perplexity")
        return ()
    (folder / "perplexity.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(seen))
    return seen


def _print_worth(folder: Path, perplexities: Sequence[Perplexity], about: str) -> None:
    from tierwise.analysis.lever_effects import lever_effects
    from tierwise.report import whatif_table as worth

    console = wide_console()
    console.print()
    console.print(worth.table(lever_effects(folder), perplexities).for_terminal())
    if perplexities:
        console.print(f"perplexity: of {about}, as the chat template writes them", style="dim")
