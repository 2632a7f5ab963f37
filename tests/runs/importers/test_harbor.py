"""Jobs of Harbor become runs: attempts are draws, exceptions are infrastructure errors unless the agent caused them."""

from __future__ import annotations

import json
import shutil
from datetime import datetime

import pytest
from logs_of_tools import DATA, outcomes
from logs_of_tools import refused as refused_log

from tierwise.analysis.arms import arms
from tierwise.analysis.compare import compare
from tierwise.analysis.pairs import pair
from tierwise.runners.harbor import finished
from tierwise.runners.program import Ran
from tierwise.runners.work import RunnerFailed
from tierwise.runs import importers
from tierwise.runs.importers import ImportOptions
from tierwise.spec.errors import SpecError

JOBS = DATA / "harbor"


def job(tmp_path, name="fast"):
    """A copy of a job that a test may damage."""
    return shutil.copytree(JOBS / name, tmp_path / name)


def trials(folder, task):
    return sorted(folder.glob(f"{task}__*/result.json"))


def refused(folder, match):
    refused_log(folder / "result.json", match, folder)


def edit(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def test_attempts_are_draws_and_only_exceptions_of_the_agent_are_graded():
    (run,) = importers.read(JOBS / "fast" / "result.json")
    assert (run.tier, run.suite, run.name, run.repeats) == ("fast", "questions", "fast", 2)
    assert outcomes(run) == {
        ("sum-2", 0): "correct",
        ("sum-2", 1): "incorrect",
        ("product-1", 0): "incorrect",
        ("product-1", 1): "incorrect",
        ("word-1", 0): "correct",
        ("word-1", 1): "correct",
        ("word-2", 0): "error",
        ("word-2", 1): "error",
        ("wait", 0): "incorrect",
        ("wait", 1): "incorrect",
    }
    why = {one.task: one.why for one in run.results if one.outcome != "correct"}
    assert why["word-2"] == "BadRequestError: the question is longer than the context"
    assert why["wait"] == "AgentTimeoutError: Agent execution timed out after 2.0 seconds"


def test_tokens_and_seconds_are_those_of_the_agent():
    for tier, passes in (("fast", 1), ("max", 3)):
        (run,) = importers.read(JOBS / tier / "result.json")
        found = [one for one in run.results if one.task == "word-1"]
        assert {(one.prompt_tokens, one.completion_tokens) for one in found} == {(21 * passes, passes)}
        assert {one.dollars for one in found} == {None}
        assert all(one.seconds is not None and 0 < one.seconds < 60 for one in found)
        assert all(2 <= one.seconds < 60 for one in run.results if one.task == "wait")
        assert {one.prompt_tokens for one in run.results if one.task == "wait"} == {None}


def test_a_job_in_which_every_trial_broke_is_a_run_of_errors_whichever_reward_is_named(tmp_path):
    folder = job(tmp_path)
    broke = {"exception_type": "DockerError", "exception_message": "the daemon is away"}
    for path in folder.glob("*/result.json"):
        edit(path, lambda value: value.update(exception_info=broke, verifier_result=None))
    edit(trials(folder, "wait")[0], lambda value: value.update(verifier_result={"rewards": {"half": 0.5}}))
    (run,) = importers.read(folder / "result.json", options=ImportOptions(metric="reward"))
    assert {(one.outcome, one.why) for one in run.results} == {("error", "DockerError: the daemon is away")}


def test_a_job_without_a_model_is_a_run_of_its_agent():
    (run,) = importers.read(JOBS / "oracle" / "result.json")
    assert (run.tier, run.suite) == ("oracle", "ours")
    assert outcomes(run) == {
        (task, repeat): "correct" for task in ("archive-selected", "git-rescue") for repeat in (0, 1)
    }


def test_a_folder_of_jobs_has_a_log_for_each():
    assert [path.parent.name for path in importers.logs([JOBS])] == ["fast", "max", "oracle"]


def test_what_agents_leave_in_a_trial_is_part_of_the_job(tmp_path):
    folder = job(tmp_path)
    inside = trials(folder, "sum-2")[0].parent / "agent" / "episode-0"
    inside.mkdir(parents=True)
    (inside / "trajectory.json").write_text('{"a": 1}', encoding="utf-8")
    (inside / "half.json").write_text('{"a": ', encoding="utf-8")
    (inside / "samples.jsonl").write_bytes(b"")
    assert importers.logs([folder]) == [folder / "result.json"]


def test_jobs_can_be_compared(tmp_path):
    rows = []
    for tier in ("fast", "max"):
        (run,) = importers.read(JOBS / tier / "result.json")
        rows += arms(importers.write(run, tmp_path / tier).path)
    found = compare(pair(*rows, common=True))
    assert found.both + found.only_base + found.only_other + found.neither == 8
    assert found.seconds is not None
    assert found.agents is None


def test_a_job_says_which_agent_worked_and_a_comparison_says_when_it_was_another(tmp_path):
    (run,) = importers.read(JOBS / "fast" / "result.json")
    assert run.harness == {"asking": "1"}
    folder = job(tmp_path)
    for path in folder.glob("*/result.json"):
        edit(path, lambda value: value["agent_info"].update(version="2"))
    rows = []
    for name, path in (("one", JOBS / "fast"), ("two", folder)):
        (run,) = importers.read(path / "result.json")
        rows += arms(importers.write(run, tmp_path / name).path)
    assert compare(pair(*rows, common=True)).agents == ("asking 1", "asking 2")


def test_a_job_that_did_not_end_is_refused(tmp_path):
    folder = job(tmp_path)
    shutil.rmtree(trials(folder, "wait")[0].parent)
    edit(folder / "result.json", lambda value: value.update(finished_at=None))
    edit(folder / "result.json", lambda value: value["stats"].update(n_running_trials=1))
    refused(folder, r"fast/result.json is not complete: 9 of 10 trials have a result.*`harbor job resume -p \S+/fast`")


def test_a_job_that_lacks_a_trial_is_refused(tmp_path):
    folder = job(tmp_path)
    shutil.rmtree(trials(folder, "wait")[0].parent)
    refused(folder, "says 10 trials, and 9 folders beside it have a result.json; copy the whole folder")


def test_a_trial_that_is_there_twice_is_refused_with_both_files(tmp_path):
    folder = job(tmp_path)
    one, other = trials(folder, "word-1")
    other.write_bytes(one.read_bytes())
    refused(folder, r"trial 'word-1__\w+' is already in .*result.json; remove one")


def test_half_a_trial_is_refused_with_its_file_and_line(tmp_path):
    folder = job(tmp_path)
    path = trials(folder, "word-1")[0]
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    refused(folder, rf"{path.parent.name}/result.json:\d+: not JSON")


def test_a_trial_in_a_foreign_encoding_is_named(tmp_path):
    folder = job(tmp_path)
    path = trials(folder, "word-1")[0]
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    refused(folder, rf"{path.parent.name}/result.json.*line 1 is not UTF-8 \(it looks like UTF-16\)")


def test_one_trial_alone_is_no_job():
    with pytest.raises(SpecError, match=r"is one trial of a job of Harbor; give result\.json of the job"):
        importers.read(trials(JOBS / "fast", "wait")[0])


def test_another_version_is_refused(tmp_path):
    folder = job(tmp_path)
    edit(folder / "result.json", lambda value: value.update(schema_version=2))
    refused(folder, "has version 2, and 1 is read")


RAN = Ran(code=0, timed_out=False, seconds=40.0, said="")
REWARDS = [
    ({"reward": 1}, "correct", ""),
    ({"reward": 0.5}, "incorrect", "reward: 0.5"),
    ({"reward": 1, "style": 0}, "correct", ""),
    ({"tests": 1, "style": 0.5}, "incorrect", "mean of tests, style: 0.75"),
    ({"tests": 1, "style": 1}, "correct", ""),
    ({"style": 0}, "incorrect", "style: 0"),
    ({}, "error", "the verifier left no 'reward'"),
]


def trial_with(folder, **fields):
    """One trial of the job after a change, as the importer and as the runner read it."""
    path = trials(folder, "word-1")[0]
    edit(path, lambda value: value.update(fields))
    (run,) = importers.read(folder / "result.json")
    attempt = json.loads(path.read_text(encoding="utf-8"))["started_at"]
    began = datetime.fromisoformat(attempt).timestamp()
    (imported,) = (one for one in run.results if one.task == "word-1" and one.began == began)
    try:
        run_here = finished(path.read_bytes(), RAN)
    except RunnerFailed:
        return imported, None
    return imported, run_here


@pytest.mark.parametrize(("rewards", "outcome", "why"), REWARDS)
def test_a_reward_means_the_same_in_a_job_and_in_a_run_with_harbor(rewards, outcome, why, tmp_path):
    imported, here = trial_with(job(tmp_path), verifier_result={"rewards": rewards})
    assert (imported.outcome, imported.why) == (outcome, why)
    assert (here is None) == (outcome == "error")
    assert here is None or (here.reward >= 1) == (outcome == "correct")


def test_seconds_of_a_trial_are_the_same_in_a_job_and_in_a_run_with_harbor(tmp_path):
    imported, here = trial_with(job(tmp_path))
    assert imported.seconds == here.seconds < 40


@pytest.mark.parametrize(
    ("value", "words"), [("high", "'high' is no reward"), (None, "None is no reward"), (float("nan"), "not JSON")]
)
def test_what_is_no_number_is_no_reward(value, words, tmp_path):
    folder = job(tmp_path)
    path = trials(folder, "word-1")[0]
    edit(path, lambda trial: trial["verifier_result"]["rewards"].update(reward=value))
    with pytest.raises(RunnerFailed, match="cannot be read"):
        finished(path.read_bytes(), RAN)
    refused(folder, words)


def test_a_reward_may_be_named(tmp_path):
    folder = job(tmp_path)
    edit(trials(folder, "word-1")[0], lambda value: value["verifier_result"]["rewards"].update(style=0))
    (run,) = importers.read(folder / "result.json", "", ImportOptions(metric="style"))
    assert [one.why for one in run.results if one.task == "word-1" and one.outcome == "incorrect"] == ["style: 0"]
    with pytest.raises(SpecError, match="has no score 'tests'; name one with --metric: reward, style"):
        importers.read(folder / "result.json", "", ImportOptions(metric="tests"))


@pytest.mark.parametrize(
    ("name", "override", "outcome"),
    [
        ("VerifierTimeoutError", None, "error"),
        ("SomethingNew", None, "error"),
        ("SomethingNew", {"has_valid_reward": True}, "correct"),
        ("NonZeroAgentExitCodeError", None, "correct"),
        ("NonZeroAgentExitCodeError", {"has_valid_reward": False}, "error"),
    ],
)
def test_an_exception_is_judged_as_harbor_and_its_user_say(name, override, outcome, tmp_path):
    folder = job(tmp_path)
    found = {"exception_type": name, "exception_message": "…", "policy_override": override}
    imported, here = trial_with(folder, exception_info=found)
    assert imported.outcome == outcome
    assert (here is None) == (outcome == "error")


def test_a_trial_without_a_reward_or_usage_is_an_error_and_has_no_tokens(tmp_path):
    folder = job(tmp_path)
    edit(trials(folder, "word-1")[0], lambda value: value.update(verifier_result=None, agent_result=None))
    (run,) = importers.read(folder / "result.json")
    (one,) = (one for one in run.results if one.task == "word-1" and one.outcome == "error")
    assert (one.why, one.prompt_tokens, one.seconds) == ("the verifier left no 'reward'", None, None)


def test_steps_of_a_trial_are_added_up(tmp_path):
    folder = job(tmp_path)

    def in_two_steps(value):
        step = {"agent_result": value.pop("agent_result"), "agent_execution": value.pop("agent_execution")}
        value["step_results"] = [step, step]

    edit(trials(folder, "word-1")[0], in_two_steps)
    (run,) = importers.read(folder / "result.json")
    assert sorted(one.prompt_tokens for one in run.results if one.task == "word-1") == [21, 42]
