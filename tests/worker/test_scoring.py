"""Log-probabilities of a prompt: those of the model itself, in vLLM's form, whatever runs beside it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="pip install 'tierwise[transformers]' to test the Transformers worker")
transformers = pytest.importorskip("transformers")

from families.tiny import build, tokenizer  # noqa: E402
from tierwise.spec.errors import SpecError  # noqa: E402
from tierwise.worker.chat import Chat, CompletionEvents, WorkerChatRequest  # noqa: E402
from tierwise.worker.scoring import prompt_logprobs_field, scores  # noqa: E402
from worker.running import running  # noqa: E402

PROMPT = [(7 * place) % 250 for place in range(600)]  # longer than the piece that goes through the model at once


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    folder = build("kimi-k2.6", tmp_path_factory.mktemp("tiny"))
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def expected(model, prompt):
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    return [float(logits[place, token]) for place, token in enumerate(prompt[1:])]


def test_every_token_of_a_prompt_but_the_first_is_told_as_the_model_thinks_of_it(model):
    with running(model, tokenizer()) as passes:
        passes.ask(PROMPT, 3).wait()  # remembered, and of no use to one who wants every token's figures
        among = [passes.ask(PROMPT[:40], 20), passes.ask(PROMPT, 1, prompt_logprobs=0), passes.ask(PROMPT[:9], 20)]
        found = among[1].last.scores
        assert (among[1].last.cached, among[0].last.scores) == (0, None)
    assert [[token] for token in PROMPT[1:]] == [list(one) for one in found]
    told = [logprob for one in found for logprob, _ in one.values()]
    assert told == pytest.approx(expected(model, PROMPT), abs=1e-4)


def test_fewer_experts_think_otherwise_of_a_prompt(model):
    with running(model, tokenizer()) as passes:
        one, other = (passes.ask(PROMPT[:50], 1, prompt_logprobs=0, active_experts=active) for active in (2, 1))
        assert [*one.last.scores] != [*other.last.scores]


def test_ranks_count_from_one_and_the_likeliest_stand_beside_the_token():
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    (one,) = scores(logits, [2], 1)
    assert one == {2: (pytest.approx(-1.3863, abs=1e-4), 2), 0: (pytest.approx(-0.6931, abs=1e-4), 1)}
    first, second = prompt_logprobs_field([one], tokenizer())
    assert first is None
    assert list(second) == [2, 0]
    assert set(second[0]) == {"logprob", "rank", "decoded_token"}


def test_an_answer_in_one_piece_carries_them_and_a_stream_is_refused(model):
    chat = Chat(
        tokenizer("{{ messages[0]['content'] }}"),
        context=100,
        thinks=False,
        active=lambda _: "",
        is_sampled=lambda: False,
    )
    asked = WorkerChatRequest(messages=[{"role": "user", "content": "Hello"}], prompt_logprobs=0, max_tokens=1)
    with running(model, chat.tokenizer) as passes:
        job = chat.job(asked, print)
        heard = passes.ask(job.prompt, 1, prompt_logprobs=job.prompt_logprobs).wait()
        told = CompletionEvents(chat, asked, "m").whole(heard.updates)["prompt_logprobs"]
    assert [place and [one["decoded_token"] for one in place.values()] for place in told] == [
        None,
        *[[c] for c in "ello"],
    ]
    with pytest.raises(SpecError, match="prompt_logprobs: not available in streams; remove `stream`"):
        chat.job(WorkerChatRequest(messages=asked.messages, prompt_logprobs=0, stream=True), print)
