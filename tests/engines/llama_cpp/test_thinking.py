"""A real llama.cpp whose model thinks: its thinking is ended from outside, and a lost answer is recovered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.asking import in_time
from engines.llama_cpp.test_llama_cpp import THINKING
from tierwise.engines.engine import Deployment
from tierwise.engines.llama_cpp.capabilities import capabilities
from tierwise.engines.llama_cpp.settings import LlamaCpp
from tierwise.policies import Single, Thinking
from tierwise.run import Action, Tier
from tierwise.spec.capabilities import Capabilities
from tierwise.testing import RecordingSink, ask_user, new_trace

ABLE = capabilities(LlamaCpp(checkpoint="m"))


@pytest.fixture
def ask(new_llama_cpp, tmp_path):
    """Runs actions on SmolLM2 with a template that opens thinking: `(policy, capabilities, prompt, sink) …`."""

    def run(*asked):
        template = tmp_path / "thinking.jinja"
        template.write_text(THINKING)
        engine = new_llama_cpp(chat_template=str(template), slots=2)

        async def main():
            found = []
            try:
                await engine.start()
                for policy, able, prompt, sink in asked:
                    deployment = Deployment(name="small", engine=engine, slots=2, capabilities=able)
                    trace = new_trace()
                    tier = Tier(name="tier", deployment=deployment, policy=policy)
                    found.append((await Action(tier, trace).solve(prompt, sink), trace))
            finally:
                await engine.stop()
            return found

        return in_time(main(), 120)

    return run


def question(tokens: int, **fields):
    return ask_user("Explain why the sky is blue, step by step.", temperature=0, max_tokens=tokens, **fields)


@pytest.mark.model
def test_an_answer_that_is_lost_to_thinking_is_recovered_from_it_or_with_thinking_off(ask):
    sinks = [RecordingSink(), RecordingSink()]
    ways = ((Single(), able, question(12), sink) for able, sink in zip((ABLE, Capabilities()), sinks, strict=True))
    for sink, (answer, trace) in zip(sinks, ask(*ways), strict=True):
        lost, again = trace.passes
        assert (lost.outcome, lost.completion.text) == ("lost_to_thinking", "")
        assert (again.call.role, again.outcome, again.completion.reasoning) == ("recovery", "finished", "")
        assert answer.completion.text == again.completion.text == sink.text != ""
        assert answer.completion.reasoning == lost.completion.reasoning
        assert trace.usage.completion == lost.usage.completion + again.usage.completion
        assert trace.usage.exact


@pytest.mark.model
def test_thinking_is_ended_by_the_control_and_by_a_resent_pass(ask):
    by_hand = Thinking(tokens=8, trials=0)
    controls = replace(ABLE, thinking_end=False)  # so that its own cap is not asked for
    resends = Capabilities(continues=True)
    sinks = [RecordingSink(), RecordingSink()]
    (by_control, control), (by_prefix, resent) = ask(
        (by_hand, controls, question(64), sinks[0]), (by_hand, resends, question(64), sinks[1])
    )
    draft = control.passes[0]
    assert by_control.why.startswith("thinking ended at its cap")
    assert draft.outcome in ("finished", "lost_to_thinking")  # SmolLM2 was not trained to think, and may stop there
    assert len(draft.completion.reasoning.split()) <= 12
    first, last = resent.passes[0], resent.passes[-1]
    assert (first.outcome, last.call.role) == ("cut", "answer")
    assert by_prefix.completion.text == last.completion.text == sinks[1].text != ""
    assert last.usage.cached > first.usage.prompt / 2  # the thinking was not computed again from the start
    assert [chunk.finish for chunk in sinks[1].chunks if chunk.finish] == [last.completion.finish]


@pytest.mark.model
def test_trial_answers_run_beside_the_thinking(ask):
    policy = Thinking(every=16, agree=2, trials=3, trial_tokens=8)
    ((answer, trace),) = ask((policy, ABLE, question(80), RecordingSink()))
    trials = [done for done in trace.passes if done.call.role == "trial"]
    assert trials
    assert all(done.outcome in ("finished", "aborted") for done in trials)
    assert any(done.usage.cached for done in trials)
    assert answer.chosen is not None
