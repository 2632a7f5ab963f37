"""Answers of a real vLLM that nobody watches and that take long: read a few times, counted as vLLM counts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from engines.asking import counted_reads
from tierwise.engines import http1
from tierwise.policies import Single
from tierwise.run import Action
from tierwise.testing.fakes import ask_user, new_trace, tier

if TYPE_CHECKING:
    from engines.vllm.fixtures import VllmAtWork
    from tierwise.ledger.records import Trace

pytestmark = [pytest.mark.vllm, pytest.mark.model]

TOKENS = 60


async def answered(vllm: VllmAtWork, *, tokens: int = TOKENS, seconds: float = 60.0) -> Trace:
    """One action of one pass, whose answer nobody watches."""
    trace = new_trace()
    prompt = ask_user("Tell me a story.", temperature=0, max_tokens=tokens, ignore_eos=True)
    await asyncio.wait_for(Action(tier(Single(), vllm.engine), trace).solve(prompt), seconds)
    return trace


def test_after_a_slow_answer_the_next_is_read_at_its_end_and_counted_as_vllm_counts(vllm, monkeypatch):
    monkeypatch.setattr(http1, "SLOW_SECONDS", 0.0)  # however fast this machine is
    reads = counted_reads(monkeypatch)

    async def main() -> None:
        (first,) = (await answered(vllm)).passes
        before = await vllm.metric("generation_tokens_total")
        reads.clear()
        began = time.monotonic()
        (second,) = (await answered(vllm)).passes
        seconds = time.monotonic() - began
        assert (second.usage.completion, second.usage.exact) == (TOKENS, True)
        assert second.completion.text == first.completion.text
        # It looks at what there is every GATHER_SECONDS; besides that, it is told of the head and of the end.
        assert len(reads) <= seconds / http1.GATHER_SECONDS + 4
        assert await vllm.metric("generation_tokens_total") - before == TOKENS

    vllm.run(main())


def test_an_answer_that_is_aborted_while_its_end_is_waited_for_ends_at_vllm_too(vllm, monkeypatch):
    monkeypatch.setattr(http1, "SLOW_SECONDS", 0.0)

    async def main() -> None:
        (first,) = (await answered(vllm)).passes
        before, trace = await vllm.metric("generation_tokens_total"), new_trace()
        prompt = ask_user("Tell me a story.", temperature=0, max_tokens=900, ignore_eos=True)
        asking = asyncio.create_task(Action(tier(Single(), vllm.engine), trace).solve(prompt))
        await asyncio.sleep(max(0.5, first.seconds / 2))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while await vllm.metric("num_requests_running"):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
        (done,) = trace.passes
        made = await vllm.metric("generation_tokens_total") - before
        assert done.outcome == "aborted"
        assert made / 2 < done.usage.completion <= made < 900  # it makes a few more before it knows

    vllm.run(main())
