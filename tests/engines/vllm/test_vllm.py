"""A real vLLM on the CPU, beyond what every engine keeps: what it says of itself, its mixtures, and its end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines.asking import begun, call, completed, until
from engines.vllm.fixtures import PROMPT, at_work
from tierwise.engines.metrics import Scraper
from tierwise.engines.process.guard import descendants
from tierwise.spec.errors import Broken, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines.vllm.fixtures import VllmAtWork

pytestmark = [pytest.mark.vllm, pytest.mark.model]

LONG = "Repeat after me: " + "the quick brown fox jumps over the lazy dog and the cat looks on. " * 12


def test_it_says_what_it_is(vllm):
    health = vllm.engine.health()
    facts = {"device": "cpu", "dtype": "bfloat16", "architecture": "LlamaForCausalLM", "model_runner": "V1"}
    assert health.facts.items() >= facts.items()
    assert health.facts["version"][0].isdigit()
    assert int(health.facts["kv_cache_tokens"]) > 1024
    assert health.start_seconds is not None
    assert health.peak_bytes is not None
    assert health.peak_bytes > 500_000_000


def test_cached_tokens_are_told_and_its_own_counters_come_under_our_names(vllm):
    async def main() -> None:
        asked = call(LONG, temperature=0, max_tokens=2)
        await completed(vllm.engine, asked)
        _, usage = await completed(vllm.engine, asked)
        assert usage.prompt > usage.cached > usage.prompt / 2
        scraper, page = Scraper(), vllm.engine.health().page
        await scraper.scrape({"small": page})
        told = scraper.reported["small"]
        assert told["prefix_cache_queries"] > told["prefix_cache_hits"] >= usage.cached
        assert (told["requests_running"], told["requests_waiting"], told["preemptions"]) == (0, 0, 0)

    vllm.run(main())


def test_priorities_are_taken_and_thinking_that_nobody_knows_how_to_switch_is_refused(vllm):
    async def main() -> None:
        said, _ = await completed(vllm.engine, call(priority=5, max_tokens=2))
        assert said.text
        with pytest.raises(Refused, match="needs `reasoning_parser`"):
            await completed(vllm.engine, call(thinking_tokens=5))

    vllm.run(main())


def test_its_own_words_say_what_is_wrong_with_a_request(vllm):
    async def main() -> None:
        with pytest.raises(Refused, match="temperature"):
            await completed(vllm.engine, call(temperature="hot"))
        assert vllm.engine.health().state == "ready"

    vllm.run(main())


def title_of(pid: int) -> str:
    """What a process calls itself; empty where there is none any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


# ── a mixture of experts ────────────────────────────────────────────────


@pytest.fixture(scope="module")
def moe(new_vllm, moe_folder) -> Iterator[VllmAtWork]:
    """The random mixture with 4 active experts instead of its own 2."""
    with at_work(new_vllm(moe_folder, active_experts=4)) as running:
        yield running


def test_active_experts_are_those_that_were_asked_for(moe, moe_folder):
    """Transformers with 4 experts says the same as vLLM, and with the checkpoint's own 2 something else."""
    by_transformers = json.loads((moe_folder / "said.json").read_text())

    async def main() -> None:
        said, _ = await completed(moe.engine, call(PROMPT, temperature=0, max_tokens=1, logprobs=True))
        assert said.mean_logprob == pytest.approx(by_transformers["4"], abs=0.1)
        assert said.mean_logprob != pytest.approx(by_transformers["2"], abs=0.2)

    moe.run(main())


def test_a_death_inside_is_noticed_and_the_end_leaves_nothing(moe):
    """The last test of this engine, which does not survive it."""

    async def main() -> None:
        stream = await begun(moe.engine, call(temperature=0, max_tokens=900, ignore_eos=True))
        front = moe.engine.supervisor.pid
        tree = [front, *descendants(front)]
        inner = next(pid for pid in tree if "EngineCore" in title_of(pid))
        os.kill(inner, signal.SIGKILL)
        with pytest.raises(Broken):
            async for _ in stream:
                pass
        assert await until(lambda: moe.engine.health().state != "ready", 4) < 2
        assert "engine" in moe.engine.health().reason
        await moe.engine.stop()
        assert not [title for title in map(title_of, tree) if title]

    moe.run(main())
