"""A declared budget holds whatever the engine does: it ignores limits, says too much at once, is slow, or miscounts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.records import Trace
from tierwise.policies import BestOfN, Cascade, Fusion, Majority, Policy, Refine, Single
from tierwise.run import Action, BudgetTracker, Tier
from tierwise.run.budget import Allowance
from tierwise.spec.ask import OutOfBudget
from tierwise.spec.budget import BOUNDS, Budget, Left
from tierwise.spec.call import Call, Chunk, Pass, Usage
from tierwise.spec.clock import now
from tierwise.spec.errors import BudgetError, EngineError
from tierwise.spec.prompt import Prompt
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, tier
from tierwise.verifiers import Number, Verifier

PRICES = PriceBook({"fake": Price(prompt=2.0, completion=40.0, dollars_per_hour=3.6)})


@dataclass(frozen=True, kw_only=True)
class Said:
    """What an engine answers to one call."""

    thinking: int
    """Tokens of thinking, before the answer."""
    words: int
    """Tokens of the answer."""
    step: float
    """Seconds before each chunk."""
    at_once: int
    """Tokens of a chunk."""
    ignores_limits: bool
    counts: str
    """`exact` with every chunk, at the `end`, `never`, `stuck` at 1, `none` (always 0), or `wild` at the end."""


@dataclass(eq=False)
class Unruly(ScriptedEngine):
    """Answers each call as the script says, and knows what it has really produced.

    Attributes:
        of_call: tokens produced for each call, and how many of these were thinking.
    """

    script: list[Said]
    of_call: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def _say(self, call: Call, reply: Reply) -> AsyncGenerator[Chunk, None]:
        number = len(self.of_call)
        self.of_call.append((0, 0))
        said = self.script[number % len(self.script)]
        bound = None if said.ignores_limits else call.prompt.bound
        total = said.thinking + said.words
        whole = total if bound is None else min(total, bound)
        made = thought = 0
        while made < whole:
            await asyncio.sleep(said.step)
            is_thought = made < said.thinking
            until = min(whole, made + said.at_once, said.thinking if is_thought else whole)
            count, made = until - made, until
            thought += count * is_thought
            self.of_call[number] = (made, thought)
            text = "4 " * count
            delta = {"reasoning_content": text} if is_thought else {"content": text}
            logprobs = {"content": [{"token": "4 ", "logprob": -0.1}] * count}  # so that a chunk's tokens are seen
            yield Chunk(delta=delta, logprobs=logprobs, usage=self._count(said, made, thought))
        usage = {"never": None, "stuck": Usage(prompt=3, completion=1), "none": Usage(prompt=3)}.get(
            said.counts, Usage(prompt=3, completion=made, reasoning=thought)
        )
        if said.counts == "wild":
            usage = Usage(prompt=3, completion=max(0, made - 2), reasoning=0)
        yield Chunk(finish="length" if whole < total else "stop", usage=usage)

    def _count(self, said: Said, made: int, thought: int) -> Usage | None:
        return {
            "exact": Usage(prompt=3, completion=made, reasoning=thought),
            "stuck": Usage(prompt=3, completion=1),
            "none": Usage(prompt=3, completion=0),
        }.get(said.counts)


says = st.builds(
    Said,
    thinking=st.integers(0, 12),
    words=st.integers(0, 12),
    step=st.sampled_from([0.0, 0.01, 0.05, 1.0]),
    at_once=st.sampled_from([1, 1, 1, 3]),
    ignores_limits=st.booleans(),
    counts=st.sampled_from(["exact", "end", "never", "stuck", "none", "wild"]),
)
budgets = st.builds(
    Budget,
    passes=st.none() | st.integers(1, 6),
    completion_tokens=st.none() | st.integers(1, 30),
    reasoning_tokens=st.none() | st.integers(1, 15),
    seconds=st.none() | st.sampled_from([0.005, 0.03, 0.2, 1.5]),
    dollars=st.none() | st.sampled_from([1e-6, 1e-4, 5e-4, 1e-3]),
)
policies: st.SearchStrategy[Policy] = st.sampled_from(
    [
        Single(),
        Majority(n=4),
        BestOfN(n=3),
        Refine(),
        Fusion(n=3),
        Fusion(n=3, select=True, groups=2),
        Cascade(ladder=("cheap", "dear")),
    ]
)
fields = st.sampled_from([{}, {"max_tokens": 5}, {"max_tokens": 500}, {"max_completion_tokens": 2}])


def act(
    policy: Policy,
    engine: Unruly,
    own: Budget,
    asked: Budget,
    *,
    slots: int,
    choices: int,
    verifier: Verifier | None,
    sent: dict[str, Any],
) -> tuple[Trace, int, float]:
    """Run an action. Returns its trace, how many of its passes ran side by side at most, and its seconds."""

    async def main() -> tuple[Trace, int, float]:
        trace = new_trace()
        made = tier(policy, engine, slots=slots, budget=own)
        tiers = {
            "cheap": Tier(name="cheap", deployment=made.deployment, policy=Majority(n=2)),
            "dear": Tier(name="dear", deployment=made.deployment, policy=Majority(n=3)),
        }
        action = Action(made, trace, tiers=tiers, budget=asked, verifier=verifier, choices=choices, prices=PRICES)
        prompts = [
            Prompt(messages=({"role": "user", "content": "2+2?"},), fields=sent, seed=one) for one in range(choices)
        ]
        ended = await asyncio.gather(*(action.solve(one) for one in prompts), return_exceptions=True)
        for one in ended:
            if isinstance(one, BaseException):
                assert isinstance(one, BudgetError | EngineError), repr(one)
        assert engine.running == 0
        return trace, widest(trace.passes), now() - trace.began

    return frozen(main())


def widest(passes: list[Pass]) -> int:
    """How many passes ran at one moment at most."""
    return max(
        (sum(one.started <= done.started <= one.started + one.seconds for one in passes) for done in passes), default=0
    )


@settings(max_examples=300, deadline=None)
@given(
    policy=policies,
    script=st.lists(says, min_size=1, max_size=5),
    own=budgets,
    asked=budgets,
    slots=st.integers(1, 5),
    choices=st.integers(1, 2),
    verifier=st.sampled_from([None, Number(equals=4), Number(equals=5)]),
    sent=fields,
)
def test_no_action_spends_more_than_any_of_its_budgets_declares(
    policy, script, own, asked, slots, choices, verifier, sent
):
    engine = Unruly(script=script)
    trace, width, seconds = act(policy, engine, own, asked, slots=slots, choices=choices, verifier=verifier, sent=sent)
    declared = own.within(asked)
    chunk = max(one.at_once for one in script)
    # What is left over comes from engines that ignore limits, or say several tokens at once: one chunk of each pass.
    deaf = any(one.ignores_limits for one in script)
    behind = width * chunk if deaf else width * (chunk - 1)
    if any(one.counts == "stuck" for one in script):
        behind += len(engine.of_call) * (chunk - 1)  # of the first chunk, an engine's own count is believed
    produced, thought = (sum(counts) for counts in zip(*engine.of_call, strict=True)) if engine.of_call else (0, 0)
    if declared.passes is not None:
        assert len(engine.of_call) <= declared.passes
    if declared.completion_tokens is not None:
        assert produced <= declared.completion_tokens + behind
        assert chunk > 1 or deaf or produced <= declared.completion_tokens
    if declared.reasoning_tokens is not None:
        assert thought <= declared.reasoning_tokens + width * chunk + behind
    if declared.seconds is not None:
        assert seconds <= declared.seconds + 1e-9
    if declared.dollars is not None:
        spent = sum(PRICES.charge("fake", done.usage, done.busy_seconds) for done in trace.passes)
        a_pass = (3 * 2.0 + chunk * 40.0) / 1e6  # its prompt, and one chunk
        assert spent <= declared.dollars + width * a_pass + 2 * 3.6 / 3600 * 0.001
    assert set(trace.limits) <= {name for name in BOUNDS if getattr(declared, name) is not None}
    if not trace.limits and any(done.outcome == "cut" for done in trace.passes):
        said = str(trace.events)
        assert "went on after its limit" in said or "cut a candidate" in said, "it was cut, and nothing says why"


# ── bound by bound ──────────────────────────────────────────────────────


def spend(engine: ScriptedEngine, policy: Policy, budget: Budget, prices: PriceBook = PRICES) -> Trace:
    async def main() -> Trace:
        trace = new_trace()
        action = Action(tier(policy, engine, budget=budget), trace, prices=prices)
        with suppress(BudgetError):
            await action.solve(ask_user("2+2?"))
        return trace

    return frozen(main())


def test_passes_that_run_side_by_side_use_a_budget_of_tokens_up_to_the_last_one():
    engine = ScriptedEngine("a b c d e f g h")
    trace = spend(engine, Majority(n=3), Budget(completion_tokens=10))
    assert engine.produced.completion == trace.usage.completion == 10
    assert trace.limits == ["completion_tokens"]


def test_a_pass_that_is_not_streamed_reserves_its_whole_limit():
    tracker = BudgetTracker(Budget(completion_tokens=10), 0.0)
    with Allowance(tracker, 10, is_whole=True), pytest.raises(OutOfBudget):
        tracker.admit(0.0)
    tracker.admit(0.0)


def test_thinking_up_to_its_budget_may_be_followed_by_an_answer_and_more_of_it_is_cut():
    said = Said(thinking=4, words=3, step=0.01, at_once=1, ignores_limits=False, counts="end")
    for allowed, thought, outcome in ((4, 4, "finished"), (3, 4, "cut")):
        trace = spend(Unruly(script=[said]), Single(), Budget(reasoning_tokens=allowed))
        assert [(done.usage.reasoning, done.outcome) for done in trace.passes] == [(thought, outcome)]
        assert trace.limits == (["reasoning_tokens"] if outcome == "cut" else [])


def test_a_deployment_that_has_thought_starts_no_pass_after_that_unless_its_thinking_is_off():
    said = Said(thinking=9, words=3, step=0.01, at_once=1, ignores_limits=False, counts="end")
    assert len(spend(Unruly(script=[said]), Refine(), Budget(reasoning_tokens=2)).passes) == 1

    class Retries(Single, frozen=True):
        async def solve(self, prompt, ask):
            await ask(Call(prompt=prompt))
            return await super().solve(prompt.setting(thinking=False), ask)

    assert len(spend(Unruly(script=[said]), Retries(), Budget(reasoning_tokens=2)).passes) == 2


@pytest.mark.parametrize(("asked", "sent"), [(9, 4), (3, 3), (None, None)])
def test_a_limit_of_thinking_that_a_request_has_is_lowered_to_what_is_left(asked, sent):
    engine = ScriptedEngine("a")

    class Thinks(Single, frozen=True):
        async def solve(self, prompt, ask):
            return await super().solve(prompt.setting(thinking_tokens=asked), ask)

    trace = spend(engine, Thinks(), Budget(reasoning_tokens=4))
    assert engine.calls[0].prompt.fields["thinking_tokens"] == sent
    assert trace.passes[0].call.prompt.fields["thinking_tokens"] == asked, "the ledger keeps what was asked"


def test_a_silent_pass_is_cut_when_others_have_spent_the_dollars_and_ended():
    class Mixed(ScriptedEngine):
        def reply_to(self, number, call):
            return Reply(text=" ".join(["a"] * 10), step=0.1) if number == 0 else Reply(text="b", step=60.0)

    trace = spend(
        Mixed(), Majority(n=3), Budget(dollars=0.01), PriceBook({"fake": Price(completion=400.0, dollars_per_hour=3.6)})
    )
    silent = trace.passes[-1]
    assert trace.limits == ["dollars"]
    assert silent.outcome == "cut"
    # The first pass has cost 0.004 for its tokens, and a second costs 0.001.
    assert silent.started + silent.seconds == pytest.approx(6.0, abs=0.05)


def test_a_silent_engine_on_paid_hours_is_cut_when_the_dollars_are_used_up():
    trace = spend(ScriptedEngine("a b", step=60.0), Single(), Budget(dollars=0.01))  # ten seconds
    assert [done.outcome for done in trace.passes] == ["cut"]
    assert trace.passes[0].seconds == pytest.approx(10.0, abs=0.01)
    assert trace.limits == ["dollars"]


def test_what_a_server_says_that_it_charges_counts_instead_of_the_price_book():
    class Charging(ScriptedEngine):
        async def _say(self, call, reply):
            async for chunk in super()._say(call, reply):
                yield (
                    chunk
                    if chunk.usage is None
                    else msgspec.structs.replace(chunk, usage=replace(chunk.usage, cost=0.3))
                )

    trace = spend(Charging("4", "5", "6"), Refine(), Budget(dollars=0.5), PriceBook({}))
    assert (len(trace.passes), trace.limits) == (2, ["dollars"])


def test_the_limit_that_an_engine_is_sent_is_what_the_dollars_buy():
    engine = ScriptedEngine("a")
    spend(engine, Single(), Budget(dollars=0.0004))
    assert engine.calls[0].prompt.bound == 10


def test_what_is_left_has_a_field_for_every_bound():
    assert set(BOUNDS) == set(Left.__dataclass_fields__)
    one = Budget(passes=3, completion_tokens=9, reasoning_tokens=2, seconds=5, dollars=0.5)
    assert BudgetTracker(one, 10.0).left(10.0) == Left(**{name: getattr(one, name) for name in BOUNDS})
    assert one.describe() == "3 passes, 9 completion tokens, 2 reasoning tokens, 5 seconds, $0.5"
