"""Without a verifier a route climbs by signals: agreement, margins, entropies, lengths, and the schemas of tools."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.ledger.records import Decision
from tierwise.policies import BestOfN, Cascade, Majority, Policy, PolicyChoice, Refine, Single
from tierwise.policies.acceptance import CascadeSignal
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk
from tierwise.spec.errors import Broken, BudgetError, EngineError, Garbled, Refused
from tierwise.testing import Reply, ScriptedEngine, ask_user, solve
from tierwise.verifiers import Exact, Number, Regex

from .acting import climb

OPEN = "The sea is calm today and the boats go out early with their nets"
LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]},
    },
}


class Sure(ScriptedEngine):
    """Gives as many alternatives as the call asks for: every token has probability p, the next one the rest, and the
    others next to none.
    """

    def __init__(self, *replies: str | Reply, p: float, **settings: Any) -> None:
        super().__init__(*replies, **settings)
        self.p = p

    async def _say(self, call, reply):
        async for chunk in super()._say(call, reply):
            if chunk.delta.get("content") and (asked := call.prompt.fields.get("top_logprobs")):
                chances = (self.p, 1 - self.p, *[1e-9] * 18)
                top = [{"token": "", "logprob": math.log(one)} for one in chances[:asked]]
                token = {"token": chunk.delta["content"], "logprob": math.log(self.p), "top_logprobs": top}
                chunk = msgspec.structs.replace(chunk, logprobs={"content": [token]})  # noqa: PLW2901 - the same chunk, with more
            yield chunk


def calling(arguments: str, name: str = "look") -> Reply:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    return Reply(delta={"tool_calls": [call]}, finish="tool_calls")


def levels(trace):
    return [(one.signal, one.level) for one in trace.events if isinstance(one, Decision) and one.signal]


def reasons(trace):
    return [one.reason for one in trace.events if isinstance(one, Decision)]


# ── agreement ────────────────────────────────────────────────────────────


def test_an_answer_that_two_cheap_draws_give_is_accepted():
    strong = ScriptedEngine("5")
    answer, trace = climb(ScriptedEngine("4"), strong)
    assert (answer.completion.text, answer.tier, strong.calls) == ("4", "t0", [])
    assert levels(trace) == [("agreement", 1.0)]
    assert [one.after for one in trace.events if isinstance(one, Decision)][-1] == (0,)


def test_cheap_draws_that_disagree_escalate():
    answer, trace = climb(ScriptedEngine("4", "3"), ScriptedEngine("5"))
    assert (answer.completion.text, len(trace.passes)) == ("5", 3)
    assert "t0 not accepted: 1 of 2 draws agree, wanted 2" in reasons(trace)


def test_draws_of_cheaper_tiers_count_for_the_next_one():
    greedy = (ScriptedEngine("4"), Single(), {"temperature": 0})
    answer, trace = climb(greedy, ScriptedEngine("4"), ScriptedEngine("5"))
    assert (answer.tier, len(trace.passes)) == ("t1", 2)
    assert "t1 accepted: 2 of 2 draws agree, wanted 2" in reasons(trace)


def test_another_draw_is_not_taken_where_nothing_is_sampled():
    engine = ScriptedEngine("4")
    climb((engine, Single(), {"temperature": 0}), ScriptedEngine("5"))
    assert len(engine.calls) == 1


def test_copies_of_one_draw_are_no_agreement():
    """The same 40 words twice at this margin are not two draws."""
    words = "The answer is " + " ".join(["x"] * 40)
    answer, _ = climb(Sure(words, p=0.5), ScriptedEngine("5"), signals=[{"agreement": 2}, {"margin": 0.9}])
    assert answer.completion.text == "5"


def test_open_texts_are_not_compared():
    engine = ScriptedEngine(OPEN)
    climb(engine, ScriptedEngine("5"), signals=[{"agreement": 2}])
    assert len(engine.calls) == 1


# ── signals of one pass ──────────────────────────────────────────────────


@pytest.mark.parametrize(("p", "text"), [(0.99, OPEN), (0.6, "5")])
def test_open_text_is_accepted_by_its_margin(p, text):
    answer, trace = climb(Sure(OPEN, p=p), ScriptedEngine("5"))
    assert answer.completion.text == text
    assert levels(trace)[0] == ("margin", pytest.approx(2 * p - 1))


@pytest.mark.parametrize(
    ("signal", "accepts"),
    [
        ({"margin": 0.8}, True),
        ({"margin": 0.81}, False),
        ({"tail_confidence": 12.91}, True),  # −(ln .9 + ln .1 + 3 ln 1e-9) / 5 = 12.915
        ({"tail_confidence": 12.92}, False),
        ({"entropy": 0.33}, True),  # .9 ln(1/.9) + .1 ln 10 = .325
        ({"entropy": 0.32}, False),
        ({"length": 14}, True),
        ({"length": 13}, False),
    ],
)
def test_each_signal_is_compared_with_its_threshold(signal, accepts):
    answer, _ = climb(Sure(OPEN, p=0.9), ScriptedEngine("5"), signals=[signal])
    assert (answer.tier == "t0") == accepts


def test_a_sure_answer_costs_one_pass():
    answer, trace = climb(Sure("4", p=0.9), ScriptedEngine("5"))
    assert (answer.completion.text, len(trace.passes)) == ("4", 1)
    assert levels(trace) == [("span_probability", pytest.approx(0.9))]


def test_an_answer_that_is_not_sure_is_drawn_again_and_accepted_if_the_draws_agree():
    answer, trace = climb(Sure("4", p=0.4), ScriptedEngine("5"))
    assert (answer.completion.text, len(trace.passes)) == ("4", 2)
    assert levels(trace) == [("span_probability", pytest.approx(0.4)), ("agreement", 1.0)]


def test_draws_that_disagree_are_final_whatever_a_later_signal_says():
    signals = [{"agreement": 2}, {"margin": 0.5}]
    answer, trace = climb(Sure("4", "3", p=0.9), ScriptedEngine("5"), signals=signals)
    assert (answer.completion.text, levels(trace)) == ("5", [("agreement", 0.5)])


def test_the_least_likely_token_of_open_text_says_nothing():
    answer, _ = climb(Sure(OPEN, p=0.99), ScriptedEngine("5"), signals=[{"span_probability": 0.5}])
    assert answer.completion.text == "5"


@pytest.mark.parametrize("asked", [2, 4, 7, 20])
def test_a_signal_in_nats_is_not_read_with_the_alternatives_of_the_client(asked):
    prompt = ask_user("2+2?", logprobs=True, top_logprobs=asked)
    for signal in ({"tail_confidence": 0.0}, {"entropy": 9.0}):
        answer, trace = climb(Sure(OPEN, p=0.9), ScriptedEngine("5"), signals=[signal], prompt=prompt)
        assert (answer.completion.text, levels(trace)) == ("5", [("no_signal", 1.0)])


def test_a_signal_in_nats_is_read_where_the_server_lists_the_sampled_token_besides():
    prompt = ask_user("2+2?", logprobs=True, top_logprobs=6)
    for signal in ({"tail_confidence": 0.0}, {"entropy": 9.0}):
        answer, _ = climb(Sure(OPEN, p=0.9), ScriptedEngine("5"), signals=[signal], prompt=prompt)
        assert answer.completion.text == OPEN


def test_a_signal_that_an_answer_does_not_have_is_left_out():
    answer, trace = climb(ScriptedEngine(OPEN), ScriptedEngine("5"), signals=[{"margin": 0.9}, {"length": 20}])
    assert (answer.tier, levels(trace)) == ("t0", [("length", 14)])


def test_an_answer_without_any_signal_is_not_accepted():
    answer, trace = climb(ScriptedEngine(OPEN), ScriptedEngine("5"))
    assert answer.tier == "t1"
    assert "t0 not accepted: it has no signal" in reasons(trace)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(text="4", finish="length"), "it was truncated"),
        (Reply(text="4", finish="content_filter"), "it is a refusal"),
        (Reply(delta={"refusal": "no"}), "it is a refusal"),
        (Reply(), "it is empty"),
        (Reply(delta={"reasoning_content": "hm"}), "it is lost to thinking"),
        (Reply(text="<think>hm"), "it is lost to thinking"),
    ],
)
def test_an_answer_that_nobody_could_use_escalates_at_once(reply, why):
    engine = ScriptedEngine(reply)
    answer, trace = climb(engine, ScriptedEngine("5"))
    assert (answer.completion.text, len(engine.calls)) == ("5", 1)
    assert f"t0 not accepted: {why}" in reasons(trace)


def test_log_probabilities_are_asked_of_cheap_tiers_only_and_not_beside_a_verifier():
    cheap, strong = ScriptedEngine(OPEN), ScriptedEngine("5")
    climb(cheap, strong)
    assert cheap.calls[0].prompt.fields["top_logprobs"] == 5
    assert "logprobs" not in strong.calls[0].prompt.fields
    judged = ScriptedEngine(OPEN)
    climb(judged, ScriptedEngine("5"), verifier=Exact(equals="5"))
    assert "logprobs" not in judged.calls[0].prompt.fields


# ── tools ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reply", "tier_of_answer", "reason"),
    [
        (calling('{"days": 3}'), "t0", "t0 accepted: its tool calls match their schemas"),
        (calling('{"days": "3"}'), "t1", "t0 not accepted: arguments of look: $.days: '3' is not of type 'integer'"),
        (calling("{"), "t1", "t0 not accepted: arguments of look: not JSON"),
        (calling("{}", "fly"), "t1", "t0 not accepted: it calls 'fly', which is not offered"),
        (Reply(text=OPEN), "t0", "t0 accepted: nothing speaks against it"),
    ],
)
def test_with_tools_an_answer_climbs_for_a_reason_of_its_own_only(reply, tier_of_answer, reason):
    prompt = ask_user("weather?", tools=[LOOK])
    answer, trace = climb(ScriptedEngine(reply), ScriptedEngine("5"), prompt=prompt)
    assert answer.tier == tier_of_answer
    assert reason in reasons(trace)


def test_a_tool_call_is_not_drawn_again_for_its_agreement():
    engine = ScriptedEngine(calling('{"days": 3}'), calling('{"days": 4}'))
    answer, trace = climb(engine, ScriptedEngine("5"), prompt=ask_user("weather?", tools=[LOOK]))
    assert (answer.tier, len(trace.passes)) == ("t0", 1)


def test_tool_calls_of_a_vote_that_differ_in_their_arguments_escalate():
    votes = (ScriptedEngine(calling('{"days": 3}'), calling('{"days": 4}')), Majority(n=2))
    answer, trace = climb(votes, ScriptedEngine("5"), prompt=ask_user("weather?", tools=[LOOK]))
    assert answer.tier == "t1"
    assert "t0 not accepted: 1 of 2 draws agree, wanted 2" in reasons(trace)


def test_a_tool_call_at_temperature_0_without_log_probabilities_is_accepted_if_it_is_valid():
    greedy = (ScriptedEngine(calling('{"days": 3}')), Single(), {"temperature": 0})
    answer, trace = climb(greedy, ScriptedEngine("5"), prompt=ask_user("weather?", tools=[LOOK]))
    assert (answer.tier, len(trace.passes)) == ("t0", 1)
    assert "t0 accepted: its tool calls match their schemas" in reasons(trace)


# ── cut ──────────────────────────────────────────────────────────────────


class Doubting(ScriptedEngine):
    """Becomes unsure from the third word on; with 5 alternatives, or as many as are asked for."""

    async def _say(self, call, reply):
        said = 0
        async for chunk in super()._say(call, reply):
            if chunk.delta.get("content") and (k := call.prompt.fields.get("top_logprobs")):
                said += 1
                rest = 0.001 if said < 3 else 0.19
                top = [1 - (k - 1) * rest, *[rest] * (k - 1)]
                listed = [{"token": "", "logprob": math.log(one)} for one in top]
                token = {"token": chunk.delta["content"], "logprob": listed[0]["logprob"], "top_logprobs": listed}
                chunk = msgspec.structs.replace(chunk, logprobs={"content": [token]})  # noqa: PLW2901 - the same chunk, with more
            yield chunk


CUT = {"below": 3.0, "window": 2}


def test_a_cheap_pass_is_cut_once_it_is_unsure_and_the_next_tier_is_asked():
    cheap, strong = Doubting(OPEN), Doubting(OPEN)
    answer, trace = climb(cheap, strong, cut=CUT)
    assert answer.tier == "t1"
    assert [(done.outcome, done.usage.completion) for done in trace.passes] == [("cut", 4), ("finished", 14)]
    assert cheap.produced.completion == 4, "it was not written any further"
    assert ("cut", pytest.approx(1.614, abs=0.001)) in levels(trace)
    assert "t0 not accepted: it was truncated" in reasons(trace)


def test_passes_that_stay_sure_are_not_cut():
    answer, trace = climb(Doubting("one two"), ScriptedEngine("5"), cut=CUT, signals=[{"length": 9}])
    assert (answer.completion.text, trace.passes[0].outcome) == ("one two", "finished")


@pytest.mark.parametrize("policy", [Single(), Majority(n=3), BestOfN(n=3)])
@pytest.mark.parametrize("verifier", [None, Regex(pattern="."), Number(equals=5)])
def test_a_cut_pass_is_no_answer_whatever_a_verifier_says_of_it(policy, verifier):
    cheap = Doubting("The answer is 5 or 6 or 7 I think")
    answer, trace = climb((cheap, policy), ScriptedEngine("5"), cut=CUT, verifier=verifier)
    assert answer.tier == "t1"
    assert {done.outcome for done in trace.passes if done.tier == "t0"} == {"cut"}
    assert "t0 not accepted: it was truncated" in reasons(trace)


@pytest.mark.parametrize("policy", [Majority(n=3), BestOfN(n=3)])
@pytest.mark.parametrize("verifier", [None, Regex(pattern="."), Number(equals=5)])
def test_a_whole_candidate_is_the_answer_before_those_that_were_cut(policy, verifier):
    unsure = "The answer is 5 or 6 or 7 I think"
    cheap = Doubting(unsure, unsure, Reply(text="so 5", step=1.0))
    answer, trace = climb((cheap, policy), ScriptedEngine("6"), cut=CUT, verifier=verifier, signals=[{"length": 9}])
    assert (answer.tier, answer.completion.text) == ("t0", "so 5")
    assert [done.outcome for done in trace.passes] == ["cut", "cut", "finished"]


def test_votes_that_became_unsure_are_cut_and_do_not_count_but_the_first_is_whole():
    policy = msgspec.convert({"majority": {"n": 3, "cut": CUT}}, PolicyChoice).member
    assert policy.sets == {"seed", "logprobs", "top_logprobs"}
    engine = Doubting(OPEN, "a b c d e f", "1 2")
    answer, trace = solve(policy, engine=engine)
    assert answer.completion.text == OPEN
    assert sorted((done.outcome, done.usage.completion) for done in trace.passes) == [
        ("cut", 4),
        ("finished", 2),
        ("finished", 14),
    ]
    assert trace.usage.completion == engine.produced.completion == 20


@pytest.mark.parametrize("first", [Reply(error=Garbled("what?")), Reply(text="")])
def test_where_the_first_vote_ends_without_an_answer_none_is_cut_until_one_has_an_answer(first):
    policy = msgspec.convert({"majority": {"n": 4, "cut": CUT}}, PolicyChoice).member
    answer, trace = solve(policy, engine=Doubting(first, OPEN, "a b c d e f"), slots=1)
    assert answer.completion.text == OPEN
    assert [done.outcome for done in trace.passes if done.usage.completion] == ["finished", "cut"]


def test_nothing_is_cut_by_alternatives_for_which_the_threshold_does_not_hold():
    policy = msgspec.convert({"majority": {"n": 3, "cut": CUT}}, PolicyChoice).member
    _, trace = solve(policy, engine=Doubting(OPEN), prompt=ask_user("?", logprobs=True, top_logprobs=4))
    assert {done.outcome for done in trace.passes} <= {"finished", "aborted"}


@pytest.mark.parametrize("cut", [{}, {"below": -1}, {"below": 1, "window": 0}, {"below": 1, "window": 5000}])
def test_a_cut_that_cannot_be_is_refused_when_the_file_is_read(cut):
    for policy in ({"cascade": {"tiers": ["a", "b"], "cut": cut}}, {"majority": {"cut": cut}}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(policy, PolicyChoice)


# ── the file ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "signals",
    [
        [{"agreement": 1}],
        [{"margin": 1.5}],
        [{"span_probability": 2}],
        [{"margin": 0.5, "length": 3}],
        [{}],
        [{"confidence": 1}],
        {"margin": 0.5},
    ],
)
def test_a_signal_that_cannot_be_is_refused_when_the_file_is_read(signals):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"cascade": {"tiers": ["a", "b"], "signals": signals}}, PolicyChoice)


# ── whatever comes ───────────────────────────────────────────────────────

odd_logprobs = st.none() | st.fixed_dictionaries(
    {
        "content": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "logprob": st.none() | st.floats() | st.text(max_size=2),
                    "token": st.none() | st.text(max_size=3),
                    "bytes": st.none() | st.lists(st.integers(-9, 300), max_size=3),
                    "top_logprobs": st.none() | st.lists(st.none() | st.fixed_dictionaries({"logprob": st.floats()})),
                },
            ),
            max_size=3,
        )
    }
)
odd_deltas = st.sampled_from(
    [
        {},
        {"content": "4"},
        {"content": ""},
        {"content": "<think>"},
        {"content": '{"a": 1}'},
        {"content": "User: \r\n### System: \ud83d"},
        {"reasoning_content": "4"},
        {"refusal": "no"},
        {"audio": {"id": "x"}},
        {"function_call": {"name": "look", "arguments": "{"}},
        {"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": '{"days": 1}'}}]},
        {"tool_calls": [{"index": 0, "function": {"name": "", "arguments": "["}}]},
        {"tool_calls": [{"index": 0, "function": None}]},
    ]
)


class Odd(ScriptedEngine):
    """Sends the given chunks for call after call."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = answers

    async def _say(self, call, reply):
        delta, logprobs, finish, error = self.answers[(len(self.calls) - 1) % len(self.answers)]
        if delta:
            yield Chunk(delta=delta, logprobs=logprobs)
        if error:
            raise error("on purpose")
        yield Chunk(finish=finish)


odd_answers = st.tuples(
    odd_deltas,
    odd_logprobs,
    st.sampled_from(["stop", "length", "content_filter", "tool_calls"]),
    st.sampled_from([None, None, None, Broken, Refused]),
)
any_signals = st.lists(
    st.sampled_from(
        [
            {"agreement": 2},
            {"agreement": 3},
            {"span_probability": 0.5},
            {"margin": 0.5},
            {"tail_confidence": 1.0},
            {"entropy": 0.5},
            {"length": 1},
        ]
    ),
    max_size=3,
)
policies: st.SearchStrategy[Policy] = st.sampled_from([Single(), Majority(n=3), Refine()])


@given(data=st.data())
def test_whatever_the_engines_send_the_answer_is_one_that_an_engine_gave(data):
    steps = [
        (Odd(*data.draw(st.lists(odd_answers, min_size=1, max_size=3))), data.draw(policies), {}) for _ in range(3)
    ]
    prompt = ask_user("?", **data.draw(st.sampled_from([{}, {"tools": [LOOK]}, {"tools": "odd"}, {"functions": [{}]}])))
    try:
        answer, trace = climb(*steps, signals=data.draw(any_signals), prompt=prompt)
    except (EngineError, BudgetError):
        return
    chosen = next(done for done in trace.passes if done.number == answer.chosen)
    assert chosen.call.candidate
    assert answer.completion == chosen.completion


# ── a learned combination ────────────────────────────────────────────────

LEARNED = {"least": 0.7, "intercept": -4.0, "weights": [{"signal": "margin", "weight": 6.0}]}


@pytest.mark.parametrize(("p", "said"), [(0.99, OPEN), (0.6, "5")])
def test_a_learned_combination_accepts_from_its_probability_on(p, said):
    answer, trace = climb(Sure(OPEN, p=p), ScriptedEngine("5"), signals=[{"learned": LEARNED}])
    assert answer.completion.text == said
    odds = -4 + 6 * (2 * p - 1)
    assert levels(trace) == [("learned", pytest.approx(1 / (1 + math.exp(-odds)), abs=1e-6))]


def test_an_answer_without_one_of_its_signals_does_not_have_it():
    both = {**LEARNED, "weights": [*LEARNED["weights"], {"signal": "span_probability", "weight": 1.0}]}
    answer, trace = climb(Sure(OPEN, p=0.99), ScriptedEngine("5"), signals=[{"learned": both}])
    assert answer.completion.text == "5"
    assert levels(trace)[0][0] == "no_signal"


def test_only_a_combination_with_log_probabilities_asks_for_them():
    plain = {**LEARNED, "weights": [{"signal": "length", "weight": -1.0}]}
    asks = [msgspec.convert({"learned": one}, CascadeSignal).needs_logprobs for one in (LEARNED, plain)]
    assert asks == [True, False]


@pytest.mark.parametrize(
    "wrong",
    [
        {**LEARNED, "weights": []},
        {**LEARNED, "weights": LEARNED["weights"] * 2},
        {**LEARNED, "weights": [{"signal": "agreement", "weight": 1.0}]},
        {**LEARNED, "least": 1.1},
    ],
)
def test_a_combination_that_cannot_be_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"learned": wrong}, CascadeSignal)


# ── signals of each step ─────────────────────────────────────────────────


def test_each_step_has_its_own_signals():
    steps = [[{"length": 1}], [{"length": 3}]]
    answer, _ = climb(ScriptedEngine("one two"), ScriptedEngine("a b"), ScriptedEngine("5"), steps=steps)
    assert answer.completion.text == "a b"
    answer, _ = climb(ScriptedEngine("one two"), ScriptedEngine("a b c d"), ScriptedEngine("5"), steps=steps)
    assert answer.completion.text == "5"


def test_a_step_without_signals_is_skipped_where_nothing_verifies_it():
    first = ScriptedEngine("4")
    answer, _ = climb(first, ScriptedEngine("a b"), ScriptedEngine("5"), steps=[[], [{"length": 3}]])
    assert answer.completion.text == "a b"
    assert not first.calls


def test_only_a_step_with_agreement_draws_again():
    amounts = {"a": Budget(passes=1), "b": Budget(passes=1), "c": Budget(passes=1)}
    steps = ((CascadeSignal(length=3),), (CascadeSignal(agreement=3),))
    assert Cascade(ladder=("a", "b", "c"), steps=steps).most(amounts.__getitem__) == Budget(passes=5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": [[{"length": 3}], []]}, r"`steps` has 2 lists; give one for each tier but the last \(a\)"),
        ({"steps": [[{"length": 3}]], "signals": [{"length": 3}]}, "`signals` and `steps` are both given"),
    ],
)
def test_steps_that_do_not_fit_their_tiers_are_refused(settings, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"cascade": {"tiers": ["a", "b"], **settings}}, PolicyChoice)


def test_its_signals_are_part_of_what_it_sets():
    assert Cascade(ladder=("a",)).sets == {"logprobs", "top_logprobs"}
    assert Cascade(ladder=("a",), signals=(CascadeSignal(length=3),)).sets == frozenset()
