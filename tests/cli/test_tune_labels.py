"""`tierwise tune --labels agreement`: prompts without checks, from a recording to a certificate."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from made_pools import question
from made_tunings import CONFIG, SERVED, recording, said
from tierwise.certificate import read_certificate
from tierwise.cli import app
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayer
from tierwise.report.certificate_text import certificate_text
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread
from tierwise.tuning.evaluate import Searched, search_space
from tierwise.tuning.split import split

AGREEMENT = ("--labels", "agreement", "--loss", "0.05", "--orders", "1")


def bare(number: int, **more: Any) -> Any:
    return question(number, check=None, **more)


def unlabelled(draw: Any) -> Any:
    """The same draws, of tasks without a check."""

    def says(task: int, tier: str, number: int) -> Any:
        return replace(draw(task, tier, number), outcome="unlabelled")

    return says


def tune(place: Path, *more: object, config: str = CONFIG, pool: str = "pool", workload: str = "") -> Any:
    file = place / "tierwise.yaml"
    file.write_text(config)
    tasks = workload or str(place / pool / "workload.jsonl")
    return CliRunner().invoke(app, ["tune", str(file), tasks, "--pool", str(place / pool), *map(str, more)])


def refused(done: Any) -> str:
    assert done.exit_code != 0
    assert isinstance(done.exception, SpecError), done.output
    return str(done.exception)


def bare_pool(path: Path, tasks: int = 300, **more: Any) -> RunDirectory:
    draws = more.pop("says", None) or said(**more)
    return recording(path, questions=[bare(number) for number in range(tasks)], says=unlabelled(draws))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pool without labels, and the same draws with them."""
    found = tmp_path_factory.mktemp("labels")
    bare_pool(found / "pool", best_wrong=0.02)
    recording(found / "graded", 300, best_wrong=0.02)
    return found


@pytest.fixture(scope="module")
def certified(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("certified")
    done = tune(place, *AGREEMENT, "--out", out)
    assert done.exit_code == 0, done.output
    assert "Serve the route `auto`" in done.output
    assert "differs from that of tier best" in done.output
    return out


def searched(path: Path, labels: Any) -> Searched:
    pool = read_pool(RunDirectory(path))
    with Replayer(pool, pool.plan.file.prices) as replayer:
        return search_space(replayer, split([one.task for one in pool.tasks]), orders=1, labels=labels)


def test_a_route_is_certified_without_a_label(certified):
    certificate = read_certificate(certified / "certificate.json")
    assert certificate.promise.labels == "agreement"
    assert certificate.evidence.bound <= 0.05
    assert certificate.figures["best"].points.value == 1  # with itself
    text = "\n".join(certificate_text(certificate))
    assert "on at most 5 % of all tasks the answer of auto differs from that of best, so on at most as many" in text
    assert "no label was used" in text
    assert "solved" not in text


def test_what_was_promised_and_what_drift_is_watched_against_are_one_quantity(certified):
    certificate = read_certificate(certified / "certificate.json")
    assert certificate.confirmed.risk == pytest.approx(certificate.disagreement.value)


def test_no_figure_of_the_report_is_called_accuracy(certified):
    report = (certified / "report.md").read_text()
    assert "| setting | agreement | $ per action |" in report
    assert "not a share of right answers" in report
    assert "What more tasks would buy" in report
    assert not re.search(r"\bpoints\b|\bsolved\b|\bharm \|", report)
    page = (certified / "report.html").read_text()
    assert "agrees with best" in page
    assert "share that agrees with best" in page
    assert "Nobody checked which answers are right" in page
    assert not re.search(r"\bsolved\b|share solved", page)
    facts = json.loads((certified / "report.json").read_text())
    assert facts["promise"]["labels"] == "agreement"


def test_true_harm_is_below_the_disagreement(place):
    """By the labels that the certificate did not see."""
    by_agreement, by_check = searched(place / "pool", "agreement"), searched(place / "graded", "check")
    of = {name: at for at, name in enumerate(by_check.evaluated.names)}
    common = [(at, of[name]) for at, name in enumerate(by_agreement.evaluated.names) if name in of]
    assert len(common) > 50
    for at, other in common:
        loss = by_agreement.evaluated.harm[at]
        assert (by_check.evaluated.harm[other] <= loss).all()
        assert loss.tolist() == by_check.evaluated.disagreement[other].tolist()
        assert (by_agreement.evaluated.correct[at] == 1 - loss).all()


def test_tasks_without_a_check_are_refused_where_right_answers_are_asked_for(place):
    said = refused(tune(place, "--loss", "0.05"))
    assert "300 of 300 tasks" in said
    assert "t0, t1, t2, …" in said
    assert "--labels agreement" in said


@pytest.mark.parametrize("kind", ["net", "selective"])
def test_promises_that_need_labels_are_refused(place, kind):
    assert f"{kind} has no meaning with --labels agreement" in refused(tune(place, *AGREEMENT, "--promise", kind))


def test_unknown_labels_are_refused(place):
    assert "'guess' is not known; allowed: check, agreement" in refused(tune(place, "--labels", "guess"))


def test_a_dry_run_says_how_often_the_reference_differs_from_itself(tmp_path):
    draw = said()

    def says(task: int, tier: str, number: int) -> Any:
        one = draw(task, tier, number)
        return replace(one, text="5") if tier == "best" and task % 4 == 0 and number == 0 else one

    bare_pool(tmp_path / "pool", 200, says=says)
    warm = CONFIG.replace("sampling: {temperature: 0}", "sampling: {temperature: 1}")
    recording(tmp_path / "pool2", config=warm, questions=[bare(number) for number in range(200)], says=unlabelled(says))
    done = tune(tmp_path, *AGREEMENT, "--dry-run", config=warm, pool="pool2")
    assert done.exit_code == 0, done.output
    assert (
        "reference's own disagreement 12 % of tasks: two independent answers of it differ" in done.output
    )  # 1/4 · 3/6
    assert "tasks needed       59 calibration tasks" in done.output
    wish = refused(tune(tmp_path, *AGREEMENT, config=warm, pool="pool2"))
    assert "two independent answers of 'best' differ in 12.5% of tasks" in wish
    assert "allow --loss 0.125" in wish
    assert "--promise net" not in wish


def test_a_dry_run_needs_no_pool_and_speaks_of_tasks(place):
    done = CliRunner().invoke(
        app,
        ["tune", str(place / "tierwise.yaml"), str(place / "pool/workload.jsonl"), "--labels=agreement", "--dry-run"],
    )
    assert done.exit_code == 0, done.output
    assert "tasks needed       149 calibration tasks for 2.00% with no loss seen (enough)" in done.output
    assert "race               none" in done.output


def test_a_reference_that_answers_nothing_is_refused(tmp_path):
    draw = said()

    def says(task: int, tier: str, number: int) -> Any:
        nothing = {"outcome": "no_answer", "text": "", "why": "too long"}
        return replace(draw(task, tier, number), **(nothing if tier == "best" else {"outcome": "unlabelled"}))

    recording(tmp_path / "pool", questions=[bare(number) for number in range(120)], says=says)
    assert "'best' answers no task" in refused(tune(tmp_path, *AGREEMENT))


def test_a_workload_may_have_labels_that_are_not_used(tmp_path):
    recording(tmp_path / "pool", 120)
    done = tune(tmp_path, *AGREEMENT, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["promise"]["labels"] == "agreement"


def test_a_run_that_is_made_again_has_the_labels_of_the_earlier_one(place, certified, tmp_path):
    file = place / "tierwise.yaml"
    file.write_text(CONFIG)
    command = ["tune", str(file), str(place / "pool" / "workload.jsonl"), "--from", str(certified)]
    again = CliRunner().invoke(app, [*command, "--loss", "0.06", "--orders", "1", "--out", str(tmp_path / "again")])
    assert again.exit_code == 0, again.exception
    certificate = read_certificate(tmp_path / "again" / "certificate.json")
    assert (certificate.promise.labels, certificate.evidence.looks) == ("agreement", 2)
    dear = CONFIG.replace("{prompt: 20, completion: 20}", "{prompt: 30, completion: 30}")
    file.write_text(dear)
    repriced = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "repriced")])
    file.write_text(CONFIG)
    assert repriced.exit_code == 0, repriced.exception
    assert read_certificate(tmp_path / "repriced" / "certificate.json").promise.labels == "agreement"


class Answers(FakeServer):
    """Answers every question with 4."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        del number, request
        return HttpReply(text="4")


def test_prompts_alone_are_recorded_and_certified(tmp_path, write_tasks):
    prompts = [{"id": f"t{n}", "messages": [{"role": "user", "content": f"{n}?"}]} for n in range(120)]
    tasks, file, out = write_tasks(*prompts), tmp_path / "served.yaml", tmp_path / "out"
    with in_a_thread(Answers()) as server:
        file.write_text(SERVED.format(url=server.url))
        command = ["tune", str(file), str(tasks), *AGREEMENT, "--draws", "2", "--out", str(out)]
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "Not worth it: serve the fixed tier 'fast'" in done.output
    records = RunDirectory(out / "pool").read_records()
    assert {one.outcome for one in records} == {TrialOutcome.UNLABELLED}


def test_what_grades_answers_refuses_prompts_alone(tmp_path, write_tasks):
    tasks, file = write_tasks({"id": "a", "messages": [{"role": "user", "content": "?"}]}), tmp_path / "tierwise.yaml"
    file.write_text(CONFIG)
    done = CliRunner().invoke(app, ["bench", str(file), str(tasks), "--out", str(tmp_path / "run")])
    assert "1 of 1 tasks have no `check` (a)" in refused(done)
    assert not (tmp_path / "run").exists()


def test_signals_cannot_be_calibrated_on_prompts_alone(place):
    done = CliRunner().invoke(app, ["pool", "calibrate", str(place / "pool")])
    assert "have no check" in refused(done)
