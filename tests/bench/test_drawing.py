"""Recording a pool: every draw once, whatever happens meanwhile, and what policies may look at."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from scripted_tiers import Answering, line
from tierwise.bench.drawing import rising
from tierwise.cli import app
from tierwise.policies import Majority, Refine, Single
from tierwise.pools.reading import read_pool
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError
from tierwise.testing import Reply

CONFIG = """
deployments:
  small: {{engine: http, url: "{url}/v1", model: fast}}
  large: {{engine: http, url: "{url}/v2", model: max}}
tiers:
  fast: {{deployment: small, policy: single, sampling: {{temperature: 0.5}}}}
  same: {{deployment: small, policy: {{majority: {{n: 3}}}}, sampling: {{temperature: 0.5}}}}
  max: {{deployment: large, policy: {{majority: {{n: 3}}}}}}
  revised: {{deployment: small, policy: refine, sampling: {{temperature: 0.5}}}}
routes:
  auto: {{cascade: [fast, max]}}
"""


class Counting(Answering):
    """Answers 4 to every second call and 5 to the others, and keeps the calls."""

    def reply_to(self, number, call):
        return Reply(text="5" if number % 2 else "4", logprob=-0.25)


@pytest.fixture
def files(tmp_path, endpoint, write_tasks):
    """A config file, a workload of three tasks, and the engine behind the endpoint."""
    engine = Counting({})
    file = tmp_path / "pool.yaml"
    url = endpoint(engine, fast=Single(), same=Majority(n=3), max=Majority(n=3), revised=Refine())
    file.write_text(CONFIG.format(url=url))
    verifier = {"regex": {"pattern": "^4$"}}
    tasks = write_tasks(*(line(f"t{number}", f"{number}?", verifier=verifier) for number in range(3)))
    return file, tasks, engine, url


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_draw_of_every_source_is_recorded_with_what_policies_look_at(files, tmp_path):
    file, tasks, engine, url = files
    out = tmp_path / "pool"
    done = invoke("pool", "record", file, tasks, "--draws", 4, "--url", url, "--out", out, "--concurrency", 2)
    assert done.exit_code == 0, done.output
    records = RunDirectory(out).read_records()
    assert len(records) == 3 * 4 * 2
    assert len(engine.calls) == 3 * 4 * 2 + 2 * 2  # as many as run at once fill the slots of each deployment first
    assert {(one.tier, one.mode) for one in records} == {("fast", "both"), ("max", "average")}
    assert len({one.seed for one in records if one.tier == "fast"}) == 12
    for one in records:
        assert one.draw is not None
        assert one.draw.tokens is not None
        assert (one.draw.tokens.logprobs(), one.draw.tokens.answer) == ([-0.25], 0)
        assert (one.draw.ok, one.draw.vote) == ((True, "4") if one.answer == "4" else (False, None))
        assert one.is_solved == (one.answer == "4")
    pool = read_pool(RunDirectory(out))
    assert [len(task.draws[source.key]) for task in pool.tasks for source in pool.sources] == [4] * 6


def test_only_the_named_deployments_are_recorded(files, tmp_path):
    file, tasks, engine, url = files
    out = tmp_path / "pool"
    settings = ("--draws", 2, "--deployments", "large", "--top-logprobs", 0, "--url", url)
    assert invoke("pool", "record", file, tasks, *settings, "--out", out).exit_code == 0
    records = RunDirectory(out).read_records()
    assert {one.tier for one in records} == {"max"}
    assert all(one.draw is not None and one.draw.tokens is None for one in records)
    assert len(engine.calls) == 6 + 3


def test_a_recording_is_resumed_where_it_was_killed_and_errors_are_drawn_again(files, tmp_path):
    file, tasks, engine, url = files
    out = tmp_path / "pool"
    command = ("pool", "record", file, tasks, "--draws", 3, "--url", url)
    assert invoke(*command, "--out", out).exit_code == 0
    directory = RunDirectory(out)
    first = directory.read_records()
    broken = msgspec.structs.replace(first[0], outcome=TrialOutcome.ERROR)
    directory.write_records([broken, *first[1:10]])
    with directory.records_path.open("ab") as file_of_records:
        file_of_records.write(b'{"action": "half a li')  # as `kill -9` leaves it
    before = len(engine.calls)
    assert invoke(*command, "--resume", out).exit_code == 0
    assert len(engine.calls) - before == 18 - 9 + 2 * 3  # the slots are filled again
    assert sorted(one.key for one in directory.read_records()) == sorted(one.key for one in first)
    assert all(one.is_graded for one in directory.read_records())


def test_a_recording_is_not_resumed_with_other_settings_or_as_a_bench(files, tmp_path):
    file, tasks, _, url = files
    out = tmp_path / "pool"
    command = ("pool", "record", file, tasks, "--draws", 2, "--url", url)
    assert invoke(*command, "--out", out).exit_code == 0
    directory = RunDirectory(out)
    directory.write_records(directory.read_records()[:3])
    for other, said in (
        (("pool", "record", file, tasks, "--draws", 3, "--url", url), "--repeats was 2, now 3"),
        ((*command, "--top-logprobs", 2), "--top-logprobs was 5, now 2"),
        (("bench", file, tasks, "--repeats", 2, "--url", url), "it was a pool, now it is a run of tierwise bench"),
    ):
        refused = invoke(*other, "--resume", out)
        assert isinstance(refused.exception, SpecError)
        assert said in str(refused.exception)


def test_the_first_chains_run_one_two_four_at_a_time():
    groups = [(level, [chain[0] for chain in group]) for level, group in rising([[n] for n in range(20)], 6)]
    assert groups == [(1, [0, 1, 2, 3]), (2, [4, 5, 6, 7]), (4, [8, 9, 10, 11]), (6, list(range(12, 20)))]
    assert [level for level, _ in rising([[n] for n in range(20)], 1)] == [1]
    assert [level for level, _ in rising([[n] for n in range(6)], 8)] == [1, 2]


def test_a_recorded_pool_is_replayed_from_the_command_line(files, tmp_path):
    file, tasks, engine, url = files
    out, grid = tmp_path / "pool", tmp_path / "grid.yaml"
    assert invoke("pool", "record", file, tasks, "--draws", 4, "--url", url, "--out", out).exit_code == 0
    asked = len(engine.calls)
    grid.write_text("settings:\n  one: fast\n  vote: {tier: max, policy: {majority: {n: {each: [3, 4]}}}}\n")
    done = invoke("pool", "replay", out, "--policies", grid, "--orders", 3, "--json", "--out", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts == json.loads((tmp_path / "r.json").read_text())
    assert [(row["name"], row["tasks"]) for row in facts["settings"]] == [("one", 3), ("vote n=3", 3), ("vote n=4", 3)]
    assert facts["settings"][0]["difference"] is None
    assert facts["settings"][2]["passes"]["value"] == 4
    assert (facts["baseline"], facts["orders"], facts["draws"]) == ("one", 3, 4)
    table = invoke("pool", "replay", out)
    assert table.exit_code == 0, table.output
    assert all(name in table.stdout for name in ("fast", "same", "max", "auto"))
    assert "revised" not in table.stdout
    assert (
        "revised is left out: policy Refine of tier 'revised' asks for a pass with the role 'critique'" in table.stderr
    )
    assert len(engine.calls) == asked


def test_whole_actions_of_a_policy_that_continues_passes_are_recorded_and_replayed(files, tmp_path):
    file, tasks, engine, url = files
    out = tmp_path / "pool"
    command = ("pool", "record", file, tasks, "--draws", 4, "--chains", "revised", "--url", url, "--concurrency", 1)
    assert invoke(*command, "--out", out).exit_code == 0
    records = sorted(RunDirectory(out).read_records(), key=lambda one: (one.task, one.repeat))
    assert {len(one.passes or ()) for one in records} == {1, 3}
    assert all(done.message is not None for one in records for done in one.passes or ())
    asked = len(engine.calls)
    done = invoke("pool", "replay", out, "--json")
    assert done.exit_code == 0, done.output
    facts = {row["name"]: row for row in json.loads(done.stdout)["settings"]}
    first = [one for one in records if one.repeat == 0]
    assert facts["revised"]["correct"]["value"] == sum(one.is_solved for one in first) / 3
    assert facts["revised"]["passes"]["value"] == sum(len(one.passes or ()) for one in first) / 3
    assert facts["fast"]["passes"]["value"] == 1
    assert len(engine.calls) == asked


class LosesDrafts(Counting):
    """Does not come to an answer of the first task while it thinks."""

    def __init__(self, answers):
        super().__init__(answers)
        self.thinking_off = {"thinking": False}

    def reply_to(self, number, call):
        is_off = call.prompt.fields.get("thinking") is False
        if call.role == "draft" and call.prompt.messages[0]["content"] == "0?" and not is_off:
            return Reply(thinking="so two", finish="length")
        return super().reply_to(number, call)


def test_a_whole_action_whose_draft_was_lost_to_thinking_is_replayed_with_what_recovered_it(
    tmp_path, endpoint, write_tasks
):
    url = endpoint(LosesDrafts({}), fast=Single(), same=Majority(n=3), max=Majority(n=3), revised=Refine())
    file, out = tmp_path / "pool.yaml", tmp_path / "pool"
    file.write_text(CONFIG.format(url=url))
    verifier = {"regex": {"pattern": "^4$"}}
    tasks = write_tasks(*(line(f"t{number}", f"{number}?", verifier=verifier) for number in range(3)))
    command = ("pool", "record", file, tasks, "--draws", 4, "--chains", "revised", "--url", url, "--concurrency", 1)
    assert invoke(*command, "--out", out).exit_code == 0
    records = RunDirectory(out).read_records()
    roles = {tuple(done.role for done in one.passes) for one in records if one.task == "t0"}
    assert ("draft", "recovery", "critique", "refine") in roles
    done = invoke("pool", "replay", out, "--json")
    assert done.exit_code == 0, done.output
    facts = {row["name"]: row for row in json.loads(done.stdout)["settings"]}
    first = [one for one in records if one.repeat == 0]
    assert facts["revised"]["correct"]["value"] == sum(one.is_solved for one in first) / 3
    assert facts["revised"]["passes"]["value"] == sum(len(one.passes) for one in first) / 3


def test_whole_actions_of_a_cascade_are_not_recorded(files, tmp_path):
    file, tasks, _, url = files
    file.write_text(
        file.read_text().replace("policy: refine, sampling", "policy: {cascade: {tiers: [fast]}}, sampling")
    )
    done = invoke("pool", "record", file, tasks, "--chains", "revised", "--url", url, "--out", tmp_path / "pool")
    assert "tier 'revised' asks other tiers" in str(done.exception)
