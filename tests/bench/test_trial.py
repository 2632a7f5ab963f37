"""One trial through a real endpoint: the request, the measurements and the outcome."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import msgspec
import pytest

from scripted_tiers import Answering, line
from tierwise.bench.client import ActionAccount, ActionUsage, Client, _StreamCapture
from tierwise.bench.client import ActionReply as Said
from tierwise.bench.grading import GradeCache
from tierwise.bench.judgements import Judgements
from tierwise.bench.schedule import Trial
from tierwise.bench.trial import measure, measure_both, regrade, request
from tierwise.policies import BestOfN, Majority, Single
from tierwise.runs.records import TierVariant, TrialRecord
from tierwise.runs.seeds import task_seed
from tierwise.spec.budget import Budget
from tierwise.spec.call import Completion
from tierwise.spec.errors import Broken, Overloaded, Refused, TooLong
from tierwise.spec.reading import Reading
from tierwise.testing import Reply, ScriptedEngine
from tierwise.testing.server import FakeServer, HttpReply, in_a_thread
from tierwise.workloads.files import Task


def trial(tier="fast", mode="both", **more):
    task = Reading().read(Task, line("a", **more), "")
    return Trial(task=task, variant=TierVariant(tier=tier, mode=mode), seed=task_seed(0, "a"))


def measured(url, one, timeout=10.0):
    async def main():
        async with Client(url, timeout=timeout) as client:
            return await measure(one, client, "run")

    return asyncio.run(main())


def test_answers_are_graded_with_the_checks_reason(endpoint):
    url = endpoint(Answering({"2+2?": "it is 4", "3+3?": "it is 7"}), fast=Single())
    right, wrong = measured(url, trial()), measured(url, trial(question="3+3?", equals=6))
    assert (right.outcome, right.answer, right.finish) == ("correct", "it is 4", "stop")
    assert (wrong.outcome, wrong.why) == ("incorrect", "7 instead of 6")


@pytest.mark.parametrize("off", [None, {"thinking": False}])
def test_an_answer_lost_to_thinking_is_an_outcome_of_its_own_unless_it_is_recovered(endpoint, off):
    engine = ScriptedEngine(Reply(thinking="so 2 and 2", finish="length"), "4", step=0.0, thinking_off=off)
    record = measured(endpoint(engine, fast=Single()), trial())
    if off is None:
        assert (record.outcome, record.finish, record.is_graded, record.has_answer, record.was_served) == (
            "lost_to_thinking", "length", True, False, True,
        )  # fmt: skip
        assert [done.outcome for done in record.passes] == ["lost_to_thinking"]
    else:
        assert (record.outcome, record.answer) == ("correct", "4")
        assert [(done.role, done.outcome) for done in record.passes] == [
            ("draft", "lost_to_thinking"), ("recovery", "finished"),
        ]  # fmt: skip
        assert record.completion_tokens == 5


def test_average_mode_is_one_pass_whose_loss_is_not_recovered(endpoint):
    engine = ScriptedEngine(Reply(thinking="so", finish="length"), "4", step=0.0, thinking_off={"thinking": False})
    record = measured(endpoint(engine, fast=Single()), trial(mode="average"))
    assert (record.outcome, len(record.passes)) == ("lost_to_thinking", 1)


def test_a_record_has_the_cost_of_every_pass(endpoint):
    url = endpoint(Answering({"2+2?": ["4", "5", "4"]}, step=0.001), max=Majority(n=3))
    record = measured(url, trial("max", "max"))
    assert record.outcome == "correct"
    assert [done.role for done in record.passes] == ["vote"] * 3
    assert record.chosen_because == "2 of 3 votes"
    assert record.agreement == pytest.approx(2 / 3)
    assert record.completion_tokens == sum(done.completion_tokens for done in record.passes) == 3
    assert record.prompt_tokens == 9
    assert record.dollars == pytest.approx(0.003)
    assert record.dollars == pytest.approx(sum(done.dollars for done in record.passes))


def test_average_mode_is_one_pass_of_the_same_tier(endpoint):
    engine = Answering({"2+2?": "4"})
    url = endpoint(engine, max=BestOfN(n=4))
    record = measured(url, trial("max", "average"))
    assert (record.outcome, len(record.passes), len(engine.calls)) == ("correct", 1, 1)


def test_average_mode_is_the_first_draw_of_max_mode_when_the_seed_is_the_same(endpoint):
    engine = Answering({"2+2?": "4"})
    url = endpoint(engine, max=Majority(n=3))
    for mode in ("average", "max"):
        measured(url, trial("max", mode))
    alone, *panel = [call.seed for call in engine.calls]
    assert alone == task_seed(0, "a")
    assert alone in panel
    assert len(set(panel)) == len(panel)


def test_the_endpoint_never_sees_the_check():
    sent = request(trial(verifier={"regex": {"pattern": "[0-9]+"}}), "run/a/fast/both")
    assert "check" not in msgspec.json.encode(sent).decode()
    assert sent["tierwise"] == {"action": "run/a/fast/both", "verifier": {"regex": {"pattern": "[0-9]+"}}}
    assert (sent["model"], sent["stream"], sent["seed"]) == ("fast", True, task_seed(0, "a"))


def test_the_verifier_of_a_task_reaches_the_policy(endpoint):
    url = endpoint(Answering({"2+2?": ["many", "4"]}), max=BestOfN(n=2))
    blind = measured(url, trial("max", "max"))
    seeing = measured(url, trial("max", "max", verifier={"number": {}}))
    assert (blind.outcome, seeing.outcome) == ("incorrect", "correct")


def test_seconds_cover_the_whole_action_and_first_output_comes_earlier(endpoint):
    url = endpoint(Answering({"2+2?": "one two three 4"}, step=0.05), fast=Single())
    record = measured(url, trial())
    assert 0.05 <= record.first_output <= record.seconds - 0.1
    assert 0.2 <= record.seconds < 2


def test_an_action_that_streams_nothing_has_its_first_output_at_the_end(endpoint):
    url = endpoint(Answering({"2+2?": "one two three 4"}, step=0.03), max=Majority(n=2))
    record = measured(url, trial("max", "max"))
    assert record.first_output >= 0.12


def test_an_answer_cut_at_its_token_limit_has_finish_length(endpoint):
    url = endpoint(Answering({"2+2?": "one two three 4"}), fast=Single())
    record = measured(url, trial(max_tokens=2))
    assert (record.outcome, record.finish, record.answer) == ("incorrect", "length", "one two")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TooLong("prompt of 9000 tokens", engine="fake"), "context_length_exceeded"),
    ],
)
def test_a_request_that_a_tier_cannot_answer_counts_against_it(endpoint, error, code):
    url = endpoint(ScriptedEngine(Reply(error=error), step=0.0), fast=Single())
    record = measured(url, trial())
    assert (record.outcome, record.code) == ("no_answer", code)
    assert "9000 tokens" in record.why
    assert record.is_graded


def test_a_tier_whose_budget_runs_out_has_no_answer(endpoint):
    url = endpoint(ScriptedEngine(Reply(text="4", step=5.0)), budget=Budget(seconds=0.05), fast=Single())
    record = measured(url, trial())
    assert (record.outcome, record.code) == ("no_answer", "budget_exhausted")


def test_an_engine_failure_is_an_infrastructure_error(endpoint):
    url = endpoint(ScriptedEngine(Reply(error=Broken("out of memory", engine="fake")), step=0.0), fast=Single())
    record = measured(url, trial())
    assert (record.outcome, record.status, record.code) == ("error", 502, "engine_broken")
    assert "out of memory" in record.why
    assert not record.is_graded


def test_an_engine_failure_in_the_stream_keeps_the_partial_answer(endpoint):
    broken = Broken("died", engine="fake")
    url = endpoint(ScriptedEngine(Reply(text="it is", error=broken, step=0.1)), fast=Single())
    record = measured(url, trial())
    assert (record.outcome, record.status, record.answer) == ("error", None, "it is")
    assert record.code == "engine_broken"


def test_an_action_that_takes_too_long_is_an_error(endpoint):
    url = endpoint(ScriptedEngine(Reply(text="4", step=5.0)), fast=Single())
    record = measured(url, trial(), timeout=0.3)
    assert (record.outcome, record.code, record.why) == ("error", "timed_out", "not finished after 0.3 s")
    assert record.seconds == pytest.approx(0.3, abs=0.25)


def test_a_refused_connection_is_an_error():
    record = measured("http://127.0.0.1:9", trial())
    assert (record.outcome, record.code) == ("error", "connection_lost")
    assert record.dollars is None


def test_an_endpoint_at_capacity_is_retried_and_the_wait_counts(endpoint):
    class Full(ScriptedEngine):
        def reply_to(self, number, call):
            full = Overloaded("no slot", engine="fake", retry_after=0.2)
            return Reply(error=full) if number < 2 else Reply(text="4")

    record = measured(endpoint(Full(step=0.0), fast=Single()), trial())
    assert (record.outcome, record.attempts) == ("correct", 3)
    assert record.seconds >= 0.4


@pytest.fixture
def odd_endpoint():
    """Answers every request with the bytes that a test chooses."""
    with ExitStack() as stack:

        def serve(body, status=200, kind="text/event-stream"):
            reply = HttpReply(body=body, status=status, headers={"Content-Type": kind})
            return stack.enter_context(in_a_thread(FakeServer(reply))).url.removesuffix("/v1")

        yield serve


def test_a_truncated_stream_is_an_error(odd_endpoint):
    record = measured(odd_endpoint(b'data: {"choices":[{"delta":{"content":"4"}}]}\n\n'), trial())
    assert (record.outcome, record.why) == ("error", "the stream ended in the middle of the answer")


def test_an_invalid_event_is_an_error(odd_endpoint):
    record = measured(odd_endpoint(b"data: {nonsense\n\n"), trial())
    assert (record.outcome, record.code) == ("error", "garbled")


def test_an_unreported_cost_is_none_and_not_zero(odd_endpoint):
    body = b'data: {"choices":[{"delta":{"content":"4"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    record = measured(odd_endpoint(body), trial())
    assert (record.outcome, record.dollars, record.passes, record.prompt_tokens) == ("correct", None, None, None)


@pytest.mark.parametrize(
    ("text", "thought", "outcome"),
    [("", 7, "lost_to_thinking"), ("4", 7, "correct"), ("", 0, "incorrect")],
)
def test_thinking_that_a_server_counts_and_does_not_send_can_lose_an_answer_too(odd_endpoint, text, thought, outcome):
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": thought}}
    events = [
        {"choices": [{"delta": {"role": "assistant", "content": text}, "finish_reason": "length"}]},
        {"choices": [], "usage": usage},
    ]
    body = b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events) + b"data: [DONE]\n\n"
    assert measured(odd_endpoint(body), trial()).outcome == outcome


@pytest.mark.parametrize(("outcome", "graded"), [("finished", "incorrect"), ("lost_to_thinking", "lost_to_thinking")])
def test_thinking_of_another_pass_does_not_count_as_that_of_an_empty_answer(odd_endpoint, outcome, graded):
    done = {
        "number": 0, "role": "draft", "tier": "fast", "deployment": "d", "outcome": outcome, "prompt_tokens": 9,
        "cached_tokens": 0, "completion_tokens": 8, "dollars": 0.0, "seconds": 0.1,
    }  # fmt: skip
    usage = {
        "prompt_tokens": 9, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 7},
        "tierwise": {"dollars": 0.0, "passes": [done]},
    }  # fmt: skip
    events = [{"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
    body = b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events) + b"data: [DONE]\n\n"
    assert measured(odd_endpoint(body), trial()).outcome == graded


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "error"), (413, "no_answer"), (404, "error"), (500, "error"), (401, "error")]
)
def test_refusals_are_classified_by_their_status(odd_endpoint, status, outcome):
    record = measured(odd_endpoint(b"<h1>no</h1>", status, "text/html"), trial())
    assert (record.outcome, record.status, record.why) == (outcome, status, "<h1>no</h1>")


def test_a_prompt_that_a_filter_blocked_counts_against_the_tier(odd_endpoint):
    body = msgspec.json.encode({"error": {"message": "triggered the content management policy", "code": "x"}})
    record = measured(odd_endpoint(body, 400, "application/json"), trial())
    assert (record.outcome, record.is_refused) == ("no_answer", False)


def test_a_request_that_the_engine_refuses_is_not_a_wrong_answer(endpoint):
    error = Refused("logprobs are not supported with tools", engine="fake")
    url = endpoint(ScriptedEngine(Reply(error=error), step=0.0), fast=Single())
    record = measured(url, trial())
    assert (record.outcome, record.code, record.is_refused) == ("error", "engine_refused", True)


def test_a_reported_cost_of_a_failed_action_is_recorded(odd_endpoint):
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "tierwise": {"dollars": 0.25, "passes": []}}
    body = msgspec.json.encode({"error": {"message": "spent", "code": "budget_exhausted"}, "usage": usage})
    record = measured(odd_endpoint(body, 504, "application/json"), trial())
    assert (record.outcome, record.dollars, record.prompt_tokens) == ("no_answer", 0.25, 5)


def told(*passes):
    """A response of an endpoint that reports its candidates."""
    numbers = {"prompt_tokens": 5, "cached_tokens": 0, "completion_tokens": 2, "dollars": 0.5, "first_token": 0.25}
    spent = [{"number": at, "started": 0.5, "seconds": 1.0, **numbers, **one} for at, one in enumerate(passes)]
    usage = {**numbers, "tierwise": {"dollars": 1.5, "passes": spent}}
    events = [{"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events)


def both(url):
    async def main():
        async with Client(url, timeout=10.0) as client:
            return await measure_both(trial("max", "max"), trial("max", "average"), client, "run")

    return asyncio.run(main())


SAYS_FIVE = {"message": {"content": "5"}, "finish": "stop"}


def test_average_mode_is_taken_from_the_first_candidate_if_it_is_reported(odd_endpoint):
    passes = [
        {"role": "vote", "outcome": "finished", "draw": 1, "message": {"content": "4"}, "finish": "stop"},
        {"role": "critique", "outcome": "finished", "draw": 0, "message": {"content": "4"}, "finish": "stop"},
        {"role": "vote", "outcome": "finished", "draw": 0, **SAYS_FIVE},
    ]
    whole, single = both(odd_endpoint(told(*passes)))
    assert (whole.outcome, whole.taken, whole.dollars, len(whole.passes)) == ("correct", "request", 1.5, 3)
    assert (single.outcome, single.why, single.taken) == ("incorrect", "5 instead of 4", "candidate")
    assert (single.key, single.seed) == (whole.key._replace(mode="average"), whole.seed)
    assert (single.first_output, single.seconds) == pytest.approx((0.75, 1.5), abs=0.1)
    assert (single.dollars, single.spent, len(single.passes)) == (0.5, 0.0, 1)


@pytest.mark.parametrize(
    "first", [{"outcome": "aborted", **SAYS_FIVE}, {"outcome": "finished"}, {"outcome": "failed", **SAYS_FIVE}]
)
def test_an_unfinished_first_candidate_gives_no_average_mode_record(odd_endpoint, first):
    whole, single = both(odd_endpoint(told({"role": "vote", "draw": 0, **first})))
    assert (whole.outcome, single) == ("correct", None)


def test_every_finished_candidate_is_graded(odd_endpoint):
    passes = [
        {"role": "vote", "outcome": "finished", "draw": 0, **SAYS_FIVE},
        {"role": "vote", "outcome": "aborted", "draw": 1, "message": {"content": "4"}},
        {"role": "critique", "outcome": "finished", "draw": 1, "message": {"content": "4"}, "finish": "stop"},
        {"role": "refine", "outcome": "finished", "draw": 2, "message": {"content": "4", "reasoning_content": "2+2"}},
    ]
    whole, _ = both(odd_endpoint(told(*passes)))
    assert [one.solved for one in whole.passes] == [False, None, None, True]
    kept = [None if one.message is None else one.message.content for one in whole.passes]
    assert kept == ["5", None, None, "4"], "what nobody grades is not kept"
    assert whole.passes[3].message.reasoning_content is None, "no check reads it"


def test_candidates_of_max_mode_are_graded_without_average_mode(endpoint):
    async def main(url):
        async with Client(url, timeout=10.0) as client:
            return await measure_both(trial("max", "max"), None, client, "run", candidates=True)

    whole, single = asyncio.run(main(endpoint(Answering({"2+2?": ["5", "4", "5"]}), max=Majority(n=3))))
    assert (whole.outcome, single) == ("incorrect", None)
    assert sorted(one.solved for one in whole.passes) == [False, False, True]


def judged(*answers):
    """What a judge that accepts what is splendid says, how often it was asked, and what it took."""
    asked = []

    async def act(body):
        asked.append(body["messages"][-1]["content"])
        return Said(
            completion=Completion(text="verdict: yes" if "splendid" in asked[-1] else "verdict: no", finish="stop"),
            late=0.0,
            first_byte=0.0,
            first_output=0.0,
            seconds=1.0,
            gaps=None,
            tokens=ActionUsage(prompt_tokens=5, completion_tokens=1, tierwise=ActionAccount(dollars=0.25, passes=[])),
            failure=None,
        )

    task = Reading().read(Task, {**line("a"), "check": {"judge": {"tier": "max"}}}, "")
    marks = GradeCache(task, act, "run/a")

    async def main():
        return [(await marks.of(Completion(text=text, finish="stop"))).outcome for text in answers]

    return asyncio.run(main()), asked, marks.spend


def test_a_judge_is_asked_once_for_equal_answers():
    outcomes, asked, spend = judged("splendid", "five", "splendid", "five")
    assert outcomes == ["correct", "incorrect", "correct", "incorrect"]
    assert (len(asked), spend.actions, spend.dollars, spend.seconds) == (2, 2, 0.5, 2.0)


def test_candidates_are_regraded_with_the_same_and_with_a_corrected_check(odd_endpoint):
    passes = [
        {"role": "vote", "outcome": "finished", "draw": draw, "message": {"content": "45"[draw]}} for draw in (0, 1)
    ]
    for record in both(odd_endpoint(told(*passes))):
        kept = msgspec.json.decode(msgspec.json.encode(record), type=TrialRecord)
        assert asyncio.run(regrade(trial().task, kept)) == record
    whole, _ = both(odd_endpoint(told(*passes)))
    mended = asyncio.run(regrade(trial(equals=5).task, whole))
    assert [one.solved for one in mended.passes] == [False, True]
    assert mended.outcome == "incorrect"


def test_a_record_of_an_older_run_is_regraded_without_candidates():
    spend = {"role": "draft", "outcome": "finished", "prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 1}
    old = {
        "action": "run/a/fast/both", "task": "a", "tags": [], "tier": "fast", "mode": "both", "seed": 1,
        "outcome": "correct", "why": "4", "answer": "4", "began": 0.0, "first_output": 0.1, "seconds": 0.2,
        "passes": [{**spend, "seconds": 0.2, "dollars": 0.1}],
    }  # fmt: skip
    record = msgspec.convert(old, TrialRecord)
    assert record.passes[0].solved is None
    assert asyncio.run(regrade(trial().task, record)) == record


def test_candidates_are_requested_only_if_needed():
    assert "candidates" not in request(trial("max", "max"), "run/a/max/max")["tierwise"]
    assert request(trial("max", "max"), "run/a/max/max", candidates=True)["tierwise"]["candidates"] is True


def test_gaps_between_pieces_are_stored_as_a_histogram(endpoint):
    record = measured(endpoint(Answering({"2+2?": "one two three 4"}, step=0.05), fast=Single()), trial())
    assert record.gaps.count in (3, 4)
    assert 0.04 < record.gaps.longest < 0.5
    assert record.first_byte <= record.first_output
    assert (record.passes[0].started, record.passes[0].first_token) == (
        pytest.approx(0, abs=0.05),
        pytest.approx(0.05, abs=0.04),
    )


@pytest.mark.parametrize("size", [1, 7, 100])
def test_events_are_parsed_for_any_block_size(size):
    body = b": pulse\n\n" + told({"role": "draft", "outcome": "finished"}) + b"data: [DONE]\n\n"
    for text in (body, body.replace(b"\n", b"\r\n"), body.replace(b"data: ", b"data:")):
        capture = _StreamCapture(0.0)
        for start in range(0, len(text), size):
            capture.blocks.append(text[start : start + size])
            capture.on_read(float(start))
        reply = capture.reply(None, 1)
        assert (reply.completion.text, reply.failure, reply.tokens.tierwise.dollars) == ("4", None, 1.5)


def test_a_corrected_check_regrades_without_requests(endpoint):
    record = measured(endpoint(Answering({"2+2?": "it is 4"}), fast=Single()), trial(equals=5))
    assert record.outcome == "incorrect"
    mended = asyncio.run(regrade(trial().task, record))
    assert (mended.outcome, mended.answer, mended.seconds) == ("correct", "it is 4", record.seconds)
    lost = measured("http://127.0.0.1:9", trial())
    assert asyncio.run(regrade(trial().task, lost)) == lost


def test_a_judge_is_asked_once_for_equal_answers_of_several_actions_and_sessions():
    asked = []

    async def act(body):
        asked.append(body["messages"][-1]["content"])
        await asyncio.sleep(0)
        return Said(
            completion=Completion(text="verdict: no" if len(asked) == 1 else "verdict: yes", finish="stop"),
            late=0.0,
            first_byte=0.0,
            first_output=0.0,
            seconds=1.0,
            gaps=None,
            tokens=None,
            failure=None,
        )

    tasks = [Reading().read(Task, {**line(name), "check": {"judge": {"tier": "max"}}}, "") for name in "ab"]

    async def outcomes(judgements, *, task=0, actions=3):
        caches = [GradeCache(tasks[task], act, f"run/{n}", n, judgements) for n in range(actions)]
        graded = await asyncio.gather(*(one.of(Completion(text="five", finish="stop")) for one in caches))
        return [one.outcome for one in graded], [one.spend is not None for one in caches]

    async def main():
        known = Judgements(tasks)
        first = await outcomes(known)
        record = msgspec.convert(
            {**RECORD, "outcome": "incorrect", "why": "judge: no", "answer": "five", "finish": "stop"}, TrialRecord
        )
        return first, await outcomes(Judgements(tasks, [record])), await outcomes(known, task=1)

    first, resumed, other = asyncio.run(main())
    assert first == (["incorrect"] * 3, [True, False, False])
    assert resumed == (["incorrect"] * 3, [False, False, False])
    assert other[0] == ["correct"] * 3
    assert len(asked) == 2


RECORD = {
    "action": "run/a/fast/both", "task": "a", "tags": [], "tier": "fast", "mode": "both", "seed": 1,
    "began": 0.0, "first_output": 0.1, "seconds": 0.2,
}  # fmt: skip
