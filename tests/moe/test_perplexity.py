"""Perplexity through an engine: what is read, and how sure the figures are."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import msgspec
import pytest

from fake_runs import task
from tierwise.moe.perplexity import WINDOW, Perplexity, PromptText, TextLoss, perplexities, prompts, read, windows
from tierwise.policies import Single
from tierwise.spec.errors import Broken, Garbled, Refused, SpecError
from tierwise.testing import ScriptedEngine, tier
from tierwise.workloads.files import Workload

TEXTS = [PromptText(name=name, cluster=name, messages=[{"role": "user", "content": name}]) for name in ("one", "three")]


class Reader(ScriptedEngine):
    """Finds every letter equally likely, one in as many as it has active experts."""

    def __init__(self, body: bytes | None = None, fault: Exception | None = None) -> None:
        super().__init__("yes")
        self.asked: list[object] = []
        self._body, self._fault = body, fault

    async def whole(self, call) -> bytes:
        fields = call.prompt.fields
        self.asked.append(fields)
        if self._fault is not None and len(self.asked) > 1:
            raise self._fault
        if self._body is not None:
            return self._body
        place = {"7": {"logprob": -math.log(fields["active_experts"]), "rank": 1, "decoded_token": "x"}}
        letters = len(call.prompt.messages[0]["content"])
        return msgspec.json.encode({"choices": [], "prompt_logprobs": [None, *[place] * (letters - 1)]})


class Refusing(Reader):
    async def whole(self, call) -> bytes:
        await super().whole(call)
        raise Refused("prompt_logprobs: no such field")


def reading(engine: ScriptedEngine, *active: int) -> list[TextLoss] | None:
    plain = tier(Single(), engine)
    tiers = [replace(plain, name=f"k{number}", sampling={"active_experts": number}) for number in active]
    return asyncio.run(read(tiers, TEXTS, concurrency=2, on_progress=lambda _: None))


def seen(tier_: str, *nats: float, clusters: str = "") -> list[TextLoss]:
    return [
        TextLoss(tier=tier_, text=f"t{number}", cluster=(clusters or "abcdefgh")[number], tokens=10, nats=value)
        for number, value in enumerate(nats)
    ]


def test_every_tier_reads_every_text_with_its_own_levers():
    engine = Reader()
    found = reading(engine, 8, 4)
    assert found is not None
    assert [(one.tier, one.text, one.tokens) for one in found] == [
        (name, text, tokens) for text, tokens in (("one", 2), ("three", 4)) for name in ("k8", "k4")
    ]
    first, second = perplexities(found)
    assert (first.value.value, second.value.value) == (pytest.approx(8), pytest.approx(4))
    assert (first.ratio, second.ratio and second.ratio.value) == (None, pytest.approx(0.5))
    assert engine.asked[0] == {"active_experts": 8, "max_tokens": 1, "prompt_logprobs": 0}


@pytest.mark.parametrize("engine", [ScriptedEngine("yes"), Reader(b'{"choices": []}'), Refusing()])
def test_an_engine_that_does_not_tell_is_asked_once_at_most(engine):
    assert reading(engine, 8, 4) is None
    assert len(getattr(engine, "asked", [])) <= 1


@pytest.mark.parametrize(("engine", "error"), [(Reader(b"<html>"), Garbled), (Reader(fault=Broken("gone")), Broken)])
def test_a_pass_that_fails_ends_the_reading(engine, error):
    with pytest.raises(error):
        reading(engine, 8, 4)


def test_ratios_are_paired_so_that_hard_texts_widen_nothing():
    hard = [10.0, 40.0, 20.0, 30.0]
    trained, fewer = perplexities([*seen("k8", *hard), *seen("k4", *(nats + 1 + nats / 1000 for nats in hard))])
    assert trained.value.value == pytest.approx(math.exp(2.5))
    assert fewer.ratio is not None
    assert 1000 * width(fewer.ratio) < width(fewer.value)
    assert fewer.ratio.value == pytest.approx(math.exp(0.1025))


def test_texts_of_one_cluster_count_as_one_observation():
    (found,) = perplexities(seen("k8", 10.0, 40.0, 20.0, 30.0, clusters="aabb"))
    assert (found.value.n, found.value.population) == (2, "clusters")


def test_one_text_has_no_interval():
    (found,) = perplexities(seen("k8", 10.0))
    assert found == Perplexity(tier="k8", value=found.value, ratio=None)
    assert (found.value.value, found.value.interval) == (pytest.approx(math.e), None)


def test_a_file_is_read_in_windows_that_lose_nothing(tmp_path):
    path = tmp_path / "text.md"
    path.write_text("é" * (2 * WINDOW + 1), encoding="utf-8")
    found = [text.messages[0]["content"] for text in windows(path)]
    assert [len(str(piece)) for piece in found] == [WINDOW, WINDOW, 1]


@pytest.mark.parametrize(
    ("content", "words"), [(b"short", "needs two windows, so at least 2001 characters"), (b"\xff", "cannot be read")]
)
def test_a_text_that_gives_no_interval_is_refused(tmp_path, content, words):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(SpecError, match=words):
        windows(tmp_path / "text")


def test_prompts_of_a_workload_keep_their_clusters(tmp_path):
    tasks = (task("a", cluster="same"), task("b", cluster="same"), task("c"))
    found = prompts(Workload(path=tmp_path, sha256="", tasks=tasks))
    assert [(text.name, text.cluster) for text in found] == [("a", "same"), ("b", "same"), ("c", "c")]


def width(estimate) -> float:
    return estimate.interval.high - estimate.interval.low
