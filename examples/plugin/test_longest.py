"""What Tierwise asks of every policy and verifier, and what is this package's own."""

from __future__ import annotations

from tierwise_longest import Longest, Polite

from tierwise.testing import solve
from tierwise.testing.contracts import PolicyContract, VerifierContract


class TestLongest(PolicyContract):
    policies = [Longest(), Longest(n=5)]
    actions = 50


class TestPolite(VerifierContract):
    verifiers = [Polite(), Polite(words=("cheers",))]
    accepts = [(Polite(), "Thank you."), (Polite(words=("cheers",)), "Cheers!")]
    rejects = [(Polite(), "No."), (Polite(words=("cheers",)), "Thank you.")]


def test_the_longest_answer_wins():
    answer, _ = solve(Longest(), "4", "it is 4", "four")
    assert (answer.completion.text, answer.why) == ("it is 4", "longest of 3")
