"""How tokens are drawn: against counts, and against the definitions written out slowly."""

from __future__ import annotations

from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="pip install 'tierwise[transformers]' to test the Transformers worker")

from tierwise.worker.sampling import RandomSource, SamplingParameters, sample  # noqa: E402

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -20.0])
PROBABILITIES = LOGITS.softmax(-1).tolist()


def drawn(times=2000, **settings):
    """How often each token came, of so many draws in one batch of rows with seeds of their own."""
    sources = [RandomSource(SamplingParameters(seed=seed, **settings), []) for seed in range(times)]
    return Counter(one.token for one in sample(LOGITS.repeat(times, 1), sources))


def one(logits=LOGITS, prompt=(), said=(), **settings):
    sources = RandomSource(SamplingParameters(**settings), prompt)
    for token in said:
        sources.add(token)
    return sample(logits[None], [sources])[0]


def test_tokens_come_as_often_as_their_probabilities_say():
    counts = drawn()
    assert [counts[token] / 2000 for token in range(4)] == pytest.approx(PROBABILITIES[:4], abs=0.04)


def test_a_temperature_flattens_or_sharpens():
    warm = (LOGITS / 2).softmax(-1).tolist()
    assert drawn(temperature=2.0)[0] / 2000 == pytest.approx(warm[0], abs=0.04)
    assert drawn(temperature=0.05)[0] == 2000


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_k": -1}, {0, 1, 2, 3}),
        ({"top_p": 0.7}, {0, 1}),
        ({"top_p": 0.6}, {0}),
        ({"top_p": 0.0}, {0}),
        ({"min_p": 0.3}, {0, 1}),
        ({"top_k": 3, "top_p": 0.9, "min_p": 0.2}, {0, 1}),
        ({"temperature": 3.0, "top_k": 3}, {0, 1, 2}),
    ],
)
def test_what_is_left_out_never_comes_and_the_rest_does(settings, allowed):
    assert set(drawn(**settings)) == allowed


def test_a_nucleus_wider_than_the_first_guess_is_found_all_the_same():
    flat = torch.zeros(5000)
    sources = [RandomSource(SamplingParameters(seed=seed, top_p=0.999), []) for seed in range(50)]
    assert len({one.token for one in sample(flat.repeat(50, 1), sources)}) > 40


def test_a_row_draws_the_same_whoever_is_beside_it():
    alone = [sample(LOGITS[None], [RandomSource(SamplingParameters(seed=seed), [])])[0].token for seed in range(50)]
    among = sample(
        LOGITS.repeat(50, 1),
        [RandomSource(SamplingParameters(seed=seed, top_k=0 if seed % 2 else 4), []) for seed in range(50)],
    )
    assert [one.token for one in among][1::2] == alone[1::2]
    mixed = [RandomSource(SamplingParameters(seed=seed, temperature=seed % 2), []) for seed in range(50)]
    assert [one.token for one in sample(LOGITS.repeat(50, 1), mixed)][1::2] == alone[1::2]


def test_penalties_and_biases_move_scores():
    assert one(temperature=0).token == 0
    assert one(temperature=0, said=[0], presence_penalty=1.5).token == 1
    assert one(temperature=0, said=[0, 0, 0], frequency_penalty=0.5).token == 1
    assert one(temperature=0, said=[0], frequency_penalty=0.5).token == 0
    assert one(temperature=0, prompt=[0], repetition_penalty=3.0).token == 1
    assert (
        one(temperature=0, prompt=[0], presence_penalty=2.0).token == 0
    )  # the prompt's tokens count for one kind only
    assert one(temperature=0, logit_bias={4: 100.0}).token == 4


def test_log_probabilities_are_the_models_own_whatever_the_settings():
    told = one(temperature=0.0, logprobs=2, logit_bias={1: 50.0}, top_k=1)
    expected = LOGITS.log_softmax(-1).tolist()
    assert told.token == 1
    assert told.logprob == pytest.approx(expected[1])
    assert [token for token, _ in told.likeliest] == [0, 1]
    assert [value for _, value in told.likeliest] == pytest.approx(expected[:2])
    assert list(one(logprobs=0).likeliest) == []
    assert one().logprob is None


def test_a_forced_token_comes_whatever_the_numbers_say():
    sources = RandomSource(SamplingParameters(temperature=0, logprobs=0), [])
    sources.forced = 3
    chosen = sample(LOGITS[None], [sources])[0]
    assert (chosen.token, chosen.logprob) == (3, pytest.approx(LOGITS.log_softmax(-1)[3].item()))
