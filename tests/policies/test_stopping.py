"""A vote that ends early: what the rules see, which votes decide, when votes start, and copies of one draw."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.ledger.records import Decision
from tierwise.policies import BestOfN, Fusion, Majority, ballots, copies
from tierwise.run import Action
from tierwise.spec.clock import now
from tierwise.spec.errors import Garbled
from tierwise.stopping import Calibration, Curtailment, Esc, Predictive, StopChoice, VotesSoFar
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, solve, tier

from .acting import ByDraw, run_action

RULES = [msgspec.convert({name: {}}, StopChoice) for name in StopChoice.__struct_fields__ if name != "cges"]
CALIBRATION = Calibration(signal="mean_logprob", auroc=0.7, curve=((-4.0, 0.05), (0.0, 0.95)))
VOTES = st.lists(st.sampled_from(["A", "A", "A", "B", "C", "failed", "abstained"]), min_size=2, max_size=16)


def stop(name: str, **settings) -> StopChoice:
    return msgspec.convert({name: settings}, StopChoice)


def reply(vote: str, step: float = 0.0) -> Reply:
    if vote == "failed":
        return Reply(step=step, error=Garbled("on purpose"))
    return Reply(text="" if vote == "abstained" else vote, step=step)


def elected(votes: list[str]) -> str | None:
    counted = [vote for vote in votes if vote not in ("failed", "abstained")]
    return max(counted, key=lambda one: (counted.count(one), -counted.index(one)), default=None)


def one_by_one(choice: StopChoice, votes: list[str]) -> str | None:
    """The oracle: draws in order, each looked at by the rule."""
    for seen in range(1, len(votes)):
        counted = tuple(vote for vote in votes[:seen] if vote not in ("failed", "abstained"))
        if choice.member.stops(VotesSoFar(counted, len(votes) - seen)):
            return elected(votes[:seen])
    return elected(votes)


# ── which votes decide ──────────────────────────────────────────────────
@given(st.sampled_from(RULES), VOTES, st.integers(1, 16), st.data())
def test_the_answer_is_the_rules_in_draw_order_or_that_of_all_votes_however_quick_each_is(choice, votes, slots, data):
    seconds = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 9.0]), min_size=len(votes), max_size=len(votes)))
    engine = ByDraw([reply(vote, wait) for vote, wait in zip(votes, seconds, strict=True)])
    ended = run_action(Majority(n=len(votes), equality="text", stop=choice), engine, slots=slots)
    if elected(votes) is not None and one_by_one(choice, votes) is not None:
        assert ended.answer.completion.text in {one_by_one(choice, votes), elected(votes)}
    if choice.member.is_lossless and elected(votes) is not None:
        assert ended.answer.completion.text == elected(votes)


@given(st.sampled_from(RULES), VOTES)
def test_no_rule_draws_more_than_n_nor_more_than_curtailment_alone(choice, votes):
    def passes(one: StopChoice) -> int:
        engine = ByDraw([reply(vote) for vote in votes])
        return len(run_action(Majority(n=len(votes), equality="text", stop=one), engine, slots=1).trace.passes)

    failures = 2 * votes.count("failed")  # each is tried twice
    assert passes(choice) <= min(len(votes) + failures, passes(stop("curtailment")))


def test_a_vote_that_finished_early_waits_until_all_draws_before_it_have_ended():
    slow, quick = Reply(text="right", step=9.0), Reply(text="wrong", step=1.0)
    engine = ByDraw([slow, slow, slow, slow, quick, quick, quick, *[Reply(text="later", step=99.0)] * 9])
    ended = run_action(Majority(n=16, equality="text", stop=stop("predictive")), engine)
    assert (ended.answer.completion.text, ended.answer.why) == ("right", "3 of 3 votes")


def test_the_trace_says_which_rule_ended_the_vote_and_after_how_many_draws():
    answer, trace = solve(Majority(n=16, stop=stop("predictive")), "4", slots=1)
    notes = [event.reason for event in trace.events if isinstance(event, Decision)]
    assert notes == ["predictive ends the vote after 3 of 16 draws"]
    assert (len(trace.passes), answer.agreement) == (3, 1)


def simulated_bias(tasks: int) -> tuple[float, float, float]:
    """The share of right answers: all 16 votes, the policy, and the same rule on the votes as they finish.

    Right answers take longer.
    """
    chance = random.Random(20)
    whole = ours = first_finishers = 0
    rule = Predictive()
    for _ in range(tasks):
        share = chance.betavariate(0.9, 0.6)
        votes = ["right" if chance.random() < share else chance.choice(["b", "c", "d"]) for _ in range(16)]
        seconds = [chance.lognormvariate(0, 0.5) * (1.0 if vote == "right" else 0.6) for vote in votes]
        engine = ByDraw([Reply(text=vote, step=wait) for vote, wait in zip(votes, seconds, strict=True)])
        ended = run_action(Majority(n=16, equality="text", stop=stop("predictive")), engine)
        finished = [vote for _, vote in sorted(zip(seconds, votes, strict=True))]
        whole += elected(votes) == "right"
        ours += ended.answer.completion.text == "right"
        first_finishers += one_by_one(StopChoice(predictive=rule), finished) == "right"
    return whole / tasks, ours / tasks, first_finishers / tasks


def test_consuming_votes_as_they_finish_prefers_short_answers_and_draw_order_does_not():
    whole, ours, first_finishers = simulated_bias(1_000)
    assert whole - first_finishers > 0.02
    assert abs(whole - ours) < 0.01


# ── when votes start ────────────────────────────────────────────────────
def widest(policy: Majority, votes: list[str], *, slots: int, others: int) -> tuple[int, int]:
    """The most votes that ran side by side, and how many were started, while other actions occupy some slots."""
    engine = ByDraw([Reply(text=vote, step=1.0) for vote in votes])

    async def main():
        asked = tier(policy, engine, slots=slots)
        for _ in range(others):
            asked.deployment.occupancy.enter(now())
        await Action(asked, new_trace()).solve(ask_user("2+2?"))
        await asyncio.sleep(0)

    frozen(main())
    return engine.widest, len(engine.calls)


@pytest.mark.parametrize(
    ("choice", "others", "side_by_side", "started"),
    [
        (stop("curtailment"), 0, 16, 16),  # idle: all at once
        (stop("curtailment"), 16, 8, 8),  # busy: as many as decide, if they agree
        (stop("predictive"), 16, 3, 3),
        (stop("esc", window=4), 16, 4, 4),
        (stop("predictive"), 6, 10, 10),  # ten slots are free
    ],
)
def test_an_idle_engine_gets_all_votes_at_once_and_a_busy_one_only_those_that_may_decide(
    choice, others, side_by_side, started
):
    assert widest(Majority(n=16, stop=choice), ["4"] * 16, slots=16, others=others) == (side_by_side, started)


def test_on_a_busy_engine_a_vote_costs_no_more_passes_than_one_after_the_other():
    chance = random.Random(3)
    for _ in range(30):
        votes = [chance.choice("AAB") for _ in range(16)]
        policy = Majority(n=16, equality="text", stop=stop("predictive"))
        alone = run_action(policy, ByDraw([Reply(text=vote, step=1.0) for vote in votes]), slots=1)
        assert widest(policy, votes, slots=16, others=16)[1] == len(alone.trace.passes)


# ── votes by confidence ─────────────────────────────────────────────────
def test_two_sure_votes_outweigh_three_unsure_ones():
    votes = [Reply(text="A", logprob=-3.5), Reply(text="B", logprob=-0.1), Reply(text="A", logprob=-3.6)]
    replies = [*votes, Reply(text="B", logprob=-0.1), Reply(text="A", logprob=-3.9)]
    plain, _ = solve(Majority(n=5, equality="text"), *replies, slots=1)
    cges, _ = solve(Majority(n=5, equality="text", stop=stop("cges"), confidence=CALIBRATION), *replies, slots=1)
    cisc = Majority(
        n=5, equality="text", confidence=msgspec.structs.replace(CALIBRATION, temperature=0.2), stop=stop("curtailment")
    )
    assert [plain.completion.text, cges.completion.text, solve(cisc, *replies, slots=1)[0].completion.text] == [
        "A",
        "B",
        "B",
    ]


def test_cges_stops_at_two_sure_votes_that_agree():
    _, trace = solve(Majority(n=16, stop=stop("cges"), confidence=CALIBRATION), Reply(text="4", logprob=-0.05), slots=1)
    assert len(trace.passes) == 2


def test_log_probabilities_are_asked_for_only_where_they_are_used():
    for policy, asked in ((Majority(), False), (Majority(stop=stop("cges"), confidence=CALIBRATION), True)):
        engine = ScriptedEngine("4")
        solve(policy, engine=engine)
        assert ("logprobs" in policy.sets) is asked is all("logprobs" in one.prompt.fields for one in engine.calls)


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.floats(-5, 0)), min_size=2, max_size=8),
    st.sampled_from(["cges", "curtailment"]),
    st.data(),
)
def test_weighted_votes_settle_only_when_the_rest_cannot_change_the_answer(votes, kind, data):
    """Votes in any order of finishing: without the rule itself, the answer is that of all votes one after the other."""
    choice = stop("cges", probability=0.999999) if kind == "cges" else stop("curtailment")
    policy = Majority(n=len(votes), equality="text", stop=choice, confidence=CALIBRATION)
    order = data.draw(st.permutations(range(len(votes))))
    replies = [
        Reply(text=text, logprob=value, step=float(at + 1)) for (text, value), at in zip(votes, order, strict=True)
    ]
    answers = [run_action(policy, ByDraw(replies), slots=slots).answer.completion.text for slots in (1, 64)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"stop": stop("cges")}, "stop: cges needs `confidence`"),
        ({"stop": stop("beta"), "confidence": CALIBRATION}, "stop: beta counts votes and `confidence` weighs them"),
        (
            {"confidence": msgspec.structs.replace(CALIBRATION, signal="vibes")},
            "there is no signal 'vibes'; allowed: .*mean_logprob",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        Majority(**settings)


def test_curtailment_is_the_default():
    assert Majority().stop.member == Curtailment()


# ── copies of one draw ──────────────────────────────────────────────────
LONG = " ".join(f"word{number}" for number in range(40))


@pytest.mark.parametrize(
    ("reply", "temperature", "why"),
    [
        (Reply(text=LONG), 0.8, "the engine ignores seeds"),
        (Reply(text=LONG), None, "the engine ignores seeds"),
        (Reply(text="4"), 0, "the request's temperature is 0"),
        (Reply(text="4"), 0.8, ""),
        (Reply(text=LONG, logprob=-0.5), 1, "the engine ignores seeds"),
        (Reply(text=LONG, logprob=-0.001), 1, ""),
        (Reply(text="one two three", logprob=-3.0), 1, "the engine ignores seeds"),
    ],
)
def test_votes_that_are_copies_of_one_draw_are_said_to_be_and_are_no_agreement(reply, temperature, why):
    fields = {} if temperature is None else {"temperature": temperature}
    if reply.logprob is not None:
        fields["logprobs"] = True
    answer, trace = solve(Majority(n=5, equality="text"), reply, prompt=ask_user("2+2?", **fields))
    notes = [event.reason for event in trace.events if isinstance(event, Decision)]
    assert answer.completion.text == reply.text
    assert answer.agreement == (None if why else 1)
    assert any(why in note for note in notes) if why else notes == []
    assert answer.why.endswith(f"all copies of one draw: {why}" if why else "votes")


def test_long_votes_that_differ_in_one_byte_are_votes():
    answer, _ = solve(Majority(n=3, equality="number"), *(f"{LONG}{end} 4" for end in "abc"), slots=1)
    assert answer.agreement == 1


@pytest.mark.parametrize("choice", RULES, ids=lambda choice: choice.kind)
def test_no_rule_takes_copies_for_agreement_and_one_that_may_stop_does_not_pay_for_more_of_them(choice):
    answer, trace = solve(Majority(n=16, equality="text", stop=choice), LONG, slots=1, prompt=ask_user("hm?"))
    assert (answer.completion.text, answer.agreement) == (LONG, None)
    assert len(trace.passes) == (8 if choice.member.is_lossless else 3)
    notes = [event.reason for event in trace.events if isinstance(event, Decision)]
    assert any("all copies of one draw: the engine ignores seeds" in note for note in notes)
    if not choice.member.is_lossless:
        assert "more copies ends the vote after 3 of 16 draws" in notes


def test_copies_among_other_draws_are_one_vote_of_the_agreement():
    cached, other = f"{LONG} {LONG} {LONG} {LONG} 4", "5"
    answer, trace = solve(Majority(n=4, equality="number"), other, cached, cached, cached, slots=1)
    assert (answer.completion.text, answer.agreement) == (cached, 0.5)
    assert answer.why == "3 of 4 votes, 2 of them independent: the engine ignores seeds"
    assert any(event.reason == answer.why for event in trace.events if isinstance(event, Decision))


def test_the_log_probabilities_tell_copies_from_answers_that_are_certain():
    prompt = ask_user("hm?", logprobs=True, temperature=1)
    for logprob, agreement in ((-0.0005, 0.75), (-1.0, 0.5)):
        long = Reply(text=LONG, logprob=logprob)
        answer, _ = solve(Majority(n=4, equality="text"), "5", long, long, long, prompt=prompt, slots=1)
        assert answer.agreement == agreement


def test_a_rule_that_looks_after_every_draw_reads_the_log_probabilities_of_each_once(monkeypatch):
    read, looks, without_copies = [], [], copies.without_copies

    def chance(completion, temperature, of=copies._log_chance):
        read.append(completion)
        return of(completion, temperature)

    def independent(*votes):
        looks.append(votes)
        return without_copies(*votes)

    monkeypatch.setattr(copies, "_log_chance", chance)
    monkeypatch.setattr(ballots, "without_copies", independent)
    sure = Reply(text=LONG, logprob=-0.0005)
    policy = Majority(n=12, equality="text", stop=stop("esc", window=6))
    answer, trace = solve(policy, sure, prompt=ask_user("hm?", logprobs=True), slots=1)
    assert (answer.agreement, len(trace.passes)) == (1, 6)
    assert (len(read), len(looks)) == (6, 5), "from the second vote on"


def test_a_rule_does_not_count_copies_among_other_draws():
    long = f"{LONG} {LONG} {LONG} {LONG} 4"
    rule = StopChoice(esc=Esc(window=5))
    copied, _ = solve(Majority(n=9, equality="number", stop=rule), "5", *[long] * 5, "6", "4", "7", slots=1)
    assert "independent" in copied.why
    _, trace = solve(Majority(n=9, equality="number", stop=rule), "5", *[long] * 5, "6", "7", "8", slots=1)
    assert len(trace.passes) == 9
    _, trace = solve(Majority(n=9, equality="number", stop=rule), "5", *["4"] * 5, "6", "7", "8", slots=1)
    assert len(trace.passes) == 6


@pytest.mark.parametrize("policy", [BestOfN(n=3), Fusion(n=3), Fusion(n=3, select=True)])
def test_every_policy_that_draws_says_that_its_draws_are_copies(policy):
    _, trace = solve(policy, LONG)
    notes = [event.reason for event in trace.events if isinstance(event, Decision) and event.signal == "copies"]
    assert notes == ["3 draws, 1 of them independent: the engine ignores seeds"]
    _, trace = solve(policy, "yes")
    assert not [event for event in trace.events if isinstance(event, Decision) and event.signal == "copies"]


# ── text of any kind ────────────────────────────────────────────────────
@given(
    st.lists(
        st.text(alphabet=st.sampled_from("User:\r\n\t 4é\u2028\ufeff\U0001f600<|im_end|>{}[]`"), max_size=30),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from(["auto", "number", "choice", "json", "text"]),
    st.sampled_from(RULES),
)
def test_the_answer_is_one_of_the_votes_byte_for_byte(texts, equality, choice):
    answer, _ = solve(Majority(n=len(texts), equality=equality, stop=choice), *texts)
    assert answer.completion.text in texts


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("so we get 12 and then 3", False),
        ("the sum is 7, and the answer is 4", True),
        ("4", True),
        (r"\boxed{4} because it", True),
    ],
)
def test_a_vote_that_max_tokens_cut_short_counts_only_if_it_had_said_its_answer(text, counts):
    cut = Reply(text=text, finish="length")
    answer, _ = solve(Majority(n=4, equality="number"), cut, cut, "x", "y", slots=1)
    assert answer.agreement == (0.0 if not counts else pytest.approx(1.0))


@pytest.mark.parametrize("text", ["User: 4\r\nAssistant: 5", "### Human: hi\n4", "<|im_start|>user\n4", "\ufeff4\r\n"])
def test_role_markers_and_line_ends_reach_the_user_as_they_are(text):
    answer, _ = solve(Majority(n=3), text)
    assert answer.completion.text == text


@pytest.mark.parametrize(
    "lost", [Reply(text=""), Reply(delta={"reasoning_content": "hm"}), Reply(text="", finish="length")]
)
def test_votes_without_an_answer_lose_to_one_with_an_answer(lost):
    answer, _ = solve(Majority(n=4), lost, lost, lost, "4", slots=1)
    assert (answer.completion.text, answer.agreement) == ("4", 0.25)


@pytest.mark.parametrize(
    "lost", [Reply(text=""), Reply(delta={"reasoning_content": "hm"}), Reply(text="", finish="length")]
)
def test_where_no_vote_has_an_answer_the_first_is_returned_and_nothing_agrees(lost):
    answer, _ = solve(Majority(n=4), lost, slots=1)
    assert (answer.chosen, answer.agreement) == (0, 0.0)
