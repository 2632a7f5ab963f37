"""Shadowing on a real llama.cpp: a certified route is observed until its traffic changes, then certified anew.

    python benchmarks/shadowing_live.py [--actions 40] [--calm 110] [--changed 300] [--no-again] [--folder DIR]
        [--out docs/drift.md]

1. `tierwise tune` certifies a route from the 0.5 B to the 1.5 B coder model on the recorded pool `wide-products`, with
   prices of 1 to 10.
2. `tierwise serve` serves it on both models, in one process for each, and the OpenAI client from PyPI asks it products
   of the certified kind, without shadows and with them (`wait_for: idle`, because both models share the processors):
   what shadows cost, and whether they delay users. Then a burst of more requests than the engine has slots, and
   products until --calm are observed: no alarm may come.
3. The traffic changes to sums of decimals of unequal lengths, of which the small model is often sure and wrong. It is
   asked until the alarm or the last request: what the detector sees, and after the alarm who answers, and whether log,
   metrics and `tierwise status` say so, with the kind of traffic.
4. The same traffic, products and then decimals, on a route that takes labels (`label_days: 7`). After every
   ten answers a reviewer reads the list of actions that wait for labels (`GET /v1/feedback`) and their kept texts,
   grades both answers with the task's check, and posts the labels.
5. Shadowed decimals of stage 3 are labelled in the file, as a person would (their answers are known here), and
   `tierwise tune --from --shadowed` certifies anew on old and new tasks, on the same engines. The route that it writes
   is served. `--no-again` leaves this out.

Everything is kept in --folder; the same command continues after an interruption: stages that have ended are kept, and
so is what a recording has. The models must be in the cache (`tierwise pull examples/coder.yaml`). The exit code is 1 if
something happened that must not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import openai
import yaml

from pages import write_between
from tierwise.spec.call import Completion
from tierwise.stats.estimates import wilson
from tierwise.verifiers.number import Number
from tierwise.verifiers.pooled import judge

HERE = Path(__file__).parent
POOL = "wide-products"
SLOTS = 16
BURST = 24
PRICES = {"cheap": {"prompt": 0.1, "completion": 0.1}, "reference": {"prompt": 1.0, "completion": 1.0}}
MARK = "<!-- benchmarks/shadowing_live.py -->"
END = "<!-- end of benchmarks/shadowing_live.py -->"


REFUSED = 2
"""The exit code of `tierwise tune` if a promise is beyond proof, or the input is invalid."""
BATCH = 10
"""Answers between two visits of the reviewer."""
LABELLED = "labelled.jsonl"


class Figures(msgspec.Struct, kw_only=True):
    """What was seen; seconds are those of a user's request, dollars are under the made-up prices."""

    certified: str = ""
    median_seconds_without: float = 0.0
    median_seconds_with: float = 0.0
    p95_seconds_without: float = 0.0
    p95_seconds_with: float = 0.0
    delay: list[float] = []
    """Median difference per request with shadows and without, and its 95 % interval."""
    outcomes: dict[str, int] = {}
    """Of shadows, before the traffic changed."""
    shadow_actions: int = 0
    shadow_dollars: float = 0.0
    user_dollars: float = 0.0
    most_overlap: int = 0
    """Passes on the reference's engine while a shadow's pass ran, at most, with it; there are 16 slots."""
    burst: int = 0
    burst_most: int = 0
    """Passes of the burst on that engine at once, those that waited included."""
    shadows_in_burst: int = 0
    """Shadows that began while a request waited for a slot."""
    calm_alarm: str = ""
    evidence_before: float = 0.0
    """Of the detector of disagreement, before the traffic changed; 1 is an alarm."""
    differing_before: str = ""
    actions_to_alarm: int | None = None
    observed_to_alarm: int | None = None
    differing: str = ""
    alarm: str = ""
    answered_by_after: str = ""
    certified_metric: float = 1.0
    in_log: bool = False
    in_status: bool = False
    names_traffic: bool = False
    """Whether the alarm names the kind of traffic that changed."""
    label_calm: str = ""
    """With labels: the actions and their loss before the traffic changed."""
    label_calm_evidence: float = 0.0
    label_calm_alarm: str = ""
    labels_posted: int = 0
    label_actions_to_alarm: int | None = None
    label_observed: str = ""
    """Losses that were counted until the alarm, and what waits."""
    label_alarm: str = ""
    label_answered_by_after: str = ""
    label_in_status: bool = False
    stages: list[str] = []
    """Those that have ended."""
    labelled: int = 0
    """Shadowed actions with a label."""
    again: list[str] = []
    """What `tune --from` said last."""
    again_certified: bool = False
    again_state: str = ""
    """Of the new certificate, served."""
    again_tiers: dict[str, int] = {}
    """Who answered the changed traffic then."""


@dataclass
class Served:
    """A running `tierwise serve`."""

    url: str
    folder: Path
    process: subprocess.Popen[str]

    def page(self, path: str) -> str:
        with urlopen(f"{self.url}{path}", timeout=60) as response:
            return str(response.read().decode())

    @property
    def shadow(self) -> dict[str, Any]:
        models = json.loads(self.page("/v1/models"))["data"]
        found: dict[str, Any] = next(one["tierwise"]["shadow"] for one in models if one["id"] == "auto")
        return found

    def metric(self, name: str) -> dict[str, float]:
        """The samples of a metric, by their labels."""
        found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", self.page("/metrics"), re.MULTILINE)
        return {labels: float(value) for labels, value in found}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        asked = Request(f"{self.url}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
        with urlopen(asked, timeout=60) as response:
            found: dict[str, Any] = json.loads(response.read())
            return found

    def outcomes(self) -> dict[str, int]:
        found = self.metric("tierwise_shadows_total")
        return {re.findall(r'outcome="(\w+)"', labels)[0]: int(value) for labels, value in found.items()}


@contextlib.contextmanager
def serving(config: Path, folder: Path, *options: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "tierwise", "serve", str(config), "--port", "0"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    with (
        (folder / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, "--ledger", str(folder / "ledger.db"), *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("serving on ").strip()
            served = Served(url, folder, process)
            while True:
                with contextlib.suppress(OSError):
                    if served.page("/ready"):
                        break
                if process.poll() is not None:
                    sys.exit((folder / "log").read_text(encoding="utf-8"))
                time.sleep(0.5)
            yield served
        finally:
            process.terminate()
            process.wait(60)


def products(count: int, seed: int) -> list[str]:
    """Products of the certified kind: two terms of one or two digits."""
    draw = random.Random(seed)

    def term() -> int:
        return draw.randint(*draw.choice(((0, 9), (10, 99))))

    return [
        f"Solve the following multiplication: {term()} * {term()}. Give only the result as your final answer.\n\n"
        "Give the answer only."
        for _ in range(count)
    ]


def decimals(count: int, seed: int) -> list[tuple[str, str]]:
    """Sums of a number with two decimals and one with one, with their results. Of these the small model is often sure
    and wrong.
    """
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        one, two = draw.randint(101, 999), draw.randint(11, 99)
        text = f"State the final answer to the following arithmetic problem: {one / 100:.2f} + {two / 10:.1f} ="
        found.append((f"{text}\n\nGive the answer only.", f"{(one + 10 * two) / 100:g}"))
    return found


async def ask(client: openai.AsyncOpenAI, text: str, kind: str, seed: int) -> tuple[float, str]:
    """One request. Returns its seconds and the tier that answered.

    A seed fixes the first draw, whatever the prompt is, so no two requests of one kind may share one.
    """
    began = time.monotonic()
    answer = await client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": text}],
        seed=seed,
        max_tokens=12,
        metadata={"task": kind},
    )
    answer.parse()
    return time.monotonic() - began, answer.headers["x-tierwise-tier"]


async def one_by_one(served: Served, texts: list[str], kind: str, *, pause: float = 0.3) -> list[float]:
    found = []
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=600, max_retries=0) as client:
        for number, text in enumerate(texts):
            found.append((await ask(client, text, kind, number))[0])
            await asyncio.sleep(pause)  # users think; the next request may still meet a shadow
    return found


async def burst(served: Served, texts: list[str]) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=600, max_retries=0) as client:
        await asyncio.gather(*(ask(client, text, "products", number) for number, text in enumerate(texts)))


async def settled(served: Served, seconds: float = 120) -> None:
    """Wait until no shadow has ended for some seconds."""
    deadline, before = time.monotonic() + seconds, None
    while before != (before := served.outcomes()) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(6)


async def observed(served: Served, texts: list[str], kind: str, first: int) -> int:
    """Ask requests, each after the shadow of the one before. Returns how many were asked before an alarm came.

    Args:
        served: the endpoint.
        texts: of the requests.
        kind: of traffic.
        first: the seed of the first.
    """
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=600, max_retries=0) as client:
        for number, text in enumerate(texts):
            if served.shadow["alarm"]:
                return number
            before = served.shadow["observed"]
            await ask(client, text, kind, first + number)
            deadline = time.monotonic() + 60  # a shadow may fail
            while served.shadow["observed"] == before and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    return len(texts)


async def until_alarm(served: Served, texts: list[str], found: Figures) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=600, max_retries=0) as client:
        before = served.shadow
        found.actions_to_alarm = await observed(served, texts, "decimals", 7000)
        state = served.shadow
        found.observed_to_alarm = state["observed"] - before["observed"]
        found.differing = _rate(int(state["differing"] - before["differing"]), found.observed_to_alarm)
        found.alarm = state["alarm"]
        if found.alarm:
            found.answered_by_after = (await ask(client, texts[0], "decimals", 0))[1]
        else:
            found.actions_to_alarm = None


def passes_of(ledger: Path) -> list[tuple[str, float, float]]:
    """Model name, begin and end of each pass on the reference's engine, in seconds since 1970."""
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        rows = database.execute(
            "SELECT model, started_at + started, started_at + started + passes.seconds FROM passes "
            "JOIN actions ON action = id WHERE passes.deployment = 'reference'"
        ).fetchall()
    return [(str(model), float(begin), float(end)) for model, begin, end in rows]


def overlap(passes: list[tuple[str, float, float]], at: float) -> int:
    return sum(begin <= at < end for _, begin, end in passes)


def status_of(served: Served) -> str:
    """What `tierwise status` prints."""
    command = [sys.executable, "-m", "tierwise", "status", "--url", served.url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def billed(ledger: Path, found: Figures) -> None:
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        rows = database.execute(
            "SELECT model, count(DISTINCT id), sum(dollars_tokens) FROM passes JOIN actions ON action = id GROUP BY 1"
        ).fetchall()
    for model, count, dollars in rows:
        if model == "auto (shadow)":
            found.shadow_actions, found.shadow_dollars = int(count), float(dollars)
        else:
            found.user_dollars += float(dollars)


def certified(folder: Path, share: float) -> Path:
    """A config file with a certified route that is shadowed."""
    with tarfile.open(HERE / "pools" / f"{POOL}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    manifest = json.loads((folder / POOL / "manifest.json").read_text(encoding="utf-8"))
    config = {**yaml.safe_load(manifest["config"]["text"]), "prices": PRICES}
    file = folder / "tierwise.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    tuned = folder / "tuned"
    command = [
        "tune",
        str(file),
        str(folder / POOL / "workload.jsonl"),
        "--pool",
        str(folder / POOL),
        "--loss",
        "0.05",
        "--orders",
        "1",
    ]
    subprocess.run([sys.executable, "-m", "tierwise", *command, "--out", str(tuned)], check=True)
    made = yaml.safe_load((tuned / "tierwise.yaml").read_text(encoding="utf-8"))
    made["routes"]["auto"]["shadow"] = {"share": share, "wait_for": "idle", "keep_days": 30}
    (tuned / "tierwise.yaml").write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    return tuned / "tierwise.yaml"


def median_interval(values: list[float]) -> list[float]:
    """The median and its exact 95 % interval from order statistics."""
    found = sorted(values)
    low = max(0, round(len(found) / 2 - 0.98 * len(found) ** 0.5) - 1)
    return [statistics.median(found), found[low], found[-1 - low]]


async def undisturbed(wanted: argparse.Namespace, folder: Path, found: Figures) -> None:
    """What shadows cost, and whether they delay users, while the traffic is as it was certified."""
    config = folder / "tuned" / "tierwise.yaml"
    certificate = json.loads((config.parent / "certificate.json").read_text(encoding="utf-8"))
    rate = certificate["disagreement"]
    found.certified = f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
    texts = products(wanted.actions, seed=99)
    bare, shadowed = fresh(folder / "bare"), fresh(folder / "shadowed")
    with serving(config, bare, "--no-shadow") as served:
        await one_by_one(served, products(3, seed=1), "products")
        without = await one_by_one(served, texts, "products")
    with serving(config, shadowed) as served:
        await one_by_one(served, products(3, seed=1), "products")
        seconds = await one_by_one(served, texts, "products")
        await settled(served)
        found.median_seconds_without, found.median_seconds_with = statistics.median(without), statistics.median(seconds)
        found.p95_seconds_without, found.p95_seconds_with = (
            statistics.quantiles(one, n=20)[-1] for one in (without, seconds)
        )
        found.delay = median_interval([there - here for here, there in zip(without, seconds, strict=True)])
        found.outcomes = served.outcomes()
        began = time.time()
        found.burst = BURST
        await burst(served, products(BURST, seed=7))
        ended = time.time()
        await settled(served)
        missing = wanted.calm - served.shadow["observed"]
        await observed(served, products(max(0, missing), seed=5), "products", 5000)
        state = served.shadow
        found.calm_alarm = state["alarm"]
        found.evidence_before = state["evidence"]["disagreement"]
        found.differing_before = _rate(int(state["differing"]), state["observed"])
    passes = passes_of(shadowed / "ledger.db")
    shadows = [one for one in passes if one[0].endswith("(shadow)")]
    found.most_overlap = max((overlap(passes, begin) for _, begin, _ in shadows), default=0)
    users = [one for one in passes if not one[0].endswith("(shadow)")]
    found.burst_most = max((overlap(users, begin) for _, begin, _ in users if began <= begin <= ended), default=0)
    found.shadows_in_burst = sum(overlap(users, begin) >= SLOTS for _, begin, _ in shadows)


async def changed(wanted: argparse.Namespace, folder: Path, found: Figures) -> None:
    """The traffic changes. The ledger and the detectors are those of before, also after an interruption."""
    shadowed = folder / "shadowed"
    texts = [text for text, _ in decimals(wanted.changed, seed=3)]
    with serving(folder / "tuned" / "tierwise.yaml", shadowed) as served:
        await until_alarm(served, texts, found)
        found.certified_metric = served.metric("tierwise_route_certified").get('route="auto"', -1)
        said = status_of(served)
        found.in_status = bool(found.alarm) and "void, so reference answers: shadowed traffic has changed" in said
        found.names_traffic = "task decimals" in found.alarm
        print(said)
    log = (shadowed / "log").read_text(encoding="utf-8")
    found.in_log = bool(found.alarm) and "its certificate is void" in log
    billed(shadowed / "ledger.db", found)


async def labelled_later(wanted: argparse.Namespace, folder: Path, found: Figures) -> None:
    """The same two kinds of traffic on a route that takes labels, which come after every ten answers."""
    tuned, place = folder / "tuned", fresh(folder / "labelled")
    config = yaml.safe_load((tuned / "tierwise.yaml").read_text(encoding="utf-8"))
    config["routes"]["auto"]["shadow"]["label_days"] = 7
    (tuned / "labelled.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    calm, changed_to = products(wanted.calm, seed=21), [text for text, _ in decimals(wanted.changed, seed=23)]
    with serving(tuned / "labelled.yaml", place) as served:
        for start in range(0, len(calm), BATCH):
            await observed(served, calm[start : start + BATCH], "products", 9000 + start)
            found.labels_posted += await labels_given(served, place)
        state = served.shadow
        found.label_calm = _rate(int(state["loss"]), state["labelled"])
        found.label_calm_evidence = max(state["evidence"]["promise"], state["evidence"]["harm"])
        found.label_calm_alarm = state["alarm"]
        before, asked = state, 0
        while asked < len(changed_to) and not served.shadow["alarm"]:
            asked += await observed(served, changed_to[asked : asked + BATCH], "decimals", 20_000 + asked)
            found.labels_posted += await labels_given(served, place)
        state = served.shadow
        found.label_actions_to_alarm = asked if state["alarm"] else None
        found.label_observed = _rate(int(state["loss"] - before["loss"]), state["labelled"] - before["labelled"])
        found.label_alarm = state["alarm"]
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=600) as client:
            found.label_answered_by_after = (await ask(client, changed_to[0], "decimals", 1))[1]
        said = status_of(served)
        found.label_in_status = bool(state["alarm"]) and f"void, so reference answers: {state['alarm']}" in said
        print(said)


async def labels_given(served: Served, place: Path) -> int:
    """What a reviewer does: grades both answers of the actions that wait for labels. Returns the labels posted."""
    texts = {
        one["action"]: one
        for one in map(json.loads, (place / "ledger.db.shadowed.jsonl").read_text(encoding="utf-8").splitlines())
    }
    posted = 0
    for one in json.loads(served.page("/v1/feedback"))["data"]:
        line = texts[one["action"]]
        number = Number(equals=result_of(line["messages"][0]["content"]))
        for answer in one["needs"]:
            said = line["answer" if answer == "served" else "reference"]["content"]
            verdict = await judge(number, Completion(text=said))
            needs = served.post("/v1/feedback", {"action": one["action"], "answer": answer, "correct": verdict.ok})
            posted += 1
            if not needs["needs"]:
                break
    return posted


def result_of(text: str) -> float:
    """The result of a product or sum."""
    left, sign, right = re.findall(r"([\d.]+) ([*+]) ([\d.]+)", text)[0]
    one, two = Decimal(left), Decimal(right)
    return float(one * two if sign == "*" else one + two)


async def certified_again(wanted: argparse.Namespace, folder: Path, found: Figures) -> None:
    """The shadowed traffic is labelled and taken in, and the route certified anew."""
    answers = dict(decimals(wanted.changed, seed=3))
    lines = []
    for line in (folder / "shadowed" / "ledger.db.shadowed.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        result = answers.get(one["messages"][0]["content"])
        if result is not None:
            lines.append(json.dumps({**one, "check": {"number": {"equals": float(result)}}}))
    (folder / LABELLED).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    found.labelled = len(lines)
    workload = folder / POOL / "workload.jsonl"
    command = ["tune", folder / "tierwise.yaml", workload, "--from", folder / "tuned", "--pool", folder / POOL]
    command += ["--shadowed", folder / LABELLED, "--out", folder / "again"]
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-m", "tierwise", *map(str, command)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        check=False,
    )
    print(done.stdout, done.stderr)
    found.again = [line for line in done.stdout.splitlines() if line.strip()][:12]
    refusals = [line for line in done.stderr.splitlines() if line.startswith("tierwise: ")]
    if done.returncode == REFUSED and refusals:  # a promise that cannot be kept or proved on these tasks is an answer
        found.again = refusals
    elif done.returncode:
        sys.exit(f"`tierwise tune --from` ended with {done.returncode}; run this command again to continue")
    file = folder / "again" / "tierwise.yaml"
    found.again_certified = file.exists()
    if not found.again_certified:
        return
    tiers: dict[str, int] = {}
    with serving(file, fresh(folder / "after"), "--no-shadow") as served:
        models = json.loads(served.page("/v1/models"))["data"]
        found.again_state = next(one["tierwise"]["certificate"]["state"] for one in models if one["id"] == "auto")
        async with openai.AsyncOpenAI(
            base_url=f"{served.url}/v1", api_key="none", timeout=600, max_retries=0
        ) as client:
            for number, (text, _) in enumerate(decimals(10, seed=77)):
                tier = (await ask(client, text, "decimals", number))[1]
                tiers[tier] = tiers.get(tier, 0) + 1
    found.again_tiers = tiers


def fresh(place: Path) -> Path:
    """An empty folder for a server."""
    place.mkdir(exist_ok=True)
    for left in place.glob("ledger.db*"):
        left.unlink()
    return place


async def measure(wanted: argparse.Namespace, folder: Path) -> Figures:
    """All stages, but for those that have ended."""
    kept = folder / "figures.json"
    found = msgspec.json.decode(kept.read_bytes(), type=Figures) if kept.exists() else Figures()
    if not (folder / "tuned" / "tierwise.yaml").exists() or "certified" not in found.stages:
        certified(folder, wanted.share)
        found.stages.append("certified")
        kept.write_bytes(msgspec.json.encode(found))
    stages = (undisturbed, changed, labelled_later, *(() if wanted.no_again else (certified_again,)))
    for stage in stages:
        if stage.__name__ in found.stages:
            continue
        await stage(wanted, folder, found)
        found.stages.append(stage.__name__)
        kept.write_bytes(msgspec.json.encode(found))
    return found


def table(found: Figures, wanted: argparse.Namespace) -> str:
    """What docs/drift.md says."""
    delay, low, high = found.delay
    rows = [
        ("certified rate of differing answers", found.certified),
        (f"shadows of {wanted.actions} products, share {wanted.share:g}", _listed(found.outcomes)),
        (
            "differing answers, of those observed",
            f"{found.differing_before}; evidence {found.evidence_before:.2f} of 1; {_alarmed(found.calm_alarm)}",
        ),
        (
            "a user's request without shadows",
            f"{found.median_seconds_without:.2f} s, p95 {found.p95_seconds_without:.2f} s",
        ),
        ("a user's request with shadows", f"{found.median_seconds_with:.2f} s, p95 {found.p95_seconds_with:.2f} s"),
        ("delay by shadows, median of pairs", f"{delay:+.3f} s [{low:+.3f}, {high:+.3f}]"),
        (f"burst of {found.burst} requests", f"up to {found.burst_most} at once on the reference's {SLOTS} slots"),
        ("shadows that began while no slot was free", str(found.shadows_in_burst)),
        ("passes at once when a shadow began, at most", str(found.most_overlap)),
        ("on the bill, in all", f"{found.shadow_actions} shadows, {_share_of(found):.0%} of the dollars"),
        ("changed traffic: differing answers, of those observed", found.differing),
        (
            "alarm",
            f"after {found.actions_to_alarm} actions of it, {found.observed_to_alarm} observed"
            if found.alarm
            else f"none in {wanted.changed} actions",
        ),
        ("answered after it by", found.answered_by_after or "–"),
        (
            "with labels: harm, of the products counted",
            f"{found.label_calm}; evidence {found.label_calm_evidence:.2f} of 1; {_alarmed(found.label_calm_alarm)}",
        ),
        ("with labels: harm, of the decimals counted", found.label_observed),
        (
            "with labels: alarm",
            f"after {found.label_actions_to_alarm} decimals"
            if found.label_actions_to_alarm
            else f"none in {wanted.changed} actions",
        ),
        ("with labels: posted in all", str(found.labels_posted)),
        ("with labels: answered after the alarm by", found.label_answered_by_after or "–"),
    ]
    if "certified_again" in found.stages:
        rows += [
            ("shadowed decimals, labelled in the file", str(found.labelled)),
            ("`tune --from --shadowed`", "certified a route" if found.again_certified else "; ".join(found.again)),
            ("the new certificate, served", found.again_state or "–"),
            ("10 new decimals answered then by", _listed(found.again_tiers) or "–"),
        ]
    said = "\n".join(f"\n> {alarm}" for alarm in (found.alarm, found.label_alarm) if alarm)
    return "\n".join(["| what | seen |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), said])


def _alarmed(alarm: str) -> str:
    return "AN ALARM" if alarm else "no alarm"


def _rate(count: int, of: int) -> str:
    """With its 95 % interval."""
    if not of:
        return "none"
    interval = wilson(count, of)
    return f"{count} of {of} ({count / of:.1%} [{interval.low:.1%}, {interval.high:.1%}])"


def _share_of(found: Figures) -> float:
    return found.shadow_dollars / (found.shadow_dollars + found.user_dollars)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def problems(found: Figures) -> list[str]:
    """What must not happen."""
    return [
        said
        for said, is_wrong in (
            ("no shadow is on the bill", not found.shadow_dollars),
            ("shadows began while no slot was free", found.shadows_in_burst > 0),
            ("after the alarm another tier answers", bool(found.alarm) and found.answered_by_after != "reference"),
            ("after the alarm the metric says that it holds", bool(found.alarm) and found.certified_metric != 0),
            ("no alarm came", not found.alarm),
            ("an alarm came before the traffic changed", bool(found.calm_alarm or found.label_calm_alarm)),
            ("no alarm came with labels", not found.label_alarm),
            ("the alarm with labels is not about the loss", "loss of" not in found.label_alarm),
            ("after the alarm with labels another tier answers", found.label_answered_by_after != "reference"),
            ("status does not say the alarm with labels", not found.label_in_status),
            ("the alarm does not name the traffic that changed", bool(found.alarm) and not found.names_traffic),
            ("the new certificate does not hold", found.again_certified and found.again_state != "holds"),
            ("log or status do not say it", bool(found.alarm) and not (found.in_log and found.in_status)),
        )
        if is_wrong
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--actions", type=int, default=40, help="products, with and without shadows")
    parser.add_argument("--changed", type=int, default=300, help="requests of the changed traffic, at most")
    parser.add_argument("--calm", type=int, default=110, help="products that are observed before the traffic changes")
    parser.add_argument("--no-again", action="store_true", help="do not certify anew")
    parser.add_argument("--share", type=float, default=1.0, help="of actions that are shadowed")
    parser.add_argument("--folder", type=Path, help="where everything is kept, to continue after an interruption")
    parser.add_argument("--out", type=Path, help="the page whose table is replaced")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    wanted = parser.parse_args()
    folder = wanted.folder or Path(tempfile.mkdtemp(prefix="shadowing-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = asyncio.run(measure(wanted, folder))
    made = table(found, wanted)
    print(made)
    if wanted.json:
        wanted.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if wanted.out:
        write_between(wanted.out, MARK, END, made)
    wrong = problems(found)
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
