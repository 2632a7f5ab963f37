"""Test suites that every policy, verifier and engine must pass. They need pytest and hypothesis.

from tierwise.testing.contracts import PolicyContract

class TestFirst(PolicyContract):
policies = [First(n=2), First(n=5)]
"""

from __future__ import annotations

from tierwise.testing.contracts.engines import EngineContract, EngineUnderTest
from tierwise.testing.contracts.policies import PolicyContract
from tierwise.testing.contracts.verifiers import VerifierContract

__all__ = ["EngineContract", "EngineUnderTest", "PolicyContract", "VerifierContract"]
