"""Passes side by side on one model: each says what it would say alone, whatever comes and goes beside it."""

from __future__ import annotations

import random
import threading

import pytest

torch = pytest.importorskip("torch", reason="pip install 'tierwise[transformers]' to test the Transformers worker")
transformers = pytest.importorskip("transformers")

from families.tiny import TINIES, build  # noqa: E402
from tierwise.spec.errors import Overloaded  # noqa: E402
from tierwise.worker import caches  # noqa: E402
from tierwise.worker.sampling import SamplingParameters  # noqa: E402
from worker.running import running  # noqa: E402

JOINING = ("kimi-k2.6", "qwen3.5-397b-a17b", "gemma-4")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Loads a family's tiny checkpoint, in float32, once."""
    torch.set_num_threads(1)  # two that wait for each other take minutes on a busy machine
    known = {}

    def load(family):
        if family not in known:
            folder = build(family, tmp_path_factory.mktemp("tiny"))
            model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
            known[family] = model, transformers.AutoTokenizer.from_pretrained(folder)
        return known[family]

    return load


def prompts(count, seed=1):
    """Of lengths on both sides of the tiny models' windows."""
    draw = random.Random(seed)
    return [[draw.randrange(250) for _ in range(draw.randrange(1, 60))] for _ in range(count)]


@pytest.mark.parametrize("family", TINIES)
def test_a_pass_says_the_same_alone_and_among_others_that_come_and_go(tiny, family):
    asked = [(prompt, 4 + 5 * number) for number, prompt in enumerate(prompts(6))]
    told = SamplingParameters(temperature=0, logprobs=0)
    with running(*tiny(family), prefix_cache=False) as passes:
        alone = [passes.ask(prompt, tokens, told).wait() for prompt, tokens in asked]
        together = [passes.ask(prompt, tokens, told) for prompt, tokens in asked]
        late = passes.ask(*asked[-1], told)
        for one, other in zip([*alone, alone[-1]], [*together, late], strict=True):
            assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)
            assert other.tokens == one.tokens
        assert passes.loop.joins == (family in JOINING)
        counts = passes.loop.counts
        assert (counts.running, counts.waiting) == (0, 0)
        assert counts.completion_tokens == sum(tokens for _, tokens in asked) * 2 + asked[-1][1]


def test_the_cache_goes_by_the_name_that_the_model_takes():
    class Older(torch.nn.Module):  # and what comes with a checkpoint as code of its own
        def forward(self, input_ids, past_key_values=None, **kwargs): ...

    class Newer(torch.nn.Module):
        def forward(self, input_ids, cache=None, **kwargs): ...

    assert (caches.parameter(Older()), caches.parameter(Newer())) == ("past_key_values", "cache")


@pytest.mark.parametrize("family", TINIES)
def test_a_pass_says_what_generate_says(tiny, family):
    model, tokenizer = tiny(family)
    with running(model, tokenizer) as passes:
        for prompt in prompts(3, seed=2):
            tokens = torch.tensor([prompt])
            whole = model.generate(tokens, max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0)
            assert passes.ask(prompt, 10).tokens == whole[0, len(prompt) :].tolist()


@pytest.mark.parametrize("family", ["kimi-k2.6", "gemma-4"])
def test_a_known_beginning_is_not_computed_again_and_changes_nothing(tiny, family):
    prompt = prompts(1, seed=3)[0] * 3
    with running(*tiny(family)) as passes, running(*tiny(family), prefix_cache=False) as forgetful:
        first = passes.ask(prompt)
        again = (
            passes.ask(first.job.prompt, sampling=SamplingParameters(temperature=0, seed=2)) if first.wait() else first
        )
        longer = [*prompt, *first.tokens, 7, 8]
        after = passes.ask(longer)
        assert (first.last.cached, again.last.cached) == (0, len(prompt))
        assert after.last.cached == len(prompt) + 11  # the last token of an answer has not been through the model
        assert again.tokens == first.tokens
        assert after.tokens == forgetful.ask(longer).tokens
        assert forgetful.ask(longer).last.cached == 0


def test_where_a_state_has_taken_all_in_no_prefix_is_kept(tiny):
    with running(*tiny("qwen3.5-397b-a17b")) as passes:
        assert not passes.loop.keeps_prefixes
        assert [passes.ask([1, 2, 3, 4]).last.cached for _ in range(2)] == [0, 0]


def test_a_seed_gives_the_same_text_among_others(tiny):
    prompt, draws = prompts(1)[0], [SamplingParameters(seed=seed, top_p=0.95, top_k=200) for seed in range(6)]
    with running(*tiny("kimi-k2.6")) as passes:
        alone = [passes.ask(prompt, 20, draw).tokens for draw in draws]
        together = [passes.ask(prompt, 20, draw) for draw in draws]
        assert [one.tokens for one in together] == alone
        assert len(set(map(tuple, alone))) == len(draws)


def test_deterministic_rows_go_alone(tiny):
    asked = prompts(4)
    with running(*tiny("kimi-k2.6"), deterministic=True) as passes:
        before = [passes.ask(prompt).logprobs for prompt in asked]
        assert [one.logprobs for one in [passes.ask(prompt) for prompt in asked]] == before
        assert passes.loop.counts.stepped_rows == passes.loop.counts.steps > 0
        assert not passes.loop.keeps_prefixes


def test_an_aborted_pass_ends_with_its_step_and_the_others_go_on(tiny):
    with running(*tiny("kimi-k2.6")) as passes:
        begun = threading.Event()
        long, short = passes.ask([1, 2, 3], 400), passes.ask([4, 5, 6], 30)
        long.job.on_update = lambda update: (long.hear(update), begun.set())
        assert begun.wait(30)
        passes.loop.abort(long.job)
        assert len(short.tokens) == 30
        assert not long.is_over.is_set()
        assert len(long.updates) < 400
        assert passes.loop.counts.running == 0


def test_more_passes_than_may_wait_are_turned_away(tiny):
    with running(*tiny("deepseek-v4-pro"), slots=1, queue=2) as passes:
        held = [passes.ask([1, 2], 200) for _ in range(3)]
        with pytest.raises(Overloaded, match="passes wait for one of 1 slots"):
            passes.ask([1, 2], 200)
        for one in held:
            passes.loop.abort(one.job)
        assert len(passes.ask([1, 2], 2).tokens) == 2


def test_a_higher_priority_is_served_earlier(tiny):
    order = []
    with running(*tiny("kimi-k2.6"), slots=1) as passes:
        first = passes.ask([1, 2, 3], 60)
        waiting = [passes.ask([9, number], 2, priority=number) for number in range(3)]
        for number, one in enumerate(waiting):
            one.job.on_update = lambda update, number=number, one=one: (
                order.append(number) if update.finish else None,
                one.hear(update),
            )
        first.wait()
        for one in waiting:
            one.wait()
    assert order == [2, 1, 0]


def test_passes_with_other_numbers_of_experts_run_apart_and_are_recorded_alone(tiny):
    prompt = prompts(1)[0]
    with running(*tiny("kimi-k2.6")) as passes:
        alone = {k: passes.ask(prompt, 6, active_experts=k, is_recorded=True) for k in (1, 2, 4) if passes}
        alone = {k: (one.tokens, one.routing) for k, one in alone.items()}
        together = {k: passes.ask(prompt, 6, active_experts=k, is_recorded=True) for k in (1, 2, 4)}
        for k, one in together.items():
            assert (one.tokens, one.routing.counts) == (alone[k][0], alone[k][1].counts)
            assert (one.routing.active, one.routing.tokens) == (k, len(prompt) + 5)
            assert [sum(row) for row in one.routing.counts] == [k * (len(prompt) + 5)] * 2
        assert passes.ask(prompt, 6).routing is None


def test_a_model_that_fails_ends_its_pass_with_the_reason_and_serves_the_next(tiny):
    with running(*tiny("kimi-k2.6")) as passes:
        assert "IndexError" in passes.ask([1, 2, 10_000]).last.fault
        assert len(passes.ask([1, 2], 3).tokens) == 3
