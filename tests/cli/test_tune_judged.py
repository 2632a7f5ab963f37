"""`tierwise tune --labels judge:TIER`: from a workload of which some tasks have checks to a certificate."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from made_pools import question
from made_tunings import CONFIG, SERVED, recording, said
from tierwise.certificate import read_certificate
from tierwise.cli import app
from tierwise.report.certificate_text import certificate_text
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread
from tierwise.tuning.judging import judged_tasks
from tierwise.workloads.files import encoded, load

JUDGED = ("--labels", "judge:best", "--loss", "0.1", "--orders", "1")


def judged_pool(place: Path, *, tasks: int = 300, share: float = 0.7, errs: float = 0.05) -> None:
    """A workload of which a random share has checks, and a pool in which a judge graded every draw."""
    rng = random.Random(0)
    given = [question(number, **({} if rng.random() < share else {"check": None})) for number in range(tasks)]
    workload = place / "tasks.jsonl"
    workload.write_bytes(encoded(given))
    draw = said(best_wrong=0.02)

    def says(task: int, tier: str, number: int) -> Any:
        one = draw(task, tier, number)
        wrong = random.Random(f"judge {task} {tier}").random() < errs
        return replace(one, outcome="incorrect" if (one.outcome == "correct") == wrong else "correct")

    judged = judged_tasks(load(workload), "best")
    directory = recording(place / "pool", questions=judged, says=says)
    manifest = directory.read_manifest()
    digest = hashlib.sha256(encoded(judged)).hexdigest()
    source = msgspec.structs.replace(manifest.workload, sha256=digest)
    directory.write_manifest(msgspec.structs.replace(manifest, workload=source))


def tune(place: Path, *more: object) -> Any:
    file = place / "tierwise.yaml"
    file.write_text(CONFIG)
    command = ["tune", str(file), str(place / "tasks.jsonl"), "--pool", str(place / "pool"), *JUDGED, *map(str, more)]
    return CliRunner().invoke(app, command)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("judged")
    judged_pool(found)
    done = tune(found, "--out", found / "out")
    assert done.exit_code == 0, done.exception
    return found


def test_a_certificate_says_what_the_judge_misses(place):
    assert "Serve the route `auto`" in (place / "out" / "report.md").read_text()
    certificate = read_certificate(place / "out" / "certificate.json")
    assert certificate.promise.labels == "judge:best"
    judge = certificate.evidence.judge
    assert judge is not None
    assert 0 < judge.limit < 0.1
    assert judge.p_value <= certificate.evidence.p_value <= 0.05
    assert 80 < judge.tasks < certificate.evidence.tasks
    assert certificate.evidence.bound <= 0.1
    for rate in (judge.false_accepts, judge.false_rejects):
        assert rate.low <= rate.value < 0.15
        assert rate.high > rate.value
    text = "\n".join(certificate_text(certificate))
    assert "best judged the answers" in text
    assert "as best judges" in text
    assert "random sample of all" in text


def test_the_report_says_how_often_the_judge_errs(place):
    for name in ("report.md", "report.html"):
        said_ = (place / "out" / name).read_text()
        assert "every share of solved tasks here is by its verdict" in said_
        assert "that the judge is right" in said_
    assert json.loads((place / "out" / "report.json").read_text())["promise"]["missed"] > 0


def test_a_dry_run_says_how_many_checks_it_takes(place):
    done = tune(place, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "needed for the judge" in done.output


def test_too_few_checks_are_refused_with_the_number_it_takes(tmp_path):
    judged_pool(tmp_path, tasks=120, share=0.1)
    done = tune(tmp_path, "--out", tmp_path / "out")
    assert isinstance(done.exception, SpecError), done.output
    assert "the error of a judge is bounded on tasks that have a check" in str(done.exception)
    assert "never fewer than 29" in str(done.exception)


def test_a_judge_that_accepts_what_is_wrong_certifies_nothing_that_harms(tmp_path):
    """It calls every answer right, so it sees no harm at all, and misses all of it."""
    judged_pool(tmp_path, tasks=200, share=1.0, errs=0.0)
    pool = RunDirectory(tmp_path / "pool")
    pool.write_records([msgspec.structs.replace(one, outcome="correct") for one in pool.read_records()])
    done = tune(tmp_path, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["serve"] != "fast"  # wrong on 30 % of the tasks
    report = (tmp_path / "out" / "report.md").read_text()
    assert "the judge saves no labels" in report
    assert re.search(r"accepts 100 % \[\d+ % to 100 %\] of the wrong ones and rejects 0 % \[0 % to \d+ %\]", report)
    now = found["labels"][0]
    assert now["tightest"] == pytest.approx(2 * (1 - 0.05 ** (1 / now["units"])))  # all have a check
    if found["is_certified"]:
        judge = read_certificate(tmp_path / "out" / "certificate.json").evidence.judge
        assert judge.losses / judge.tasks < 0.1


def test_a_judge_that_rejects_everything_is_refused(tmp_path):
    judged_pool(tmp_path, tasks=120, share=1.0)
    pool = RunDirectory(tmp_path / "pool")
    pool.write_records([msgspec.structs.replace(one, outcome="incorrect") for one in pool.read_records()])
    with pytest.raises(SpecError, match="'best' judges no answer of 'best' to be right"):
        raise tune(tmp_path, "--out", tmp_path / "out").exception


def test_a_run_that_is_made_again_has_the_judge_of_the_earlier_one(place, tmp_path):
    file = place / "tierwise.yaml"
    file.write_text(CONFIG)
    command = ["tune", str(file), str(place / "tasks.jsonl"), "--from", str(place / "out"), "--loss", "0.12"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "again")])
    assert done.exit_code == 0, done.exception
    certificate = read_certificate(tmp_path / "again" / "certificate.json")
    assert certificate.promise.labels == "judge:best"
    assert certificate.evidence.looks == 2
    assert certificate.evidence.judge is not None


class Answers(FakeServer):
    """Answers every question with 4, and judges every answer to be right."""

    judged = 0

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        del number
        is_judge = "You judge the answer" in str(request.body["messages"][0]["content"])
        self.judged += is_judge
        return HttpReply(text="VERDICT: yes" if is_judge else "4")


def test_answers_are_recorded_and_judged_once(tmp_path, write_tasks):
    tasks = [
        {
            "id": f"t{n}",
            "messages": [{"role": "user", "content": f"{n}?"}],
            **({"check": {"number": {"equals": 4}}} if n % 3 else {}),
        }
        for n in range(210)
    ]
    workload, file, out = write_tasks(*tasks), tmp_path / "served.yaml", tmp_path / "out"
    with in_a_thread(Answers()) as server:
        file.write_text(SERVED.replace("0.7", "0").format(url=server.url))
        command = ["tune", str(file), str(workload), *JUDGED, "--draws", "1", "--out", str(out)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.exception
        assert server.judged == 210  # both tiers say the same
        again = CliRunner().invoke(app, command)
        assert again.exit_code == 0, again.exception
        assert server.judged == 210
    assert "serve the fixed tier 'fast'" in done.output


THREE = (
    SERVED.replace("tiers:\n", "tiers:\n  judge: {{deployment: third, policy: single, sampling: {{temperature: 0}}}}\n")
    .replace("deployments:\n", 'deployments:\n  third: {{engine: http, url: "{url}", model: third, slots: 8}}\n')
    .replace("prices:\n", "prices:\n  third: {{prompt: 90, completion: 90}}\n")
)


def test_a_tier_that_only_judges_is_neither_recorded_nor_searched(tmp_path, write_tasks):
    tasks = [
        {"id": f"t{n}", "messages": [{"role": "user", "content": f"{n}?"}], "check": {"number": {"equals": 4}}}
        for n in range(120)
    ]
    workload, file, out = write_tasks(*tasks), tmp_path / "served.yaml", tmp_path / "out"
    with in_a_thread(Answers()) as server:
        file.write_text(THREE.replace("0.7", "0").format(url=server.url))
        command = ["tune", str(file), str(workload), "--labels", "judge:judge", "--reference", "best", "--loss", "0.2"]
        dry = CliRunner().invoke(app, [*command, "--dry-run"])
        assert "2 deployments × 1 draws" in dry.output
        assert "only judges        judge" in dry.output
        done = CliRunner().invoke(app, [*command, "--draws", "1", "--orders", "1", "--out", str(out)])
        assert done.exit_code == 0, done.exception
    assert {one.tier for one in RunDirectory(out / "pool").read_records()} == {"fast", "best"}
    assert "judge" not in json.loads((out / "report.json").read_text())["figures"]


def test_a_judge_that_the_file_has_not_is_refused_before_anything_is_recorded(tmp_path, write_tasks):
    file = tmp_path / "tierwise.yaml"
    file.write_text(CONFIG)
    done = CliRunner().invoke(
        app,
        [
            "tune",
            str(file),
            str(
                write_tasks(
                    {"id": "a", "messages": [{"role": "user", "content": "?"}], "check": {"number": {"equals": 4}}}
                )
            ),
            "--labels",
            "judge:nobody",
        ],
    )
    assert "nobody" in str(done.exception)
    assert "--labels" in str(done.exception)
