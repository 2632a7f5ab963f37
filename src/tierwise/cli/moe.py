"""`tierwise moe`: the inside of a mixture of experts on your own tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.moe.perplexity import Perplexity, PromptText, Seen
    from tierwise.moe.routed import Recording, RecordingDirectory
    from tierwise.plan import Plan
    from tierwise.report.routing_page import Comparison, Findings
    from tierwise.workloads.files import Workload

app = typer.Typer(
    help="See which experts a workload goes through, and what more or fewer of them are worth.", no_args_is_help=True
)

_FILE = typer.Argument(help="A config file, such as tierwise.yaml.")
_WORKLOAD = typer.Argument(help="Tasks, one JSON object on each line, or a folder.")


@app.command()
def record(
    file: Annotated[Path, _FILE],
    workload: Annotated[Path, _WORKLOAD],
    tier: Annotated[str, typer.Option(help="The tier to ask; the first one when not given.")] = "",
    out: Annotated[Path | None, typer.Option(help="A new folder; runs/moe-FILE-TIME when not given.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many tasks.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of the tasks' own seeds.")] = 0,
    concurrency: Annotated[int, typer.Option(help="Actions under way at any moment.", min=1, max=1000)] = 4,
) -> None:
    """Ask every task of one tier, and write down where each pass's tokens went: recording.json and passes.jsonl.

    Every pass is recorded here; in production, `experts_sampled` of a deployment says how many are. Engines that tell:
    vllm, sglang, transformers. Exit code 1 when more than 2 % of the tasks failed, or no pass was told.
    """
    from datetime import datetime

    import uvloop

    from tierwise import plan as planning
    from tierwise.cli.pull import bring, missing
    from tierwise.moe.routed import RecordingDirectory, sampling_all
    from tierwise.runs.records import MOST_ERRORS
    from tierwise.workloads import files as workloads

    plan = planning.load(file)
    tasks = workloads.load(workload).first(limit)
    plan = sampling_all(plan, tier or next(iter(plan.file.tiers)))
    bring(plan, missing(plan))
    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = RecordingDirectory.create(out or Path("runs") / f"moe-{file.stem}-{moment}")
    recording = uvloop.run(_record(plan, tasks, folder, seed=seed, concurrency=concurrency))
    _, passes = folder.read()
    if passes:
        _report(folder)
    print(f"{len(passes)} passes of {recording.tasks - recording.failed} tasks in {folder.path}")
    if recording.failed:
        print(f"{recording.failed} tasks failed; their engine's words are in its log")
    if recording.untold:
        print(f"of {recording.untold} passes the engine did not tell: cut, aborted, or not able to")
    if not passes or recording.failed > MOST_ERRORS * recording.tasks:
        raise typer.Exit(1)


async def _record(plan: Plan, tasks: Workload, folder: RecordingDirectory, *, seed: int, concurrency: int) -> Recording:
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from tierwise.moe import routed
    from tierwise.runs.directory import timestamp
    from tierwise.service import launched

    (name,) = plan.file.tiers
    async with launched(plan) as service:
        await service.start()
        tier = service.router.tiers[name]
        recording = routed.begun(plan, tasks, name, tier.deployment)
        with folder.passes_path.open("wb") as kept, Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("recording", total=len(tasks.tasks))

            def keep(line: routed.RoutedPass) -> None:
                kept.write(msgspec.json.encode(line) + b"\n")

            failed, untold = await routed.record(
                service.new_trace,
                tier,
                tasks.tasks,
                seed=seed,
                concurrency=concurrency,
                keep=keep,
                told=lambda done, failed: bars.update(bar, completed=done, description=f"recording, {failed} failed"),
            )
    recording = msgspec.structs.replace(recording, ended=timestamp(), failed=failed, untold=untold)
    folder.write(recording)
    return recording


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `tierwise moe record` made.")],
    against: Annotated[
        Path | None, typer.Option(help="Another recording of the same model: another workload, another month.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Balance, hot experts, drift, slow passes beside uneven ones: on the terminal, and as moe.html in the folder."""
    from tierwise.moe.routed import RecordingDirectory

    found = _report(RecordingDirectory(folder), None if against is None else RecordingDirectory(against))
    if as_json:
        _print_json(found)
    else:
        _print(found, RecordingDirectory(folder).page_path)


def _report(folder: RecordingDirectory, other: RecordingDirectory | None = None) -> Findings:
    from tierwise.report.routing_page import findings, page

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


def _sentence(one: Comparison) -> str:
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
    file: Annotated[Path, _FILE],
    workload: Annotated[Path, _WORKLOAD],
    tier: Annotated[str, typer.Option(help="The tier to vary; the first one when not given.")] = "",
    active: Annotated[
        list[int] | None,
        typer.Option(help="A number of active experts; may be given again. From two below to four above the trained."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/whatif-FILE-TIME when not given.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many tasks.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Decides the order of the actions, and the seed of each task.")] = 0,
    concurrency: Annotated[int, typer.Option(help="Actions under way at any moment.", min=1, max=1000)] = 4,
    text: Annotated[
        Path | None, typer.Option(help="Measure perplexity on this text; on the prompts of the tasks when not given.")
    ] = None,
) -> None:
    """Measure a tier with fewer and more active experts on your tasks: quality, speed and tokens, with intervals.

    Writes a config file with a tier for each number, the trained one first, and benches it: every other number is held
    against the trained one on the same tasks. Perplexity stands beside quality where the engine tells log-probabilities
    of prompts: vllm and transformers. Exit codes are those of `tierwise bench`.
    """
    from datetime import datetime

    import msgspec
    import uvloop
    import yaml

    from tierwise import plan as planning
    from tierwise.cli.bench import Modes, bench
    from tierwise.cli.pull import bring, missing
    from tierwise.moe import perplexity
    from tierwise.moe.whatif import numbers, varied
    from tierwise.spec.errors import SpecError
    from tierwise.workloads import files as workloads

    plan = planning.load(file)
    name = tier or next(iter(plan.file.tiers))
    if name not in plan.file.tiers:
        raise SpecError(f"there is no tier {name!r}; tiers: {', '.join(plan.file.tiers)}", field="--tier")
    bring(plan, missing(plan))
    tried, left_out = numbers(plan, name, active or [])
    for why in left_out:
        print(why)
    tasks = workloads.load(workload).first(limit)
    texts = perplexity.prompts(tasks) if text is None else perplexity.windows(text)
    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = out or Path("runs") / f"whatif-{file.stem}-{moment}"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "whatif.yaml"
    about = f"# {file.name}, tier {name}, with other numbers of active experts; the first is the trained one\n"
    config.write_text(about + yaml.safe_dump(varied(plan, name, tried), sort_keys=False), encoding="utf-8")
    seen = uvloop.run(_read(planning.load(config), texts, concurrency=concurrency))
    if seen is None:
        print(f"tier {name!r} runs on an engine that tells no log-probabilities of prompts: no perplexity")
    else:
        (folder / "perplexity.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(seen))
    try:
        bench(config, workload, mode=Modes.MAX, out=folder, limit=limit, seed=seed, concurrency=concurrency)
    except typer.Exit as ended:
        if ended.exit_code == 0:
            _print_worth(
                folder,
                perplexity.perplexities(seen or []),
                about="the prompts of the tasks" if text is None else str(text),
            )
        raise


async def _read(plan: Plan, texts: Sequence[PromptText], *, concurrency: int) -> list[Seen] | None:
    from rich.console import Console
    from rich.progress import Progress

    from tierwise.moe import perplexity
    from tierwise.service import launched

    async with launched(plan) as service:
        await service.start()
        tiers = [service.router.tiers[name] for name in plan.file.tiers]
        with Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("reading for perplexity", total=len(tiers) * len(texts))
            return await perplexity.read(
                tiers, texts, concurrency=concurrency, told=lambda done: bars.update(bar, completed=done)
            )


def _print_worth(folder: Path, perplexities: Sequence[Perplexity], about: str) -> None:
    import sys

    from rich.console import Console

    from tierwise.analysis.lever_effects import lever_effects
    from tierwise.report import whatif_table as worth

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    console.print()
    console.print(worth.table(lever_effects(folder), perplexities).for_terminal())
    if perplexities:
        console.print(f"perplexity: of {about}, as the chat template writes them", style="dim")
