"""`tierwise whatif`: a tuned route and recorded actions at other prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from made_tunings import CONFIG, recording
from tierwise import plan as planning
from tierwise.certificate import certificates_of, mismatches, notices, read_certificate
from tierwise.cli import app
from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.records import Record, Trace
from tierwise.ledger.store import Ledger
from tierwise.runs.directory import RunDirectory
from tierwise.spec.call import Call, Completion, Pass, Usage
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.prompt import Prompt
from tierwise.tuning.record import read_record

TASKS, LOSS = 130, "0.1"
DEARER = "small: {prompt: 1, completion: 1}\nlarge: {prompt: 60, completion: 60}\n"
CHEAPER = "small: {prompt: 1, completion: 1}\nlarge: {prompt: 0.5, completion: 0.5}\n"
HOURS = "small: {dollars_per_hour: 1}\nlarge: {dollars_per_hour: 5}\n"


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def tuned(folder: Path, *more: object, config: str = CONFIG) -> Path:
    (folder / "given.yaml").write_text(config)
    pool = folder / "pool"
    if not pool.exists():
        recording(pool, TASKS)
    arguments = ["tune", folder / "given.yaml", pool / "workload.jsonl", "--pool", pool, "--loss", LOSS]
    done = invoke(*arguments, "--orders", "1", "--out", folder / "out", *more)
    assert done.exit_code == 0, (done.output, done.exception)
    return folder / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned route of which several settings passed."""
    return tuned(tmp_path_factory.mktemp("whatif"))


def book(folder: Path, text: str) -> Path:
    path = folder / "new.yaml"
    path.write_text(text)
    return path


def facts(out: Path, tmp_path: Path, text: str, *more: object) -> dict[str, Any]:
    done = invoke("whatif", out, "--prices", book(tmp_path, text), "--json", *more)
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(done: Any) -> str:
    assert done.exit_code != 0
    assert isinstance(done.exception, SpecError | ConfigErrors | NotFound), done.output
    return str(done.exception)


def test_at_the_prices_of_the_time_everything_is_as_it_was(out, tmp_path):
    same = "prices:\n  small: {prompt: 1, completion: 1}\n  large: {prompt: 20, completion: 20}\n"
    found = facts(out, tmp_path, same)
    certificate = read_certificate(out / "certificate.json")
    assert found["serve"] == "auto"
    assert found["is_same"]
    now = {one["setting"]: one for one in found["settings"]}
    for one in now.values():
        assert one["dollars"]["value"] == pytest.approx(one["dollars_before"]["value"])
        assert one["dollars"]["interval"]["low"] == pytest.approx(one["dollars_before"]["low"])
    assert now[found["chosen"]]["dollars"]["value"] == pytest.approx(certificate.figures["auto"].dollars.value)
    shares = {one["role"]: one["share"]["value"] for one in found["savings"]}
    assert shares == pytest.approx({one.role: one.share.value for one in certificate.savings})
    assert "the prices that the routes were certified at" in " ".join(found["notes"])


def test_every_price_of_the_new_book_counts_and_is_paired(out, tmp_path):
    found = facts(out, tmp_path, DEARER)
    now = {one["setting"]: one for one in found["settings"]}
    assert now["best"]["dollars"]["value"] == pytest.approx(3 * now["best"]["dollars_before"]["value"])
    assert now["fast"]["dollars"]["value"] == pytest.approx(now["fast"]["dollars_before"]["value"])
    assert found["serve"] == "auto"
    route = now[found["chosen"]]
    assert route["saving"]["value"] > route["saving_before"]["value"]
    assert route["saving"]["interval"]["low"] < route["saving"]["value"] < route["saving"]["interval"]["high"]


def test_where_the_strong_tier_became_cheap_it_is_to_be_served(out, tmp_path):
    found = facts(out, tmp_path, CHEAPER)
    assert found["serve"] == "best"
    assert "may not be cheaper" in found["why"]


def test_only_what_passed_is_chosen(out, tmp_path):
    found = facts(out, tmp_path, "large: {prompt: 2000, completion: 2000}\n")
    passed = {one["setting"]: one["dollars"]["value"] for one in found["settings"] if one["passed"]}
    assert found["chosen"] in passed
    assert "fast" not in passed
    assert min(one["dollars"]["value"] for one in found["settings"]) < min(passed.values())
    record = read_record(out)
    assert passed.keys() == {one.name for one in record.settings if one.evidence is not None}
    assert all(one.evidence.p_value <= 0.05 for one in record.settings if one.evidence is not None)


def test_another_route_that_passed_may_become_the_cheapest(out, tmp_path):
    """Where a pass of the cheap tier is dear, a route that asks it on fewer tasks is not cheaper, but one that asks the
    strong tier on fewer is: the order by dollars is that of the new prices.
    """
    found = facts(out, tmp_path, "small: {prompt: 18, completion: 18}\nlarge: {prompt: 20, completion: 20}\n")
    passed = [one for one in found["settings"] if one["passed"]]
    assert len(passed) > 1
    assert found["serve"] in ("auto", "best")


def test_a_deployment_that_the_book_leaves_out_keeps_its_price(out, tmp_path):
    found = facts(out, tmp_path, "large: {prompt: 60, completion: 60}\n")
    assert "deployment 'small' is not in the new price book" in found["notes"][0]
    assert found["prices"]["now"]["small"]["prompt"] == 1


def test_the_prices_of_a_config_file_are_read_from_it(out, tmp_path):
    assert facts(out, tmp_path, CONFIG)["is_same"]


def test_hours_are_told_at_several_duties(out, tmp_path):
    found = facts(out, tmp_path, HOURS)
    (best,) = (one for one in found["settings"] if one["setting"] == "best")
    per = {duty: one["value"] for duty, one in best["dollars_per_solved"].items()}
    assert per["0.05"] == pytest.approx(20 * per["1"])
    assert per["0.5"] == pytest.approx(2 * per["1"])
    assert best["dollars_per_solved"]["1"]["interval"]["low"] < per["1"]


def test_the_new_certificate_has_the_evidence_of_the_test_and_holds_at_the_new_prices(out, tmp_path):
    done = invoke("whatif", out, "--prices", book(tmp_path, DEARER), "--out", tmp_path / "priced")
    assert done.exit_code == 0, done.exception
    assert "is still the cheapest that passed" in done.stdout
    plan = planning.load(tmp_path / "priced" / "tierwise.yaml")
    assert plan.file.prices["large"].prompt == 60
    certificates = certificates_of(plan)
    assert mismatches(plan, certificates) == {"auto": []}
    assert notices(plan, certificates) == {}
    before, now = read_certificate(out / "certificate.json"), certificates["auto"]
    assert (now.evidence, now.confirmed, now.promise) == (before.evidence, before.confirmed, before.promise)
    assert now.source.repriced
    assert now.figures["auto"].points == before.figures["auto"].points
    assert now.figures["best"].dollars.value == pytest.approx(3 * before.figures["best"].dollars.value)
    assert "# what we serve" in (tmp_path / "priced" / "tierwise.yaml").read_text()


def test_prices_can_be_changed_again_from_what_was_written(out, tmp_path):
    assert invoke("whatif", out, "--prices", book(tmp_path, DEARER), "--out", tmp_path / "priced").exit_code == 0
    found = facts(tmp_path / "priced", tmp_path, CONFIG)
    assert found["is_same"]
    (best,) = (one for one in found["settings"] if one["setting"] == "best")
    assert best["dollars"]["value"] == pytest.approx(best["dollars_before"]["value"] / 3)


def test_a_certified_route_is_served_at_other_prices_and_check_says_so(out, tmp_path):
    for name in ("tierwise.yaml", "certificate.json"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    file = tmp_path / "tierwise.yaml"
    file.write_text(file.read_text().replace("{prompt: 20, completion: 20}", "{prompt: 30, completion: 30}"))
    done = invoke("check", file)
    assert done.exit_code == 0, done.exception
    assert "prices changed since it was made: the promise holds" in " ".join(done.output.split())


def test_a_promised_mean_cost_is_not_carried_over(tmp_path):
    bounded = CONFIG.replace("policy: single,", "policy: single, budget: {dollars: 0.01},")
    place = tuned(tmp_path, "--dollars", "0.005", config=bounded)
    found = facts(place, tmp_path, DEARER)
    assert found["serve"] != "auto"
    assert "a mean cost was promised" in found["why"]


def test_prices_at_which_a_budget_would_end_actions_are_refused(tmp_path):
    bounded = CONFIG.replace("policy: single, sampling: {temperature: 0}", "policy: single, budget: {dollars: 0.001}")
    recording(tmp_path / "pool", TASKS, config=bounded)
    place = tuned(tmp_path, config=bounded)
    done = invoke("whatif", place, "--prices", book(tmp_path, "large: {prompt: 2000, completion: 2000}\n"))
    assert "answers would be others than those that were tested" in refused(done)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tiny: {prompt: 1}\n", "there is no deployment 'tiny'"),
        ("small: {prompt: -1}\n", "prices.small.prompt"),
        ("small: {pompt: 1}\n", "unknown key"),
        ("{}\n", "is empty"),
    ],
)
def test_a_price_book_with_errors_is_refused(out, tmp_path, text, says):
    assert says in refused(invoke("whatif", out, "--prices", book(tmp_path, text)))


def test_what_is_missing_is_named(out, tmp_path):
    assert "--prices" in str(invoke("whatif", out).exception.field)
    assert "--out folder" in refused(invoke("whatif", "--prices", book(tmp_path, CONFIG)))
    assert "there is no" in refused(invoke("whatif", tmp_path, "--prices", book(tmp_path, CONFIG)))


def test_a_record_that_was_changed_by_hand_is_refused(out, tmp_path):
    text = (out / "tuning.json").read_text()
    (tmp_path / "tuning.json").write_text(text.replace('"confidence": 0.95', '"confidence": 0.99'))
    assert "was changed after it was made" in refused(invoke("whatif", tmp_path, "--prices", book(tmp_path, CONFIG)))


def test_a_pool_that_is_gone_or_another_is_refused(out, tmp_path):
    (tmp_path / "tuning.json").write_bytes((out / "tuning.json").read_bytes())
    new = book(tmp_path, CONFIG)
    assert "is not there" in refused(invoke("whatif", tmp_path, "--prices", new, "--pool", tmp_path / "none"))
    recording(tmp_path / "other", 60)
    assert "has other draws" in refused(invoke("whatif", tmp_path, "--prices", new, "--pool", tmp_path / "other"))


def test_a_folder_needs_no_model_and_changes_nothing(out, tmp_path):
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    records = RunDirectory(Path(read_record(out).pool)).records_path.read_bytes()
    facts(out, tmp_path, DEARER)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert RunDirectory(Path(read_record(out).pool)).records_path.read_bytes() == records


def test_recorded_actions_are_priced_anew(tmp_path):
    file = ledger(tmp_path)
    new = book(tmp_path, "small: {prompt: 2, completion: 4}\n")
    done = invoke("whatif", "--ledger", file, "--prices", new, "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    (fast,) = found["groups"]
    assert (fast["model"], fast["actions"]) == ("fast", 3)
    assert fast["dollars_recorded"] == pytest.approx(3 * 52e-6)
    assert fast["dollars"] == pytest.approx(3 * (40 * 2 + 12 * 4) * 1e-6)
    shown = invoke("whatif", "--ledger", file, "--prices", new)
    assert "+146.2%" in shown.stdout


def test_a_paid_deployment_without_a_new_price_is_refused(tmp_path):
    done = invoke("whatif", "--ledger", ledger(tmp_path), "--prices", book(tmp_path, "other: {prompt: 2}\n"))
    assert "has no price of it" in refused(done)


def ledger(place: Path) -> Path:
    """Three actions of one pass each, at a dollar per million tokens."""
    with Ledger.open(place / "ledger.db", PriceBook({"small": Price(prompt=1, completion=1)}), print) as store:
        for number in range(3):
            call = Call(prompt=Prompt(messages=({"role": "user", "content": "?"},)))
            done = Pass(
                number=0,
                tier="fast",
                deployment="small",
                call=call,
                outcome="finished",
                completion=Completion(text="4"),
                usage=Usage(prompt=40, completion=12),
                started=0.0,
                first_token=0.1,
                seconds=0.5,
                busy_seconds=0.5,
            )
            trace = Trace(action=f"act_{number}", began=0.0, started_at=1_800_000_000.0 + number, events=[done])
            store.write(
                Record(
                    trace=trace,
                    model="fast",
                    tier="fast",
                    reason="asked",
                    ending="answered",
                    seconds=0.5,
                    first_output=0.1,
                    stream=False,
                    finish="stop",
                    why="",
                )
            )
    return place / "ledger.db"


def test_tasks_that_tune_left_out_are_left_out_again(tmp_path):
    pool = recording(tmp_path / "pool", TASKS)
    first, *_ = records = pool.read_records()
    pool.write_records([one for one in records if (one.task, one.tier) != (first.task, first.tier)])
    found = facts(tuned(tmp_path), tmp_path, DEARER)
    assert found["serve"] == "auto"
