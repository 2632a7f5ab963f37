"""`tierwise workload`: check one, make one, draw from one, build one from recorded actions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierwise.cli.options import AsJson
from tierwise.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tierwise.ledger.read import StoredContent
    from tierwise.workloads.files import Workload
    from tierwise.workloads.suites import SuiteChoice
    from tierwise.workloads.task import Task

app = typer.Typer(
    help="Check a workload, make one from a known suite or from recorded actions, draw a sample of one.",
    no_args_is_help=True,
)

Given = Annotated[Path, typer.Argument(help="A JSONL file, or a folder with workload.yaml.")]
GradedBy = Annotated[
    str,
    typer.Option(
        help="What grades the tasks, for production has no answer key: judge:TIER, agrees:TIER (a judge who sees "
        "the recorded answer), recorded (that very answer), request (the verifier that came with it), "
        "regex:PATTERN, or JSON."
    ),
]
KeptLedger = Annotated[
    str,
    typer.Option(
        "--ledger",
        metavar="FILE|URL",
        envvar="TIERWISE_LEDGER",
        help="Written by `tierwise serve --keep-content`: a SQLite file, or postgresql://USER@HOST/DATABASE.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="A file when it ends in .jsonl, else a folder; must be new.")]


class SuiteName(StrEnum):
    """Suites by name."""

    REASONING_GYM = "reasoning-gym"
    HUMAN_EVAL = "human-eval"
    GSM8K = "gsm8k"


class AllocationChoice(StrEnum):
    """How many of each stratum are drawn."""

    PROPORTIONAL = "proportional"
    EQUAL = "equal"


@app.command()
def check(workload: Given, as_json: AsJson = False) -> None:
    """Check a workload as a whole: every task, check and image. Shows everything that is wrong, each with its line.

    Expressions of math_verify are read once, where its package is. Asks no model. Exit code 2 when something is wrong.
    """
    from tierwise.workloads.files import load

    found = load(workload)
    _check_expressions(found)
    facts = _facts(found)
    if as_json:
        print_json(facts)
        return
    tasks = len(found.tasks)
    print(f"ok {workload}: {tasks} {'task' if tasks == 1 else 'tasks'}, SHA-256 {found.sha256[:12]}…")
    for name in ("arrival", "concurrency", "warm_up", "needs_sandbox", "judges", "clusters", "images", "weight"):
        if facts[name] not in (None, [], 0, False):
            shown = ", ".join(facts[name]) if isinstance(facts[name], list) else facts[name]
            print(f"  {name.replace('_', ' ')}: {'yes' if shown is True else shown}")
    for name in ("checks", "tags"):
        if facts[name]:
            print(f"  {name}: {_counted(facts[name])}")
    if facts["source"]:
        print(f"  source: {facts['source']}")
    _print_notes(found.notes)


def _check_expressions(found: Workload) -> None:
    """What is right must itself be readable, or no answer could ever be."""
    import asyncio

    from tierwise.spec.errors import ConfigErrors, SpecError
    from tierwise.verifiers.math_verify import unreadable

    graded = [(task.id, task.check.math_verify) for task in found.tasks]
    checks = [(name, one) for name, one in graded if one is not None]
    if not checks:
        return
    bad = asyncio.run(unreadable([one for _, one in checks]))
    if bad:
        raise ConfigErrors(
            [
                SpecError(
                    f"{checks[at][1].equals!r} is no expression that math-verify can read; write LaTeX",
                    field=f"task {checks[at][0]!r}: check.math_verify.equals",
                )
                for at in bad
            ]
        )


def _facts(found: Workload) -> dict[str, Any]:
    from collections import Counter

    tasks, about = found.tasks, found.about
    weight = sum(task.weight for task in tasks)
    return {
        "path": str(found.path),
        "name": found.name,
        "sha256": found.sha256,
        "tasks": len(tasks),
        "arrival": found.arrival,
        "concurrency": about.concurrency,
        "warm_up": about.warm_up,
        "checks": dict(Counter(task.check.kind for task in tasks).most_common()),
        "tags": dict(Counter(tag for task in tasks for tag in task.tags).most_common()),
        "clusters": len({task.cluster for task in tasks if task.cluster is not None}),
        "weight": round(weight, 6) if any(task.weight != 1 for task in tasks) else None,
        "images": sum(_has_image(task.messages) for task in tasks),
        "judges": list(found.judges),
        "needs_sandbox": found.needs_sandbox,
        "source": None if about.source is None else about.source.kind,
        "made": None if about.made is None else {"version": about.made.version, "sha256": about.made.sha256},
        "notes": list(found.notes),
    }


def _has_image(messages: Sequence[dict[str, Any]]) -> bool:
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


@app.command()
def make(
    suite: Annotated[SuiteName, typer.Argument(help="reasoning-gym, human-eval, or gsm8k with --file.")],
    out: Annotated[Path | None, typer.Option(help="A file when it ends in .jsonl, else a folder; must be new.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Of tasks; the suite's own when not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of reasoning-gym.")] = 0,
    difficulty: Annotated[
        int | None, typer.Option(min=0, help="Level of reasoning-gym's curricula; their defaults when not given.")
    ] = None,
    generator: Annotated[
        list[str] | None,
        typer.Option(help="A generator of reasoning-gym; may be given again. A mixture when not given."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The data of gsm8k.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the file: another one is refused.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Completion tokens of one pass.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the generators of reasoning-gym and end.")] = False,
) -> None:
    """Make a workload from a known suite: an ordinary file or folder, with the suite, its version and a hash in it.

    Needs the extra: pip install 'tierwise[workloads]'.
    """
    from hashlib import sha256 as digest

    from tierwise.spec.errors import SpecError
    from tierwise.workloads.files import encoded
    from tierwise.workloads.files.about import About, SuitePin
    from tierwise.workloads.files.write import check_free, write

    if list_:
        _print_generators()
        return
    if out is None:
        raise SpecError("a place to write to is wanted: --out tasks.jsonl", field="--out")
    check_free(out)
    given: dict[str, Any] = {"count": count, "max_tokens": max_tokens}
    match suite:
        case SuiteName.REASONING_GYM:
            given |= {"seed": seed, "difficulty": difficulty, "generators": generator or None}
        case SuiteName.GSM8K:
            given |= {"file": None if file is None else str(file.resolve()), "sha256": sha256}
    source = _source(suite.value.replace("-", "_"), {name: one for name, one in given.items() if one is not None})
    made = source.member.make(Path())
    pin = digest(encoded(made.tasks)).hexdigest()
    about = About(name=suite.value, source=source, made=SuitePin(version=made.version, sha256=pin))
    write(out, made.tasks, about)
    print(f"{out}: {len(made.tasks)} tasks of {suite.value} ({made.version}), SHA-256 {pin}")
    _print_notes(made.notes)


def _source(kind: str, settings: dict[str, Any]) -> SuiteChoice:
    from tierwise.spec.reading import Reading
    from tierwise.workloads.suites import SuiteChoice

    reading = Reading()
    return reading.finish(reading.read(SuiteChoice, {kind: settings}, ""))


def _print_generators() -> None:
    from tierwise.spec.errors import SpecError
    from tierwise.verifiers.contained import needs
    from tierwise.verifiers.packages import is_installed
    from tierwise.verifiers.reasoning_gym import PACKAGE
    from tierwise.workloads.suites.reasoning_gym import MIXTURE, UNSTABLE, generators

    if not is_installed(PACKAGE):
        raise SpecError(needs(PACKAGE, "workloads"))
    for name in generators():
        about = ["in the mixture"] * (name in MIXTURE) + ["not reproducible from its seed"] * (name in UNSTABLE)
        print(f"{name}{'  (' + ', '.join(about) + ')' if about else ''}")


@app.command()
def sample(
    workload: Given,
    count: Annotated[int, typer.Option(min=1, help="How many tasks.")],
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same tasks.")] = 0,
    allocation: Annotated[
        AllocationChoice, typer.Option(help="As many of each kind as it has, or the same number of each, with weights.")
    ] = AllocationChoice.PROPORTIONAL,
    whole_clusters: Annotated[
        bool, typer.Option("--whole-clusters", help="Draw a cluster with all of its tasks or not at all.")
    ] = False,
) -> None:
    """Draw a stratified subset: a stratum is a set of tags. Says what was drawn."""
    import msgspec

    from tierwise.workloads.files import load
    from tierwise.workloads.files.sample import sample as draw
    from tierwise.workloads.files.small_sample import small_sample
    from tierwise.workloads.files.write import check_free, write

    check_free(out)
    found = load(workload)
    drawn = draw(found.tasks, count, seed=seed, allocation=allocation.value, whole_clusters=whole_clusters)
    said = f"{len(drawn.tasks)} of {len(found.tasks)} tasks of {found.name}"
    how = f"{allocation.value}, seed {seed}{', whole clusters' if whole_clusters else ''}"
    about = msgspec.structs.replace(
        found.about,
        name=f"{found.name}, sample",
        description=f"{said} (SHA-256 {found.sha256}), drawn by tags, {how}",
        arrival=found.arrival,
        defaults={},
        checks={},
        source=None,
        made=None,
    )
    write(out, drawn.tasks, about)
    print(f"{out}: {said}, {how}")
    for stratum in drawn.strata:
        print(f"  {stratum.name}: {stratum.drawn} of {stratum.size}")
    if len(drawn.tasks) < count:
        print(f"note: {count} were wanted; whole clusters did not fit into the rest")
    _print_notes([small_sample(len(drawn.tasks))])


@app.command("from-ledger")
def from_ledger(
    out: Out,
    check: GradedBy,
    ledger: KeptLedger = "ledger.db",
    since: Annotated[
        str, typer.Option(help="Only since 2026-01-31 or 2026-01-31T12:00 (UTC), or 90m, 24h, 7d ago.")
    ] = "",
    model: Annotated[str | None, typer.Option(help="Only what asked for this tier or route.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest N.", metavar="N")] = None,
    redact: Annotated[
        Path | None,
        typer.Option(help="YAML with rules of your own; keys, e-mails, IPs and phone numbers go without it."),
    ] = None,
) -> None:
    """Build a workload from recorded actions, to ask real requests of any tier. A folder gets their arrivals too.

    Texts are redacted before they are written. Rules find forms, not meanings: read the result before you pass it on.
    """
    from tierwise.spec.errors import SpecError
    from tierwise.workloads.files.about import About
    from tierwise.workloads.files.recorded import from_ledger as build
    from tierwise.workloads.files.recorded import trace_of
    from tierwise.workloads.files.redact import read_rules, redactor
    from tierwise.workloads.files.write import check_free, write

    check_free(out)
    rules = read_rules(redact) if redact is not None else redactor()
    kept = _kept(ledger, since, model, limit)
    found = build(kept, check, rules)
    if not found.tasks:
        reasons = "; ".join(f"{number}: {why}" for why, number in found.left_out.items())
        raise SpecError(f"none of {len(kept)} actions makes a task ({reasons})", field="--check")
    is_folder = out.suffix != ".jsonl"
    about = About(
        name=out.stem,
        description=f"{len(found.tasks)} recorded actions, graded by {check}",
        arrival="trace:arrivals.txt" if is_folder and len(found.tasks) > 1 else "closed",
    )
    write(out, found.tasks, about, {"arrivals.txt": trace_of(found.moments)} if is_folder else None)
    print(f"{out}: {len(found.tasks)} tasks of {len(kept)} recorded actions, graded by {check}")
    for why, number in found.left_out.items():
        print(f"  left out, {number}: {why}")
    print(f"  redacted: {_counted(dict(rules.counts)) or 'nothing'}")
    _print_notes(_cautions(found.tasks, check))


def _kept(ledger: str, since: str, model: str | None, limit: int | None) -> list[StoredContent]:
    """Recorded actions with their content."""
    from tierwise.cli.ledger import _moment, _reading
    from tierwise.ledger.location import locate
    from tierwise.spec.errors import SpecError

    with _reading(ledger) as reader:
        kept = reader.stored_content(_moment(since) if since else None, model, limit)
    if not kept:
        raise SpecError(
            f"{locate(ledger).name} holds no such action with its content; `tierwise serve --keep-content` keeps it",
            field="--ledger",
        )
    return kept


def _cautions(tasks: Sequence[Task], check: str) -> Iterator[str]:
    """What whoever uses tasks of recorded actions should know."""
    from tierwise.workloads.files.small_sample import small_sample

    yield small_sample(len(tasks))
    yield "rules find forms, not meanings: read the tasks before you pass them on"
    if images := sum(_has_image(task.messages) for task in tasks):
        yield f"{images} tasks hold images, which no rule looks into"
    if check == "recorded":
        yield "the recorded answers count as right, whether or not they are: this measures agreement"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items() if number)


def _print_notes(notes: Iterable[str]) -> None:
    for note in filter(None, notes):
        print(f"note: {note}")
