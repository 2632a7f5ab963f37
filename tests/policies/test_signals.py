"""Signals of a completion, the key of a calibration, and cutting a pass that becomes unsure."""

from __future__ import annotations

import math
from contextlib import aclosing

import msgspec
import pytest

from tierwise.policies import Majority
from tierwise.policies.signals import SIGNALS, calibrated_signal, cut_below
from tierwise.spec.ask import Answer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk, Completion
from tierwise.stopping import Calibration
from tierwise.testing import Reply, ScriptedEngine, ask_user, solve

CURVE = ((0.0, 0.1), (1.0, 0.9))


def token(first, second=None, text="4"):
    top = [{"token": "", "logprob": math.log(one)} for one in (first, second) if one]
    return {"token": text, "logprob": math.log(first), "top_logprobs": top}


def calibration(**settings):
    return msgspec.convert({"auroc": 0.7, "curve": CURVE, "signal": "margin", **settings}, Calibration)


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_is_higher_for_the_surer_of_two_answers(name):
    sure, unsure = (
        Completion(text="4", reasoning="hm", logprobs=(token(high, low, "hm"), token(high, low)), thought=1)
        for high, low in ((0.99, 0.005), (0.5, 0.4))
    )
    assert SIGNALS[name].value(sure) > SIGNALS[name].value(unsure)
    assert SIGNALS[name].value(Completion(text="4")) is None


@pytest.mark.parametrize(
    ("settings", "completion", "value"),
    [
        ({"alternatives": 2}, Completion(text="4", logprobs=(token(0.8, 0.2),)), 0.6),
        ({"alternatives": 5}, Completion(text="4", logprobs=(token(0.8, 0.2),)), None),
        ({"alternatives": 1}, Completion(text="4", logprobs=(token(0.8, 0.2),)), 0.6),  # the sampled token besides
        ({"alternatives": 2, "thinking": False}, Completion(text="4", logprobs=(token(0.8, 0.2),)), 0.6),
        ({"alternatives": 2, "thinking": True}, Completion(text="4", logprobs=(token(0.8, 0.2),)), None),
    ],
)
def test_a_calibration_holds_for_its_alternatives_and_its_thinking_mode_only(settings, completion, value):
    found = calibrated_signal(calibration(**settings), completion)
    assert found == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(("listed", "cut"), [(4, False), (5, True), (6, True), (7, False)])
def test_a_pass_is_cut_by_the_number_of_alternatives_that_was_asked_for_or_the_sampled_token_besides(listed, cut):
    top = [{"logprob": -1.0}] * listed
    chunk = Chunk(delta={"content": "a"}, logprobs={"content": [{"token": "a", "logprob": -1.0, "top_logprobs": top}]})
    assert cut_below(2.0, 1, alternatives=5)(chunk) == ("cut" if cut else None)


def test_a_signal_that_needs_alternatives_says_so_when_a_file_is_read():
    with pytest.raises(ValueError, match="margin needs `alternatives`"):
        Majority(confidence=calibration())


def test_a_calibrated_vote_asks_for_the_alternatives_of_its_pool():
    engine = ScriptedEngine("4")
    solve(Majority(n=2, confidence=calibration(alternatives=5)), engine=engine)
    assert {call.prompt.fields["top_logprobs"] for call in engine.calls} == {5}


class Unsure(ScriptedEngine):
    """Its tokens become unsure after the third."""

    async def stream(self, call):
        number = 0
        async with aclosing(super().stream(call)) as chunks:
            async for chunk in chunks:
                number += 1
                top = [{"logprob": one} for one in ((-0.01, -5.0) if number <= 3 else (-0.7, -0.9))]
                logprobs = {"content": [{"token": "", "top_logprobs": top}]} if chunk.delta else None
                yield msgspec.structs.replace(chunk, logprobs=logprobs)


class Watching:
    """A policy that watches its only pass."""

    sets = frozenset()

    def __init__(self, threshold, window):
        self.threshold, self.window = threshold, window

    def most(self, at):
        return Budget(passes=1)

    def tiers(self):
        return ()

    async def solve(self, prompt, ask):
        done = await ask(Call(prompt=prompt), watch=cut_below(self.threshold, self.window))
        return Answer(completion=done.completion, chosen=done.number)


@pytest.mark.parametrize(
    ("threshold", "window", "words"),
    [(1.0, 2, 5), (1.0, 3, 6), (1.0, 64, 9), (0.1, 2, 9)],  # (2.5 + .8) / 2 = 1.65; .8; a window that never fills
)
def test_a_pass_is_cut_when_a_full_window_falls_below_its_threshold_and_counted_that_far(threshold, window, words):
    engine = Unsure(Reply(text="a b c d e f g h i"))
    answer, trace = solve(Watching(threshold, window), engine=engine, prompt=ask_user("?"))
    assert len(answer.completion.text.split()) == words
    assert trace.usage.completion == words == engine.produced.completion
    assert [done.outcome for done in trace.passes] == ["finished" if words == 9 else "cut"]
