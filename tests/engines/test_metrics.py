"""What engines count themselves, under our names."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.engines import ENGINES
from tierwise.engines.metrics import METRICS, MetricsPage, Scraper, read
from tierwise.testing.server import FakeServer, HttpReply

VLLM, SGLANG, LLAMA_CPP = (ENGINES[name].metrics for name in ("vllm", "sglang", "llama.cpp"))

PAGE = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a } b"} 2.0
vllm:num_requests_running{engine="1",model_name="a } b"} 3.0 1763800000
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:prefix_cache_hits_total{engine="0"} 1e3
vllm:request_success_total{engine="0",finished_reason="stop"} nonsense
half a line"""


def test_ranks_are_added_up_and_of_shares_the_greatest_counts():
    assert read(PAGE, VLLM) == {"requests_running": 5, "kv_cache_use": 0.75, "prefix_cache_hits": 1000}


def test_what_only_the_log_tells_is_read_there_the_latest_line_first():
    words = [
        "EPLB step: 1 for model m: balancedness=0.5000, steps",
        "other",
        "EPLB step: 2 … balancedness=0.8125, steps",
    ]
    assert read("", VLLM, words) == {"expert_balancedness": 0.8125}


def test_llama_cpps_prompt_tokens_leave_cached_ones_out_so_they_are_added():
    page = "llamacpp:prompt_tokens_total 10\nllamacpp:prompt_tokens_cached_total 30\nllamacpp:requests_deferred 1\n"
    told = read(page, LLAMA_CPP)
    assert told == {"prefix_cache_queries": 40, "prefix_cache_hits": 30, "requests_waiting": 1}


def test_of_several_balances_the_worst_counts():
    page = 'sglang:eplb_balancedness{forward_mode="decode"} 0.9\nsglang:eplb_balancedness{forward_mode="prefill"} 0.4'
    assert read(page, SGLANG) == {"expert_balancedness": 0.4}


@pytest.mark.parametrize("names", [row.metrics for row in ENGINES.values() if row.metrics is not None])
def test_every_engine_names_metrics_that_there_are(names):
    assert {*names.samples, *names.lines} <= METRICS.keys()


def test_a_page_is_read_once_in_a_while_and_not_more_often():
    async def main() -> None:
        now = [0.0]
        scraper = Scraper(every=5, clock=lambda: now[0])
        async with FakeServer(HttpReply(body=PAGE.encode())) as page:
            pages = {"small": MetricsPage(url=page.url, names=VLLM)}
            for now[0], asked in ((0, 1), (4.9, 1), (5, 2)):
                await scraper.scrape(pages)
                assert len(page.requests) == asked
            assert scraper.reported["small"]["requests_running"] == 5
            await scraper.scrape({})
            assert scraper.reported == {}

    asyncio.run(main())


def test_an_engine_that_is_slow_or_away_has_no_figures_and_holds_nobody_up():
    async def main() -> None:
        scraper = Scraper()
        async with FakeServer(HttpReply(body=PAGE.encode(), waits=3)) as slow:
            began = asyncio.get_running_loop().time()
            gone = MetricsPage(url="http://127.0.0.1:1/metrics", names=VLLM)
            await scraper.scrape({"slow": MetricsPage(url=slow.url, names=VLLM), "gone": gone})
            assert asyncio.get_running_loop().time() - began < 2.5
        assert scraper.reported == {"slow": {}, "gone": {}}

    asyncio.run(main())


def test_passes_that_wait_in_tierwise_count_as_waiting_for_the_engine():
    async def main() -> None:
        scraper = Scraper(every=0)
        async with FakeServer(HttpReply(body=PAGE.encode()), HttpReply(body=PAGE.encode())) as page:
            await scraper.scrape({"small": MetricsPage(url=page.url, names=VLLM)})
            before = scraper.reported["small"].get("requests_waiting", 0)
            await scraper.scrape({"small": MetricsPage(url=page.url, names=VLLM, waiting=lambda: 3)})
            assert scraper.reported["small"]["requests_waiting"] == before + 3

    asyncio.run(main())
