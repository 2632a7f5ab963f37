"""The contracts of policies, verifiers and engines, and tests of this package."""

from __future__ import annotations

import asyncio

import pytest
from tierwise_longest import EchoEngine, Longest, Polite

from tierwise.testing import solve
from tierwise.testing.contracts import EngineContract, EngineUnderTest, PolicyContract, VerifierContract


class TestLongest(PolicyContract):
    policies = [Longest(), Longest(n=5)]
    actions = 50


class TestPolite(VerifierContract):
    verifiers = [Polite(), Polite(words=("cheers",))]
    accepts = [(Polite(), "Thank you."), (Polite(words=("cheers",)), "Cheers!")]
    rejects = [(Polite(), "No."), (Polite(words=("cheers",)), "Thank you.")]


class TestEcho(EngineContract):
    @pytest.fixture
    def subject(self):
        engine = EchoEngine(times=6)

        async def running():
            return engine.running

        skips = {"draws": "every draw is the same"}
        echo = EngineUnderTest(engine=engine, running=running, stop="twelve", skips=skips)
        return lambda test: asyncio.run(test(echo))


def test_the_longest_answer_wins():
    answer, _ = solve(Longest(), "4", "it is 4", "four")
    assert (answer.completion.text, answer.why) == ("it is 4", "longest of 3")
