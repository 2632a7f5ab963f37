"""A real model as the judge of `tierwise tune --labels judge:TIER`, on the answers of a packed pool.

    python benchmarks/judge_live.py decimals --out FOLDER [--first N]    asks llama.cpp; what is judged there is kept
    python benchmarks/judge_live.py --recorded [--write]                 on the committed judgements, without a model

Every different answer in a pool of `certified.py` is judged once by Qwen2.5-Coder-1.5B at temperature 0, through the
endpoint of `tierwise serve`, as `tierwise tune` asks a judge. Then `tierwise tune` runs on the pool with these grades:
with checks on a random 60 % of the tasks and the judge, with the judge and all checks, and, to compare, with checks
alone, on those 60 % and on all tasks. `--write` puts the tables into docs/certificates.md.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import secrets
import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from certified import CASES, HOUR, POOLS, ROOT, config_of, percent, unpacked
from pages import write_between
from tierwise.analysis.summary import design_of
from tierwise.bench.client import Client
from tierwise.bench.endpoint import KEY_VARIABLE, launched, ledger_environment, serve_command
from tierwise.bench.grading import grade
from tierwise.pools.reading import read_pool
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialOutcome, TrialRecord
from tierwise.stats.estimates import Estimate
from tierwise.tuning.judge_error import share_of_draws
from tierwise.tuning.judging import judged_tasks
from tierwise.tuning.space import Route
from tierwise.workloads.files import encoded, load
from unlabelled import ANSWERED, Row, row, truth

PAGE = ROOT / "docs" / "certificates.md"
BEGIN, END = "<!-- benchmarks/judge_live.py -->", "<!-- end of benchmarks/judge_live.py -->"
JUDGE, SLOTS, THREADS = "judge", 4, 2
CHECKED, LOSS = 0.6, 0.1
"""The share of the tasks that have a check, and the promise."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge said of an answer to a task."""

    task: str
    answer: str
    outcome: TrialOutcome
    seconds: float
    prompt_tokens: int
    completion_tokens: int

    @property
    def key(self) -> tuple[str, str]:
        return self.task, self.answer


def config_with_judge(name: str) -> dict[str, Any]:
    """The config file of a case, with a tier that judges."""
    config = config_of(CASES[name])
    coder = yaml.safe_load((ROOT / "examples" / "coder.yaml").read_text(encoding="utf-8"))
    config["checkpoints"]["coder-1.5b"] = coder["checkpoints"]["coder-1.5b"]
    engine = {"engine": "llama.cpp", "context": 1024, "slots": SLOTS, "threads": THREADS}
    config["deployments"][JUDGE] = engine | {"checkpoint": "coder-1.5b"}
    config["tiers"][JUDGE] = {"deployment": JUDGE, "policy": "single", "sampling": {"temperature": 0}}
    config["prices"][JUDGE] = {"dollars_per_hour": HOUR}
    return config


# ── asking ──────────────────────────────────────────────────────────────
async def judge(name: str, pool: Path, folder: Path, first: int | None) -> None:
    """Ask for what is not judged yet, in a random order of the tasks."""
    kept = folder / f"{name}-judged.jsonl"
    done = {one.key for one in read(kept)} if kept.exists() else set()
    tasks = {one.id: one for one in judged_tasks(load(pool / "workload.jsonl"), JUDGE)}
    answers = {(one.task, one.answer): one for one in RunDirectory(pool).read_records() if one.outcome in ANSWERED}
    order = sorted(tasks, key=lambda one: hashlib.sha256(one.encode()).digest())[:first]
    waiting = [answers[key] for task in order for key in sorted(answers) if key[0] == task and key not in done]
    config = folder / f"{name}-judge.yaml"
    whole = config_with_judge(name)
    alone: dict[str, Any] = {one: {JUDGE: whole[one][JUDGE]} for one in ("deployments", "tiers", "prices")}
    config.write_text(yaml.safe_dump({"checkpoints": whole["checkpoints"], **alone}, sort_keys=False), encoding="utf-8")
    key = secrets.token_hex(16)
    environment = {KEY_VARIABLE: key, **ledger_environment(folder / "ledger.db")}
    async with (
        launched(serve_command(config), folder / "serve.log", environment) as url,
        Client(url, timeout=600, key=key) as client,
    ):
        queue = iter(waiting)

        async def some() -> None:
            for record in queue:
                found = await grade(tasks[record.task], record.completion, client.act, record.action)
                if found.judge is None or found.outcome not in ANSWERED:
                    print(f"{record.task}: {found.why}", flush=True)
                    continue
                spent = found.judge
                one = Judgement(
                    task=record.task,
                    answer=record.answer,
                    outcome=found.outcome,
                    seconds=round(spent.seconds, 3),
                    prompt_tokens=spent.prompt_tokens or 0,
                    completion_tokens=spent.completion_tokens or 0,
                )
                with kept.open("ab") as file:
                    file.write(msgspec.json.encode(one) + b"\n")

        await asyncio.gather(*(some() for _ in range(SLOTS)))
    print(f"{name}: {len(read(kept))} of {len(answers)} different answers are judged: {kept}")


def read(path: Path) -> list[Judgement]:
    return [msgspec.json.decode(line, type=Judgement) for line in path.read_bytes().splitlines()]


# ── deciding ────────────────────────────────────────────────────────────
def graded(pool: Path, out: Path, said: Mapping[tuple[str, str], TrialOutcome], share: float) -> tuple[Path, Path]:
    """A pool with the judge's grades. Returns it, and the workload beside it, of which a random share has checks."""
    source, copy, rng = RunDirectory(pool), RunDirectory.create(out), random.Random(0)
    given = [
        one.task if rng.random() < share else msgspec.structs.replace(one.task, check=None)
        for one in read_pool(source).tasks
    ]
    workload = out / "given.jsonl"
    workload.write_bytes(encoded(given))
    judged = judged_tasks(load(workload), JUDGE)
    copy.write_tasks(judged)
    _write_manifest(source, copy, encoded(judged))
    copy.write_records([_said(one, said) for one in source.read_records()])
    return out, workload


def judged_whole(pool: Path, said: Mapping[tuple[str, str], TrialOutcome]) -> set[str]:
    """The tasks of which every answer is judged."""
    records = [one for one in RunDirectory(pool).read_records() if one.outcome in ANSWERED]
    return {one.task for one in records} - {one.task for one in records if (one.task, one.answer) not in said}


def only(pool: Path, out: Path, names: Container[str]) -> tuple[Path, Path]:
    """A pool of some of the tasks. Returns it and its workload."""
    source, copy = RunDirectory(pool), RunDirectory.create(out)
    tasks = [one.task for one in read_pool(source).tasks if one.task.id in names]
    copy.write_tasks(tasks)
    _write_manifest(source, copy, encoded(tasks), [one.id for one in tasks])
    copy.write_records([one for one in source.read_records() if one.task in names])
    return out, out / "workload.jsonl"


def _write_manifest(
    source: RunDirectory, copy: RunDirectory, written: bytes, tasks: Sequence[str] | None = None
) -> None:
    manifest = source.read_manifest()
    workload = msgspec.structs.replace(manifest.workload, sha256=hashlib.sha256(written).hexdigest())
    named = manifest.tasks if tasks is None else list(tasks)
    copy.write_manifest(msgspec.structs.replace(manifest, workload=workload, tasks=named))


def _said(record: TrialRecord, said: Mapping[tuple[str, str], TrialOutcome]) -> TrialRecord:
    if record.outcome not in ANSWERED:
        return record
    outcome = said.get((record.task, record.answer), TrialOutcome.ERROR)
    return msgspec.structs.replace(record, outcome=outcome, why="judge")


# ── what is said ────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How a judge errs on the draws of a pool, and what it took."""

    pool: str
    tasks: int
    answers: int
    draws: int
    false_accepts: Estimate | None
    false_rejects: Estimate | None
    seconds: float
    prompt_tokens: float
    completion_tokens: float


def errors(name: str, pool: Path, judgements: Sequence[Judgement]) -> Errors:
    """The judge's error over all draws whose answers it judged, clustered by task."""
    said = {one.key: one.outcome for one in judgements}
    by_task: dict[str, list[tuple[bool, bool]]] = {}
    for one in RunDirectory(pool).read_records():
        if one.outcome in ANSWERED and (one.task, one.answer) in said:
            accepted = said[one.task, one.answer] == TrialOutcome.CORRECT
            by_task.setdefault(one.task, []).append((accepted, one.is_solved))
    names = list(by_task)
    sample = design_of(names, [one.task for one in read_pool(RunDirectory(pool)).tasks], ()).sample(names)

    def share(accepted: bool, right: bool) -> Estimate | None:
        of = [float(sum(is_right == right for _, is_right in by_task[task])) for task in names]
        found = [float(by_task[task].count((accepted, right))) for task in names]
        return share_of_draws(sample, found, of)

    count = max(1, len(judgements))
    return Errors(
        pool=name,
        tasks=len(names),
        answers=len(judgements),
        draws=sum(map(len, by_task.values())),
        false_accepts=share(accepted=True, right=False),
        false_rejects=share(accepted=False, right=True),
        seconds=sum(one.seconds for one in judgements) / count,
        prompt_tokens=sum(one.prompt_tokens for one in judgements) / count,
        completion_tokens=sum(one.completion_tokens for one in judgements) / count,
    )


def rows(name: str, folder: Path, judgements: Sequence[Judgement]) -> list[tuple[str, Row, str]]:
    """What is certified with the judge, and without it."""
    config, pool = unpacked(name, folder)
    judging = folder / "judging.yaml"
    judging.write_text(yaml.safe_dump(config_with_judge(name), sort_keys=False), encoding="utf-8")
    said = {one.key: one.outcome for one in judgements}
    pool = only(pool, folder / "judged", judged_whole(pool, said))[0]
    some = graded(pool, folder / "some", said, CHECKED)
    checked = {one.id for one in load(some[1]).tasks if one.check is not None}
    given = [
        (f"the judge, checks on {CHECKED:.0%} of the tasks", f"judge:{JUDGE}", some),
        (f"checks on these {CHECKED:.0%} alone", "check", only(pool, folder / "alone", checked)),
        ("the judge, checks on all tasks", f"judge:{JUDGE}", graded(pool, folder / "all", said, 1.0)),
        ("checks on all tasks", "check", (pool, pool / "workload.jsonl")),
    ]
    found = []
    for number, (what, labels, of) in enumerate(given):
        out = folder / f"tuned-{number}"
        one = row(name, config if labels == "check" else judging, LOSS, labels, out, of, pool)
        found.append((what, one if one.setting else _alone(one, out, config, pool), _missed(out)))
        print(found[-1], flush=True)
    return found


def _alone(one: Row, out: Path, config: Path, pool: Path) -> Row:
    """The row of a cheaper fixed tier that keeps the promise; the row itself if there is none."""
    if not (out / "report.json").exists():
        return one
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    serve, figures = report["serve"], report["figures"]
    if serve == report["reference"]:
        return one
    spent = {name: figures[name]["dollars"]["value"] for name in (serve, report["reference"])}
    disagreement, harm = truth(config, pool, Route(ladder=(serve,)))
    saving = 1 - spent[serve] / spent[report["reference"]]
    return replace(one, setting=f"`{serve}` alone", saving=saving, disagreement=disagreement, harm=harm)


def _missed(out: Path) -> str:
    """What the certificate says of the judge on the calibration tasks."""
    if not (out / "certificate.json").exists():
        return ""
    evidence = json.loads((out / "certificate.json").read_text(encoding="utf-8"))["evidence"]
    if (judge := evidence.get("judge")) is None:
        return f"{evidence['losses']:g} of {evidence['tasks']}"
    seen = f"{evidence['losses']:g} of {evidence['tasks']} seen"
    return f"{seen}, {judge['losses']:g} of {judge['tasks']} missed (μ = {judge['limit']:.1%})"


def as_markdown(all_errors: Sequence[Errors], found: Sequence[tuple[str, Row, str]]) -> str:
    """The tables."""
    lines = [
        "| pool | draws of tasks | different answers | wrong accepted | right rejected | tokens of a judgement |",
        "|---|---|---|---|---|---|",
    ]
    for one in all_errors:
        rates = ["–" if rate is None else percent(rate, ".1%") for rate in (one.false_accepts, one.false_rejects)]
        tokens = f"{one.prompt_tokens:.0f} + {one.completion_tokens:.1f}"
        lines.append(f"| {one.pool} | {one.draws} of {one.tasks} | {one.answers} | {' | '.join(rates)} | {tokens} |")
    lines += [
        "",
        f"| pool | labels, harm ≤ {LOSS:.0%} | certified route | calibration tasks | saves, test tasks | true harm |",
        "|---|---|---|---|---|---|",
    ]
    for what, row_, seen in found:
        cells = [row_.setting, seen or "–", f"{row_.saving:.0%}", row_.harm]
        lines.append(
            f"| {row_.pool} | {what} | {' | '.join(cells if row_.setting else [f'none: {row_.why}', *'–––'])} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["decimals"], help=f"of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, help="folder of the judgements; one that exists is resumed")
    parser.add_argument("--first", type=int, help="tasks whose answers are judged; all by default")
    parser.add_argument("--recorded", action="store_true", help="on the committed judgements, without a model")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/certificates.md")
    wanted = parser.parse_args()
    if not wanted.recorded and wanted.out is None:
        parser.error("give --out FOLDER, or --recorded")
    all_errors, found = [], []
    for name in wanted.names:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if wanted.out is not None:
                wanted.out.mkdir(parents=True, exist_ok=True)
                asyncio.run(judge(name, unpacked(name, folder)[1], wanted.out.resolve(), wanted.first))
            judgements = read((POOLS if wanted.recorded else wanted.out) / f"{name}-judged.jsonl")
            all_errors.append(errors(name, unpacked(name, folder)[1], judgements))
            print(all_errors[-1], flush=True)
            found += rows(name, folder, judgements)
    page = as_markdown(all_errors, found)
    print(page)
    if wanted.write:
        write_between(PAGE, BEGIN, END, page)


if __name__ == "__main__":
    main()
