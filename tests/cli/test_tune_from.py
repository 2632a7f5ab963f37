"""`tierwise tune --from`: what of an earlier run holds, what is recorded again, and at which level it is tested."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from made_pools import question
from made_tunings import CONFIG, SERVED, recording
from tierwise import plan as planning
from tierwise.certificate import certificates_of, mismatches, read_certificate
from tierwise.cli import app
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread
from tierwise.tuning.looks import LOOKS
from tierwise.tuning.record import read_record

TASKS = 130


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def done(*arguments: object) -> Any:
    found = invoke(*arguments)
    assert found.exit_code == 0, (found.output, found.exception)
    return found


def refused(found: Any) -> str:
    assert found.exit_code != 0
    assert isinstance(found.exception, SpecError | ConfigErrors), found.output
    return str(found.exception)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on a pool that was made up: `given.yaml`, `pool` and `out`."""
    found = tmp_path_factory.mktemp("from")
    (found / "given.yaml").write_text(CONFIG)
    recording(found / "pool", TASKS)
    tasks = found / "pool" / "workload.jsonl"
    arguments = ["tune", found / "given.yaml", tasks, "--pool", found / "pool", "--out", found / "out"]
    done(*arguments, "--loss", "0.1", "--orders", "1")
    return found


def again(earlier: Path, out: Path, *more: object, config: str = CONFIG, workload: Path | None = None) -> Any:
    file = out.parent / "now.yaml"
    file.write_text(config)
    (earlier / "out" / LOOKS).unlink(missing_ok=True)
    tasks = workload or earlier / "pool" / "workload.jsonl"
    return invoke("tune", file, tasks, "--from", earlier / "out", "--out", out, *more)


def test_other_prices_take_no_look_and_record_nothing(earlier, tmp_path):
    out = tmp_path / "out"
    found = again(earlier, out, config=CONFIG.replace("prompt: 20, completion: 20", "prompt: 50, completion: 50"))
    assert found.exit_code == 0, found.exception
    assert "nothing but prices changed" in found.output
    assert "0 to record" in found.output
    assert not (out / "pool").exists()
    assert not (earlier / "out" / LOOKS).exists()
    plan = planning.load(out / "tierwise.yaml")
    certificates = certificates_of(plan)
    assert mismatches(plan, certificates) == {"auto": []}
    assert certificates["auto"].evidence == read_certificate(earlier / "out" / "certificate.json").evidence
    assert len(read_record(out).looks) == 1


def test_the_pool_of_the_earlier_run_may_have_been_moved(earlier, tmp_path):
    shutil.copytree(earlier / "pool", tmp_path / "moved")
    found = again(earlier, tmp_path / "out", "--pool", tmp_path / "moved", "--dry-run")
    assert found.exit_code == 0, found.exception
    assert "0 to record" in found.output


def test_what_else_is_in_the_new_config_file_stays_in_the_written_one(earlier, tmp_path):
    dearer = CONFIG.replace("prompt: 20, completion: 20", "prompt: 50, completion: 50").replace("what we serve", "now")
    assert again(earlier, tmp_path / "out", config=dearer).exit_code == 0
    written = (tmp_path / "out" / "tierwise.yaml").read_text()
    assert "# now" in written
    assert "prompt: 50" in written


def test_no_more_draws_are_recorded_than_the_earlier_run_had_unless_a_tier_needs_them(tmp_path):
    recording(tmp_path / "pool", 70, draws=2)
    tasks = tmp_path / "pool" / "workload.jsonl"
    (tmp_path / "given.yaml").write_text(CONFIG)
    pool = ["--pool", tmp_path / "pool", "--loss", "0.15", "--orders", "1", "--out", tmp_path / "out"]
    done("tune", tmp_path / "given.yaml", tasks, *pool)
    found = again(tmp_path, tmp_path / "b", "--dry-run")
    assert "140 draws hold, 0 to record" in found.output
    votes = CONFIG.replace(
        "policy: single, sampling: {temperature: 0}", "policy: {majority: {n: 3}}, sampling: {temperature: 0}"
    )
    found = again(tmp_path, tmp_path / "b", "--dry-run", config=votes)
    assert "140 draws hold, 70 to record: of new tasks, or more draws" in found.output


def test_another_promise_on_the_same_tasks_is_a_second_look_at_half_the_level(earlier, tmp_path):
    out = tmp_path / "out"
    found = again(earlier, out, "--loss", "0.12")
    assert found.exit_code == 0, found.exception
    certificate = read_certificate(out / "certificate.json")
    assert (certificate.evidence.looks, certificate.evidence.level) == (2, pytest.approx(0.025))
    assert certificate.promise.confidence == 0.95
    assert certificate.evidence.p_value <= 0.025
    assert [len(read_record(place).looks) for place in (earlier / "out", out)] == [1, 2]
    assert len((earlier / "out" / LOOKS).read_text().splitlines()) == 2


def test_the_same_test_run_again_is_the_same_look_and_another_one_is_a_further_one(earlier, tmp_path):
    file = tmp_path / "now.yaml"
    file.write_text(CONFIG)
    arguments = ["tune", file, earlier / "pool" / "workload.jsonl", "--from", earlier / "out"]
    (earlier / "out" / LOOKS).unlink(missing_ok=True)
    done(*arguments, "--loss", "0.12", "--out", tmp_path / "a")
    done(*arguments, "--loss", "0.12", "--out", tmp_path / "b")
    done(*arguments, "--loss", "0.13", "--out", tmp_path / "c")
    looks = [len(read_record(tmp_path / name).looks) for name in "abc"]
    assert looks == [2, 2, 3]
    assert read_certificate(tmp_path / "c" / "certificate.json").evidence.level == pytest.approx(0.0125)


def test_another_seed_makes_no_look_fresh_and_moves_no_task(earlier, tmp_path):
    out = tmp_path / "out"
    found = again(earlier, out, "--seed", "5")
    assert found.exit_code == 0, found.exception
    before, now = read_record(earlier / "out"), read_record(out)
    assert len(now.looks) == 2
    assert set(now.parts.calibration) == set(before.parts.calibration)
    assert set(now.parts.tuning) == set(before.parts.tuning)


def test_promise_reference_orders_and_seed_are_those_of_the_earlier_run_unless_they_are_given(earlier, tmp_path):
    found = again(earlier, tmp_path / "out", "--confidence", "0.9")
    assert found.exit_code == 0, found.exception
    now = read_record(tmp_path / "out")
    assert (now.promise.limit, now.promise.confidence, now.orders) == (0.1, 0.9, 1)


def test_a_dry_run_with_shadowed_traffic_leaves_no_folder_behind(earlier, tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    lines = tmp_path / "shadowed.jsonl"
    lines.write_text("".join(shadow(number) for number in range(80, 86)))
    found = again(earlier, tmp_path / "out", "--shadowed", lines, "--dry-run")
    assert "tasks of shadowed traffic are added" in found.output
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_dry_run_says_what_holds_and_what_the_rest_costs(earlier, tmp_path):
    changed = CONFIG.replace("model: large,", "model: larger,")
    found = again(earlier, tmp_path / "out", "--dry-run", config=changed)
    assert found.exit_code == 0, found.exception
    said = " ".join(found.output.split())
    assert f"small (fast) {TASKS * 4} draws hold, 0 to record" in said
    assert f"large (best) 0 draws hold, {TASKS * 4} to record: its settings changed, about $0.25" in said
    assert "look 2 at these calibration tasks: each test is at level 0.025" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("temperature: 0.7", "temperature: 0.6", "its sampling changed"),
        ("model: small, slots: 4", "model: small, slots: 8", "its settings changed"),
        ("fast: {deployment: small", "quick: {deployment: small", ""),
    ],
)
def test_what_changed_is_named_and_a_name_alone_is_no_change(earlier, tmp_path, before, after, says):
    config = CONFIG.replace(before, after)
    config = config.replace("cascade: [fast", "cascade: [quick") if "quick" in after else config
    found = again(earlier, tmp_path / "out", "--dry-run", config=config)
    assert found.exit_code == 0, found.exception
    (line,) = (line for line in found.output.splitlines() if line.startswith("small"))
    assert says in line
    assert (", 0 to record" in line) == (not says)


def test_a_workload_that_shrank_needs_no_recording(earlier, tmp_path):
    lines = (earlier / "pool" / "workload.jsonl").read_text().splitlines(keepends=True)
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join(lines[:120]))
    found = again(earlier, tmp_path / "out", workload=fewer)
    assert found.exit_code == 0, found.exception
    pool = RunDirectory(tmp_path / "out" / "pool")
    assert len(pool.read_records()) == 120 * 4 * 2
    assert {one.taken for one in pool.read_records()} == {"pool"}
    before, now = read_record(earlier / "out"), read_record(tmp_path / "out")
    assert set(now.parts.calibration) <= set(before.parts.calibration)
    assert len(now.looks) == 2


def test_tasks_with_other_names_are_known_by_what_they_ask(earlier, tmp_path):
    renamed = tmp_path / "renamed.jsonl"
    tasks = [json.loads(line) for line in (earlier / "pool" / "workload.jsonl").read_text().splitlines()]
    renamed.write_text("".join(json.dumps({**task, "id": f"new {task['id']}"}) + "\n" for task in tasks))
    found = again(earlier, tmp_path / "out", "--dry-run", workload=renamed)
    assert f"{TASKS * 4} draws hold, 0 to record" in found.output
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({**task, "check": {"number": {"equals": 5}}}) + "\n" for task in tasks))
    found = again(earlier, tmp_path / "out", "--dry-run", workload=other)
    assert f"0 draws hold, {TASKS * 4} to record" in found.output


def test_the_folder_of_the_earlier_run_is_kept(earlier, tmp_path):
    file = tmp_path / "now.yaml"
    file.write_text(CONFIG)
    tasks = earlier / "pool" / "workload.jsonl"
    assert "is kept" in refused(invoke("tune", file, tasks, "--from", earlier / "out", "--out", earlier / "out"))
    assert "--from" in refused(invoke("tune", file, tasks, "--shadowed", tmp_path / "none", "--out", tmp_path / "out"))


LARGE_IS = SERVED.replace("model: large", "model: {large}")


class Answers(FakeServer):
    """Counts what each model is asked. The small one says something else each time on every fifth question."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, list[int]] = {}

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        model = request.body["model"]
        about = int(re.findall(r"\d+", request.body["messages"][-1]["content"])[0])
        self.asked.setdefault(model, []).append(about)
        return HttpReply(text=f"{10 + number}" if model == "small" and about % 5 == 0 else "4")


def test_only_what_changed_is_recorded_again_also_after_a_kill(tmp_path):
    """A workload that grew, from shadowed traffic too; then another model; then a kill in the middle."""
    tasks = tmp_path / "tasks.jsonl"
    several = [question(number) for number in range(90)]
    tasks.write_bytes(msgspec.json.Encoder().encode_lines(several[:70]))
    grown = tmp_path / "grown.jsonl"
    grown.write_bytes(msgspec.json.Encoder().encode_lines(several[:80]))
    shadowed = tmp_path / "ledger.db.shadowed.jsonl"
    shadowed.write_text("".join(shadow(number) for number in range(80, 86)))
    with in_a_thread(server := Answers()):
        file = tmp_path / "served.yaml"
        file.write_text(LARGE_IS.format(url=server.url, large="large"))
        quick = ["--draws", "2"]
        done("tune", file, tasks, "--loss", "0.15", "--orders", "1", *quick, "--out", tmp_path / "a")
        server.asked.clear()
        found = done(
            "tune", file, grown, "--from", tmp_path / "a", "--shadowed", shadowed, *quick, "--out", tmp_path / "b"
        )
        assert "5 tasks of shadowed traffic are added to the 80" in found.output
        assert "1 shadowed actions are left out: the request has no verifier" in found.output
        asked = {name: set(of) - {0} for name, of in server.asked.items()}
        assert asked == {"small": set(range(70, 85)), "large": set(range(70, 85))}
        first, second = read_record(tmp_path / "a"), read_record(tmp_path / "b")
        assert set(first.parts.calibration) <= set(second.parts.calibration)
        assert set(first.parts.tuning) <= set(second.parts.tuning)
        assert len(second.looks) == 2
        pool = RunDirectory(tmp_path / "b" / "pool")
        manifest = pool.read_manifest()
        assert len(manifest.sessions) == 2
        assert manifest.sessions[0].began == RunDirectory(tmp_path / "a" / "pool").read_manifest().sessions[0].began

        file.write_text(LARGE_IS.format(url=server.url, large="larger"))
        server.asked.clear()
        new = tmp_path / "b" / "workload.jsonl"
        command = ["tune", file, new, "--from", tmp_path / "b", *quick, "--out", tmp_path / "c"]
        done(*command)
        assert server.asked.keys() == {"larger"}
        third = RunDirectory(tmp_path / "c" / "pool")
        records = third.read_records()
        assert sum(one.taken == "pool" for one in records) == 85 * 2
        assert sum(one.tier == "best" and one.taken == "request" for one in records) == 85 * 2
        assert len(read_record(tmp_path / "c").looks) == 3

        server.asked.clear()
        third.write_records(
            [one for one in records if one.tier == "fast" or one.repeat == 0]
        )  # as `kill -9` may leave it
        done(*command)
        assert server.asked.keys() == {"larger"}
        assert {one.key for one in third.read_records()} == {one.key for one in records}
        assert len(read_record(tmp_path / "c").looks) == 4  # other draws are another test


def shadow(number: int) -> str:
    line = {
        "at": 1.0,
        "action": f"act_{number}",
        "shadow": f"act_s{number}",
        "route": "auto",
        "differs": False,
        "loss": None,
        "messages": [{"role": "user", "content": f"{number}+?"}],
        "fields": {"metadata": {"task": "sums"}},
        "verifier": None if number == 85 else {"number": {"equals": 4}},
        "answer": {"role": "assistant", "content": "4"},
        "reference": {"role": "assistant", "content": "4"},
    }
    return json.dumps(line) + "\n"
