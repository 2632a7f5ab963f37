"""What every policy keeps to, whatever its engine does: its budget, the client's fields, and clean books."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tierwise.policies import PolicyChoice, Single
from tierwise.spec.ask import Answer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.testing.contracts import PolicyContract

from .acting import named

NAMES = PolicyChoice.__struct_fields__
LACKS = {"search": "treequest"}
"""The package of an extra that a policy needs."""

for name in NAMES:  # a class for each, so that a failure names its policy
    is_here = name not in LACKS or find_spec(LACKS[name]) is not None
    kept = type(
        f"Test{name.title().replace('_', '')}", (PolicyContract,), {"policies": [named(name)] if is_here else []}
    )
    kept.pytestmark = [pytest.mark.skipif(not is_here, reason=f"{LACKS.get(name)} is not installed")]
    globals()[kept.__name__] = kept


class Greedy:
    """A policy that spends one pass more than it says."""

    sets = frozenset({"seed"})

    def most(self, at):
        return Budget(passes=1)

    def tiers(self):
        return ()

    async def solve(self, prompt, ask):
        await ask(Call(prompt=prompt))
        done = await ask(Call(prompt=prompt))
        return Answer(completion=done.completion, chosen=done.number)


class Forgetful(Single):
    """One that keeps a client's field back."""

    async def solve(self, prompt, ask):
        return await super().solve(prompt.without("temperature"), ask)


@pytest.mark.parametrize(
    ("policy", "broken"),
    [
        (Greedy(), "test_it_keeps_its_budget_and_its_trace_is_consistent_under_every_script"),
        (Greedy(), "test_it_holds_settings_and_no_state"),
        (Forgetful(), "test_every_field_of_the_client_reaches_the_engine_unless_it_declares_it_in_sets"),
    ],
)
def test_the_contract_catches_what_breaks_it(policy, broken):
    suite = type("Suite", (PolicyContract,), {"policies": [policy]})()
    with pytest.raises((AssertionError, KeyError, ExceptionGroup, pytest.fail.Exception)):
        getattr(suite, broken)()
