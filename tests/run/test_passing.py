"""Every pass is counted as far as it came, also one that ended before its server reported usage."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import msgspec

from tierwise.policies import Majority
from tierwise.run.passing import with_prompt_count
from tierwise.testing import Reply, ScriptedEngine, ask_user, solve


class CountsAtTheEnd(ScriptedEngine):
    """As most servers do in a stream."""

    async def _say(self, call, reply):
        async for chunk in super()._say(call, reply):
            yield chunk if chunk.finish else msgspec.structs.replace(chunk, usage=None)


def test_an_aborted_vote_has_the_prompt_tokens_that_the_server_counted_for_the_others():
    slow = Reply(text="5 " * 500)
    engine = CountsAtTheEnd("4", "4", "4", slow, slow)
    _, trace = solve(Majority(n=5), engine=engine)
    assert Counter(done.outcome for done in trace.passes) == {"finished": 3, "aborted": 2}
    assert (trace.usage.prompt, trace.usage.completion) == (engine.produced.prompt, engine.produced.completion)
    assert not trace.usage.exact


def test_a_vote_that_was_aborted_before_its_first_token_has_no_prompt_tokens():
    silent = Reply(text="5", step=60.0)
    engine = CountsAtTheEnd("4", "4", "4", silent, silent)
    _, trace = solve(Majority(n=5), engine=engine)
    assert trace.usage.prompt == engine.produced.prompt == 9


def test_a_pass_with_another_prompt_or_on_another_deployment_lends_no_count():
    _, trace = solve(Majority(n=2), "4", "4")
    counted = trace.passes[0]
    lost = replace(counted, usage=replace(counted.usage, prompt=0))
    elsewhere = replace(counted, deployment="other")
    different = replace(counted, call=replace(counted.call, prompt=ask_user("another?")))
    assert with_prompt_count(lost, [elsewhere, different]) == lost
    assert with_prompt_count(lost, [elsewhere, different, counted]) == counted
    assert with_prompt_count(counted, []) == counted
