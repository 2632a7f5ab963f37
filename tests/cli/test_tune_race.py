"""`tierwise tune` with several deployments: who is recorded in full, who drops out, and what is left after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from tierwise import plan as planning
from tierwise.cli import app
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread
from tierwise.tuning.racing import racing_of
from tierwise.tuning.split import split
from tierwise.workloads.files import load

TASKS = 120
CONFIG = """
deployments:
  small: {{engine: http, url: "{url}", model: small, slots: 8}}
  alike: {{engine: http, url: "{url}", model: alike, slots: 8}}
  worse: {{engine: http, url: "{url}", model: worse, slots: 8}}
  large: {{engine: http, url: "{url}", model: large, slots: 8}}
tiers:
  fast: {{deployment: small, policy: single, sampling: {{temperature: 0.7}}}}
  twin: {{deployment: alike, policy: single, sampling: {{temperature: 0.7}}}}
  poor: {{deployment: worse, policy: single, sampling: {{temperature: 0.7}}}}
  best: {{deployment: large, policy: single, sampling: {{temperature: 0}}}}
prices:
  small: {{prompt: 1, completion: 1}}
  alike: {{prompt: 2, completion: 2}}
  worse: {{prompt: 3, completion: 3}}
  large: {{prompt: 20, completion: 20}}
"""


class Answers(FakeServer):
    """`large` is always right, `small` and `alike` on the same two of three tasks, `worse` never."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        del number
        model, task = request.body["model"], int(request.body["messages"][-1]["content"].rstrip("?"))
        is_right = model == "large" or (model in ("small", "alike") and task % 3 > 0)
        return HttpReply(text="4" if is_right else "5")


@pytest.fixture
def place(tmp_path: Path, write_tasks: Any) -> Any:
    """A folder with a config file and a workload, and the server behind them."""
    write_tasks(
        *(
            {"id": f"t{n}", "messages": [{"role": "user", "content": f"{n}?"}], "check": {"number": {"equals": 4}}}
            for n in range(TASKS)
        )
    )
    with in_a_thread(Answers()) as server:
        (tmp_path / "served.yaml").write_text(CONFIG.format(url=server.url))
        yield tmp_path, server


def tune(place: Path, *more: object) -> Any:
    workload = next(place.glob("*.jsonl"))
    command = ["tune", str(place / "served.yaml"), str(workload), "--loss", "0.1", "--orders", "1", "--draws", "2"]
    return CliRunner().invoke(app, [*command, "--out", str(place / "out"), *map(str, more)])


def facts_of(place: Path) -> Any:
    return json.loads((place / "out" / "report.json").read_text())


def test_only_what_may_win_is_recorded_in_full_and_the_report_says_why(place):
    folder, _ = place
    done = tune(folder)
    assert done.exit_code == 0, done.output
    race = facts_of(folder)["race"]
    assert race["recorded"] == ["fast", "best"]
    assert race["kept"] == ["best"], "the dearest tier is the reference"
    dropped = {one["name"]: one for one in race["dropped"]}
    assert dropped.keys() == {"twin", "poor"}
    assert dropped["twin"]["chance"] < 0.03
    assert (dropped["twin"]["wins"], dropped["twin"]["losses"]) == (0, 0)
    assert dropped["poor"]["wins"] > 0
    assert dropped["poor"]["losses"] == 0
    pool = RunDirectory(folder / "out" / "pool")
    assert {one.tier for one in pool.read_records()} == {"fast", "best"}
    assert len(pool.read_records()) == 2 * TASKS * 2
    lost = race["draws"] - sum(one.tier in race["recorded"] for one in raced(folder))
    assert race["share"] == pytest.approx((2 * TASKS * 2 + lost) / (4 * TASKS * 2))
    for report in ("report.md", "report.html"):
        said = (folder / "out" / report).read_text()
        assert "ace of deployments" in said
        assert "Never dropped, because the reference needs it: large" in said


def raced(folder: Path) -> list[Any]:
    return [
        record for path in sorted((folder / "out" / "race").glob("0*")) for record in RunDirectory(path).read_records()
    ]


def test_the_race_sees_tuning_tasks_only_and_its_draws_are_draws_of_the_pool(place):
    folder, _ = place
    assert tune(folder).exit_code == 0
    tasks = load(next(folder.glob("*.jsonl"))).tasks
    parts = split(tasks, seed=0)
    tuning = {tasks[index].id for index in parts.tuning.tolist()}
    records = raced(folder)
    assert {one.task for one in records} <= tuning
    of = {one.key: one for one in RunDirectory(folder / "out" / "pool").read_records()}
    kept = [one for one in records if one.tier in ("fast", "best")]
    assert kept
    assert all(of[one.key] == one for one in kept)


def test_after_a_kill_the_race_and_the_pool_go_on_where_they_were(place):
    folder, server = place
    assert tune(folder).exit_code == 0
    before, first = {one.key: one for one in raced(folder)}, facts_of(folder)["race"]
    asked = server.accepted
    assert tune(folder).exit_code == 0
    assert server.accepted == asked, "a race that is over is only read"
    last = max((folder / "out" / "race").glob("0*"))
    batch = RunDirectory(last)
    batch.write_records(batch.read_records()[:3])  # as `kill -9` may leave it
    shutil.rmtree(folder / "out" / "pool")
    (folder / "out" / "pool").mkdir()
    RunDirectory(folder / "out" / "pool").write_records(list(before.values())[:2])  # killed before its manifest
    done = tune(folder)
    assert done.exit_code == 0, done.output
    assert {one.key for one in raced(folder)} == before.keys()
    again = facts_of(folder)["race"]
    assert {**again, "dollars": 0} == {**first, "dollars": 0}


def test_a_named_reference_is_kept_even_if_another_one_dominates_it(place):
    folder, _ = place
    done = tune(folder, "--reference", "poor", "--loss", "0.4")
    assert "no answer of 'poor' is right" in str(done.exception)
    assert {one.tier for one in RunDirectory(folder / "out" / "pool").read_records()} >= {"poor", "fast"}


def test_everything_is_recorded_if_nobody_may_race(place):
    folder, _ = place
    assert tune(folder, "--no-race").exit_code == 0
    assert facts_of(folder)["race"] is None
    assert len(RunDirectory(folder / "out" / "pool").read_records()) == 4 * TASKS * 2


def test_a_limit_ends_the_race_and_the_same_command_continues_it(place):
    folder, _ = place
    done = tune(folder, "--budget-dollars", "0.0000001")
    assert done.exit_code == 1
    assert "Run the same command again" in done.output
    assert not (folder / "out" / "pool" / "manifest.json").exists()
    assert tune(folder).exit_code == 0


def test_a_folder_of_another_race_is_refused(place):
    folder, _ = place
    assert tune(folder).exit_code == 0
    shutil.rmtree(folder / "out" / "pool")
    done = tune(folder, "--seed", 1)
    assert isinstance(done.exception, SpecError)
    assert "another race" in str(done.exception)


def test_a_dry_run_says_what_a_race_takes_at_most(place):
    folder, server = place
    done = tune(folder, "--dry-run")
    assert "4 deployments × at most 36 tuning tasks, one draw each: at most 144 draws" in done.output
    assert "at most 108 are of deployments that drop out" in done.output
    assert "saves up to 240 draws" in done.output
    assert server.accepted == 0


def test_two_deployments_and_weighted_tasks_do_not_race(place, write_tasks):
    folder, _ = place
    plan = planning.load(folder / "served.yaml")
    tasks = load(next(folder.glob("*.jsonl"))).tasks
    parts = split(tasks)
    found, _ = racing_of(plan, tasks, parts)
    assert found is not None
    assert len(found.tasks) == 36
    heavy = [msgspec.structs.replace(one, weight=1.0 + (index == 0)) for index, one in enumerate(tasks)]
    none, why = racing_of(plan, heavy, parts)
    assert none is None
    assert "weights" in why
    clustered = [msgspec.structs.replace(one, cluster=f"c{index // 2}") for index, one in enumerate(tasks)]
    found, _ = racing_of(plan, clustered, split(clustered))
    assert found is not None
    assert len({one.cluster for one in found.tasks}) == len(found.tasks) == 18
