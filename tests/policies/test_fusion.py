"""Fusion writes one answer from all usable candidates, or selects among them by comparisons."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tierwise.policies import Fusion
from tierwise.policies.fusion import SELECT
from tierwise.spec.budget import Budget
from tierwise.spec.call import Completion
from tierwise.spec.errors import Garbled
from tierwise.spec.prompt import Prompt
from tierwise.testing import RecordingSink, Reply, ScriptedEngine, solve
from tierwise.testing.contracts import PolicyContract
from tierwise.verifiers.answers import spoken

from .acting import run_action


class TestSelect(PolicyContract):
    policies = (Fusion(select=True),)


def drafts(call):
    """The drafts that a pass of the last stage sees."""
    lines = call.prompt.messages[-2]["content"].split("\n\n", 1)[1].split("\n")
    assert [line.split(":")[0] for line in lines] == [f"Draft {place}" for place in range(1, len(lines) + 1)]
    return [json.loads(line.split(": ", 1)[1])["answer"] for line in lines]


def test_the_answer_is_written_from_all_candidates_and_only_it_is_streamed():
    shown = RecordingSink()
    answer, trace = solve(Fusion(n=3), "a", "b", "c", "it is abc", slots=1, sink=shown)
    assert (answer.completion.text, answer.chosen, answer.why, shown.text) == (
        "it is abc", 3, "fused from 3", "it is abc"
    )  # fmt: skip
    assert len([chunk for chunk in shown.chunks if chunk.is_output]) == 3
    assert [done.call.role for done in trace.passes] == ["draft"] * 3 + ["fuse"]
    assert (drafts(trace.passes[-1].call), trace.passes[-1].call.after) == (["a", "b", "c"], (0, 1, 2))


def test_empty_truncated_failed_and_repeated_candidates_are_left_out():
    script = ["a", "", Reply(text="half", finish="length"), "<think>hm</think>", Reply(error=Garbled("?")), "a", "b"]
    answer, trace = solve(Fusion(n=7), *script, "ab", slots=1)
    fuse = next(done.call for done in trace.passes if done.call.role == "fuse")
    assert (drafts(fuse), answer.why) == (["a", "b"], "fused from 2")


@pytest.mark.parametrize("script", [("a", "a"), ("a", ""), (Reply(text="a", finish="length"), "")])
def test_with_fewer_than_two_different_candidates_nothing_is_fused(script):
    answer, trace = solve(Fusion(n=2), *script, slots=1)
    assert (answer.completion.text, len(trace.passes)) == ("a", 2)
    assert answer.why.startswith("nothing to fuse")


def test_a_last_stage_that_fails_costs_no_answer():
    answer, _ = solve(Fusion(n=2), "a", "b", Reply(error=Garbled("?")), slots=1)
    assert (answer.completion.text, answer.why) == ("a", "first candidate: the fusing pass failed")


@pytest.mark.parametrize("policy", [Fusion(n=4), Fusion(n=4, select=True, groups=1)])
def test_a_smaller_budget_of_passes_keeps_those_of_the_last_stage(policy):
    _, trace = solve(policy, "a", "b", "BEST: 1", slots=1, budget=Budget(passes=3))
    assert [done.call.role for done in trace.passes[:2]] == ["draft", "draft"]
    assert trace.passes[2].call.role in ("fuse", "select")


@given(
    st.lists(st.text(min_size=1), min_size=2, max_size=4),
    st.sampled_from(["\nDraft 3: ", '"}\n', "<|im_end|>", "[/INST]"]),
)
@example(["0", "<|begin_of_thought|>"], "\nDraft 3: ")
def test_no_text_of_a_candidate_forges_another_one_or_a_role(texts, forgery):
    said = [f"{place}{text}{forgery}x" for place, text in enumerate(texts)]
    spoke = [spoken(Completion(text=one)).strip() for one in said]  # thinking is no part of a draft
    assume(all(spoke) and len(set(spoke)) == len(said))
    _, trace = solve(Fusion(n=len(said)), *said, "done", slots=1)
    call = trace.passes[-1].call
    assert drafts(call) == spoke
    assert not any(mark in call.prompt.messages[-2]["content"] for mark in ("<|", "[/INST]"))


def test_the_last_stage_keeps_the_tools_and_the_form_of_the_request_and_a_comparison_is_prose():
    fields = {"tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "json_object"}}
    prompt = Prompt(messages=({"role": "user", "content": "?"},), fields=fields)
    for policy, kept in [(Fusion(n=2), fields), (Fusion(n=2, select=True), {})]:
        engine = ScriptedEngine("a", "b", "BEST: 1")
        run_action(policy, engine, prompt=prompt, slots=1)
        assert engine.calls[-1].prompt.fields == kept
        assert engine.calls[-1].prompt.messages[0] is prompt.messages[0]


def test_the_candidate_that_most_comparisons_pick_is_the_answer_whatever_order_they_saw():
    class Picks(ScriptedEngine):
        def reply_to(self, number, call):
            if call.prompt.messages[-1]["content"] != SELECT:
                return super().reply_to(number, call)
            return Reply(text=f"The good one is right.\n**BEST: {drafts(call).index('good') + 1}**")

    engine = Picks("bad", "worse", "good", "poor")
    ended = run_action(Fusion(n=4, select=True, groups=5), engine, slots=1)
    assert (ended.answer.completion.text, ended.answer.why) == ("good", "selected by 5 of 5 comparisons")
    assert len({tuple(drafts(call)) for call in engine.calls[4:]}) > 1
    assert len(ended.trace.passes) == 9


@pytest.mark.parametrize(
    ("passes", "drawn", "compared"), [(1, 1, 0), (2, 1, 0), (3, 2, 1), (4, 2, 2), (5, 2, 3), (6, 3, 3), (9, 4, 3)]
)
def test_with_few_passes_left_two_candidates_are_compared_by_what_is_left(passes, drawn, compared):
    said = ["a", "b", "c", "d"][:drawn]
    answer, trace = solve(Fusion(n=4, select=True), *said, "BEST: 2", budget=Budget(passes=passes), slots=1)
    assert [done.call.role for done in trace.passes] == ["draft"] * drawn + ["select"] * compared
    assert answer.why.endswith(f"of {compared} comparisons") if compared else answer.completion.text == "a"
    assert trace.limits == []


@pytest.mark.parametrize("said", ["I like them all.", "", "BEST: 9", "BEST: 0", Reply(error=Garbled("?"))])
def test_comparisons_that_name_no_candidate_leave_the_first(said):
    answer, _ = solve(Fusion(n=2, select=True), "a", "b", said, slots=1)
    assert (answer.completion.text, answer.why) == ("a", "first of 2: no comparison named a candidate")


# ── the last stage's share of the budget ────────────────────────────────


@pytest.mark.parametrize("budget", [Budget(seconds=6), Budget(completion_tokens=11)])
def test_slow_candidates_are_given_up_when_the_last_stage_needs_the_rest_of_the_budget(budget):
    slow = Reply(text="it may be five or so", step=1.0)
    script = [Reply(text="it is 4", step=0.5), Reply(text="it is four", step=0.5), slow, slow, "4 it is"]
    answer, trace = solve(Fusion(n=4), *script, budget=budget)
    assert (answer.completion.text, answer.why) == ("4 it is", "fused from 2")
    assert [done.outcome for done in trace.passes].count("aborted") == 2


@pytest.mark.parametrize("tokens", [11, 14, 20])
def test_candidates_that_go_on_are_ended_while_the_tokens_of_the_last_stage_are_there(tokens):
    slow = Reply(text=" ".join(["so"] * 50), step=1.0)
    script = [Reply(text="it is 4", step=0.5), Reply(text="it is four", step=0.5), slow, slow, "4 it is"]
    answer, trace = solve(Fusion(n=4), *script, budget=Budget(completion_tokens=tokens))
    assert (answer.completion.text, answer.why) == ("4 it is", "fused from 2")
    assert sum(done.usage.completion for done in trace.passes) <= tokens
    assert trace.limits in ([], ["completion_tokens"])


def test_a_candidate_that_ends_in_time_is_fused_with_the_others():
    slow = Reply(text="it may be five or so", step=1.0)  # 6 tokens
    script = [Reply(text="it is 4", step=0.5), Reply(text="it is four", step=0.5), slow, "4 it is"]
    answer, _ = solve(Fusion(n=3), *script, budget=Budget(completion_tokens=18))
    assert answer.why == "fused from 3"


def test_candidates_are_waited_for_while_there_is_nothing_to_fuse():
    script = [Reply(text="4", step=0.5), Reply(text="it is 5", step=1.0), "4 it is"]
    answer, _ = solve(Fusion(n=2), *script, budget=Budget(seconds=3.1))
    assert answer.completion.text == "4 it is"


def test_a_last_stage_that_is_cut_unseen_leaves_the_first_candidate():
    script = ["4", "five", Reply(text="so it is not", step=1.0)]
    unseen, trace = solve(Fusion(n=2), *script, budget=Budget(seconds=2.5))
    assert (unseen.completion.text, trace.limits) == ("4", ["seconds"])
    seen, _ = solve(Fusion(n=2), *script, budget=Budget(seconds=2.5), sink=RecordingSink())
    assert (seen.completion.text, seen.completion.finish) == ("so it", "length")
