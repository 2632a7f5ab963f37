"""The figures of benchmarks/side_by_side.py are right: what the backend counts, and what follows from it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # programs, not a package

import side_by_side  # noqa: E402 - benchmarks are programs
from peers import calls, environments, goals, graded, model, page, scripted  # noqa: E402
from peers.calls import FIELDS, BackendCall, Figures, HangUp  # noqa: E402
from peers.client import Control, Endpoint  # noqa: E402
from peers.graded import Graded, hull_at  # noqa: E402
from peers.systems import OURS, POLICIES, Way  # noqa: E402
from processes import running  # noqa: E402


def call(began=0.0, ended=1.0, **fields) -> BackendCall:
    named = {name: fields.pop(name) for name in ("prompt", "completion", "is_aborted") if name in fields}
    return BackendCall(body={**FIELDS, **fields}, began=began, ended=ended, **named)


# ── calls ────────────────────────────────────────────────────────────────


def test_calls_at_the_same_time_are_counted_with_their_n():
    assert calls.peak([]) == 0
    assert calls.peak([call(0, 1), call(1, 2), call(2, 3)]) == 1
    assert calls.peak([call(0, 3), call(1, None), call(2, 3)]) == 3
    assert calls.peak([call(0, 1, n=5), call(2, 3)]) == 5


def test_the_error_of_usage_counts_prompt_and_completion_of_all_calls():
    made = [call(prompt=100, completion=7), call(prompt=100, completion=3, is_aborted=True)]
    assert calls.usage_error({"prompt_tokens": 200, "completion_tokens": 10}, made) == 0
    assert calls.usage_error({"prompt_tokens": 100, "completion_tokens": 11}, made) == 101
    assert calls.usage_error({"completion_tokens": 10}, made) == 200
    assert calls.usage_error(None, made) == 210


def test_one_token_on_the_wire_is_forgiven_for_each_aborted_call_and_none_otherwise():
    aborted = [call(is_aborted=True), call(is_aborted=True), call()]
    assert [calls.beyond_flight(error, aborted) for error in (0, 2, 3, 442)] == [0, 0, 1, 440]
    assert calls.beyond_flight(1, [call()]) == 1


def test_a_field_is_kept_only_if_every_candidate_has_its_value():
    assert calls.kept_fields([call(), call(seed=7)], "majority_of_5") == list(FIELDS)
    changed = [call(), call(temperature=1)]
    assert set(FIELDS) - set(calls.kept_fields(changed, "majority_of_5")) == {"temperature"}
    assert calls.kept_fields([], "majority_of_5") == []


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_can_be_lost(name):
    bare = call()
    without = replace(bare, body={key: value for key, value in bare.body.items() if key != name})
    assert name not in calls.kept_fields([without], "cascade")
    assert len(calls.kept_fields([without], "cascade")) == len(FIELDS) - 1


def test_fields_have_other_names_and_forms():
    body = {**FIELDS, "max_completion_tokens": FIELDS["max_tokens"], "stop": "@@"}
    del body["max_tokens"]
    assert calls.kept_fields([BackendCall(body=body, began=0)], "cascade") == list(FIELDS)


def test_ratings_and_critiques_need_no_fields_of_the_client():
    drafts = [call(0), call(0.1), call(0.2)]
    rating = BackendCall(body={}, began=2)
    assert calls.writers([*drafts, rating], "best_of_3") == drafts
    assert calls.writers([call(0, n=3), rating], "best_of_3") == [call(0, n=3)]
    assert calls.writers([call(0), rating, call(3)], "refine") == [call(0), call(3)]
    assert calls.writers([call(0)], "refine") == [call(0)]
    assert calls.writers([*drafts, rating], "cascade") == [*drafts, rating]


def test_after_a_hang_up_calls_are_aborted_or_running_or_new():
    aborted, late, never, new = call(0, 1.05), call(0, 1.2), call(0, None), call(1.01, 1.02)
    before = call(0, 0.5)
    assert calls.after_hang_up([before, aborted], 1.0) == HangUp(begun=1, running=0, new=0, slowest=pytest.approx(0.05))
    assert calls.after_hang_up([aborted, late], 1.0).running == 1
    assert calls.after_hang_up([aborted, never], 1.0) == HangUp(begun=2, running=1, new=0, slowest=None)
    assert calls.after_hang_up([aborted, new], 1.0).new == 1
    assert not calls.after_hang_up([aborted, new], 1.0).is_clean
    assert not calls.after_hang_up([], 1.0).is_clean


# ── goals ────────────────────────────────────────────────────────────────


def figures(system: str, policy: str, **changed) -> Figures:
    made = Figures(
        system=system,
        policy=policy,
        way=policy,
        seconds=[0.16],
        calls=[5],
        peaks=[5],
        prompts=[5.0],
        errors=[0],
        beyond=[0],
        true=[100],
        kept=list(FIELDS),
        hang_ups=[HangUp(begun=5, running=0, new=0, slowest=0.01)],
    )
    return replace(made, **changed)


def all_of_ours(**changed) -> list[Figures]:
    """`changed`: what is different in best of 3."""
    return [figures(OURS, policy, **(changed if policy == "best_of_3" else {})) for policy in POLICIES]


def missed(measured) -> list[str]:
    return [goal.name.split(",")[0] for goal in goals.goals(measured) if not goal.is_met]


def test_all_goals_are_met_by_a_system_without_fault():
    assert missed(all_of_ours()) == []


@pytest.mark.parametrize(
    ("changed", "goal"),
    [
        ({"seconds": [0.4]}, "best of 3 with a judge"),
        ({"calls": [3]}, "best of 3 with a judge"),
        ({"beyond": [0, 0, 2]}, "tokens of error in reported usage"),
        ({"kept": list(FIELDS)[1:]}, "request fields lost"),
        ({"hang_ups": [HangUp(begun=5, running=1, new=0, slowest=0.2)]}, "calls that run 100 ms after a hang-up"),
    ],
)
def test_each_goal_can_be_missed(changed, goal):
    assert missed(all_of_ours(**changed)) == [goal]


def test_what_was_not_measured_is_missed():
    assert len(missed([])) == 5
    assert "request fields lost" in missed(all_of_ours()[1:])
    assert len(missed(all_of_ours(failure="HTTP 500"))) == 4  # all but majority's time
    assert "tokens of error in reported usage" in missed(all_of_ours(beyond=[]))


def test_the_best_other_system_is_named_with_its_ratio():
    others = [
        figures("slow", "majority_of_5", seconds=[0.8], beyond=[9]),
        figures("quick", "majority_of_5", seconds=[0.24], beyond=[7]),
        figures("quick", "cascade", beyond=[20]),
    ]
    found = {goal.name.split(",")[0]: goal for goal in goals.goals([*all_of_ours(), *others])}
    majority, error = found["majority of 5"], found["tokens of error in reported usage"]
    assert (majority.best_other, majority.ratio) == ("0.240 (quick majority_of_5)", "1.50")
    assert (error.best_other, error.ratio) == ("9 (slow)", "9 to 0")


# ── correct answers per token ────────────────────────────────────────────


def way(correct, tokens, system=OURS, policy="single") -> Graded:
    return Graded(
        system=system,
        policy=policy,
        way=policy,
        correct=[[bool(one)] for one in correct],
        processed=[[0] for _ in correct],
        predicted=[[one] for one in tokens],
        sent=[[10] for _ in correct],
        told=[[one] for one in tokens],
        seconds=[[1.0] for _ in correct],
    )


def test_the_hull_mixes_the_neighbouring_points_and_never_falls():
    points = [(10, 0.4), (50, 0.6), (100, 0.5)]
    assert hull_at(points, 0) == 0
    assert hull_at(points, 5) == pytest.approx(0.2)
    assert hull_at(points, 30) == pytest.approx(0.5)
    assert hull_at(points, 75) == hull_at(points, 1000) == 0.6


POINTS = st.lists(st.tuples(st.floats(1, 1000), st.floats(0, 1)), min_size=1, max_size=6)


@given(POINTS, st.floats(0, 2000), st.floats(0, 2000))
def test_the_hull_holds_every_point_and_is_monotone(points, one, other):
    low, high = sorted((one, other))
    assert hull_at(points, low) <= hull_at(points, high) + 1e-9
    assert all(hull_at(points, cost) >= share - 1e-9 for cost, share in points)
    assert 0 <= hull_at(points, high) <= max(share for _, share in points) + 1e-9


def test_accuracy_and_yield_have_intervals_that_hold_them():
    weights = graded.resampled(40)
    one = way([1, 0] * 20, [100] * 40)
    share, rate = graded.accuracy(one, weights), graded.per_thousand(one, weights)
    assert (share.value, rate.value) == (0.5, pytest.approx(5.0))
    assert 0.3 < share.low < 0.4
    assert 0.6 < share.high < 0.7
    assert rate.low == pytest.approx(10 * share.low)


def test_ways_that_answer_alike_do_not_differ():
    weights = graded.resampled(20)
    one, other = way([1, 0] * 10, [100] * 20), way([1, 0] * 10, [100] * 20, "other")
    mine, more = graded.at_equal_tokens([one], other, weights)
    assert (mine.value, more.value, more.low, more.high) == (0.5, 0, 0, 0)
    same = graded.ratio_per_token(one, other, weights)
    assert (same.value, same.low, same.high) == pytest.approx((1, 1, 1))


def test_a_way_that_solves_nothing_is_infinitely_worse():
    ratio = graded.ratio_per_token(way([1] * 5, [10] * 5), way([0] * 5, [10] * 5), graded.resampled(5))
    assert ratio.value == ratio.high == np.inf
    assert 0 < ratio.low < 10


@pytest.mark.parametrize("solved", [0, 1])
def test_a_way_that_solves_none_or_all_has_an_interval_of_some_width(solved):
    weights = graded.resampled(13)
    one = way([solved] * 13, [100] * 13)
    share, rate = graded.accuracy(one, weights), graded.per_thousand(one, weights)
    assert share.low <= share.value <= share.high
    assert 0.15 < share.high - share.low < 0.5
    assert rate.high - rate.low == pytest.approx(10 * (share.high - share.low))


def test_resampling_is_the_same_each_time_and_draws_as_many_tasks_as_there_are():
    weights = graded.resampled(7)
    assert (weights == graded.resampled(7)).all()
    assert (weights.sum(1) == 7).all()


def test_counts_of_llama_cpp_are_read_and_a_missing_one_is_an_error():
    text = (
        "# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 120\n"
        "llamacpp:tokens_predicted_total 3.1e+01\nllamacpp:requests_processing 2\n"
    )
    assert model.Counters.read(text) == model.Counters(processed=120, predicted=31, running=2)
    with pytest.raises(ValueError, match="lack"):
        model.Counters.read(text.replace("prompt_tokens_total 120", ""))


def test_the_tasks_are_those_of_the_quickstart_without_python():
    asked = model.tasks(side_by_side.TASKS, None)
    assert {task["tags"][0] for task in asked} == set(model.KINDS)
    assert len(asked) == 26
    assert model.tasks(side_by_side.TASKS, 3) == asked[:3]


def test_an_answer_is_graded_with_the_check_of_its_task():
    task = {"check": {"number": {"equals": 48}}}
    assert asyncio.run(model.is_correct(task, "That is 48 eggs."))
    assert not asyncio.run(model.is_correct(task, "That is 47 eggs."))


def test_a_run_is_continued_only_with_the_same_ways():
    ways = [Way(system=OURS, policy="single", name="single", asks=Endpoint(url="", session=None))]
    known = [way([1], [10])]
    assert model.continued(ways, known) is known
    assert model.continued(ways, [])[0].correct == []
    with pytest.raises(ValueError, match="name another file"):
        model.continued(ways, [way([1], [10], "other")])


def test_a_run_tells_its_command_without_its_files():
    given = ["--only", "model", "--json", "here/results.json", "--repeats", "1", "--minutes", "1"]
    about = side_by_side.about_run(side_by_side.arguments(given), given)
    assert "`python benchmarks/side_by_side.py --only model --repeats 1`" in about
    assert all(f"{name} {environments.version(name)}" in about for name in environments.PEERS)


def test_results_are_read_as_they_were_stored(tmp_path):
    kept = side_by_side.Results(about={"model": "today"}, scripted=all_of_ours(), model=[way([1, 0], [10, 20])])
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(kept))
    assert side_by_side.read(tmp_path / "results.json") == kept


# ── page and environments ────────────────────────────────────────────────


def test_only_the_parts_of_a_page_between_its_marks_are_written_anew():
    text = "a\n<!-- side_by_side: goals -->\nold\n<!-- /side_by_side -->\nb\n"
    assert "old" not in (new := side_by_side.filled(text, {"goals": "new"}))
    assert new == text.replace("old", "new")
    with pytest.raises(ValueError, match="side_by_side: model"):
        side_by_side.filled(text, {"model": "new"})


def test_every_way_has_a_row_also_one_that_failed():
    failed = figures("other", "refine", seconds=[], failure="HTTP 500")
    table = page.scripted_table([*all_of_ours(), failed])
    assert table.count(f"**{OURS}**") == 4
    assert "failed: HTTP 500" in table
    assert len({line.count("|") for line in table.splitlines()}) == 1
    ways = [way([1, 0], [10, 20]), way([1, 1], [30, 40], "other", "cascade")]
    graded_page = page.graded_tables(ways)
    assert "other cascade" in graded_page
    assert "2 tasks, 2 requests for each row" in graded_page


def test_every_peer_is_pinned_with_all_its_packages():
    for name in environments.PEERS:
        lines = environments.pins(name).read_text().splitlines()
        assert all("==" in line for line in lines)
        assert environments.version(name)


def test_an_environment_that_is_complete_is_not_made_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(environments, "pins", lambda _: tmp_path / "pins.txt")
    (tmp_path / "pins.txt").write_text("firstpass==0.9.0\n")

    def run(command, **_):
        made.append([str(part) for part in command])
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)

    monkeypatch.setattr(subprocess, "run", run)
    first = environments.installed("firstpass", tmp_path / "home")
    assert [command[2] for command in made] == ["venv", "pip"]
    assert environments.installed("firstpass", tmp_path / "home") == first
    assert len(made) == 2
    (tmp_path / "pins.txt").write_text("firstpass==0.9.1\n")
    assert environments.installed("firstpass", tmp_path / "home") != first


# ── the backend ──────────────────────────────────────────────────────────


def test_the_backend_measures_a_client_that_asks_it_directly_as_a_system_without_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(scripted, "SLOW", 0.5)

    async def main(url: str) -> Figures:
        async with aiohttp.ClientSession() as session:
            direct = Way(
                system="direct", policy="majority_of_5", name="one call", asks=Endpoint(url=url, session=session)
            )
            return await scripted.Bench(Control(url, session), rounds=1).measure(direct)

    with running(BENCHMARKS / "peers" / "backend.py", log=tmp_path / "log") as (_, url):
        found = asyncio.run(main(url))
    assert found.failure is None
    assert (found.calls, found.peaks, found.errors, found.prompts) == ([1], [1], [0], [1.0])
    assert found.stream_errors == [0, 0, 0]
    assert found.kept == list(FIELDS)
    assert found.seconds[0] >= scripted.SECONDS
    assert found.first_words[0] < found.streams[0]
    assert [one.begun for one in found.hang_ups] == [1, 1]
    assert all(one.new == 0 for one in found.hang_ups)


def test_the_backend_grades_what_it_is_asked_to_grade_and_answers_anything_else():
    from peers.backend import limit_of, words_of  # noqa: PLC0415 - a program

    asked = {"messages": [{"role": "user", "content": "2+2?"}]}
    rating = {"messages": [{"role": "user", "content": "Rate the above response:"}]}
    scored = {**asked, "response_format": {"type": "json_schema", "json_schema": {"schema": {"score": {}}}}}
    assert words_of(rating, 0) == ["7"]
    assert json.loads(" ".join(words_of(scored, 0)))["score"] == 7
    assert words_of(asked, 1) != words_of(asked, 2)
    assert json.loads(" ".join(words_of({**asked, "response_format": {"type": "json_object"}}, 5)))["answer"] == 4
    assert limit_of({"max_tokens": 9, "max_completion_tokens": 5}) == 5
