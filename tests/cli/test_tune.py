"""`tierwise tune` on recorded pools: what it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from made_pools import question
from made_tunings import CONFIG, SERVED, recording, said
from tierwise import plan as planning
from tierwise.certificate import conditions_of, read_certificate
from tierwise.cli import app
from tierwise.runs.directory import RunDirectory, RunSession
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread

QUICK = ("--loss", "0.05", "--orders", "1")


def tune(place: Path, *more: object, config: str = CONFIG, pool: str = "pool", workload: str = "") -> Any:
    file = place / "tierwise.yaml"
    file.write_text(config)
    tasks = workload or str(place / pool / "workload.jsonl")
    arguments = ["tune", str(file), tasks, "--pool", str(place / pool), *map(str, more)]
    return CliRunner().invoke(app, arguments)


def refused(done: Any) -> str:
    assert done.exit_code != 0
    assert isinstance(done.exception, SpecError | ConfigErrors), done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pool on which a route pays."""
    found = tmp_path_factory.mktemp("tune")
    recording(found / "pool", 300)
    return found


def test_a_route_is_certified_and_written_with_everything_that_a_reader_needs(place, tmp_path):
    done = tune(place, *QUICK, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "Serve the route `auto`" in done.output
    certificate = read_certificate(tmp_path / "certificate.json")
    assert (certificate.route, certificate.tiers, certificate.reference) == ("auto", ["fast", "best"], "best")
    assert certificate.evidence.p_value <= 0.05
    assert certificate.evidence.bound <= 0.05
    assert set(certificate.figures) == {"auto", "fast", "best"}
    assert {one.role for one in certificate.savings} == {"cheapest", "reference", "best fixed"}
    assert certificate.split.tuning + certificate.split.calibration + certificate.split.test == 300
    plan = planning.load(tmp_path / "tierwise.yaml")
    assert conditions_of(plan, "auto") == certificate.conditions
    assert plan.file.routes["auto"].certificate == "certificate.json"
    report = (tmp_path / "report.md").read_text()
    assert "With 95 % confidence" in report
    assert "**certified**" in report
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["is_certified"]
    assert facts["certificate"] == certificate.sha256
    assert facts["settings"] >= 100
    recorded = RunDirectory(place / "pool").read_records()
    inference = facts["inference"]
    assert inference["recorded_tokens"] == sum(one.completion_tokens or 0 for one in recorded) / 300
    assert inference["ratio"] == inference["recorded_tokens"] / inference["dearest_tokens"] > 1


def test_the_same_pool_gives_the_same_certificate(place, tmp_path):
    assert tune(place, *QUICK, "--out", tmp_path / "a").exit_code == 0
    assert tune(place, *QUICK, "--out", tmp_path / "b").exit_code == 0
    one, other = (json.loads((tmp_path / name / "certificate.json").read_text()) for name in "ab")
    for name in ("made", "sha256"):
        one.pop(name), other.pop(name)
    assert one == other


def test_a_decision_against_a_route_leaves_no_certificate_of_an_earlier_one(place, tmp_path):
    assert tune(place, *QUICK, "--out", tmp_path).exit_code == 0
    cheap = CONFIG.replace("{prompt: 20, completion: 20}", "{prompt: 1.01, completion: 1.01}")
    done = tune(place, *QUICK, "--out", tmp_path, config=cheap)
    assert done.exit_code == 0, done.output
    assert "Not worth it: serve the fixed tier 'best'" in done.output
    assert not (tmp_path / "certificate.json").exists()
    assert not (tmp_path / "tierwise.yaml").exists()
    assert not json.loads((tmp_path / "report.json").read_text())["is_certified"]


def test_a_dry_run_says_what_can_be_proved_and_writes_nothing(place, tmp_path):
    done = tune(place, *QUICK, "--dry-run", "--out", tmp_path / "none")
    assert done.exit_code == 0
    assert "labels needed      59 calibration tasks" in done.output
    assert "reference's own harm 0 % of tasks" in done.output
    assert "largest saving" in done.output
    assert "× that of the dearest setting alone" in done.output
    assert not (tmp_path / "none").exists()


def test_a_dry_run_needs_no_pool(place):
    file = place / "tierwise.yaml"
    file.write_text(CONFIG)
    done = CliRunner().invoke(app, ["tune", str(file), str(place / "pool" / "workload.jsonl"), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "90 tuning, 150 calibration, 60 test" in done.output
    assert "149 calibration tasks for 2.00% with no loss seen (enough)" in done.output
    assert "299 calibration tasks for 1.00% with no loss seen (150 here: too few)" in done.output


def test_json_is_the_only_output(place, tmp_path):
    done = tune(place, *QUICK, "--out", tmp_path, "--json")
    assert json.loads(done.stdout)["serve"] == "auto"


@pytest.mark.parametrize(("limit", "served"), [("60s", "auto"), ("0.001", "best")])
def test_latency_is_promised_too(place, tmp_path, limit, served):
    done = tune(place, *QUICK, "--out", tmp_path, "--json", "--p95", limit)
    assert json.loads(done.stdout)["serve"] == served


def test_too_few_tasks_are_refused(tmp_path):
    recording(tmp_path / "pool", 20)
    assert "at least 50" in refused(tune(tmp_path, *QUICK))


def test_a_promise_that_the_tasks_cannot_prove_is_refused(place):
    said = refused(tune(place, "--loss", "0.01", "--orders", "1"))
    assert "needs 299 independent calibration tasks" in said
    assert "--loss 0.02" in said


def test_missing_prices_are_refused(place):
    without = CONFIG.replace("  large: {prompt: 20, completion: 20}\n", "")
    assert "deployment 'large' has no price" in refused(tune(place, *QUICK, config=without))


def test_a_pool_of_other_settings_is_refused(place):
    other = CONFIG.replace("temperature: 0.7", "temperature: 0.2")
    assert "recorded with other settings" in refused(tune(place, *QUICK, config=other))


def test_a_pool_of_another_workload_is_refused(place, tmp_path, write_tasks):
    tasks = write_tasks({"id": "a", "messages": [{"role": "user", "content": "?"}], "check": {"number": {"equals": 1}}})
    assert "another workload" in refused(tune(place, *QUICK, workload=str(tasks)))


def test_a_mean_cost_without_budgets_is_refused(place):
    assert "needs a bound on the cost of every action" in refused(tune(place, *QUICK, "--dollars", "0.1"))


def test_a_mean_cost_within_budgets_is_promised(place, tmp_path):
    bounded = CONFIG.replace("policy: single,", "policy: single, budget: {dollars: 0.01},")
    done = tune(place, *QUICK, "--dollars", "0.005", "--out", tmp_path, "--json", config=bounded)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["promise"]["budget"] == 0.02


def test_what_idle_hours_cost_is_told_where_machines_are_paid_by_the_hour(tmp_path):
    hours = CONFIG.replace("small: {prompt: 1, completion: 1}", "small: {dollars_per_hour: 1}")
    hours = hours.replace("large: {prompt: 20, completion: 20}", "large: {prompt: 5, dollars_per_hour: 8}")
    recording(tmp_path / "pool", 130, config=hours)
    done = tune(tmp_path, "--loss", "0.1", "--orders", "2", "--out", tmp_path / "out", config=hours)
    assert done.exit_code == 0, done.exception
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    figures = found["figures"]
    per = {name: {duty: one["value"] for duty, one in of.items()} for name, of in found["dollars_per_solved"].items()}
    assert per.keys() == figures.keys()
    for name, of in figures.items():
        assert per[name]["1"] == pytest.approx(of["dollars"]["value"] / of["points"]["value"], rel=1e-6)
    assert per["fast"]["0.05"] == pytest.approx(20 * per["fast"]["1"])
    tokens = per["best"]["1"] - (per["best"]["0.5"] - per["best"]["1"])  # what a price by token adds at any duty
    assert per["best"]["0.05"] == pytest.approx(tokens + 20 * (per["best"]["1"] - tokens))
    assert tokens > 0
    assert "What idle hours cost" in (tmp_path / "out" / "report.md").read_text()


def test_nothing_is_idle_at_a_cost_where_prices_are_by_token(place, tmp_path):
    assert tune(place, *QUICK, "--out", tmp_path).exit_code == 0
    assert json.loads((tmp_path / "report.json").read_text())["dollars_per_solved"] == {}
    assert "idle" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("given", ["soon", "-1", "inf"])
def test_a_latency_that_is_no_time_is_refused(place, given):
    assert "of seconds" in refused(tune(place, *QUICK, f"--p95={given}"))


def test_an_engine_that_ignores_seeds_is_said(tmp_path):
    draw = said()
    recording(tmp_path / "pool", 120, says=lambda task, tier, _: _long(draw(task, tier, 0)))
    done = tune(tmp_path, "--loss", "0.05", "--orders", "1", "--out", tmp_path / "out")
    assert "seems to ignore seeds" in done.output


def _long(one: Any) -> Any:
    return replace(one, tokens=12)


def test_a_clock_that_was_set_back_between_two_sessions_leaves_a_window_of_time_around_both(place, tmp_path):
    shutil.copytree(place / "pool", tmp_path / "pool")
    pool = RunDirectory(tmp_path / "pool")
    first = RunSession(began="2026-11-02T10:00:00+00:00")  # killed
    second = RunSession(began="2026-11-01T09:00:00+00:00", ended="2026-11-01T09:30:00+00:00")
    pool.write_manifest(msgspec.structs.replace(pool.read_manifest(), sessions=[first, second]))
    records = [
        msgspec.structs.replace(one, began=one.began - 90_000 * (n % 2)) for n, one in enumerate(pool.read_records())
    ]
    pool.write_records(records)
    done = tune(tmp_path, *QUICK, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    source = read_certificate(tmp_path / "out" / "certificate.json").source
    assert (source.began, source.ended) == (second.began, first.began)


def test_near_duplicates_are_left_out_and_said(tmp_path):
    same = [{"role": "user", "content": "Again?"}]
    questions = [question(number, **({"messages": same} if number in (3, 50) else {})) for number in range(130)]
    recording(tmp_path / "pool", questions=questions)
    done = tune(tmp_path, *QUICK, "--out", tmp_path / "out")
    assert "1 of 130 tasks have the same prompt" in done.output


def asked(count: int) -> list[dict[str, Any]]:
    """Tasks whose answer is 4."""
    return [
        {"id": f"t{n}", "messages": [{"role": "user", "content": f"{n}?"}], "check": {"number": {"equals": 4}}}
        for n in range(count)
    ]


class Answers(FakeServer):
    """Answers every question with 4."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        del number, request
        return HttpReply(text="4")


def test_without_a_pool_one_is_recorded_and_after_a_kill_the_rest_of_it(tmp_path, write_tasks):
    tasks = write_tasks(*asked(60))
    file, out = tmp_path / "served.yaml", tmp_path / "out"
    with in_a_thread(Answers()) as server:
        file.write_text(SERVED.format(url=server.url))
        command = ["tune", str(file), str(tasks), "--loss", "0.1", "--orders", "1", "--draws", "2", "--out", str(out)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        assert "Not worth it: serve the fixed tier 'fast'" in done.output
        pool = RunDirectory(out / "pool")
        records = pool.read_records()
        assert len(records) == 60 * 2 * 2
        pool.write_records(records[:100])  # as `kill -9` may leave it
        again = CliRunner().invoke(app, command)
        assert again.exit_code == 0, again.exception
        assert {one.key for one in pool.read_records()} == {one.key for one in records}
        before = server.accepted
        assert CliRunner().invoke(app, command).exit_code == 0
        assert server.accepted == before  # a whole pool is only read


def test_tasks_that_lack_draws_are_left_out_and_said(tmp_path):
    pool = recording(tmp_path / "pool", 130)
    records = pool.read_records()
    pool.write_records(records[1:])
    done = tune(tmp_path, *QUICK, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.exception
    assert "1 of 130 tasks lack draws that ended in infrastructure errors, and are left out" in done.output
    lacking = dict.fromkeys(record.task for record in records)
    pool.write_records([one for one in records if one.task not in list(lacking)[:3] or one.repeat])
    assert "3 of 130 tasks lack draws, and at most 2% may" in refused(tune(tmp_path, *QUICK))


class AnswersLater(Answers):
    """Fails at one question for as long as the first attempts at it last."""

    failures = 0

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if request.body["messages"][-1]["content"] == "7?" and self.failures < 4:
            self.failures += 1
            return HttpReply(status=500, error={"message": "unlucky"})
        return super().reply_to(number, request)


def test_draws_that_ended_in_errors_are_asked_again(tmp_path, write_tasks):
    tasks = write_tasks(*asked(60))
    file, out = tmp_path / "served.yaml", tmp_path / "out"
    with in_a_thread(AnswersLater()) as server:
        file.write_text(SERVED.format(url=server.url))
        command = ["tune", str(file), str(tasks), "--loss", "0.1", "--orders", "1", "--draws", "2", "--out", str(out)]
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "run again" in done.output
    pool = RunDirectory(out / "pool")
    assert not pool.errors()
    assert len(pool.read_manifest().sessions) == 2


def test_one_draw_is_enough_where_every_tier_asks_once_at_temperature_0(tmp_path, write_tasks):
    tasks = write_tasks(*asked(120))
    file = tmp_path / "tierwise.yaml"
    for temperature, draws in (("0", 1), ("0.7", 4)):
        file.write_text(CONFIG.replace("0.7", temperature))
        done = CliRunner().invoke(app, ["tune", str(file), str(tasks), "--dry-run"])
        assert f"2 deployments × {draws} draws × 120 tasks" in done.output
