"""`tierwise workload`: checks a workload, makes one from a suite or recorded actions, and samples one.

`mining.py` has the verbs that make one from a repository.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierwise.cli.mining import from_git, from_tests
from tierwise.cli.options import AsJson, name_of
from tierwise.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tierwise.ledger.read import StoredContent
    from tierwise.workloads.files import Workload
    from tierwise.workloads.suites import SuiteChoice
    from tierwise.workloads.task import Task

app = typer.Typer(
    help="Check a workload, make one from a known suite, from recorded actions or from a repository, or sample one.",
    no_args_is_help=True,
)
app.command("from-git")(from_git)
app.command("from-tests")(from_tests)

WorkloadArgument = Annotated[Path, typer.Argument(help="A JSONL file, or a directory with workload.yaml.")]
GradedBy = Annotated[
    str,
    typer.Option(
        help="What grades the tasks: judge:TIER, agrees:TIER (a judge who sees the recorded answer), recorded (must "
        "equal the recorded answer), request (the verifier in the request), none, regex:PATTERN, exact:TEXT, or JSON."
    ),
]
ContentLedger = Annotated[
    str,
    typer.Option(
        "--ledger",
        metavar="FILE|URL",
        envvar="TIERWISE_LEDGER",
        help="Written by `tierwise serve --keep-content`: a SQLite file, or postgresql://USER@HOST/DATABASE.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="New file if the name ends in .jsonl, else new directory.")]


Difficulty = Annotated[
    int | None,
    typer.Option(min=0, help="Level of reasoning-gym's curricula. Default: the generators' own settings."),
]


def _suites() -> Iterable[str]:
    from tierwise.workloads.suites import SUITES

    return SUITES


SuiteArgument = Annotated[
    str, typer.Argument(parser=name_of(_suites), help="A suite; `tierwise suites` says what each is and needs.")
]


class AllocationChoice(StrEnum):
    """How many of each stratum are drawn."""

    PROPORTIONAL = "proportional"
    EQUAL = "equal"


@app.command()
def check(workload: WorkloadArgument, as_json: AsJson = False) -> None:
    """Check a workload: every task, check and image. Reports every error with its line.

    Parses the expressions of math_verify if its package is installed. Calls no model. Exit code 2 if there are errors.
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
    if found.suite is not None:
        print(f"  suite: {found.suite.what}")
    _print_notes(found.notes)


def _check_expressions(found: Workload) -> None:
    """Check that math-verify can parse every expected answer; otherwise no answer could be correct."""
    import asyncio

    from tierwise.spec.errors import ConfigErrors, SpecError
    from tierwise.verifiers.math_verify import unreadable

    graded = [(task.id, task.check.math_verify) for task in found.tasks if task.check is not None]
    checks = [(name, one) for name, one in graded if one is not None]
    if not checks:
        return
    invalid = asyncio.run(unreadable([one for _, one in checks]))
    if invalid:
        raise ConfigErrors(
            [
                SpecError(
                    f"{checks[at][1].equals!r} is not an expression that math-verify can parse; write LaTeX",
                    field=f"task {checks[at][0]!r}: check.math_verify.equals",
                )
                for at in invalid
            ]
        )


def _facts(found: Workload) -> dict[str, Any]:
    from collections import Counter

    import msgspec

    tasks, header = found.tasks, found.header
    weight = sum(task.weight for task in tasks)
    return {
        "path": str(found.path),
        "name": found.name,
        "sha256": found.sha256,
        "tasks": len(tasks),
        "arrival": found.arrival,
        "concurrency": header.concurrency,
        "warm_up": header.warm_up,
        "checks": dict(Counter(_graded_by(task) for task in tasks).most_common()),
        "tags": dict(Counter(tag for task in tasks for tag in task.tags).most_common()),
        "clusters": len({task.cluster for task in tasks if task.cluster is not None}),
        "weight": round(weight, 6) if any(task.weight != 1 for task in tasks) else None,
        "images": sum(_has_image(task.messages) for task in tasks),
        "judges": list(found.judges),
        "needs_sandbox": found.needs_sandbox,
        "source": None if header.source is None else header.source.kind,
        "made": None if header.made is None else {"version": header.made.version, "sha256": header.made.sha256},
        "suite": None if found.suite is None else msgspec.to_builtins(found.suite),
        "notes": list(found.notes),
    }


def _has_image(messages: Sequence[dict[str, Any]]) -> bool:
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


@app.command()
def make(
    suite: SuiteArgument,
    out: Annotated[Path | None, typer.Option(help="New file if the name ends in .jsonl, else new directory.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Number of tasks. Default: the suite's.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of reasoning-gym, and of the order of gpqa-diamond's choices. Default: 0."),
    ] = None,
    difficulty: Difficulty = None,
    generator: Annotated[
        list[str] | None,
        typer.Option(help="A generator of reasoning-gym; can be repeated. Default: a mixture."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            help="Your copy of the data, or hf:OWNER/DATASET/FILE@COMMIT; repeat for several years, and for each part "
            "of a split of Parquet.",
            metavar="FILE",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the data, under the names that it is published with.")
    ] = None,
    sha256: Annotated[
        list[str] | None, typer.Option(help="Required SHA-256 of the file; one for each --file, in their order.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="First contest date of livecodebench, as 2025-01-31.", metavar="DATE")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last contest date, included.", metavar="DATE")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Maximum completion tokens per pass.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the generators of reasoning-gym and exit.")] = False,
) -> None:
    r"""Make a workload from a known suite: a file or directory that records the suite, its version and a hash.

    Requires the `workloads` extra: pip install 'tierwise\[workloads]'.
    """
    from tierwise.spec.errors import SpecError
    from tierwise.workloads.files.write import check_free

    if list_:
        _print_generators()
        return
    if out is None:
        raise SpecError("give a path to write to, such as --out tasks.jsonl", field="--out")
    check_free(out)
    files = _files(suite, file, data_dir, sha256)
    puzzles = {"seed": seed, "difficulty": difficulty, "generators": generator or None}
    given = {**files, **puzzles, "since": since, "until": until, "count": count, "max_tokens": max_tokens}
    _write_suite(out, suite, _source(suite.replace("-", "_"), given))


def _write_suite(out: Path, suite: str, source: SuiteChoice) -> None:
    from hashlib import sha256 as digest

    from tierwise.workloads.files import encoded
    from tierwise.workloads.files.header import SuitePin, WorkloadHeader
    from tierwise.workloads.files.write import write

    made = source.member.make(Path())
    pin = SuitePin(version=made.version, sha256=digest(encoded(made.tasks)).hexdigest(), files=dict(made.files))
    write(out, made.tasks, WorkloadHeader(name=suite, source=source, made=pin))
    print(f"{out}: {len(made.tasks)} tasks of {suite} ({made.version}), SHA-256 {pin.sha256}")
    _print_notes(made.notes)


def _files(suite: str, file: list[str] | None, data_dir: Path | None, sha256: list[str] | None) -> dict[str, Any]:
    """The settings `file` and `sha256`."""
    from tierwise.spec.errors import SpecError
    from tierwise.workloads.suites import SUITES, FromFiles, copies_in, found_in

    kind = SUITES[suite]
    if file and data_dir is not None:
        raise SpecError("give --file or --data-dir, not both", field="--data-dir")
    if data_dir is not None:
        if not issubclass(kind, FromFiles):
            raise SpecError(f"{suite} reads no file of yours", field="--data-dir")
        file = found_in(data_dir, kind.FILES, kind.ROW.title, is_one=kind.IS_ONE_FILE)
    if file and issubclass(kind, FromFiles) and kind.IS_ONE_FILE and len(copies_in(file, "--file")) > 1:
        raise SpecError(f"{kind.ROW.title} is one file; give --file once", field="--file")
    # Links stay: in the cache of the Hub they have the name, and what they point to a hash.
    files = [one if one.startswith("hf:") else str(Path(one).absolute()) for one in file or ()]
    return {"file": _one_or_all(files), "sha256": _one_or_all(sha256 or [])}


def _one_or_all(values: list[str]) -> str | list[str] | None:
    return values if len(values) > 1 else values[0] if values else None


@app.command()
def terminal(
    out: Annotated[Path, typer.Argument(help="New folder for the tasks.")],
) -> None:
    """Copy our terminal tasks for agents, in Harbor's format: they run with docker or in our sandbox."""
    from shutil import copytree

    from tierwise.environments import TASKS
    from tierwise.workloads.files.write import check_free

    check_free(out)
    copytree(TASKS, out)
    names = sorted(path.parent.name for path in out.glob("*/task.toml"))
    print(f"{out}: {len(names)} tasks: {', '.join(names)}")
    print(f"harbor run -p {out} -a oracle -e tierwise.environments.harbor:SandboxEnvironment")


def _source(kind: str, settings: dict[str, Any]) -> SuiteChoice:
    from tierwise.spec.reading import Reading
    from tierwise.workloads.suites import SuiteChoice

    reading = Reading()
    known = {name: one for name, one in settings.items() if one is not None}
    return reading.finish(reading.read(SuiteChoice, {kind: known}, ""))


def _print_generators() -> None:
    from tierwise.spec.errors import SpecError
    from tierwise.verifiers.contained import needs
    from tierwise.verifiers.packages import is_installed
    from tierwise.verifiers.reasoning_gym import PACKAGE
    from tierwise.workloads.suites.reasoning_gym import MIXTURE, UNSTABLE, generators

    if not is_installed(PACKAGE):
        raise SpecError(needs(PACKAGE, "workloads"))
    for name in generators():
        remarks = ["in the mixture"] * (name in MIXTURE) + ["not reproducible from its seed"] * (name in UNSTABLE)
        print(f"{name}{'  (' + ', '.join(remarks) + ')' if remarks else ''}")


@app.command()
def sample(
    workload: WorkloadArgument,
    count: Annotated[int, typer.Option(min=1, help="Number of tasks.")],
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same tasks.")] = 0,
    allocation: Annotated[
        AllocationChoice,
        typer.Option(help="Strata in proportion to their sizes, or equal, with weights that correct for it."),
    ] = AllocationChoice.PROPORTIONAL,
    whole_clusters: Annotated[
        bool, typer.Option("--whole-clusters", help="Draw all tasks of a cluster, or none.")
    ] = False,
) -> None:
    """Draw a stratified sample, with one stratum per set of tags, and print its strata."""
    import msgspec

    from tierwise.workloads.files import load
    from tierwise.workloads.files.sample import sample as draw
    from tierwise.workloads.files.small_sample import small_sample
    from tierwise.workloads.files.write import check_free, write

    check_free(out)
    found = load(workload)
    drawn = draw(found.tasks, count, seed=seed, allocation=allocation.value, whole_clusters=whole_clusters)
    summary = f"{len(drawn.tasks)} of {len(found.tasks)} tasks of {found.name}"
    how = f"{allocation.value}, seed {seed}{', whole clusters' if whole_clusters else ''}"
    header = msgspec.structs.replace(
        found.header,
        name=f"{found.name}, sample",
        description=f"{summary} (SHA-256 {found.sha256}), drawn by tags, {how}",
        arrival=found.arrival,
        defaults={},
        checks={},
        source=None,
        made=None,
        suite=found.sampled_suite(len(drawn.tasks)),
    )
    write(out, drawn.tasks, header)
    print(f"{out}: {summary}, {how}")
    for stratum in drawn.strata:
        print(f"  {stratum.name}: {stratum.drawn} of {stratum.size}")
    if len(drawn.tasks) < count:
        print(f"note: {count} tasks were requested, but no further whole cluster fits")
    _print_notes([small_sample(len(drawn.tasks))])


@app.command("from-ledger")
def from_ledger(
    out: Out,
    check: GradedBy,
    ledger: ContentLedger = "ledger.db",
    since: Annotated[
        str, typer.Option(help="Only actions since 2026-01-31 or 2026-01-31T12:00 (UTC), or 90m, 24h, 7d ago.")
    ] = "",
    model: Annotated[str | None, typer.Option(help="Only requests for this tier or route.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest N actions.", metavar="N")] = None,
    redact: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of redaction rules. Keys, e-mail addresses, IPs and phone numbers are redacted without it."
        ),
    ] = None,
) -> None:
    """Build a workload from recorded actions, to run real requests on any tier. A directory also gets their arrivals.

    Texts are redacted before they are written. Rules match patterns only: review the result before you share it.
    """
    from tierwise.spec.errors import SpecError
    from tierwise.workloads.files.header import WorkloadHeader
    from tierwise.workloads.files.recorded import from_ledger as build
    from tierwise.workloads.files.recorded import trace_of
    from tierwise.workloads.files.redact import read_rules, redactor
    from tierwise.workloads.files.write import check_free, write

    check_free(out)
    rules = read_rules(redact) if redact is not None else redactor()
    kept = _stored_actions(ledger, since, model, limit)
    found = build(kept, check, rules)
    if not found.tasks:
        reasons = "; ".join(f"{number}: {why}" for why, number in found.left_out.items())
        raise SpecError(f"none of {len(kept)} actions can be a task ({reasons})", field="--check")
    is_folder = out.suffix != ".jsonl"
    header = WorkloadHeader(
        name=out.stem,
        description=f"{len(found.tasks)} recorded actions, graded by {check}",
        arrival="trace:arrivals.txt" if is_folder and len(found.tasks) > 1 else "closed",
    )
    write(out, found.tasks, header, {"arrivals.txt": trace_of(found.moments)} if is_folder else None)
    print(f"{out}: {len(found.tasks)} tasks of {len(kept)} recorded actions, graded by {check}")
    for why, number in found.left_out.items():
        print(f"  left out {number}: {why}")
    print(f"  redacted: {_counted(dict(rules.counts)) or 'nothing'}")
    _print_notes(_caveats(found.tasks, check))


def _stored_actions(ledger: str, since: str, model: str | None, limit: int | None) -> list[StoredContent]:
    """Recorded actions with their content."""
    from tierwise.cli.ledger import _reading, moment
    from tierwise.ledger.location import locate
    from tierwise.spec.errors import SpecError

    with _reading(ledger) as reader:
        kept = reader.stored_content(moment(since) if since else None, model, limit)
    if not kept:
        raise SpecError(
            f"{locate(ledger).name} has no matching action with content; record with `tierwise serve --keep-content`",
            field="--ledger",
        )
    return kept


def _caveats(tasks: Sequence[Task], check: str) -> Iterator[str]:
    """Caveats of tasks made from recorded actions."""
    from tierwise.workloads.files.small_sample import small_sample

    yield small_sample(len(tasks))
    yield "redaction rules match patterns only: review the tasks before you share them"
    if images := sum(_has_image(task.messages) for task in tasks):
        yield f"{images} tasks have images, which are not redacted"
    if check == "recorded":
        yield "the recorded answers count as correct whether or not they are: this measures agreement"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items() if number)


def _print_notes(notes: Iterable[str]) -> None:
    for note in filter(None, notes):
        print(f"note: {note}")


def _graded_by(task: Task) -> str:
    """The kind of a task's check; `environment` for the tests of one."""
    if task.environment is not None:
        return "environment"
    return "none" if task.check is None else task.check.kind
