"""`tierwise moe`: expert routing of a mixture of experts on your own tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.options import AsJson, Concurrency, ConfigPath, Limit, Seed, WorkloadPath
from tierwise.cli.output import wide_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.moe.perplexity import Perplexity, PromptText, TextLoss
    from tierwise.moe.routed import RecordingDirectory
    from tierwise.moe.routing_findings import DriftComparison, Findings
    from tierwise.plan import Plan

app = typer.Typer(
    help="Show which experts a workload uses, and measure the effect of more or fewer active experts.",
    no_args_is_help=True,
)

Active = Annotated[
    list[int] | None,
    typer.Option(
        help="A number of active experts; repeatable. If not given, from two below to four above the trained one."
    ),
]
TextFile = Annotated[
    Path | None, typer.Option(help="Measure perplexity on this text; if not given, on the prompts of the tasks.")
]


@app.command()
def record(
    file: ConfigPath,
    workload: WorkloadPath,
    tier: Annotated[str, typer.Option(help="The tier to record; if not given, the first one.")] = "",
    out: Annotated[Path | None, typer.Option(help="A new folder; if not given, runs/moe-FILE-TIME.")] = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Seed from which each task's seed is derived.")] = 0,
    concurrency: Concurrency = 4,
) -> None:
    """Ask one tier every task, and record the routing of each pass: recording.json and passes.jsonl.

    Every pass is recorded; in production, `experts_sampled` of a deployment sets the share. Engines that report
    routing: vllm, sglang, transformers. Exit code 1 if more than 2 % of the tasks failed, or no routing was reported.
    """
    import uvloop
    from rich.progress import Progress

    from tierwise import plan as planning
    from tierwise.cli.console import Console
    from tierwise.cli.output import new_directory
    from tierwise.cli.pull import bring, missing
    from tierwise.moe.routed import RecordingDirectory, record_workload, sampling_all
    from tierwise.runs.records import MAX_ERROR_SHARE
    from tierwise.workloads.files import load

    plan, tasks = planning.load(file), load(workload).first(limit)
    plan = sampling_all(plan, tier or next(iter(plan.file.tiers)))
    bring(plan, missing(plan))
    directory = RecordingDirectory.create(out or new_directory(f"moe-{file.stem}"))
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("recording", total=len(tasks.tasks))

        def on_progress(done: int, failed: int) -> None:
            bars.update(bar, completed=done, description=f"recording, {failed} failed")

        recording = uvloop.run(
            record_workload(plan, tasks, directory, seed=seed, concurrency=concurrency, on_progress=on_progress)
        )
    _, passes = directory.read()
    if passes:
        _report(directory)
    print(f"{len(passes)} passes of {recording.tasks - recording.failed} tasks in {directory.path}")
    if recording.failed:
        print(f"{recording.failed} tasks failed; see the log of their engine")
    if recording.unreported:
        print(f"the engine did not report the routing of {recording.unreported} passes: cut, aborted or unsupported")
    if not passes or recording.failed > MAX_ERROR_SHARE * recording.tasks:
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `tierwise moe record` wrote.")],
    against: Annotated[
        Path | None, typer.Option(help="Another recording of the same model, such as of another workload or month.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print balance, hottest experts, drift and latency by balance, and write moe.html into the folder."""
    from tierwise.moe.routed import RecordingDirectory

    found = _report(RecordingDirectory(folder), None if against is None else RecordingDirectory(against))
    if as_json:
        _print_json(found)
    else:
        _print(found, RecordingDirectory(folder).page_path)


def _report(folder: RecordingDirectory, other: RecordingDirectory | None = None) -> Findings:
    from tierwise.moe.routing_findings import findings
    from tierwise.report.routing_page import page
    from tierwise.spec.replacing import replace_file

    recording, passes = folder.read()
    found = findings(passes, () if other is None else other.read()[1])
    replace_file(folder.page_path, page(recording, found).encode())
    return found


def _print(found: Findings, page: Path) -> None:
    from rich.table import Table

    from tierwise.cli.console import Console

    console = Console(highlight=False)
    load = found.load
    console.print(f"{load.passes} passes, {load.tokens:,} routed tokens, {len(load.layers)} mixture layers")
    table = Table("over layers", "mean", "min", "max", box=None, padding=(0, 2, 0, 0))
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
            f"balancedness and inter-token latency: rank correlation {found.tail.correlation:+.2f} "
            f"[{found.tail.low:+.2f}, {found.tail.high:+.2f}]",
            markup=False,
        )
    console.print(f"page    {page}", markup=False, soft_wrap=True)


def _sentence(one: DriftComparison) -> str:
    shown = "" if one.adjusted is None else f", p = {one.adjusted:.2g}"
    return (
        f"{one.name}: {one.drift.bits:.4f} bits from the others, {one.drift.by_chance:.4f} by chance{shown}: "
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
    tier: Annotated[str, typer.Option(help="The tier to vary; if not given, the first one.")] = "",
    active: Active = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; if not given, runs/whatif-FILE-TIME.")] = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 4,
    text: TextFile = None,
) -> None:
    """Measure a tier with fewer and more active experts on your tasks: quality, speed and tokens, with intervals.

    Writes a config file with a tier for each number, the trained one first, and benchmarks it: every other number is
    compared with the trained one on the same tasks. Perplexity is added if the engine reports log-probabilities of
    prompts: vllm and transformers. Exit codes are those of `tierwise bench`.
    """
    from tierwise import plan as planning
    from tierwise.bench.bench_job import BenchJob, chosen_tiers, require_checks, settings_for
    from tierwise.cli.execution import run
    from tierwise.cli.extras import need_extra
    from tierwise.cli.output import new_directory
    from tierwise.cli.pull import bring, bring_for_run, missing
    from tierwise.moe import perplexity
    from tierwise.moe.whatif import numbers_to_try, write_variants
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import load

    need_extra("bench", "tierwise moe whatif")
    plan = planning.load(file)
    name = _tier(plan, tier)
    tasks = load(workload).first(limit)
    require_checks(tasks)
    bring(plan, missing(plan))
    tried, left_out = numbers_to_try(plan, name, active or [])
    for why in left_out:
        print(why)
    texts = perplexity.prompts(tasks) if text is None else perplexity.windows(text)
    directory = RunDirectory.create(out or new_directory(f"whatif-{file.stem}"))
    config = directory.path / "whatif.yaml"
    plan = write_variants(plan, name, tried, config)
    losses = _text_losses(plan, texts, directory.path, name, concurrency=concurrency)
    bring_for_run(plan)
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
        _print_table(directory.path, perplexity.perplexities(losses), about)
    raise typer.Exit(code)


def _tier(plan: Plan, name: str) -> str:
    """The name of the given tier, or of the first one."""
    from tierwise.spec.errors import SpecError

    if name and name not in plan.file.tiers:
        raise SpecError(f"there is no tier {name!r}; tiers: {', '.join(plan.file.tiers)}", field="--tier")
    return name or next(iter(plan.file.tiers))


def _text_losses(
    plan: Plan, texts: Sequence[PromptText], folder: Path, tier: str, *, concurrency: int
) -> Sequence[TextLoss]:
    """The loss of each text on each tier, also written to perplexity.jsonl; empty where the engine reports none."""
    import msgspec
    import uvloop
    from rich.progress import Progress

    from tierwise.cli.console import Console
    from tierwise.moe.perplexity import read_tiers
    from tierwise.spec.replacing import replace_file

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("measuring perplexity", total=len(plan.file.tiers) * len(texts))
        losses = uvloop.run(
            read_tiers(plan, texts, concurrency=concurrency, on_progress=lambda done: bars.update(bar, completed=done))
        )
    if losses is None:
        print(f"no perplexity: the engine of tier {tier!r} does not report log-probabilities of prompts")
        return ()
    replace_file(folder / "perplexity.jsonl", msgspec.json.Encoder().encode_lines(losses))
    return losses


def _print_table(folder: Path, perplexities: Sequence[Perplexity], about: str) -> None:
    from tierwise.analysis.lever_effects import lever_effects
    from tierwise.report import whatif_table

    console = wide_console()
    console.print()
    console.print(whatif_table.table(lever_effects(folder), perplexities).for_terminal())
    if perplexities:
        console.print(f"perplexity: on {about}, in the format of the chat template", style="dim")
